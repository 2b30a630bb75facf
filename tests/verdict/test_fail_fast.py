"""--fail-fast ends what cannot pass any more, and nothing else; a run that it ended is a fail, never a pass."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evidence.bundle import read_run
from evidence.growing import GrowingRun
from evidence.seal import write_seal
from evidence.verdict import ProbeVerdict, Verdict
from expected import load_devices
from tests.verdict.beginnings import beginning, stopped
from tests.verdict.bundles import HONEST_CLOCK, STEADY, Bundle, Plan, a_cell, build
from verdict.compare.comparability import Candidate, circumstances, refusals
from verdict.environment.findings import EnvironmentFinding
from verdict.fail_fast import cannot_pass, fewest_steps
from verdict.judge import Judged, judge, judge_run, judge_so_far, judge_together

DEVICE = load_devices()["r300"]
LONG = replace(STEADY, steps=3000, window=50, jitter=5, sample_ns=10_000_000_000)
ALL = {"e2e_time", "p_whole", "p_train", "p_core", "map", "mem", "operators"}
PUBLISHED = 2 * 4e9 / LONG.compute_ns
"""What a run of LONG comes to: a p_core of 200 images/s."""


def why(tmp_path: Path, bundle: Bundle, plan: Plan, share: float = 0.95, asked: Any = ALL, **numbers: float) -> str:
    run_dir = beginning(bundle.write(tmp_path / "whole"), tmp_path / "run", share)
    return cannot_pass(judge_so_far(GrowingRun(run_dir).read(), DEVICE, a_cell(plan, **numbers)), asked)


def test_a_rate_far_below_its_bound_ends_the_run(tmp_path: Path) -> None:
    found = why(tmp_path, build(LONG), LONG, p_core=1.2 * PUBLISHED)

    assert found.startswith("p_core 19")
    assert "images/s is below 22" in found


@pytest.mark.parametrize("published", [0.9, 1.0, 1.04])
def test_a_run_that_can_pass_goes_on(published: float, tmp_path: Path) -> None:
    assert why(tmp_path, build(LONG), LONG, p_core=published * PUBLISHED) == ""


def test_a_rate_that_fails_by_less_than_twice_its_interval_goes_on(tmp_path: Path) -> None:
    """What is judged once may fail by one interval; what is looked at again and again has to be surer."""
    run_dir = beginning(build(LONG).write(tmp_path / "whole"), tmp_path / "run", 0.95)
    evidence = GrowingRun(run_dir).read()
    value = judge_so_far(evidence, DEVICE, a_cell(LONG)).verdict.metrics["p_core"]
    assert value.measured is not None
    bound = value.interval.high + 0.5 * (value.interval.high - value.measured)

    run = judge_so_far(evidence, DEVICE, a_cell(LONG, p_core=bound / 0.95))

    assert run.verdict.metrics["p_core"].verdict is Verdict.FAIL
    assert cannot_pass(run, ALL) == ""


def test_so_does_one_of_too_few_steps(tmp_path: Path) -> None:
    assert why(tmp_path, build(LONG), LONG, share=0.5, p_core=1.2 * PUBLISHED) == ""


def test_and_one_whose_rate_is_not_asked_about_or_waived(tmp_path: Path) -> None:
    assert why(tmp_path, build(LONG), LONG, asked={"mem"}, p_core=1.2 * PUBLISHED) == ""


def test_a_map_that_is_too_low_may_still_rise(tmp_path: Path) -> None:
    plan = replace(Plan(), maps=(0.1, 0.2, 0.38))

    assert why(tmp_path, build(plan), plan, share=0.7, map=0.36) == ""


def test_memory_beyond_its_bound_ends_the_run_at_once(tmp_path: Path) -> None:
    plan = replace(LONG, used_gib=25.0)

    assert why(tmp_path, build(plan), plan, share=0.6, mem=20.0).startswith("mem 25.00 GiB is above 21")


def test_time_beyond_its_bound_ends_the_run(tmp_path: Path) -> None:
    assert why(tmp_path, build(Plan()), Plan(), share=0.9, e2e_time=5.0).startswith("e2e_time ")


def test_a_wrong_clock_ends_the_run_whatever_is_asked(tmp_path: Path) -> None:
    plan = replace(LONG, clock={**HONEST_CLOCK, "timer_ns": [5_000_000] * 3})

    assert "the device's timer is wrong" in why(tmp_path, build(plan), plan, share=0.2, asked={"mem"})


def with_probe(run: Judged, verdict: Verdict, line: str = "operators") -> Judged:
    probe = ProbeVerdict("70 of 71", "all", verdict, "one element is wrong")
    return replace(run, verdict=replace(run.verdict, probes={line: probe}))


@pytest.mark.parametrize(
    ("verdict", "line", "asked", "ends"),
    [
        (Verdict.FAIL, "operators", {"operators"}, True),
        (Verdict.FAIL, "operators", {"mem"}, False),
        (Verdict.PASS, "operators", {"operators"}, False),
        (Verdict.FAIL, "one step", {"trajectory"}, True),
        (Verdict.FAIL, "links", {"pairs"}, True),
        (Verdict.FAIL, "peaks", {"sustained"}, True),
        (Verdict.FAIL, "peaks", {"copies"}, False),
    ],
)
def test_a_probe_that_has_failed_ends_the_run_if_it_is_asked_about(
    verdict: Verdict, line: str, asked: Any, ends: bool, tmp_path: Path
) -> None:
    run_dir = beginning(build(LONG).write(tmp_path / "whole"), tmp_path / "run", 0.1)
    run = with_probe(judge_so_far(GrowingRun(run_dir).read(), DEVICE, a_cell(LONG)), verdict, line)

    assert cannot_pass(run, asked) == (f"{line}: one element is wrong" if ends else "")


@pytest.mark.parametrize(
    ("verdict", "found", "asked", "ends"),
    [
        ("differs", "4.0.31", {"environment"}, True),
        ("differs", "4.0.31", {"mem"}, False),
        ("match", "4.0.25", {"environment"}, False),
        ("unknown", "", {"environment"}, False),
    ],
)
def test_a_machine_that_is_not_the_stated_one_ends_the_run_if_it_is_asked_about(
    verdict: str, found: str, asked: Any, ends: bool, tmp_path: Path
) -> None:
    run_dir = beginning(build(LONG).write(tmp_path / "whole"), tmp_path / "run", 0.1)
    run = judge_so_far(GrowingRun(run_dir).read(), DEVICE, a_cell(LONG))
    vars(run)["environment"] = (EnvironmentFinding("driver", "node0", "4.0.25", found, verdict, ""),)

    assert cannot_pass(run, asked) == ("environment driver: stated 4.0.25, found 4.0.31" if ends else "")


def test_no_probe_has_failed_before_all_ranks_are_done_with_it(tmp_path: Path) -> None:
    run_dir = beginning(build(LONG).write(tmp_path / "whole"), tmp_path / "run", 0.1)
    (run_dir / "rank-0001.jsonl").write_text("")
    run = with_probe(judge_so_far(GrowingRun(run_dir).read(), DEVICE, a_cell(LONG)), Verdict.FAIL)

    assert cannot_pass(run, {"operators"}) == ""


def test_of_numbers_that_prove_nothing_no_conclusion_is_drawn(tmp_path: Path) -> None:
    bundle = build(LONG)
    bundle.one("start", 1)["precision"] = "bf16"

    assert why(tmp_path, bundle, LONG, p_core=1.2 * PUBLISHED) == ""


def test_a_simulated_device_needs_no_more_steps_than_an_interval_does(tmp_path: Path) -> None:
    real, simulated = (
        GrowingRun(beginning(build(plan).write(tmp_path / name / "w"), tmp_path / name / "r", 0.5)).read()
        for name, plan in (("real", LONG), ("simulated", replace(LONG, simulated=True)))
    )

    assert (fewest_steps(real), fewest_steps(simulated)) == (2500, 100)


def ended(tmp_path: Path, plan: Plan = LONG, share: float = 0.95, **numbers: float) -> Any:
    run_dir = stopped(build(plan), tmp_path, share, "p_core is too low")
    return judge(read_run(run_dir), DEVICE, a_cell(plan, **numbers))


def test_a_run_that_was_ended_fails_with_the_reason_and_keeps_only_what_fails(tmp_path: Path) -> None:
    run = ended(tmp_path, p_core=1.2 * PUBLISHED, p_train=0.9 * PUBLISHED, mem=20.0)

    assert run.verdict.outcome is Verdict.FAIL
    assert run.verdict.reasons[0] == "--fail-fast ended the run: p_core is too low"
    assert [run.verdict.metrics[name].verdict for name in ("p_core", "p_train", "mem")] == [
        *(Verdict.FAIL, Verdict.MISSING, Verdict.MISSING)
    ]
    assert set(run.measurements) == {"p_core"}
    assert not run.verdict.provisional
    assert judge_run(run.evidence, run.cell) == run.verdict


def test_it_is_no_pass_even_where_every_number_would_be_one(tmp_path: Path) -> None:
    run = ended(tmp_path, p_core=0.9 * PUBLISHED, mem=20.0)

    assert run.verdict.outcome is Verdict.FAIL
    assert {one.verdict for one in run.verdict.metrics.values()} == {Verdict.MISSING}


def test_its_files_may_end_anywhere(tmp_path: Path) -> None:
    for number, share in enumerate((0.0, 0.1, 0.33, 0.5, 0.77, 0.99)):
        verdict = ended(tmp_path / str(number), Plan(), share).verdict
        assert verdict.outcome is Verdict.FAIL, (share, verdict.reasons)


def test_a_wrong_clock_makes_it_invalid_all_the_same(tmp_path: Path) -> None:
    run = ended(tmp_path, replace(LONG, clock={**HONEST_CLOCK, "timer_ns": [5_000_000] * 3}), p_core=1.2 * PUBLISHED)

    assert run.verdict.outcome is Verdict.INVALID
    assert "the device's timer is wrong" in run.verdict.reasons[0]
    assert run.measurements == {}


@pytest.mark.parametrize(("kind", "outcome"), [("crash", Verdict.FAIL), ("diverged", Verdict.INVALID)])
def test_a_rank_that_crashed_when_another_was_ended_makes_no_difference(
    kind: str, outcome: Verdict, tmp_path: Path
) -> None:
    run_dir = stopped(build(LONG), tmp_path, 0.5, "p_core is too low")
    path = run_dir / "rank-0001.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)[:-1]
    t_ns = json.loads(lines[-1])["t_ns"]
    failure = {"event": "failure", "t_ns": t_ns, "kind": kind, "message": "Connection reset by peer"}
    path.write_bytes(b"".join(lines) + json.dumps(failure).encode() + b"\n")
    write_seal(run_dir)

    assert judge(read_run(run_dir), DEVICE, a_cell(LONG)).verdict.outcome is outcome


def test_damage_makes_it_invalid_too(tmp_path: Path) -> None:
    run_dir = stopped(build(LONG), tmp_path, 0.5, "p_core is too low")
    path = run_dir / "rank-0000.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"event": "train_begin"', b'"event": "train_begun"', 1))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"no JSON\n", *lines[1:]]))

    verdict = judge(read_run(run_dir), DEVICE, a_cell(LONG)).verdict

    assert verdict.outcome is Verdict.INVALID
    assert "not a JSON object" in verdict.reasons[0]


def test_its_numbers_stand_beside_none_of_a_whole_run(tmp_path: Path) -> None:
    whole = read_run(build(LONG).write(tmp_path / "whole-run"))
    part = read_run(stopped(build(LONG), tmp_path, 0.9, "p_core is too low"))

    found = refusals(*(Candidate(name, circumstances(one), 0, "") for name, one in (("a", whole), ("b", part))))

    assert any("ended early" in reason for reason in found)


def test_beside_a_boot_that_passes_it_is_a_fail(tmp_path: Path) -> None:
    cell = a_cell(LONG, p_core=0.95 * PUBLISHED)
    passed = judge(read_run(build(LONG).write(tmp_path / "passed")), DEVICE, cell)
    stop = judge(read_run(stopped(build(LONG), tmp_path / "other", 0.9, "p_core is too low")), DEVICE, cell)

    together = judge_together([passed, stop]).verdict

    assert (passed.verdict.metrics["p_core"].verdict, together.outcome) == (Verdict.PASS, Verdict.FAIL)
    assert together.reasons[0].endswith("--fail-fast ended the run: p_core is too low")
