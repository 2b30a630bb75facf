"""Runs of another cell, on other devices, or not by all of its ranks are invalid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from evidence.bundle import read_run
from tests.verdict.bundles import Bundle, Plan, build
from tests.verdict.checks.breaking import FOUR, FULL, Fault, Faults, judged, ledger, one, require_named, run

RESUMED = Plan(restarts=1, resumed=(1, 40))


FAULTS = Faults(
    [
        Fault("booted", "the launch ended with exit code 7, expected 0", run("boot", exit_code=7)),
        Fault("booted", "run.json has no exit code, expected 0", run("boot", exit_code=None)),
        Fault("all-ranks-reported", "rank 1: found 0 'end' events, expected 1", lambda b: b.drop("end", rank=1)),
        Fault("all-ranks-reported", "rank 1: found 0 'start' events", lambda b: b.drop("start", rank=1)),
        Fault("all-ranks-reported", "rank 0: found 0 'data' events", lambda b: b.drop("data")),
        Fault("all-ranks-reported", "rank 0: found 0 'train_begin' events", lambda b: b.drop("train_begin")),
        Fault("all-ranks-reported", "rank 0: found 0 'train_end' events", lambda b: b.drop("train_end")),
        Fault("world-size", "rank 1: found local world size", one("start", 1, local_world_size=1)),
        Fault("cell", "run.json: found device", run("cell", device="a100")),
        Fault("cell", "run.json: found topology", run("cell", topology="1x8")),
        Fault("cell", "rank 1: found cell", one("start", 1, cell="a100-1x2-fp32-bs4")),
        Fault("cell", "rank 1: found precision", one("start", 1, precision="bf16")),
        Fault("cell", "rank 1: found batch size", one("start", 1, batch_size=2)),
        Fault("cell", "rank 1: found learning rate", one("start", 1, learning_rate=0.01)),
        Fault("cell", "rank 1: found model", one("start", 1, model="fasterrcnn_tiny")),
        Fault("cell", "rank 1: found protocol", one("start", 1, protocol="epoch")),
        Fault("cell", "rank 1: found tf32", one("start", 1, tf32=True)),
        Fault("recipe", "run.json: recipe: found tf32", run("recipe", tf32=0)),
        Fault("cell", "rank 1: found deterministic True, expected False", one("start", 1, deterministic=True)),
        Fault("cell", "rank 1: found cudnn benchmark True, expected False", one("start", 1, cudnn_benchmark=True)),
        Fault(
            "recipe",
            "run.json: recipe: found lowered ['METAX_USE_TF32=1'], expected []",
            run("recipe", lowered=["METAX_USE_TF32=1"]),
        ),
        Fault("device-is-real", "run.json: found a simulated device, expected a real r300", run(simulated=True)),
        Fault("device-is-real", "rank 1: found a simulated clock", one("start", 1, clock="simulated")),
        Fault("device-is-real", "run.json:", lambda b: None, replace(FULL, device="virtual")),
        Fault(
            "booted",
            "the run failed in phase unknown: no message was recorded",
            run(boot={"exit_code": 0, "failure": {}}),
        ),
        Fault("world-size", "rank 1: found world size 3, expected 2 for topology 1x2", one("start", 1, world_size=3)),
        Fault(
            "world-size",
            "host node0: found local ranks [0, 1, 2], expected each of 0 to 1 once for topology 2x2",
            one("start", 2, host="node0", local_rank=2, card=2),
            FOUR,
        ),
        Fault(
            "one-device-per-rank",
            "rank 1: found device 0 of node0 in use by rank 0, expected its own",
            one("start", 1, card=0),
        ),
        Fault(
            "cell",
            "run.json: found cell r300-1x8-fp32-bs4, expected r300-1x2-fp32-bs4",
            run("cell", id="r300-1x8-fp32-bs4"),
        ),
        Fault("cell", "rank 1: found optimizations switched off", one("start", 1, without=["boxes_only"])),
        Fault(
            "optimization-ledger",
            "rank 0: found no ledger of optimizations, expected what was on and what was off",
            one("start", 0, without=[]),
        ),
        Fault("backend", "rank 1: found backend cpu, expected kunlunxin", one("start", 1, backend="cpu")),
        Fault(
            "device-is-real",
            "rank 1:",
            one("start", 1, simulated=False),
            replace(FULL, device="virtual", simulated=True),
        ),
        Fault(
            "device-model",
            "rank 1: found a device another device, expected a device as on rank 0",
            one("start", 1, device_name="another device"),
        ),
        Fault(
            "device-model",
            "rank 0: found a device of 40.0 GiB (a device), expected about 32.0 GiB for device r300",
            one("start", capacity_gib=40.0),
        ),
        Fault("attempts-not-mixed", "rank 1: found attempt 0, expected 1, as", one("start", 1, attempt=0), RESUMED),
    ]
)


@FAULTS.add("booted", "the run failed in phase preflight: torch_xmlir is missing")
def boot_failed(bundle: Bundle) -> None:
    failure = {"phase": "preflight", "message": "torch_xmlir is missing"}
    bundle.run["boot"] = {"exit_code": None, "failure": failure}
    bundle.ranks.clear()
    bundle.telemetry.clear()


@FAULTS.add("no-failures", "rank 1: failed (device): device lost")
def rank_gave_up(bundle: Bundle) -> None:
    end = bundle.ranks[1].pop()
    bundle.ranks[1].append({"event": "failure", "t_ns": end["t_ns"], "kind": "device", "message": "device lost"})


@FAULTS.add("all-ranks-reported", "rank 1: found no file, expected rank-0001.jsonl")
def rank_never_started(bundle: Bundle) -> None:
    del bundle.ranks[1]


@FAULTS.add("all-ranks-reported", "rank 2: found a file, expected only ranks 0 to 1 of 1x2")
def a_rank_too_many(bundle: Bundle) -> None:
    bundle.ranks[2] = [dict(event) for event in bundle.ranks[1]]
    bundle.ranks[2][0]["rank"] = 2


@FAULTS.add("world-size", "found 1 hosts (node0), expected 2 for topology 2x2", FOUR)
def all_ranks_on_one_host(bundle: Bundle) -> None:
    for rank in bundle.ranks:
        bundle.one("start", rank)["host"] = "node0"


@FAULTS.add("optimization-ledger", "rank 0: ledger: found switched off boxes_only, expected none")
def the_ledger_says_more_was_switched_off(bundle: Bundle) -> None:
    bundle.one("start", rank=0)["without"] = []
    ledger(bundle, ("boxes_only", False, "switched off"), ("scored_once", True, ""))


@FAULTS.add("optimization-ledger", "rank 0: ledger: found switched off")
def what_was_switched_off_is_on_in_the_ledger(bundle: Bundle) -> None:
    bundle.run["without"] = ["boxes_only", "scored_once"]
    ledger(bundle, ("boxes_only", True, "switched off"), ("scored_once", False, "switched off"))


@FAULTS.add("recipe", "run.json: the recipe lacks momentum, weight_decay")
def recipe_has_gaps(bundle: Bundle) -> None:
    del bundle.run["recipe"]["momentum"], bundle.run["recipe"]["weight_decay"]


@FAULTS.add("backend", "run.json: found backend cpu, expected kunlunxin for device r300")
def backend_is_the_hosts(bundle: Bundle) -> None:
    bundle.run["backend"] = "cpu"
    for rank in bundle.ranks:
        bundle.one("start", rank)["backend"] = "cpu"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_a_fault_makes_the_run_invalid_and_is_named(fault: Fault, tmp_path: Path) -> None:
    require_named(fault, tmp_path)


def test_a_boot_that_failed_is_the_only_reason_given(tmp_path: Path) -> None:
    bundle = build(FULL)
    boot_failed(bundle)

    reasons = judged(read_run(bundle.write(tmp_path / "run")), FULL)

    assert reasons == ["the run failed in phase preflight: torch_xmlir is missing"]
