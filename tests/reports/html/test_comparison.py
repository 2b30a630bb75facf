"""The page of a comparison: what differs, by how much, and what could not have been seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reports.__main__ import main
from reports.html.comparison import Compared, comparison_page
from tests.reports.html.runs import HOSTILE
from tests.reports.html.test_run import charts_of, text_of
from tests.verdict.bundles import Plan, build
from verdict.compare.ab_comparison import ABComparison, compare_groups
from verdict.metrics.throughput import RateSamples

WORSE = compare_groups("p_core", [100.0, 100.2, 99.8, 100.1], [90.0, 90.2, 89.8, 90.1])
MORE_MEMORY = compare_groups("mem", [20.0, 20.1, 20.0], [25.0, 25.1, 25.0])
SAME = compare_groups("p_train", [100.0, 101.0, 99.0], [100.2, 99.1, 100.9])
ONE_NUMBER = ABComparison("map", 0.36, 0.361, 0.361 / 0.36, why_not="one number a run")


def test_the_worse_metrics_come_first_with_what_else_differs() -> None:
    found = [WORSE, SAME, MORE_MEMORY]

    text = text_of(comparison_page([Compared("r300 1x8 fp32", ("run a", "run b"), found, [("driver", "4.0", "4.1")])]))

    assert text.startswith(" Comparison, r300 1x8 fp32 r300 1x8 fp32 ✗ B is worse B is worse p_core 10.0 %, mem 25.0 %")
    assert "What else differs driver" in text
    assert "driver 4.0 4.1" in text


def test_a_difference_that_is_not_shown_says_what_would_have_been() -> None:
    text = text_of(comparison_page([Compared("c", ("a", "b"), [SAME, ONE_NUMBER])]))

    assert "≈ no difference shown" in text
    assert "No metric is shown to differ. A difference of" in text
    assert "one number a run" in text
    assert "· unknown" in text


def test_words_and_interval_never_contradict_each_other() -> None:
    for one in (WORSE, SAME, MORE_MEMORY):
        compared = Compared("c", ("a", "b"), [one])
        interval = one.interval(compared.tests)

        assert interval is not None
        assert (compared.answer == "same") == (interval.low <= 1 <= interval.high)


def test_runs_that_cannot_be_compared_say_why() -> None:
    text = text_of(comparison_page([Compared("c", ("a", "b"), refused=("device: r300 and a100", "another"))]))

    assert "! not comparable Cause device: r300 and a100" in text
    assert "another" in text


def test_the_rates_of_both_are_drawn_over_their_measured_part() -> None:
    samples = [RateSamples(np.full(count, 4), np.full(count, 40_000_000)) for count in (200, 30)]

    html = comparison_page([Compared("c", ("a", "b"), [WORSE], samples=tuple({"p_core": one} for one in samples))])

    (chart,) = charts_of(html).values()
    assert [one["label"] for one in chart["series"]] == ["A", "B"]
    known = [[value for value in one["values"] if value is not None] for one in chart["series"]]
    assert [len(values) for values in known] == [60, 30]
    assert {value for values in known for value in values} == {100}


def test_text_from_outside_is_harmless() -> None:
    html = comparison_page(
        [Compared(HOSTILE, (HOSTILE, HOSTILE), [WORSE], [(HOSTILE, HOSTILE, "")], refused=(HOSTILE,))]
    )

    assert html.count("<script") == 3
    assert "<img" not in html


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_command_writes_the_page_beside_the_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], language: str
) -> None:
    folders = []
    for name in "ab":
        bundle = build(Plan())
        bundle.run["cell"].update(id="r300-1x8-fp32-bs16", topology="1x8")
        folders.append(str(bundle.write(tmp_path / name)))

    main(["compare", *folders, "--page", str(tmp_path / "page.html"), "--language", language])

    assert str(tmp_path / "page.html") in capsys.readouterr().out
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert {"en": "not comparable", "zh": "不可比较"}[language] in page
