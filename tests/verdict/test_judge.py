"""The six verdicts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evidence.bundle import read_run
from evidence.verdict import JudgedCell, RunVerdict, Verdict
from expected import METRICS, Expectation
from tests.verdict.bundles import EPOCH, STEADY, Plan, a_cell, build, reached_by, with_timing
from verdict.checks.workload import fingerprint
from verdict.judge import judge_run
from verdict.metrics.measure import measure

FULL = Plan()
ACCEPTED = Expectation("accepted", 200.0, 194.0, source="accepted in site.toml: mean of 3 runs", clock="device")


def judged(tmp_path: Path, plan: Plan = FULL, timing: str = "device", **expectations: Any) -> RunVerdict:
    cell = with_timing(a_cell(plan, **expectations), timing)
    return judge_run(read_run(build(plan).write(tmp_path / "run")), cell, backend=plan.backend)


def test_a_sound_run_that_reaches_every_number_passes(tmp_path: Path) -> None:
    verdict = judged(tmp_path, e2e_time=20.0, p_whole=130.0, p_train=170.0, p_core=190.0, map=0.38, mem=20.0)

    assert verdict.outcome == Verdict.PASS
    assert verdict.reasons == ()
    assert list(verdict.metrics) == list(METRICS)
    assert {metric.verdict for metric in verdict.metrics.values()} == {Verdict.PASS}
    assert verdict.cell.id == "r300-1x2-fp32-bs4"
    assert verdict.cell.topology == "1x2"
    assert (verdict.protocol, verdict.simulated) == ("full", False)


@pytest.mark.parametrize(
    ("plan", "expectations", "outcome"),
    [
        (FULL, {}, Verdict.RECORDED),
        (FULL, {"map": 0.3}, Verdict.RECORDED),
        (FULL, {"map": 0.9}, Verdict.FAIL),
        (FULL, {"p_core": 400.0, "map": 0.3}, Verdict.FAIL),
        (EPOCH, {"map": 0.3}, Verdict.MISSING),
        (EPOCH, {"p_core": 400.0}, Verdict.FAIL),
        (STEADY, {"p_core": Expectation("accepted", 190.0, 180.0)}, Verdict.MISSING),
        (replace(FULL, maps=(0.1,), epochs=1), {"map": 0.05, "e2e_time": 1e6}, Verdict.MISSING),
        (replace(STEADY, steps=15), {"p_core": 190.0}, Verdict.INCONCLUSIVE),
        (replace(STEADY, steps=15), {"p_core": 190.0, "mem": 10.0}, Verdict.FAIL),
    ],
)
def test_the_outcome_is_the_worst_of_the_metrics(
    plan: Plan, expectations: dict[str, Any], outcome: str, tmp_path: Path
) -> None:
    verdict = judged(tmp_path, plan, **expectations)

    assert verdict.outcome == outcome
    assert verdict.outcome == Verdict.worst(one.verdict for one in verdict.metrics.values())
    assert len(verdict.reasons) == sum(one.verdict != Verdict.PASS for one in verdict.metrics.values())


def test_the_first_reason_is_the_worst_and_not_what_was_only_recorded(tmp_path: Path) -> None:
    # The table has e2e_time and the rates, which are unpublished here, before mem.
    verdict = judged(tmp_path, map=0.38, mem=10.0)

    assert verdict.outcome == Verdict.FAIL
    assert verdict.reasons[0] == verdict.metrics["mem"].reason
    by_reason = {one.reason: one.verdict for one in verdict.metrics.values()}
    places = [list(Verdict).index(by_reason[reason]) for reason in verdict.reasons]
    assert places == sorted(places)


def test_a_steady_run_that_is_too_short_is_told_how_many_steps_are_needed(tmp_path: Path) -> None:
    verdict = judged(tmp_path, replace(STEADY, steps=60), p_core=190.0)

    assert verdict.metrics["p_core"].verdict == Verdict.INCONCLUSIVE
    assert "comes from 60 steps" in verdict.metrics["p_core"].reason
    assert "too few for a confidence interval; at least 2440 more steps are" in verdict.metrics["p_core"].reason


def test_a_steady_run_that_cannot_show_rare_stalls_decides_nothing_published(tmp_path: Path) -> None:
    for number in (1.0, 190.0, 1000.0):
        verdict = judged(tmp_path, STEADY, p_core=number).metrics["p_core"]

        assert verdict.verdict == Verdict.INCONCLUSIVE
        assert "too few to show rare stalls and slow changes; at least 2380 more steps are needed" in verdict.reason


def test_the_workload_stands_beside_the_rates(tmp_path: Path) -> None:
    verdict = judged(tmp_path)

    assert verdict.workload is not None
    assert verdict.workload == fingerprint(read_run(tmp_path / "run"))


def test_a_simulated_run_is_told_as_one(tmp_path: Path) -> None:
    assert judged(tmp_path, replace(FULL, device="virtual", simulated=True)).simulated


def test_an_interval_that_straddles_the_bound_is_inconclusive(tmp_path: Path) -> None:
    plan = replace(FULL, jitter=40)
    value = measure(read_run(build(plan).write(tmp_path / "first")))["p_core"].value
    bound = Expectation("accepted", value, value * 0.9999)

    verdict = judged(tmp_path, plan, p_core=bound)

    assert verdict.outcome == Verdict.INCONCLUSIVE
    assert "more steps would decide" in verdict.metrics["p_core"].reason


@pytest.mark.parametrize(("timing", "name"), [("host", "p_core_host"), ("device", "p_core")])
def test_a_published_p_core_is_held_against_the_clock_that_it_was_read_with(
    timing: str, name: str, tmp_path: Path
) -> None:
    metrics = measure(read_run(build(FULL).write(tmp_path / "other")))

    verdict = judged(tmp_path, timing=timing, p_core=190.0)

    assert verdict.metrics["p_core"].measured == metrics[name].value
    assert verdict.metrics["p_core"].method.startswith(metrics[name].method)
    assert ("p_core_host" in verdict.metrics["p_core"].method) == (timing == "host")
    assert verdict.cell.timing == timing


@pytest.mark.parametrize(("clock", "name"), [("device", "p_core"), ("host", "p_core_host"), ("", "p_core_host")])
def test_an_accepted_p_core_is_held_against_the_clock_that_it_was_accepted_from(
    clock: str, name: str, tmp_path: Path
) -> None:
    metrics = measure(read_run(build(FULL).write(tmp_path / "other")))

    verdict = judged(tmp_path, timing="host", p_core=replace(ACCEPTED, clock=clock)).metrics["p_core"]

    assert verdict.measured == metrics[name].value
    assert (verdict.expected, verdict.low, verdict.source) == (ACCEPTED.value, ACCEPTED.low, ACCEPTED.source)


def test_an_unpublished_p_core_is_always_the_devices(tmp_path: Path) -> None:
    metrics = measure(read_run(build(FULL).write(tmp_path / "other")))

    verdict = judged(tmp_path, timing="host")

    assert verdict.metrics["p_core"].measured == metrics["p_core"].value
    assert verdict.metrics["p_core"].verdict == Verdict.RECORDED


def test_a_host_clock_does_not_help_a_slow_device_with_a_device_timed_number(tmp_path: Path) -> None:
    plan = replace(FULL, host_ns=10_000_000)

    assert judged(tmp_path, plan, timing="device", p_core=300.0).metrics["p_core"].verdict == Verdict.FAIL


def test_what_does_not_apply_is_not_in_the_verdict(tmp_path: Path) -> None:
    verdict = judged(tmp_path, map=Expectation("not_applicable"), e2e_time=Expectation("not_applicable"))

    assert list(verdict.metrics) == ["p_whole", "p_train", "p_core", "mem"]


def test_a_cell_to_which_nothing_applies_proves_nothing(tmp_path: Path) -> None:
    nothing: dict[str, Any] = {name: Expectation("not_applicable") for name in METRICS}

    verdict = judged(tmp_path, **nothing)

    assert verdict.outcome == Verdict.INVALID
    assert verdict.metrics == {}
    assert "no metric applies" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("plan", "name", "reason"),
    [
        (EPOCH, "map", "map is not measured: protocol epoch does not measure it"),
        (STEADY, "p_whole", "p_whole is not measured: protocol steady does not measure it"),
        (
            replace(FULL, maps=(0.1,), epochs=1),
            "e2e_time",
            "e2e_time is not measured: the run was shortened to 1 of 4 epochs and ended before the target mAP",
        ),
    ],
)
def test_a_missing_metric_says_why_it_is_missing(plan: Plan, name: str, reason: str, tmp_path: Path) -> None:
    result = judged(tmp_path, plan).metrics[name]

    assert (result.verdict, result.reason) == (Verdict.MISSING, reason)


def test_a_verdict_names_the_parts_of_its_cell(tmp_path: Path) -> None:
    cell = replace(a_cell(STEADY), card=3)

    verdict = judge_run(read_run(build(STEADY).write(tmp_path / "run")), cell)

    assert verdict.cell == JudgedCell("r300-1x2-fp32-bs4-card3", "r300", "1x2", "fp32", 4, 0.02, "device", 3)


def test_a_sites_value_from_another_protocol_is_not_held_against_the_run(tmp_path: Path) -> None:
    accepted = Expectation("accepted", 190.0, 150.0, None, None, "accepted in site.toml", "device", "full")
    evidence = read_run(build(STEADY).write(tmp_path / "run"))

    other = judge_run(evidence, a_cell(STEADY, p_core=accepted)).metrics["p_core"]
    same = judge_run(evidence, a_cell(STEADY, p_core=replace(accepted, protocol="steady"))).metrics["p_core"]

    assert (other.verdict, same.verdict) == ("missing", "pass")
    assert other.reason == "p_core was accepted from runs of protocol full, and this is a steady run"


def test_a_published_host_timed_number_needs_a_run_that_was_timed_so(tmp_path: Path) -> None:
    cell = with_timing(a_cell(STEADY, p_core=190.0), "host")
    bundle = build(STEADY)
    bundle.one("start", rank=1)["host_clock"] = False

    verdict = judge_run(read_run(bundle.write(tmp_path / "run")), cell)

    assert verdict.outcome == "invalid"
    assert "rank 1: found host_clock False, expected true" in verdict.reasons[0]
    assert judge_run(read_run(build(STEADY).write(tmp_path / "good")), cell).metrics["p_core"].verdict == "inconclusive"


def test_a_rank_that_does_not_say_how_it_was_timed_was_not_timed_so(tmp_path: Path) -> None:
    bundle = build(STEADY)
    bundle.one("start", rank=1)["host_clock"] = None

    verdict = judge_run(read_run(bundle.write(tmp_path / "run")), with_timing(a_cell(STEADY, p_core=190.0), "host"))

    assert verdict.outcome == "invalid"
    assert verdict.reasons[0].startswith("rank 1: found host_clock None")


def test_what_is_not_published_needs_no_such_run(tmp_path: Path) -> None:
    bundle = build(STEADY)
    for rank in bundle.ranks:
        bundle.one("start", rank)["host_clock"] = None

    verdict = judge_run(read_run(bundle.write(tmp_path / "run")), with_timing(a_cell(STEADY, mem=30.0), "host"))

    assert verdict.metrics["mem"].verdict == "pass"


def test_a_metric_of_no_table_is_recorded_beside_the_others_and_decides_nothing(tmp_path: Path) -> None:
    verdict = judged(tmp_path, e2e_time=20.0, p_whole=130.0, p_train=170.0, p_core=190.0, map=0.38, mem=20.0)

    assert verdict.outcome == Verdict.PASS
    assert "epochs_to_target" not in verdict.metrics
    (further,) = verdict.further.values()
    assert (further.metric, further.measured, further.verdict) == ("epochs_to_target", 2.0, Verdict.RECORDED)
    assert further.reason == "epochs_to_target 2 epochs: no number is published"


@pytest.mark.parametrize(
    ("value", "plan", "outcome"),
    [
        (2.0, FULL, Verdict.PASS),
        (9.0, FULL, Verdict.FAIL),
        (2.0, replace(FULL, maps=(0.1,) * 4), Verdict.MISSING),
    ],
)
def test_a_metric_of_no_table_that_has_a_number_is_judged_as_every_other(
    value: float, plan: Plan, outcome: Verdict, tmp_path: Path
) -> None:
    known = Expectation("derived", value, value - 2, value + 2)

    verdict = judged(tmp_path, plan, epochs_to_target=known, **reached_by(plan))

    assert verdict.metrics["epochs_to_target"].verdict == outcome
    assert verdict.outcome == outcome
    assert verdict.further == {}


def test_of_broken_evidence_nothing_is_recorded(tmp_path: Path) -> None:
    bundle = build(FULL)
    bundle.run["boot"]["exit_code"] = 7

    verdict = judge_run(read_run(bundle.write(tmp_path / "run")), a_cell(FULL))

    assert (verdict.outcome, verdict.further) == (Verdict.INVALID, {})


@pytest.mark.parametrize(("published_map", "noted"), [(0.364, True), (0.38, False)])
def test_a_map_that_cannot_fail_by_construction_says_so(published_map: float, noted: bool, tmp_path: Path) -> None:
    verdict = judged(tmp_path, map=published_map).metrics["map"]

    assert verdict.verdict == Verdict.PASS
    assert bool(verdict.note) is noted
    assert (
        "training stops at the first map of 0.36 or more, so a run that gets there cannot fail" in verdict.reason
    ) is noted


@pytest.mark.parametrize(
    ("own", "verdict", "says"),
    [
        ({"train2017": "ab" * 32, "val2017": "ab" * 32}, Verdict.PASS, ""),
        ({}, Verdict.PASS, ""),
        (
            {"val2017": "cd" * 32},
            Verdict.MISSING,
            "accepted from runs on val2017 annotations of SHA-256 cdcdcdcdcdcd...",
        ),
        ({"test2017": "cd" * 32}, Verdict.MISSING, "some that it did not record"),
    ],
)
def test_an_accepted_value_is_held_against_runs_on_its_own_annotations_only(
    own: dict[str, str], verdict: Verdict, says: str, tmp_path: Path
) -> None:
    result = judged(tmp_path, p_core=replace(ACCEPTED, value=190.0, low=150.0, annotations=own))

    assert result.metrics["p_core"].verdict == verdict
    assert says in result.metrics["p_core"].reason
