"""Runs to make pages of, read and judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from evidence.bundle import read_run
from expected import load_devices
from reports.html.pages import PageOf
from tests.verdict.bundles import Bundle, Plan, a_cell, build
from verdict.judge import Judged, judge_run

TWO_RANKS = replace(Plan(), slower={1: 1.1}, jitter=5)
HOSTILE = (
    "</script><script>window.canary=1</script><img src=x onerror='window.canary=1'>--><!--\"'`{{7*7}}&amp;"
    "\r\x00\x1b[31m\u2028\u202e\udc80 \u4e2d\u6587"
)


def page_of(run_dir: Path, plan: Plan = TWO_RANKS, bundle: Bundle | None = None, **given: Any) -> PageOf:
    """The page of a bundle that is written into `run_dir`; `given` replace what it shows."""
    (build(plan) if bundle is None else bundle).write(run_dir)
    return page_of_stored(run_dir, plan, **given)


def page_of_stored(run_dir: Path, plan: Plan = TWO_RANKS, device: str = "r300", **given: Any) -> PageOf:
    """The same for a bundle that is there."""
    cell = a_cell(plan, p_core=200.0, map=0.364, mem=20.0)
    evidence = read_run(run_dir)
    run = Judged(evidence, load_devices()[device], cell, judge_run(evidence, cell))
    return replace(PageOf(run, "runs/x", {"again": "pytest --replay=runs/x"}), **given)


def all_readings(plan: Plan = TWO_RANKS) -> Bundle:
    """A run in which every chart has something to show: readings of all kinds, a stall, losses that differ by rank."""
    bundle = build(plan)
    for number, sample in enumerate(bundle.telemetry):
        sample["memory_used_gib"] += sample["card"] + number % 3
        sample.update(power_w=200.0 + 9 * number, temperature_c=60.0 + number, use_percent=90.0 - number % 7)
        sample.update(core_clock_mhz=1300.0 - 20 * sample["card"] - number, memory_clock_mhz=1200.0 + number % 5)
    bundle.telemetry[5]["throttle"] = "thermal"
    for rank in bundle.ranks:
        for window in bundle.all("window", rank):
            window["loss"] = [loss + 0.2 * rank for loss in window["loss"]]
        stall(bundle, rank, at=4, ns=3_000_000_000)
    return bundle


def stall(bundle: Bundle, rank: int, at: int, ns: int) -> None:
    """Make a rank wait for data in its window number `at`, and all that follows as much later."""
    window = bundle.all("window", rank)[at]
    late = False
    for event in bundle.ranks[rank]:
        late = late or event is window
        if late:
            event["t_ns"] += ns
    window["wait_ns"] += ns
    window["wall_ns"] += ns
    bundle.one("train_end", rank)["ledger"]["data_wait_ns"] += ns
