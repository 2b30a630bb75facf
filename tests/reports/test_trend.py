"""The page of every metric over runs and releases."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from reports.__main__ import main
from reports.history import default_url
from reports.history.database import open_history
from reports.history.queries import TimeSeries
from reports.history.trend import release_of_each, steps_of, trend_page
from tests.reports.history.entries import CELL, HOSTILE, an_entry

NOISE = (0.1, -0.2, 0.3, 0.0, -0.1, 0.2, -0.3, 0.15, -0.05, 0.25)


def a_series(values: list[float | None], **changes: Any) -> TimeSeries:
    count = len(values)
    facts: dict[str, Any] = {
        "cell_id": CELL,
        "protocol": "full",
        "simulated": False,
        "run_ids": [f"run-{at}" for at in range(count)],
        "started_utc": [f"2026-01-{at + 1:02}T10:00:00+00:00" for at in range(count)],
        "releases": [""] * count,
        "versions": [{"driver": "4.0", "torch": "1.12.1"}] * count,
        "values": {"p_core": values},
        "left_out": 0,
        **changes,
    }
    return TimeSeries(**facts)


def stepped(before: float = 100.0, after: float = 90.0) -> list[float | None]:
    return [*(before + noise for noise in NOISE), *(after + noise for noise in NOISE)]


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    charts: dict[str, Any] = json.loads(found.group(1))
    return charts


def test_a_step_is_told_with_when_from_what_to_what_and_what_changed() -> None:
    versions = [{"driver": "4.0"}] * 10 + [{"driver": "4.1"}] * 10
    course = a_series(stepped(), versions=versions, releases=["1.0"] * 10 + ["1.1"] * 10)

    (found,) = steps_of(course, "p_core")

    assert found.at == 10
    assert found.words == (
        "p_core: worse, from 100.0 images/s to 90.05 images/s (-10.0%), between run-9 (2026-01-10 10:00) and run-10 "
        "(2026-01-11 10:00); changed there: release 1.0 to 1.1, driver 4.0 to 4.1"
    )


def test_runs_without_the_metric_are_passed_over() -> None:
    values: list[float | None] = [None, *stepped()[:10], None, None, *stepped()[10:]]

    (found,) = steps_of(a_series(values), "p_core")

    assert found.at == 13
    assert "between run-10 (2026-01-11 10:00) and run-13" in found.words
    assert found.words.endswith("changed there: nothing that is recorded")


def test_what_is_better_depends_on_the_metric() -> None:
    course = replace(a_series(stepped()), values={"mem": stepped()})

    assert next(steps_of(course, "mem")).words.startswith("mem: better, from 100.05 GiB to 90.05 GiB")


def test_a_release_is_its_label_or_the_versions_that_tell_one() -> None:
    course = a_series([1.0, 1.0, 1.0], releases=["1.0", "", ""], versions=[{}, {"driver": "4", "os": "x"}, {}])

    assert release_of_each(course) == ["1.0", "driver 4", "unknown"]


def test_the_page_has_a_chart_for_each_metric_with_the_steps_and_releases_marked() -> None:
    course = a_series(stepped(), releases=["1.0"] * 10 + ["1.1"] * 10, left_out=2)

    page = trend_page([course, a_series([1.0], cell_id="another")], "history.sqlite")

    charts = data_of(page)
    assert list(charts) == ["c0-p-core", "c1-p-core"]
    values, level = charts["c0-p-core"]["series"]
    assert values["values"][:2] == [100.1, 99.8]
    assert (level["values"][9], level["values"][10]) == (100.05, 90.05)
    marks = {(mark["sign"], mark["begin"]) for mark in charts["c0-p-core"]["marks"]}
    assert marks == {("S", 9.5)}  # between the tenth run and the eleventh, where the release changed too
    assert charts["c1-p-core"]["marks"] == []
    assert charts["c0-p-core"]["x"] == list(range(20))
    assert charts["c0-p-core"]["categories"][:2] == ["2026-01-01", "2026-01-02"]
    assert "Trend: steps 1, time series 2" in page
    assert "Runs: 20. From 2026-01-01 10:00 to 2026-01-20 10:00 (UTC). Invalid or restarted, and left out: 2." in page
    assert '<th scope="row">1.1</th>' in page
    assert "No step in any metric." in page


def test_releases_are_marked_where_they_begin_unless_there_are_too_many() -> None:
    def signs(count: int) -> list[tuple[str, float]]:
        releases = [f"4.0.31-rc{at // 2}-nightly" for at in range(count)]
        course = a_series([1.0] * count, started_utc=[""] * count, releases=releases)
        (chart,) = data_of(trend_page([course], "x")).values()
        return [(mark["sign"], mark["begin"]) for mark in chart["marks"]]

    assert signs(6) == [("4.0.31-rc1-…", 1.5), ("4.0.31-rc2-…", 3.5)]
    assert signs(100) == []


def test_bound_and_published_number_of_the_newest_run_are_lines(tmp_path: Path) -> None:
    course = a_series([100.0, 101.0], limits={"p_core": (95.0, None, 100.0)})

    (chart,) = data_of(trend_page([course], "x")).values()

    assert [(one["label"], one["kind"]) for one in chart["levels"]] == [
        ("bound of p_core 95.0", "bound"),
        ("published 100.0 images/s", "published"),
    ]


def test_hostile_text_is_harmless_on_the_page() -> None:
    hostile = {name: [HOSTILE] * 20 for name in ("run_ids", "started_utc", "releases")}
    course = a_series(stepped(), cell_id=HOSTILE, protocol=HOSTILE, versions=[{HOSTILE: HOSTILE}] * 20, **hostile)

    page = trend_page([course], HOSTILE)

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert not set("\x00\x1b\u2028\u202e") & set(page)
    assert page.encode("utf-8")


def test_the_command_writes_the_page_of_all_cells_or_one(tmp_path: Path, capsys: Any) -> None:
    with open_history(default_url(tmp_path), create=True) as history:
        history.enter([an_entry(1), an_entry(2, cell_id="another")])
    words = ["trend", "--runs", str(tmp_path), "--out", str(tmp_path / "trend.html")]

    assert main(words) == 0
    assert list(data_of((tmp_path / "trend.html").read_text())) == ["c0-p-core", "c1-p-core"]
    assert main([*words, "--cell", CELL]) == 0
    assert list(data_of((tmp_path / "trend.html").read_text())) == ["c0-p-core"]
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "trend.html")] * 2


def test_a_cell_without_runs_and_a_page_that_cannot_be_written_are_said(tmp_path: Path, capsys: Any) -> None:
    with open_history(default_url(tmp_path), create=True) as history:
        history.enter([an_entry(1)])
    words = ["trend", "--runs", str(tmp_path)]

    assert main([*words, "--cell", "r300"]) == 2
    assert main([*words, "--out", str(tmp_path / "nowhere" / "trend.html")]) == 2

    told = capsys.readouterr().err
    assert f"found no run of r300, expected one of {CELL}" in told
    assert "the page cannot be written" in told
