"""Making the page of a run of sixteen ranks with 100,000 steps each, alone and together with judging the run."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evidence.bundle import Evidence, read_run
from evidence.verdict import encode
from expected import Cell, Device, Topology, load_devices
from reports.html import run_page
from tests.verdict.bundles import Plan, a_cell, build, published
from verdict.judge import judge_run

SIXTEEN_RANKS = replace(Plan(), topology=Topology(2, 8), steps=25_000, window=20, maps=(0.1, 0.2, 0.3, 0.37), jitter=5)
LARGEST_BYTES = 2_000_000


@pytest.fixture(scope="module")
def cell() -> Cell:
    """The cell of the run, with numbers to be held against."""
    return a_cell(SIXTEEN_RANKS, p_core=published("p_core", 1500.0), mem=20.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run on disk, every card sampled once a second with all that a tool may tell."""
    bundle = build(SIXTEEN_RANKS)
    for number, sample in enumerate(bundle.telemetry):
        wave = math.sin(number / 7)
        sample.update(power_w=250 + 40 * wave, temperature_c=65 + 5 * wave, use_percent=95 + 5 * wave)
        sample.update(core_clock_mhz=1300 + 20 * wave, memory_clock_mhz=1200.0)
    return bundle.write(tmp_path_factory.mktemp("runs") / "run")


def test_making_the_page(benchmark: Any, folder: Path, cell: Cell) -> None:
    """The evidence has been read and judged."""
    evidence, verdict = judged(folder, cell)

    page = benchmark.pedantic(lambda: made(evidence, verdict), rounds=3)

    assert len(page.encode("utf-8")) < LARGEST_BYTES


def test_reading_judging_and_making_the_page(benchmark: Any, folder: Path, cell: Cell) -> None:
    """All of it, as after a run."""
    page = benchmark.pedantic(lambda: made(*judged(folder, cell)), rounds=1)

    assert len(page.encode("utf-8")) < LARGEST_BYTES


def test_reading_and_judging(benchmark: Any, folder: Path, cell: Cell) -> None:
    """What of that is not the page."""
    _, verdict = benchmark.pedantic(lambda: judged(folder, cell), rounds=1)

    assert verdict["metrics"]["p_core"]["measured"] is not None


def judged(folder: Path, cell: Cell) -> tuple[Evidence, dict[str, Any]]:
    """The evidence and its verdict.json."""
    evidence = read_run(folder)
    return evidence, encode(judge_run(evidence, cell))


def made(evidence: Evidence, verdict: dict[str, Any]) -> str:
    """The page."""
    device: Device = load_devices()["r300"]
    return run_page(evidence, verdict, device=device, folder="runs/x", commands={"again": "pytest --replay=runs/x"})
