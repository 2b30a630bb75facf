"""The summary for a CI job's page: the figures and words of the closing table, whatever the words are."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from evidence.verdict import ProbeVerdict, Verdict
from reports.console import metric_rows
from reports.markdown import Summarised, escaped, refused, summary
from tests.reports.test_console import SKEW, metric, verdict_of

PASSING = metric("p_core", "pass", measured=200.0, interval=[199.0, 201.0], expected=199.0, low=189.05)
FAILING = metric(
    "mem", "fail", measured=30.0, unit="GiB", expected=28.0, high=29.4, reason="mem 30.00 GiB is above 29.40"
)
GATE = "GATE: FAIL  r300-1x8-fp32-bs16: mem failed"


def run_of(*metrics: Any, **facts: Any) -> Summarised:
    commands = {"again": "pytest --replay=runs/x"}
    return Summarised(verdict_of(*metrics, **facts), "R300", "runs/x", "runs/x/report.html", commands=commands)


def test_the_gates_word_is_the_title_and_its_cause_comes_next() -> None:
    lines = summary([run_of(PASSING)], gate=GATE).splitlines()

    assert lines[0] == "# GATE: FAIL"
    assert lines[2] == "r300-1x8-fp32-bs16: mem failed"


def test_without_a_gate_the_outcomes_are_counted() -> None:
    failed = run_of(FAILING, outcome="fail")

    assert summary([run_of(PASSING), failed, failed]).startswith("# Conformance: 1 pass, 2 fail\n")
    assert summary([]).startswith("# Conformance: no run\n")


def test_a_run_has_the_rows_of_the_closing_table() -> None:
    verdict = verdict_of(PASSING, FAILING, probes={"operators": ProbeVerdict("214 of 214", "all", Verdict.PASS)})

    lines = summary([replace(run_of(), verdict=verdict)]).splitlines()

    table = [line for line in lines if line.startswith("| ")]
    cells = [[re.sub(r"\\(.)", r"\1", cell) for cell in line.strip("| ").split(" | ")] for line in table]
    expected = metric_rows(verdict)
    assert cells[0] == list(expected[0])
    assert [row[:2] for row in cells[2:]] == [list(row[:2]) for row in expected[1:]]
    assert [row[-1].split()[-1] for row in cells[2:]] == ["pass", "fail", "pass"]


def test_why_it_does_not_pass_and_what_to_do_next_stand_below() -> None:
    text = summary([run_of(PASSING, FAILING, outcome="fail", reasons=(FAILING.reason,))], gate=GATE)

    assert "\n- mem 30.00 GiB is above 29.40\n" in text
    assert "\n```text\nreport  runs/x/report.html\nagain   pytest --replay=runs/x\n```" in text


def test_comparisons_stand_at_the_end() -> None:
    text = summary([run_of(PASSING)], [SKEW])

    assert "\n## scaling\n\n```text\ncell " in text


def test_a_refused_session_says_why() -> None:
    assert refused("--data is missing\n--topo 9x9: no such <topology>") == (
        "# Nothing was run\n\n- --data is missing\n- --topo 9x9: no such \\<topology\\>\n"
    )


@given(st.text())
def test_no_text_from_outside_is_markup_or_another_line(text: str) -> None:
    shown = escaped(text)

    assert len(shown.splitlines()) <= 1
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_<>|\[\]]", shown)


def test_a_fence_is_longer_than_any_in_a_command() -> None:
    text = summary([replace(run_of(PASSING), commands={"again": "pytest '--replay=```x'"})])

    assert "\n````text\n" in text
