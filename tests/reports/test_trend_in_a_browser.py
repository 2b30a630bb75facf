"""The page of the history in a real browser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reports.history.trend import trend_page
from tests.reports.history.entries import HOSTILE
from tests.reports.html.chromium import Browser, missing
from tests.reports.test_trend import a_series, stepped

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

LONG = 25  # times as many runs


@pytest.fixture(scope="module")
def trend_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with few runs and a step, many runs, and a course whose every text is hostile."""
    values = {"p_core": stepped(), "mem": [16.0, 16.5] * 10}
    hostile = {name: [HOSTILE] * 20 for name in ("run_ids", "started_utc", "releases")}
    courses = [
        replace(a_series(stepped(), releases=["1.0"] * 10 + ["1.1"] * 10), values=values),
        a_series(stepped() * LONG, started_utc=["2026-01-01T00:00:00"] * 20 * LONG, cell_id="many"),
        a_series(stepped(), cell_id=HOSTILE, protocol=HOSTILE, versions=[{HOSTILE: HOSTILE}] * 20, **hostile),
    ]
    path = tmp_path_factory.mktemp("trend") / "trend.html"
    path.write_bytes(trend_page(courses, HOSTILE).encode("utf-8"))
    return path


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_chart_is_drawn_and_the_page_is_silent_and_no_wider_than_the_screen(
    browser: Browser, trend_file: Path, width: int, dark: bool
) -> None:
    browser.open(trend_file, width=width, dark=dark)

    drawn = browser.drawn()

    assert set(drawn) == {"c0-p-core", "c0-mem", "c1-p-core", "c2-p-core"}
    assert {name: counted for name, counted in drawn.items() if not all(counted)} == {}
    assert browser.console() == []
    assert browser.requests() == [trend_file.as_uri()]
    assert browser.run("return document.scrollingElement.scrollWidth") <= width
    assert "p_core: worse, from 100.0 images/s to 90.05 images/s" in browser.run("return document.body.textContent")
