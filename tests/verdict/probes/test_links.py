"""Verdicts on links: on evidence made by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from evidence.events.links import CollectiveResult, LinksDone, PairResult
from evidence.verdict import Verdict
from expected import load_devices
from tests.trainer.links.probing import evidence_of
from verdict.metrics.links import bus_bandwidth
from verdict.metrics.measure import unmeasured
from verdict.probes.links import judge_buckets, judge_latency, judge_pairs, judge_results, links_line

MIB = 1 << 20
DEVICES = load_devices()
CELLS = {cell.id: cell for device in DEVICES.values() for cell in device.cells}
R300, A100 = CELLS["r300-1x8-fp32-bs16"], CELLS["a100-1x8-fp32-bs16"]


def all_reduce(size: int, time_us: float, **fields: Any) -> CollectiveResult:
    times = tuple(round(time_us * 1e3 * factor) for factor in (0.99, 1.0, 1.01, 1.0, 1.0))
    return CollectiveResult("all-reduce", size, **{"calls": 6, "times_ns": times, **fields})


def pair(peer: int, gb_per_s: float, between: str = "devices") -> PairResult:
    time_ns = MIB / gb_per_s
    return PairResult(
        peer, MIB, between, 6, 0, tuple(round(time_ns * factor) for factor in (0.99, 1.0, 1.01, 1.0, 1.0))
    )


SOUND = (all_reduce(8, 20), all_reduce(MIB, 40, bucket=True), all_reduce(16 * MIB, 340))


def probed(*collectives: CollectiveResult, pairs: tuple[PairResult, ...] = (), ranks: int = 2, **done: Any) -> Any:
    """Evidence of ranks that found the same, the pairs on rank 0."""
    given = {"amount": "full", "begun_ns": 1, "seconds": 1.0, "budget_s": 240.0, "buckets": (MIB,), "t_ns": 2, **done}
    events = []
    for rank in range(ranks):
        own = pairs if rank == 0 else ()
        events.append([*collectives, *own, LinksDone(collectives=len(collectives), pairs=len(own), **given)])
    return evidence_of(events, ranks)


def test_a_run_that_was_not_asked_has_no_answers() -> None:
    evidence = evidence_of([[], []], 2)

    assert judge_results(evidence) is judge_buckets(evidence) is judge_latency(evidence) is None
    assert judge_pairs(evidence, R300) is links_line(evidence, R300) is None


def test_the_line_has_results_rates_and_bounds() -> None:
    cell = CELLS["r300-2x8-fp32-bs16"]

    line = links_line(probed(*SOUND, pairs=(pair(1, 50.0, "devices"), pair(1, 21.4, "hosts"))), cell)

    assert line.verdict is Verdict.FAIL
    assert line.measured == (
        "5 of 5; all-reduce 49.3 GB/s at 16 MiB; slowest pair of devices 50 GB/s; slowest pair of hosts 171.2 Gb/s"
    )
    assert line.bound == "results exact; hosts >= 180 Gb/s"


def test_a_wrong_element_names_rank_size_and_what_was_expected() -> None:
    wrong = replace(SOUND[1], wrong=3, at=7, found=1.0, expected=2.0)
    evidence = evidence_of(
        [
            [SOUND[1], LinksDone("quick", 1, 0, 1, 1.0, 20.0)],
            [wrong, LinksDone("quick", 1, 0, 1, 1.0, 20.0)],
        ],
        2,
    )

    answer = judge_results(evidence)

    assert answer.verdict is Verdict.FAIL
    assert answer.reason == (
        "all-reduce of 1 MiB on rank 1 (device 1 of host-0): 3 wrong elements in 6 calls; element 7 is 1, expected 2"
    )
    assert answer.place == "on device 1"


def test_what_a_framework_lacks_is_named_unless_ddp_needs_it() -> None:
    lacking = CollectiveResult("reduce-scatter", 8, error="ProcessGroupGloo does not support reduce_scatter")

    allowed = judge_results(probed(*SOUND, lacking))
    needed = judge_results(probed(*SOUND, replace(lacking, collective="broadcast")))

    assert (allowed.verdict, needed.verdict) == (Verdict.PASS, Verdict.FAIL)
    assert "not available: reduce-scatter (ProcessGroupGloo does not support reduce_scatter)" in allowed.reason


def test_what_the_budget_left_out_is_named_and_no_pass() -> None:
    left = ("all-reduce of 1 GiB", "send-recv of 64 MiB between devices, round 1")
    evidence = probed(*SOUND, not_asked=left, buckets=(MIB, 28 * MIB))

    answers = [judge_results(evidence), judge_buckets(evidence), judge_pairs(evidence, R300)]

    assert [one and one.verdict for one in answers] == [Verdict.MISSING] * 3
    assert all("not asked within the budget of 240 s: " in one.reason for one in answers if one)
    line = links_line(evidence, R300)
    assert line.verdict is Verdict.MISSING


def test_each_bucket_has_its_time_and_bus_bandwidth() -> None:
    answer = judge_buckets(probed(*SOUND))

    assert answer.verdict is Verdict.PASS
    assert answer.reason == "1 MiB 0.04 ms (26.2 GB/s); one exchange of all gradients 0.04 ms"
    assert answer.facts["exchange_ms"] == "0.04"


def test_a_size_that_takes_longer_than_a_larger_one_fails() -> None:
    answer = judge_latency(probed(SOUND[0], all_reduce(MIB, 600), SOUND[2]))

    assert answer.verdict is Verdict.FAIL
    assert answer.reason.startswith("1 MiB 0.6 ms (1.75 GB/s) takes longer than 16 MiB 0.34 ms (49.3 GB/s); ")


def test_a_measured_rate_bounds_the_pairs() -> None:
    verdicts = []
    for rate in (240.0, 245.0, 250.0):
        answer = judge_pairs(probed(*SOUND, pairs=(pair(1, rate),)), A100)
        verdicts.append(answer and answer.verdict)

    assert verdicts == [Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS]  # 0.95 x 515 / 2 is 244.6


def test_a_rate_without_a_number_is_told_as_a_share_of_the_specification() -> None:
    answer = judge_pairs(probed(*SOUND, pairs=(pair(1, 50.0),)), R300)

    assert answer.verdict is Verdict.PASS
    assert answer.reason.endswith("50 GB/s, 50% of the specified")


def test_the_bus_bandwidth_is_that_of_the_largest_size() -> None:
    measured = bus_bandwidth(probed(*SOUND))

    assert measured.value == pytest.approx(16 * MIB / 340e3, rel=0.001)
    assert measured.interval.low < measured.value < measured.interval.high
    assert bus_bandwidth(evidence_of([[], []], 2)) is None


def test_a_timer_that_stands_still_has_no_bandwidth() -> None:
    assert bus_bandwidth(probed(all_reduce(MIB, 0))) is None


def test_only_a_full_probe_measures_the_bus_bandwidth() -> None:
    run = SimpleNamespace(links="quick", protocol="probes", restarts=())

    why = unmeasured("bus_bandwidth", SimpleNamespace(run=run, ranks=()))

    assert why == (
        "bus_bandwidth is not measured: the run was made with --links=quick; only full has the sizes of published "
        "bandwidths"
    )


def test_published_bus_bandwidth_is_expected_of_the_topology_that_it_was_measured_on() -> None:
    known = A100.expectations["bus_bandwidth"]

    assert (known.state, known.value) == ("published", 233.9)
    assert known.low == pytest.approx(222.2, abs=0.1)
    assert CELLS["a100-2x8-fp32-bs16"].expectations["bus_bandwidth"].value == pytest.approx(24.17)
    assert "bus_bandwidth" not in CELLS["a100-1x1-fp32-bs16"].expectations
    assert "bus_bandwidth" not in R300.expectations
    assert math.isclose(45.11 / 1.8667, 24.17, rel_tol=0.001)
