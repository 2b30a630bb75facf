"""The page of a session: every cell in one table, and each run's page in it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from evidence.verdict import ComparedDevice, Comparison, Interval, Verdict
from reports.html.session import session_page
from tests.reports.html.runs import HOSTILE, page_of
from tests.reports.html.test_run import charts_of, text_of
from tests.reports.test_console import metric
from tests.verdict.bundles import STEADY

EFFICIENCY = Comparison(
    "r300-1x2-fp32-bs4",
    metric("efficiency", "fail", measured=0.5, interval=[0.4, 0.6], low=0.9, unit="", reason="too slow <together>"),
    than="1x1",
)


def test_all_cells_are_in_one_table_with_the_gate_above(tmp_path: Path) -> None:
    runs = [page_of(tmp_path / "a"), page_of(tmp_path / "b", STEADY)]

    text = text_of(session_page(runs, comparisons=[], gate="GATE: FAIL  r300-1x2: p_core", command="pytest --gate"))

    assert text.startswith(" R300, 1 fail, 1 inconclusive, 2026-01-01 GATE: FAIL r300-1x2: p_core pytest --gate")
    table = text[text.index("Cells") : text.index("R300 1x2")]
    assert re.search(r"r300-1x2-fp32-bs4 full ✗ fail p_core .* r300-1x2-fp32-bs4 steady ≈ inconclusive", table)
    assert all(name in table for name in ("e2e_time", "p_whole", "p_train", "p_core", "map", "mem"))


def test_each_run_is_folded_in_with_charts_of_its_own(tmp_path: Path) -> None:
    runs = [page_of(tmp_path / name) for name in "ab"]

    html = session_page(runs, comparisons=[], gate="", command="")

    assert re.findall(r'<details class="run" id="(\w+)-run">', html) == ["r0", "r1"]
    ids = re.findall(r'class="plot" id="([^"]+)"', html)
    assert set(ids) == set(charts_of(html))
    assert len(ids) == len(set(ids))
    everything = re.findall(r' id="([^"]+)"', html[: html.index('<script type="application/json"')])
    assert len(everything) == len(set(everything))
    assert html.count("<style>") == 1
    assert html.count("<script>") == 2


def test_what_was_held_against_each_other_is_shown(tmp_path: Path) -> None:
    html = session_page([page_of(tmp_path)], comparisons=[EFFICIENCY], gate="", command="")

    told = r"efficiency scaling efficiency ✗ fail r300-1x2-fp32-bs4 against 1x1 0.5000 ± 20.0 % .*too slow <together>"
    assert re.search(f"Compared with each other .* {told}", text_of(html))


def test_each_device_of_a_host_stands_beside_its_siblings(tmp_path: Path) -> None:
    devices = (
        ComparedDevice("device 0", "SN-0", 200.0, Interval(199.0, 201.0), 1.02, Verdict.PASS),
        ComparedDevice("device 1", "", None, None, None, Verdict.INVALID),
    )
    siblings = Comparison("r300-1x1-fp32-bs4", metric("siblings", "fail", reason="device 1"), devices=devices)

    text = text_of(session_page([page_of(tmp_path)], comparisons=[siblings], gate="", command=""))

    assert "Siblings of r300-1x1-fp32-bs4 run on serial or name p_core of its siblings verdict" in text
    assert "device 0 SN-0 200.0 images/s ± 0.5 % 102.0 % ✓ pass device 1 - - - ! invalid" in text


@pytest.mark.parametrize(
    "gate", ["GATE: PASS, 2 waived", "GATE: INCOMPLETE  nothing was selected", "", "something else"]
)
def test_the_gates_line_is_shown_as_it_is(gate: str) -> None:
    text = text_of(session_page([], comparisons=[], gate=gate, command=""))

    assert " ".join(gate.replace(", ", " ").split()) in text.replace(", ", " ")
    assert "No run was judged in this session." in text


def test_text_from_outside_is_harmless(tmp_path: Path) -> None:
    runs = [page_of(tmp_path, folder=HOSTILE)]

    html = session_page(
        runs,
        comparisons=[replace(EFFICIENCY, judged=replace(EFFICIENCY.judged, reason=HOSTILE))],
        gate=HOSTILE,
        command=HOSTILE,
    )

    assert html.count("<script") == 3
    assert "<img" not in html
    assert html.encode("utf-8")
