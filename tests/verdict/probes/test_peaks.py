"""Rates of copies, memory and products held against what is published: on evidence made by hand."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evidence.events.peaks import DeviceRate, PeaksDone, Sustained
from evidence.verdict import Verdict
from expected import load_devices
from expected.rates import Rate
from verdict.metrics.measurement import DEFINITIONS
from verdict.metrics.peaks import interval_of
from verdict.probes.peaks import (
    copies_line,
    judge_copies,
    judge_memory,
    judge_peak,
    judge_sustained,
    memory_line,
    peaks_line,
    published,
    specified_at_most,
)

CELL = SimpleNamespace(
    rates=(
        Rate("gemm", 19.05, "TFLOPS", "measured", "a report", precision="fp32"),
        Rate("gemm", 19.5, "TFLOPS", "specification", "a data sheet", precision="fp32"),
        Rate("memory-copy", 1328.0, "GB/s", "measured", "a report"),
        Rate("memory-copy", 1555.0, "GB/s", "specification", "a data sheet"),
        Rate("host-to-device", 26.09, "GB/s", "measured", "a report", pinned=True, devices=1),
        Rate("host-to-device", 7.19, "GB/s", "measured", "a report", pinned=False, devices=8),
    )
)
CONV = {"cin": 256, "cout": 256, "k": 3, "h": 200, "w": 336}


def rate(of: str, value: float, jitter: float = 0.001, **more: Any) -> DeviceRate:
    """A rate of ten repeats, in GB/s or TFLOPS."""
    unit_ns = 1e9 / value / (1e3 if of in ("gemm", "convolution") else 1)
    times = tuple(round(unit_ns * (1 + jitter * (at % 3 - 1))) for at in range(9))
    return DeviceRate(of, 10**9, 1, times, **{"checked": 100, **more})


def evidence(*ranks: list[DeviceRate], **more: Any) -> Any:
    starts = [(rank, SimpleNamespace(card=rank, host="a", t_ns=0)) for rank in range(len(ranks))]
    done = {"end": object(), "sustained": None, "layers": None, "collectives": (), "links_done": None}
    found = [
        SimpleNamespace(
            **{**done, "peaks_done": PeaksDone(len(mine), 1, 2), "start": starts[rank][1], **more},
            rank=rank,
            rates=tuple(mine),
        )
        for rank, mine in enumerate(ranks)
    ]
    return SimpleNamespace(
        ranks=found, starts=starts, path=Path("run"), run=SimpleNamespace(links="quick", protocol="probes")
    )


@pytest.mark.parametrize(
    ("value", "jitter", "verdict"),
    [(19.0, 0.001, "pass"), (18.12, 0.001, "pass"), (17.0, 0.001, "fail"), (18.1, 0.05, "inconclusive")],
)
def test_a_rate_is_held_against_the_published_measurement(value: float, jitter: float, verdict: str) -> None:
    found = judge_peak(evidence([rate("gemm", value, jitter, precision="fp32")]), CELL, "fp32-gemm")

    assert found.verdict == verdict
    assert "18.1 or more (0.95 x 19.05, a report)" in found.reason
    assert "of the specified 19.5" in found.reason


def test_the_slowest_rank_is_named() -> None:
    given = evidence(*([rate("memory-copy", value)] for value in (1330.0, 640.0, 1320.0)))
    found = judge_memory(given, CELL, "bandwidth")

    assert (found.verdict, found.cases) == (Verdict.FAIL, 3)
    assert "rank 1 (device 1 of a): memory-copy 640 GB/s" in found.reason


def test_like_is_held_against_like() -> None:
    alone, eight = rate("host-to-device", 8.0, pinned=False), rate("host-to-device", 7.3, pinned=False, devices=8)

    assert published(CELL, alone, "measured") is None
    assert published(CELL, eight, "measured") is CELL.rates[-1]
    found = judge_copies(evidence([alone, eight]), CELL)
    assert found.verdict is Verdict.RECORDED


def test_a_convolution_is_a_share_of_the_specification() -> None:
    one = rate("convolution", 15.0, precision="fp32", part="forward", size=CONV)
    found = judge_peak(evidence([one]), CELL, "conv-256-256-3x3-200x336")

    assert found.verdict is Verdict.RECORDED
    assert "77% of the specified 19.5" in found.reason


@pytest.mark.parametrize("wrong", [{"wrong": 1}, {"checked": 0}, {"error": "out of memory"}])
def test_a_wrong_result_fails_whatever_its_rate(wrong: dict[str, Any]) -> None:
    found = judge_memory(evidence([rate("memory-copy", 1500.0, **wrong)]), CELL, "bandwidth")

    assert found.verdict is Verdict.FAIL
    assert found.margin == math.inf


def test_patterns_pass_or_fail() -> None:
    held, lost = rate("memory-patterns", 100.0), rate("memory-patterns", 100.0, wrong=3)

    assert judge_memory(evidence([held]), CELL, "patterns").verdict is Verdict.PASS
    assert "rank 1 (device 1 of a): memory-patterns: 3 of 100" in (
        judge_memory(evidence([held], [lost]), CELL, "patterns").reason
    )


def test_a_format_without_specification_is_bounded_by_the_next_narrower_one() -> None:
    half = SimpleNamespace(rates=(Rate("gemm", 125.0, "TFLOPS", "specification", "", precision="fp16"),))

    assert specified_at_most(half, rate("gemm", 1.0, precision="fp32")) is half.rates[0]
    assert specified_at_most(half, rate("memory-copy", 1.0)) is None


def sustained(last: float, **more: Any) -> Any:
    times = (1_000_000_000,) * 30 + (round(1e9 / last),) * 30
    known = {"core_clock_mhz": (1410.0, 1200.0), "temperature_c": (50.0, 88.0), "checked": 9}
    return evidence([], sustained=Sustained("tf32", 10**12, 1, times, **{**known, **more}))


def test_a_device_that_slows_down_within_a_minute_fails_with_clock_and_temperature_beside() -> None:
    found = judge_sustained(sustained(0.85, throttle=("thermal",)))

    assert found.verdict is Verdict.FAIL
    assert "85.0% as fast as in the first; clock 1410 to 1200 MHz, temperature 50 to 88 C" in found.reason
    assert "throttled: thermal" in found.reason


def test_a_steady_device_passes_and_wrong_sums_do_not() -> None:
    assert judge_sustained(sustained(0.99)).verdict is Verdict.PASS
    assert judge_sustained(sustained(0.99, wrong=1)).verdict is Verdict.FAIL
    assert judge_sustained(evidence([])) is None


def test_each_probe_is_one_line() -> None:
    given = evidence(
        [
            rate("host-to-device", 25.5, pinned=True),
            rate("device-to-host", 24.0, pinned=True),
            rate("memory-copy", 1330.0),
            rate("memory-patterns", 10.0),
            rate("gemm", 19.0, precision="fp32"),
            rate("convolution", 15.0, precision="fp32", part="forward", size=CONV),
        ]
    )
    copies, memory, peaks = (one(given, CELL) for one in (copies_line, memory_line, peaks_line))

    assert copies.measured == "25.5 GB/s to the device, 24 back, pinned"
    assert (memory.measured, memory.verdict) == ("copy 1330 GB/s", Verdict.PASS)
    assert (peaks.measured, peaks.verdict) == ("fp32 19 TFLOPS, convolutions 15 to 15", Verdict.RECORDED)


def test_a_line_says_what_failed() -> None:
    line = memory_line(evidence([rate("memory-copy", 600.0)]), CELL)

    assert (line.measured, line.verdict) == ("copy 600 GB/s", Verdict.FAIL)
    assert "memory bandwidth: rank 0 (device 0 of a): memory-copy 600 GB/s, expected 1262 or more" in line.reason


def test_without_the_probes_there_is_no_line() -> None:
    assert [one(evidence([]), CELL) for one in (copies_line, memory_line, peaks_line)] == [None] * 3


def test_the_interval_is_of_the_mean() -> None:
    interval = interval_of(rate("memory-copy", 1000.0, jitter=0.03))

    assert interval.low < 1000 < interval.high
    assert interval.high - interval.low == pytest.approx(2 * 2.306 * 26 / 3, rel=0.1)
    assert interval_of(DeviceRate("gemm", 1, 1, (5,))).low == interval_of(DeviceRate("gemm", 1, 1, (5,))).high


def test_the_shipped_devices_state_what_flagperf_measured() -> None:
    a100 = load_devices()["a100"].cells[0]

    assert {(one.of, one.kind) for one in a100.rates if one.of == "memory-copy"} == {
        ("memory-copy", "measured"),
        ("memory-copy", "specification"),
    }
    assert specified_at_most(a100, rate("gemm", 1.0, precision="fp32")).rate == 19.5


@pytest.mark.parametrize(("links", "is_measured"), [("full", True), ("quick", False)])
def test_a_full_probe_gives_metrics_that_a_site_can_accept(links: str, is_measured: bool) -> None:
    devices = [
        [
            rate("gemm", 19.0, precision="fp32"),
            rate("gemm", 120.0 - rank, precision="tf32"),
            rate("memory-copy", 1300.0),
        ]
        for rank in range(2)
    ]
    given = evidence(*devices)
    given.run.links = links

    assert [DEFINITIONS[name].without(given) == "" for name in ("gemm", "memory_bandwidth")] == [is_measured] * 2
    found = DEFINITIONS["gemm"].compute(given)
    assert (found.value, found.unit) == (pytest.approx(119.0, rel=1e-3), "TFLOPS")
    assert found.interval.low < 119 < found.interval.high
