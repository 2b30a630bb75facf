"""Runs whose memory is impossible, unwatched or of another workload are invalid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.verdict.bundles import CPU, Bundle
from tests.verdict.checks.breaking import FULL, Fault, Faults, one, require_named


def _forget_capacity(bundle: Bundle) -> None:
    for rank in bundle.ranks:
        bundle.one("start", rank)["capacity_gib"] = None
    for sample in bundle.telemetry:
        sample["memory_total_gib"] = None


FAULTS = Faults(
    [
        Fault("memory", "device 0 of node0: found -1.000 GiB reserved", one("memory", reserved_gib=-1.0)),
        Fault("memory", "device 0 of node0:", lambda b: b.telemetry.clear(), CPU),
        Fault("memory", "device 0 of node0: found no memory sample in telemetry.jsonl", lambda b: b.telemetry.clear()),
        Fault("memory", "device 1 of node0: found -1.000 GiB resident", one("memory", 1, resident_gib=-1.0), CPU),
    ]
)


@FAULTS.add(
    "memory-of-workload",
    "device 0 of node0: found 0.130 GiB in use at most, expected at least 0.138 GiB (weights 0.046, gradients 0.046, "
    "momentum 0.046, a batch 0.000): this is not the memory of this workload",
    replace(FULL, used_gib=0.13),
)
def the_workload_does_not_fit(bundle: Bundle) -> None:
    pass


@FAULTS.add("memory-of-workload", "rank 1: found no 'model' event, expected one")
def what_memory_has_to_hold_is_unknown(bundle: Bundle) -> None:
    bundle.drop("model", rank=1)


@FAULTS.add(
    "memory-sources-agree",
    "device 0 of node0: xpu_smi read 20.00 GiB at most, and the allocator had given out 21.10 GiB at its peak, "
    "expected at least 20.05 GiB: the tool watches another device, or counts in another unit",
)
def smi_saw_less_than_the_allocator(bundle: Bundle) -> None:
    bundle.one("memory")["allocated_gib"] = 21.1


@FAULTS.add(
    "device-at-work", "device 1 of node0: xpu_smi read a use of 7.0 % on average in training, of which 72% was compute,"
)
def a_device_was_hardly_used(bundle: Bundle) -> None:
    for sample in bundle.telemetry:
        sample["use_percent"] = 7.0 if sample["card"] == 1 else 93.0


@FAULTS.add(
    "device-at-work",
    "device 0 of node0: xpu_smi read 62.0 W on average in training and 60.0 W before, expected more than 5%",
)
def a_device_drew_no_power(bundle: Bundle) -> None:
    begin = bundle.one("train_begin")["t_ns"]
    for sample in bundle.telemetry:
        sample["power_w"] = 60.0 if sample["t_ns"] < begin else 62.0 if sample["card"] == 0 else 290.0


@FAULTS.add("memory", "device 1 of node0: found 33.000 GiB in use, expected at most its capacity, 32.000 GiB")
def more_memory_than_the_device_has(bundle: Bundle) -> None:
    bundle.telemetry[-1]["memory_used_gib"] = 33.0


@FAULTS.add("memory", "device 0 of node0:")
def more_memory_than_the_run_says(bundle: Bundle) -> None:
    _forget_capacity(bundle)
    bundle.run["card_memory_gib"] = 30.0
    bundle.telemetry[0]["memory_used_gib"] = 31.0


@FAULTS.add("memory", "device 0 of node0:")
def more_memory_than_the_cell_says(bundle: Bundle) -> None:
    _forget_capacity(bundle)
    bundle.run["card_memory_gib"] = None
    bundle.telemetry[0]["memory_used_gib"] = 33.0


@FAULTS.add("memory", "device 0 of node0: found -1.000 GiB sampled, expected 0 or more")
def memory_is_negative(bundle: Bundle) -> None:
    for sample in bundle.telemetry:
        sample["memory_used_gib"] = -1.0


@FAULTS.add(
    "memory",
    "device 1 of node0: found no memory sample in telemetry.jsonl (xpu_smi: it hung), expected some in training",
)
def a_device_was_not_watched(bundle: Bundle) -> None:
    bundle.telemetry = [sample for sample in bundle.telemetry if sample["card"] == 0]
    bundle.telemetry.append({"t_ns": 1, "source": "xpu_smi", "error": "it hung"})


@FAULTS.add("memory", "device 0 of node0:")
def memory_was_watched_before_training_only(bundle: Bundle) -> None:
    begin = bundle.one("train_begin")["t_ns"]
    bundle.telemetry = [one for one in bundle.telemetry if one["card"] == 1 or one["t_ns"] < begin]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_a_fault_makes_the_run_invalid_and_is_named(fault: Fault, tmp_path: Path) -> None:
    require_named(fault, tmp_path)
