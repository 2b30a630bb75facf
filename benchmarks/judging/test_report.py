"""Making the page of a run of sixteen ranks with 100,000 steps each, alone and together with judging the run."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evidence.bundle import read_run
from evidence.growing import GrowingRun
from expected import Cell, Topology, load_devices
from reports.html.pages import PageOf, run_page
from tests.verdict.bundles import Plan, a_cell, build, published
from verdict.judge import Judged, judge, judge_so_far

SIXTEEN_RANKS = replace(Plan(), topology=Topology(2, 8), steps=25_000, window=20, maps=(0.1, 0.2, 0.3, 0.37), jitter=5)
LARGEST_BYTES = 2_000_000


@pytest.fixture(scope="module")
def cell() -> Cell:
    """The cell of the run, with numbers to be held against."""
    return a_cell(SIXTEEN_RANKS, p_core=published("p_core", 1500.0), mem=20.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run on disk, every device sampled once a second with all that a tool may tell."""
    bundle = build(SIXTEEN_RANKS)
    for number, sample in enumerate(bundle.telemetry):
        wave = math.sin(number / 7)
        sample.update(power_w=250 + 40 * wave, temperature_c=65 + 5 * wave, use_percent=95 + 5 * wave)
        sample.update(core_clock_mhz=1300 + 20 * wave, memory_clock_mhz=1200.0)
    return bundle.write(tmp_path_factory.mktemp("runs") / "run")


def test_making_the_page(benchmark: Any, folder: Path, cell: Cell) -> None:
    """The evidence has been read and judged."""
    run = judged(folder, cell)

    page = benchmark.pedantic(lambda: made(run), rounds=3)

    assert len(page.encode("utf-8")) < LARGEST_BYTES


def test_reading_judging_and_making_the_page(benchmark: Any, folder: Path, cell: Cell) -> None:
    """All of it, as after a run."""
    page = benchmark.pedantic(lambda: made(judged(folder, cell)), rounds=1)

    assert len(page.encode("utf-8")) < LARGEST_BYTES


def test_reading_and_judging(benchmark: Any, folder: Path, cell: Cell) -> None:
    """What of that is not the page."""
    run = benchmark.pedantic(lambda: judged(folder, cell), rounds=1)

    assert run.verdict.metrics["p_core"].measured is not None


def test_looking_at_a_run_that_goes_on(benchmark: Any, folder: Path, cell: Cell) -> None:
    """A look near its end, of conformance watch or beside the run: what is new is read, all of it judged."""
    growing, device = GrowingRun(folder), load_devices()["r300"]
    growing.read()

    run = benchmark.pedantic(lambda: judge_so_far(growing.read(), device, cell), rounds=3)

    assert run.verdict.metrics["p_core"].measured is not None


def judged(folder: Path, cell: Cell) -> Judged:
    """The run, read and judged."""
    return judge(read_run(folder), load_devices()["r300"], cell)


def made(run: Judged) -> str:
    """The page."""
    return run_page(PageOf(run, "runs/x", {"again": "pytest --replay=runs/x"}))
