"""One fault makes a whole run invalid, whatever its numbers are; valid runs of any kind have no violation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import pytest

from evidence.bundle import read_run
from evidence.verdict import Verdict
from expected import Topology
from tests.verdict.bundles import CPU, EPOCH, STEADY, Bundle, Plan, a_cell, build
from tests.verdict.checks.breaking import (
    BENCHMARK,
    EASY,
    FAST,
    FOUR,
    FULL,
    Fault,
    Faults,
    book,
    checked,
    judged,
    one,
    require_named,
    run,
)
from tests.verdict.checks.document import ROOT, lines
from verdict.checks.invariants import CHECKS, Case, violations
from verdict.judge import judge_run
from verdict.metrics.measure import measure

FAULTS = Faults(
    [
        Fault(None, "run.json: schema 1, expected 2", run(schema=1)),
        Fault(None, "rank-0001.jsonl line 1: start: schema 1, expected 2", one("start", 1, schema=1)),
        Fault(None, "rank-0001.jsonl line 1: start: the file of rank 1 was written by rank 0", one("start", 1, rank=0)),
    ]
)


@FAULTS.add(None, "rank-0000.jsonl line 57: end: 'end' comes a second time")
def rank_ended_twice(bundle: Bundle) -> None:
    bundle.ranks[0].append(dict(bundle.ranks[0][-1]))


@FAULTS.add(None, "rank-0001.jsonl line 11: train_begin: the clock goes backwards, from t_ns")
def clock_goes_backwards(bundle: Bundle) -> None:
    bundle.one("train_begin", rank=1)["t_ns"] -= 10**10


@FAULTS.add(None, "telemetry.jsonl line 1: 'throttle' is 7, expected a string")
def a_throttle_reason_is_none(bundle: Bundle) -> None:
    bundle.telemetry[0]["throttle"] = 7


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_a_fault_makes_the_run_invalid_and_is_named(fault: Fault, tmp_path: Path) -> None:
    require_named(fault, tmp_path)


def test_no_check_needs_more_than_there_is(tmp_path: Path) -> None:
    folder = build(FULL).write(tmp_path / "run")
    (folder / "run.json").unlink()

    for evidence in (read_run(folder), read_run(tmp_path)):
        case = Case(evidence, a_cell(FULL, **EASY), measure(evidence))
        for check in CHECKS.values():
            assert all(isinstance(reason, str) for reason in check.find(case)), check.id


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-Infinity"])
def test_a_loss_that_is_not_finite_makes_the_run_invalid(bad: str, tmp_path: Path) -> None:
    bundle = build(FULL)
    bundle.all("window", rank=1)[12]["loss"][7] = bad

    found = judged(read_run(bundle.write(tmp_path / "run")), FULL)

    assert any(reason.startswith("rank 1: step 127:") for reason in found)


def _scale(bundle: Bundle, column: str, factor: float) -> None:
    for window in bundle.all("window"):
        found = window[column]
        window[column] = [int(value * factor) for value in found] if isinstance(found, list) else int(found * factor)


def _loss_stands_still_for_49_steps(bundle: Bundle) -> None:
    for window in bundle.all("window")[1:6]:
        window["loss"] = [2.05] * 10
    bundle.all("window")[1]["loss"][0] = 2.06


def _memory_is_above_the_tables_but_below_the_devices(bundle: Bundle) -> None:
    bundle.run["card_memory_gib"] = 30.0
    bundle.telemetry[0]["memory_used_gib"] = 31.0


@pytest.mark.parametrize(
    "change",
    [
        _loss_stands_still_for_49_steps,
        _memory_is_above_the_tables_but_below_the_devices,
        lambda bundle: _scale(bundle, "compute_ns", 1.08),  # device events overlap the host's windows a little
        lambda bundle: _scale(bundle, "compute_ns", 0.95),
        lambda bundle: _scale(bundle, "compute_host_ns", 1.1),
        lambda bundle: bundle.one("train_end")["ledger"].update(idle_ns=140_000_000),
        lambda bundle: bundle.one("train_end")["ledger"].update(evaluation_ns=3_120_000_000),
        lambda bundle: book(bundle, data_wait=0.49),
        lambda bundle: book(bundle, copy=0.24, checkpoint=0.24),
        lambda bundle: book(bundle, bookkeeping=0.09, idle=0.09),  # below a second
        lambda bundle: checked(bundle, 2),
        lambda bundle: checked(bundle, 2, check_difference=1e-9, checked_map=0.38 + 0.9e-9),
        lambda bundle: bundle.all("eval_end")[2].update(scorer="pycocotools 2.0.11"),
        lambda bundle: bundle.all("eval_end")[1].update(scorer=FAST),
    ],
)
def test_what_lies_within_the_tolerances_is_no_violation(change: Callable[[Bundle], Any], tmp_path: Path) -> None:
    bundle = build(FULL)
    change(bundle)
    evidence = read_run(bundle.write(tmp_path / "run"))

    assert violations(evidence, a_cell(FULL, **EASY), measure(evidence)) == ()


@pytest.mark.parametrize(
    "plan",
    [
        FULL,
        FOUR,
        STEADY,
        EPOCH,
        CPU,
        replace(FULL, maps=(0.1, 0.2, 0.2, 0.3)),
        replace(FULL, maps=(0.1,), epochs=1),
        replace(FULL, device="virtual", simulated=True),
        replace(FULL, jitter=30, slower={1: 1.2}),
        replace(STEADY, warmup=0),
        replace(FULL, topology=Topology(1, 1)),
        replace(FULL, maps=(0.1, 0.36)),
        replace(FULL, maps=(1.0,)),
        replace(STEADY, steps=1),
        replace(FULL, batch_size=2),
    ],
)
def test_a_sound_run_has_no_violations(plan: Plan, tmp_path: Path) -> None:
    evidence = read_run(build(plan).write(tmp_path / "run"))

    found = violations(evidence, a_cell(plan, **EASY), measure(evidence), backend=plan.backend)

    assert found == ()


def test_an_evaluation_that_gives_no_map_need_not_be_checked(tmp_path: Path) -> None:
    bundle = build(EPOCH)
    bundle.all("eval_end")[0]["scorer"] = FAST

    evidence = read_run(bundle.write(tmp_path / "run"))

    assert violations(evidence, a_cell(EPOCH), measure(evidence)) == ()


def test_an_initial_evaluation_does_no_harm_to_an_epoch(tmp_path: Path) -> None:
    bundle = build(EPOCH)
    for rank in bundle.ranks:
        events = bundle.ranks[rank]
        t_ns = bundle.one("train_begin", rank)["t_ns"]
        seen = {"images": 64, "images_total": 128, "images_expected": 128, "map": 0.0}
        events[2:2] = [
            {"event": "eval_begin", "t_ns": events[1]["t_ns"], "epoch": -1},
            {"event": "eval_end", "t_ns": t_ns, "epoch": -1, **seen},
        ]
        events[4]["t_ns"] = t_ns

    evidence = read_run(bundle.write(tmp_path / "run"))

    assert violations(evidence, a_cell(EPOCH), measure(evidence)) == ()


def test_a_run_of_the_whole_of_coco_by_the_benchmarks_recipe_is_sound(tmp_path: Path) -> None:
    plan = replace(BENCHMARK, images_of_rank=2500, batch_size=512, steps=114, unused=530, uneven=False)
    bundle = build(plan)
    for rank in bundle.ranks:
        data = bundle.one("data", rank)
        data["train"].update(images_listed=118_287, boxes_listed=860_001, crowds=10_052, categories=80)
        data["val"].update(images_listed=5_000, boxes_listed=36_781, crowds=446, categories=80)

    evidence = read_run(bundle.write(tmp_path / "run"))

    assert violations(evidence, a_cell(plan, **EASY), measure(evidence)) == ()


def untrained() -> Bundle:
    """A run of which only the environment and the probes were asked for."""
    bundle = build(FULL)
    bundle.run["protocol"] = "probes"
    for rank, events in bundle.ranks.items():
        kept = ("start", "environment", "clock_test", "memory", "end")
        bundle.ranks[rank] = [event for event in events if event["event"] in kept]
        bundle.one("start", rank)["protocol"] = bundle.one("end", rank)["reason"] = "probes"
    return bundle


def test_a_run_of_probes_alone_is_sound_and_measures_nothing(tmp_path: Path) -> None:
    bundle = untrained()
    bundle.telemetry[3]["throttle"] = "thermal"  # in no training
    evidence = read_run(bundle.write(tmp_path / "run"))

    verdict = judge_run(evidence, a_cell(FULL, **EASY))

    assert violations(evidence, a_cell(FULL, **EASY), measure(evidence)) == ()
    assert {metric.verdict for metric in verdict.metrics.values()} == {Verdict.MISSING}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda bundle: bundle.drop("clock_test", 1), "rank 1: found no 'clock_test' event, expected one"),
        (lambda bundle: bundle.drop("end", 1), "rank 1: found 0 'end' events, expected 1"),
        (
            lambda bundle: bundle.ranks[0].insert(2, build(FULL).one("data")),
            "rank 0: found 1 'data' events, expected 0",
        ),
        (one("end", reason="steps"), "rank 0: ended for reason steps, expected probes"),
        (one("clock_test", steps_back=1), "clock test: the host's clock went back 1 times"),
        (one("start", world_size=3), "rank 0: found world size 3, expected 2"),
    ],
)
def test_what_holds_without_training_is_checked_of_probes_alone(
    tmp_path: Path, change: Callable[[Bundle], Any], says: str
) -> None:
    bundle = untrained()
    change(bundle)
    evidence = read_run(bundle.write(tmp_path / "run"))

    assert any(says in reason for reason in judged(evidence, FULL))


@pytest.mark.parametrize(("protocol", "violations"), [("full", 1), ("smoke", 0)])
def test_bookkeeping_on_a_busy_host_makes_no_smoke_run_invalid(protocol: str, violations: int, tmp_path: Path) -> None:
    bundle = build(FULL)
    book(bundle, bookkeeping=0.64)
    bundle.run["protocol"] = protocol
    evidence = read_run(bundle.write(tmp_path / "run"))

    case = Case(evidence, a_cell(FULL, **EASY), measure(evidence), FULL.backend)

    assert len(tuple(CHECKS["ledger-shares"].find(case))) == violations


def test_of_a_device_that_cannot_be_opened_only_the_cause_is_given(tmp_path: Path) -> None:
    bundle = build(FULL)
    failures = {"phase": "run", "message": "rank 0: device: no device is visible (2 of 2 ranks failed)"}
    bundle.run["boot"] = {"exit_code": 1, "failure": failures}
    for events in bundle.ranks.values():
        t_ns = events[0]["t_ns"]
        events[:] = [{"event": "failure", "t_ns": t_ns, "kind": "device", "message": "no device is visible"}]
    bundle.telemetry.clear()

    reasons = judged(read_run(bundle.write(tmp_path / "run")), FULL)

    assert reasons == ["the run failed in phase run: rank 0: device: no device is visible (2 of 2 ranks failed)"]


def test_many_violations_of_one_kind_are_counted_after_the_first_four(tmp_path: Path) -> None:
    plan = replace(FULL, topology=Topology(1, 8))
    bundle = build(plan)
    for rank in bundle.ranks:
        bundle.one("start", rank)["precision"] = "bf16"

    reasons = judged(read_run(bundle.write(tmp_path / "run")), plan)

    assert reasons == [f"rank {rank}: found precision bf16, expected fp32" for rank in range(4)] + [
        "and 4 more like it"
    ]


def test_four_violations_of_one_kind_are_all_there_is_to_say(tmp_path: Path) -> None:
    bundle = build(FOUR)
    for rank in bundle.ranks:
        bundle.one("start", rank)["precision"] = "bf16"

    reasons = judged(read_run(bundle.write(tmp_path / "run")), FOUR)

    assert reasons == [f"rank {rank}: found precision bf16, expected fp32" for rank in range(4)]


def test_without_run_json_everything_is_invalid(tmp_path: Path) -> None:
    bundle = build(FULL)
    folder = bundle.write(tmp_path / "run")
    (folder / "run.json").unlink()

    verdict = judge_run(read_run(folder), a_cell(FULL, **EASY))

    assert verdict.outcome == Verdict.INVALID
    assert verdict.protocol == "unknown"
    assert Verdict.PASS not in {metric.verdict for metric in verdict.metrics.values()}
    assert verdict.reasons == (
        "run.json: cannot be read: No such file or directory",
        "run.json: listed in SHA256SUMS and not there",
    )


def test_an_empty_folder_is_invalid(tmp_path: Path) -> None:
    verdict = judge_run(read_run(tmp_path), a_cell(FULL, **EASY))

    assert verdict.outcome == Verdict.INVALID
    assert {metric.verdict for metric in verdict.metrics.values()} == {Verdict.INVALID}


def test_a_cell_whose_rates_are_upside_down_is_invalid(tmp_path: Path) -> None:
    evidence = read_run(build(FULL).write(tmp_path / "run"))
    measurements = dict(measure(evidence))
    measurements["p_train"] = replace(measurements["p_train"], value=measurements["p_core"].value * 1.001)
    measurements["p_whole"] = replace(measurements["p_whole"], value=0.0)
    measurements["e2e_time"] = replace(measurements["e2e_time"], value=1.0)

    found = violations(evidence, a_cell(FULL), measurements)

    assert found[0].startswith("rank 0: found e2e_time 1.0 s, expected at least its training, 13.38")
    upside_down = [reason for reason in found if "expected at least p_train 193.1" in reason]
    assert upside_down[0].startswith("found p_core 192.9")
    assert "found p_whole 0.0 images/s, expected more than 0" in found


def test_every_check_says_in_a_line_what_has_to_hold() -> None:
    assert all(check.description.endswith(".") for check in CHECKS.values())


def test_reasons_begin_with_what_is_nearest_to_the_cause() -> None:
    rooms = [check.find.__module__.rpartition(".")[2] for check in CHECKS.values()]

    assert list(dict.fromkeys(rooms)) == [
        "identity",
        "variables",
        "data",
        "protocol",
        "clocks",
        "workload",
        "training",
        "accounts",
        "memory",
        "probes",
    ]
    assert [check.id for check in CHECKS.values() if check.cause] == ["booted", "no-failures"] == list(CHECKS)[:2]


def test_the_document_lists_every_check() -> None:
    document = (ROOT / "docs" / "verdicts.md").read_text(encoding="utf-8")

    assert "\n".join(lines()) in document, "run python -m tests.verdict.checks.document and put its output there"


@pytest.mark.parametrize("found", [2, 4])
def test_a_run_that_was_to_use_one_device_and_used_another_is_refused(found: int, tmp_path: Path) -> None:
    plan = replace(STEADY, topology=Topology(1, 1))
    cell = replace(a_cell(plan), card=3)
    bundle = build(plan)
    bundle.run["cell"]["id"] = bundle.one("start")["cell"] = cell.id
    bundle.one("start")["card"] = found
    for sample in bundle.telemetry:
        sample["card"] = found
    evidence = read_run(bundle.write(tmp_path / "run"))

    assert violations(evidence, cell, measure(evidence)) == (
        f"rank 0: found device {found} of node0, expected device 3",
    )


def test_a_run_that_used_the_device_that_it_was_to_use_is_believed(tmp_path: Path) -> None:
    plan = replace(STEADY, topology=Topology(1, 1))
    cell = replace(a_cell(plan), card=0)
    bundle = build(plan)
    bundle.run["cell"]["id"] = bundle.one("start")["cell"] = cell.id
    evidence = read_run(bundle.write(tmp_path / "run"))

    assert violations(evidence, cell, measure(evidence)) == ()
