"""A run that goes on, in the terminal."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from evidence.bundle import read_run
from evidence.verdict import RunVerdict, Verdict
from expected import load_devices
from reports.running import running_lines
from tests.support import ROOT
from verdict.judge import judge
from verdict.lookup import find_cell

NOW = [
    "at most 9 h 12 min left",
    "r300-1x8-fp32-bs16",
    "epoch 3/13",
    "step 420/916",
    "182.3 images/s",
    "3 h 12 min so far",
]


@pytest.fixture(scope="module")
def verdict() -> RunVerdict:
    evidence = read_run(ROOT / "tests" / "stored" / "virtual-slow")
    return replace(judge(evidence, *find_cell(evidence, load_devices())).verdict, provisional=True)


def lines(verdict: RunVerdict, **changes: Any) -> list[str]:
    given = {"device": "R300", "folder": "runs/20261123T101200Z-r300-1x8-fp32", "now": NOW, **changes}
    return [line.text for line in running_lines(verdict, **given)]


def test_rates_stand_beside_bounds_with_what_they_would_come_to(verdict: RunVerdict) -> None:
    found = lines(verdict)

    assert found[0] == "R300 1x2 fp32 bs2 lr0.02 · steady · simulated · running"
    (heading,) = (line for line in found if line.startswith("metric "))
    (p_core,) = (line for line in found if line.startswith("p_core   "))
    assert heading.split() == ["metric", "so", "far", "bound", "to", "bound", "published", "provisional"]
    assert re.split(" {2,}", p_core) == ["p_core", "36.37 images/s ± 0.3 %", ">= 38.0", "-4.3 %", "90.9 %", "fail"]
    assert found[-1] == "The run goes on, so nothing here is a verdict yet."


@pytest.mark.parametrize("width", [72, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_cut(width: int, verdict: RunVerdict) -> None:
    found = lines(verdict, width=width, why="p_core 36.37 images/s is below 38.0", notes=["no event from rank 3"])

    assert max(map(len, found)) <= width
    assert "cannot pass any more: p_core 36.37 images/s" in " ".join(found)
    assert not any(line.endswith(("image", "p_cor")) for line in found)


def test_evidence_that_cannot_be_trusted_is_said_once(verdict: RunVerdict) -> None:
    invalid = replace(verdict, outcome=Verdict.INVALID, reasons=("rank 0: the device's timer is wrong",))

    found = lines(invalid)

    assert "the evidence cannot be trusted: rank 0: the device's timer is wrong" in found
    assert not any("is below 38.0" in line for line in found)
