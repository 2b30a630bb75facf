"""Health of the devices: what was counted before training against what was counted after it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evidence.bundle import Evidence, read_run
from evidence.events.state import Health
from evidence.verdict import MetricVerdict
from tests.verdict.bundles import CPU, STEADY, Bundle, build
from verdict.compare.health import judge_health

NAME = "device 1 (SN-1, 0000:1b:00.0) of node0"
NOTHING = {
    **dict.fromkeys(("ecc_corrected", "ecc_uncorrected", "retired_pages", "retirement_pending"), None),
    **dict.fromkeys(("pcie_width", "pcie_width_max", "pcie_generation", "pcie_generation_max", "kernel_log"), None),
    "link_errors": {},
    "absent": {"pci": "no address"},
}


def bundle_with(before: Any = None, after: Any = None) -> Bundle:
    """A sound run of two ranks but for these fields of the two events of rank 1."""
    bundle = build(STEADY)
    bundle.one("start", 1)["serial"] = "SN-1"
    for event, changes in zip(bundle.all("health", 1), (before, after)):
        event.update(changes or {})
    return bundle


def evidence_of(folder: Path, before: Any = None, after: Any = None) -> Evidence:
    return read_run(bundle_with(before, after).write(folder / "run"))


def judged(folder: Path, before: Any = None, after: Any = None, broken: str = "") -> MetricVerdict:
    return judge_health([evidence_of(folder, before, after)], broken=broken)


def test_sound_devices_pass(tmp_path: Path) -> None:
    metric = judged(tmp_path)

    assert (metric.metric, metric.verdict, metric.measured, metric.high) == ("health", "pass", 0.0, 0.0)
    assert metric.reason == "no fault of 2 devices"


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ({}, {"ecc_uncorrected": 1}, "1 new uncorrected ECC error in the run, expected none"),
        ({"ecc_uncorrected": 4}, {"ecc_uncorrected": 7}, "3 new uncorrected ECC errors in the run, expected none"),
        ({}, {"retired_pages": 3}, "2 new retired pages in the run, expected none"),
        ({"remapped_rows": 0}, {"remapped_rows": 1}, "1 new remapped row in the run, expected none"),
        ({}, {"retirement_pending": True}, "a page or row is to be retired since the run, expected none"),
        (
            {"link_errors": {"pcie fatal": 1}},
            {"link_errors": {"pcie fatal": 3}},
            "pcie fatal errors: 2 new ones in the run, expected none",
        ),
        ({"pcie_width": 8}, {}, "PCIe x8 before training, expected the x16 that device and slot have"),
        ({}, {"pcie_width": 4}, "PCIe x4 after training, expected the x16 that device and slot have"),
        (
            {"pcie_width": 8},
            {"pcie_width": 4},
            "PCIe x8 before training and x4 after training, expected the x16 that device and slot have",
        ),
        (
            {"pcie_generation": 1},
            {"pcie_generation": 3},
            "PCIe generation 3 before and after training, expected the 4 that device and slot have",
        ),
        (
            {},
            {"kernel_log": ["[9.0] NVRM: Xid (PCI:0000:1b:00): 79, GPU has fallen off the bus."]},
            "kernel log of the run: [9.0] NVRM: Xid (PCI:0000:1b:00): 79, GPU has fallen off the bus.",
        ),
        ({}, {"kernel_log": ["PCIe Bus Error: severity=Uncorrected (Non-Fatal)"]}, "kernel log of the run: PCIe Bus"),
    ],
)
def test_a_fault_fails_and_names_device_serial_and_host(
    before: dict[str, Any], after: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    metric = judged(tmp_path, before, after)

    assert (metric.verdict, metric.measured) == ("fail", 1.0)
    assert metric.reason.startswith(f"{NAME}: {reason}")


@pytest.mark.parametrize(
    ("before", "after", "remark"),
    [
        ({}, {"ecc_corrected": 5}, f"; {NAME}: 2 new corrected ECC errors"),
        ({}, {"link_errors": {"pcie correctable": 3}}, f"; {NAME}: 1 new pcie correctable errors"),
        ({"ecc_uncorrected": 2}, {"ecc_uncorrected": 2}, f"; {NAME}: 2 uncorrected ECC errors before the run"),
        ({"pcie_generation": 1}, {}, ""),  # the link rested
        ({}, {"pcie_generation": 1}, ""),
        ({"retirement_pending": True}, {"retirement_pending": True}, ""),
        ({"kernel_log": ["NVRM: Xid (PCI:0000:1b:00): 31, before the run"]}, {}, ""),
        ({}, {"kernel_log": ["nvidia 0000:1b:00.0: AER: Corrected error received"]}, ""),
        ({"kernel_log": None}, {"kernel_log": None}, "; not read: kernel log"),
        (
            {"ecc_uncorrected": None, "retired_pages": None},
            {"ecc_uncorrected": None, "retired_pages": None},
            "; not read: ECC errors, retired pages",
        ),
    ],
)
def test_what_is_no_fault_passes_and_is_told(
    before: dict[str, Any], after: dict[str, Any], remark: str, tmp_path: Path
) -> None:
    metric = judged(tmp_path, before, after)

    assert metric.verdict == "pass", metric.reason
    assert metric.reason == f"no fault of 2 devices{remark}"


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ({}, {"ecc_uncorrected": None, "absent": {"tool": "GPU is lost"}}, "ECC errors: read before training and not"),
        ({}, {"pcie_width": None}, "PCIe width: read before training and not after it"),
        ({}, {"kernel_log": None}, "kernel log: read before training and not after it"),
        ({"ecc_uncorrected": 3}, {}, "ECC errors: 3 before training and 0 after it: the device was reset meanwhile"),
    ],
)
def test_what_was_read_before_and_is_gone_after_proves_nothing(
    before: dict[str, Any], after: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    metric = judged(tmp_path, before, after)

    assert metric.verdict == "inconclusive"
    assert metric.reason.startswith(f"{NAME}: {reason}")


def test_a_run_without_its_second_reading_proves_nothing(tmp_path: Path) -> None:
    bundle = bundle_with()
    bundle.ranks[1].remove(bundle.all("health", 1)[1])

    metric = judge_health([read_run(bundle.write(tmp_path / "run"))])

    assert metric.verdict == "inconclusive"
    assert metric.reason == f"{NAME}: found no reading after it, expected one before training and one after it"


def test_a_device_of_which_nothing_was_read_is_recorded(tmp_path: Path) -> None:
    metric = judged(tmp_path, NOTHING, NOTHING)

    assert (metric.verdict, metric.measured) == ("recorded", None)
    assert metric.reason == f"health not read: {NAME}: no address"


def test_an_older_run_is_recorded(tmp_path: Path) -> None:
    bundle = bundle_with()
    for rank in bundle.ranks:
        bundle.drop("health", rank)

    metric = judge_health([read_run(bundle.write(tmp_path / "run"))])

    assert metric.verdict == "recorded"
    assert metric.reason.startswith("health not read: device 0 of node0: the run has no such readings; device 1 (SN-1)")


def test_a_share_of_the_host_is_no_device(tmp_path: Path) -> None:
    metric = judge_health([read_run(build(replace(CPU, protocol="steady")).write(tmp_path / "run"))])

    assert (metric.verdict, metric.reason) == ("recorded", "health not read: the run has no device")


def test_a_fault_of_the_device_stands_whatever_else_is_wrong_with_the_run(tmp_path: Path) -> None:
    assert judged(tmp_path / "a", broken="rank 1: failed").verdict == "invalid"
    assert judged(tmp_path / "b", broken="rank 1: failed").reason == "rank 1: failed"
    assert judged(tmp_path / "c", {}, {"ecc_uncorrected": 1}, broken="rank 1: failed").verdict == "fail"


def test_in_no_boot_may_a_device_have_a_fault(tmp_path: Path) -> None:
    sound, faulty = evidence_of(tmp_path / "a"), evidence_of(tmp_path / "b", {}, {"ecc_uncorrected": 1})

    metric = judge_health([sound, faulty])

    assert metric.verdict == "fail"
    assert metric.reason.startswith(f"run 2 of 2: {NAME}: 1 new")
    assert judge_health([sound, sound]).reason == "no fault of 4 devices"


def test_short_throttling_is_told(tmp_path: Path) -> None:
    bundle = build(replace(STEADY, steps=6000))
    middle = [one for one in bundle.telemetry if one["rank"] == 1]
    middle[len(middle) // 2]["throttle"] = "hw_thermal"

    metric = judge_health([read_run(bundle.write(tmp_path / "run"))])

    assert metric.verdict == "pass"
    assert "throttled (hw_thermal) in 1 sample" in metric.reason


def test_a_damaged_reading_is_named(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path, {}, {"ecc_uncorrected": "many"})

    assert any("ecc_uncorrected" in problem for problem in evidence.problems)


def test_a_reading_needs_no_field_but_its_time_and_device() -> None:
    assert Health("before", 0).kernel_log is None
