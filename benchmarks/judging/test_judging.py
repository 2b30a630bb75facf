"""Reading, measuring and judging a stored run of eight ranks with 7,000 steps each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from evidence.bundle import read_run
from expected import Topology
from tests.verdict.bundles import Plan, a_cell, build
from verdict.judge import judge_run

EIGHT_RANKS = replace(Plan(), topology=Topology(1, 8), steps=3_500, window=20)


def test_judging_a_stored_run(benchmark: Any, tmp_path: Path) -> None:
    """The bundle is made up; its form and size are those of a real one."""
    folder = build(EIGHT_RANKS).write(tmp_path / "run")
    cell = a_cell(EIGHT_RANKS)

    verdict = benchmark.pedantic(lambda: judge_run(read_run(folder), cell), rounds=5)

    assert verdict.metrics["p_core"].measured is not None
