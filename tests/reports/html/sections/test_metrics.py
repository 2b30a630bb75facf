"""Distances to the bound: in percent, better to the right, on one scale."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from evidence.verdict import MetricVerdict, ProbeVerdict, Verdict
from reports.html.sections.metrics import (
    Margin,
    amount,
    distance,
    margin_of,
    metric_row,
    picture,
    probe_row,
    span_of,
)
from tests.reports.test_console import metric

SLOW = metric("p_core", "fail", [138.0, 140.0], measured=139.1, low=152.0, expected=160.0)
FULL = metric("mem", "fail", measured=22.0, high=20.0, expected=19.0, unit="GiB", better="lower")
SCORE = metric("map", "pass", measured=0.3652, low=0.36, expected=0.364, unit="0..1")


@pytest.mark.parametrize(
    ("one", "margin", "words"),
    [
        (SLOW, -0.0849, "8.5 % outside"),
        (FULL, -0.1, "10.0 % outside"),
        (SCORE, 0.0144, "1.4 % inside"),
        (replace(SLOW, measured=152.0), 0.0, "0.0 % inside"),
    ],
)
def test_the_distance_is_of_the_bound_that_decides(one: MetricVerdict, margin: float, words: str) -> None:
    found = margin_of(one)

    assert found is not None
    assert found.value == pytest.approx(margin, abs=1e-4)
    assert distance(one) == words


@pytest.mark.parametrize("change", [{"measured": None}, {"low": None}, {"low": 0.0}, {"low": float("inf")}])
def test_without_a_value_or_a_bound_there_is_no_distance(change: dict) -> None:
    one = replace(SLOW, **change)

    assert margin_of(one) is None
    assert distance(one) == ""
    assert metric_row(one, 0.1)["graphic"] == ""


def test_value_distance_and_share_stand_in_a_line() -> None:
    assert amount(SLOW) == "p_core 139.1 images/s: 8.5 % outside its bound, 86.9 % of published"
    assert amount(replace(SLOW, expected=None)) == "p_core 139.1 images/s: 8.5 % outside its bound"


def test_one_scale_shows_all_of_them_within_limits() -> None:
    assert span_of([SLOW, FULL, SCORE]) == pytest.approx(0.12)
    assert span_of([SCORE]) == 0.05
    assert span_of([replace(SLOW, measured=10.0)]) == 0.25


def test_better_is_to_the_right_whichever_side_is_better() -> None:
    def at(one: MetricVerdict) -> float:
        (found,) = re.findall(r'circle class="value" cx="([0-9.]+)"', str(metric_row(one, 0.2)["graphic"]))
        return float(found)

    middle = 80.0
    assert at(SLOW) < middle
    assert at(FULL) < middle
    assert at(SCORE) > middle
    assert at(replace(FULL, measured=18.0)) > middle


def test_a_value_beyond_the_scale_is_an_arrow_at_its_end() -> None:
    html = str(picture(Margin(-0.4, -0.5, -0.3, None, None), 0.2, "words", "bad"))

    assert "<circle" not in html
    assert 'class="value" d="M9 9l-8 6 8 6z"' in html
    assert 'class="span"' not in html


def test_of_a_run_that_has_not_ended_nothing_is_invalid() -> None:
    row = metric_row(metric("map", "invalid"), 0.1, provisional=True)

    assert "running" in row["badge"]
    assert (row["reason"], row["kind"]) == ("", "")
    assert "fail" in metric_row(SLOW, 0.1, provisional=True)["badge"]


def test_a_probe_has_its_count_as_value_and_the_rest_as_why() -> None:
    row = probe_row("operators", ProbeVerdict("71 of 71; nearest 50%", "all", Verdict.PASS))

    assert (row["measured"], row["bound"], row["reason"]) == ("71 of 71", "all", "nearest 50%")
