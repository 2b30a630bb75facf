"""The pages in a real browser: drawn, readable, silent, and safe whatever is in them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from markupsafe import Markup

from evidence.text import visible
from evidence.verdict import ProbeVerdict, Verdict
from expected import Topology
from reports.html.certificate import certificate_page
from reports.html.charts import Curve, Level, x_y
from reports.html.comparison import Compared, comparison_page
from reports.html.heatmap import HeatMap, Tile, heat_map
from reports.html.page import figure, page
from reports.html.pages import run_page, running_page
from reports.html.session import session_page
from reports.html.texts import in_language
from tests.reports.html.chromium import Browser, missing
from tests.reports.html.runs import HOSTILE, TWO_RANKS, all_readings, page_of
from tests.reports.html.test_run import DRAWN, READ, no_ranks, no_steps, no_telemetry
from tests.verdict.bundles import STEADY, build
from verdict.compare.ab_comparison import compare_groups

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run in which every chart has something to show."""
    folder = tmp_path_factory.mktemp("run")
    return written(folder / "report.html", run_page(page_of(folder / "run", bundle=all_readings())))


@pytest.fixture(scope="module")
def session_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a session: of a whole run, one on eight ranks, and two that left next to nothing."""
    folder = tmp_path_factory.mktemp("session")
    eight = replace(TWO_RANKS, topology=Topology(2, 4), slower={5: 1.2})
    empty, stepless = build(TWO_RANKS), build(TWO_RANKS)
    no_ranks(empty)
    no_telemetry(empty)
    no_steps(stepless)
    runs = [
        page_of(folder / "a", bundle=all_readings()),
        page_of(folder / "b", eight, all_readings(eight)),
        page_of(folder / "c", bundle=empty),
        page_of(folder / "d", bundle=stepless),
        page_of(folder / "e", STEADY),
    ]
    return written(folder / "session.html", session_page(runs, comparisons=[], gate="GATE: FAIL  x", command="pytest"))


def written(path: Path, html: str) -> Path:
    path.write_bytes(html.encode("utf-8"))
    return path


def main_text(browser: Browser) -> str:
    found: str = browser.run("return document.querySelector('main').textContent")
    return found


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_runs_page_draws_every_chart_logs_nothing_and_asks_for_nothing(
    browser: Browser, run_file: Path, width: int, dark: bool
) -> None:
    browser.open(run_file, width=width, dark=dark)

    drawn = browser.drawn()

    assert set(drawn) == {*DRAWN, *READ}
    assert {name: counted for name, counted in drawn.items() if not all(counted)} == {}
    assert browser.console() == []
    assert browser.requests() == [run_file.as_uri()]
    assert re.search(r"! invalid R300 .*The evidence cannot be trusted", " ".join(main_text(browser).split()))
    assert browser.run("return document.scrollingElement.scrollWidth") <= width
    assert (browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)") is not dark


def test_a_sessions_page_draws_the_charts_of_a_run_when_it_is_opened(browser: Browser, session_file: Path) -> None:
    browser.open(session_file, width=390)
    before = browser.drawn()

    browser.run("document.querySelectorAll('details.run').forEach((run) => { run.open = true; })")
    browser.settle()
    after = browser.drawn()

    assert before == {}
    assert {name for name in after if name.startswith("r1-")} == {f"r1-{name}" for name in (*DRAWN, *READ)}
    assert {name for name in after if name.startswith("r2-")} == set()
    assert len(after) == browser.run("return document.querySelectorAll('.plot').length")
    assert {name: counted for name, counted in after.items() if not any(counted)} == {}
    assert browser.console() == []
    assert browser.requests() == [session_file.as_uri()]
    assert browser.run("return document.scrollingElement.scrollWidth") <= 390
    assert "GATE: FAIL" in main_text(browser)


def test_a_link_to_a_folded_run_opens_it(browser: Browser, session_file: Path) -> None:
    browser.open(session_file)

    browser.run("document.querySelector('a[href=\"#r1-run\"]').click()")
    browser.settle()

    assert browser.run("return [...document.querySelectorAll('details.run')].map((run) => run.open)") == [
        *(False, True, False, False, False)
    ]


def test_charts_follow_the_colour_scheme_while_they_are_looked_at(browser: Browser, run_file: Path) -> None:
    browser.open(run_file)
    light = browser.run("return document.getElementById('rate').dataset.colours")

    browser.prefer(dark=True)
    drawn = browser.drawn()

    assert browser.run("return document.getElementById('rate').dataset.colours") != light
    assert all(all(counted) for counted in drawn.values())


def test_the_printer_gets_light_charts_from_a_dark_screen(browser: Browser, run_file: Path) -> None:
    browser.open(run_file)
    light = browser.run("return document.getElementById('rate').dataset.colours")
    browser.prefer(dark=True)
    dark = browser.run("return document.getElementById('rate').dataset.colours")
    browser.run(
        "addEventListener('beforeprint', () => {"
        " window.printed = [document.getElementById('rate').dataset.colours,"
        " getComputedStyle(document.body).backgroundColor]; })"
    )

    pdf = browser.printed()
    browser.settle()

    assert pdf.startswith(b"%PDF")
    assert browser.run("return window.printed") == [light, "rgb(255, 255, 255)"]
    assert browser.run("return document.getElementById('rate').dataset.colours") == dark
    assert browser.console() == []


def test_tables_that_are_too_wide_can_be_scrolled_with_the_keyboard(browser: Browser, run_file: Path) -> None:
    browser.open(run_file, width=390)

    wide = browser.run(
        "return [...document.querySelectorAll('.scroll')].filter((box) => box.scrollWidth > box.clientWidth)"
        ".map((box) => [box.tabIndex, box.getAttribute('role'), Boolean(box.getAttribute('aria-label'))])"
    )

    assert len(wide) >= 2
    assert all(box == [0, "region", True] for box in wide)


def test_headings_go_down_one_level_at_a_time_and_every_table_has_headers(browser: Browser, run_file: Path) -> None:
    browser.open(run_file)

    levels = browser.run("return [...document.querySelectorAll('h1, h2, h3')].map((one) => Number(one.tagName[1]))")
    bare = browser.run(
        "return [...document.querySelectorAll('table:not(.plot table)')].filter((one) => !one.tHead).length"
    )

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in zip(levels, levels[1:]))
    assert bare == 0


CONTRAST = """
const luminance = (rgb) => {
  const linear = (part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const [r, g, b] = rgb.map((part) => linear(part / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const parts = (colour) => colour.match(/[0-9.]+/g).map(Number);
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = parts(getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] > 0.99) return colour.slice(0, 3);
  }
  return [255, 255, 255];
};
const found = {};
for (const element of document.querySelectorAll("main *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!own || element.closest("svg, canvas, script, style") || !element.getClientRects().length) continue;
  const [one, other] = [luminance(parts(getComputedStyle(element).color).slice(0, 3)), luminance(behind(element))];
  const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  if (ratio < 4.5) found[`${element.tagName}.${element.className} ${element.textContent.trim().slice(0, 20)}`] = ratio;
}
return found;
"""

UNREACHABLE = """
return [...document.querySelectorAll(".scroll, a[href], button, summary, pre")].filter((one) => {
  if (!one.getClientRects().length) return false;
  const fits = one.scrollWidth <= one.clientWidth && one.scrollHeight <= one.clientHeight;
  if (one.matches(".scroll, pre") && fits) return false;
  return one.tabIndex < 0 && !one.matches(".tile") && !one.closest(".scroll");
}).map((one) => one.outerHTML.slice(0, 80));
"""


def answer(operator: str, direction: str, dtype: str, worst: float) -> dict:
    """An event of the operators probe."""
    return {
        "event": "operator",
        "t_ns": 1,
        "operator": operator,
        "direction": direction,
        "dtype": dtype,
        "size": {"n": 2},
        "rule": "ulp",
        "elements": 8,
        "wrong": 1,
        "worst": worst,
        "honest": 1.0,
    }


PROBES = ("operators", "one step", "links", "copies", "memory", "peaks", "explained")
IN_WORDS = ProbeVerdict("24.9 GB/s to the device, 24.9 back, pinned", "honest arithmetic", Verdict.PASS)


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of every kind and state, by name."""
    folder = tmp_path_factory.mktemp("states")
    eight, sixteen = (replace(TWO_RANKS, topology=Topology(nodes, 8), slower={}) for nodes in (1, 2))
    slow = replace(eight, slower={5: 1.2}, compute_ns=320_000_000)
    plans = {"fail": slow, "1x8": eight, "2x8": sixteen, "inconclusive": STEADY}
    runs = {name: page_of(folder / name, plan) for name, plan in plans.items()}
    bundle = all_readings(slow)
    for events in bundle.ranks.values():
        events[2:2] = [answer(f"exp{number}", "forward", "fp32", number / 2) for number in range(12)]
        events[2:2] = [answer(f"exp{number}", "backward", "bf16", number) for number in range(0, 12, 3)]
    runs["operators"] = page_of(folder / "operators", slow, bundle)
    unended = all_readings(eight)
    unended.run.update(ended_utc="", boot={"exit_code": None})
    for rank in unended.ranks:
        unended.drop("end", rank)
    runs["invalid"] = page_of(folder / "invalid", eight, unended)
    passed = runs["1x8"].run
    metrics = {name: replace(one, verdict=Verdict.PASS) for name, one in passed.verdict.metrics.items()}
    verdict = replace(passed.verdict, outcome=Verdict.PASS, metrics=metrics, reasons=())
    runs["pass"] = replace(runs["1x8"], run=replace(passed, verdict=verdict), gate="GATE: PASS  x", release="4.0.31")
    pages = {name: run_page(run) for name, run in runs.items()}
    pages["running"] = running_page(runs["invalid"])
    probed = replace(runs["pass"].run, verdict=replace(verdict, probes=dict.fromkeys(PROBES, IN_WORDS)))
    pages["certificate"] = certificate_page(replace(runs["pass"], run=probed))
    pages["result"] = certificate_page(runs["fail"])
    pages["session"] = session_page(list(runs.values()), comparisons=[], gate="GATE: FAIL  x", command="pytest --gate")
    found = [compare_groups("p_core", [100.0, 100.2, 99.8], [90.0, 90.2, 89.8])]
    pages["comparison"] = comparison_page([Compared("r300 1x8 fp32", ("a", "b"), found, [("driver", "1", "2")])])
    with in_language("zh"):
        pages["chinese"] = run_page(runs["operators"])
        pages["chinese certificate"] = certificate_page(runs["fail"])
    return {name: written(folder / f"{name}.html", html) for name, html in pages.items()}


STATES = (
    *("pass", "fail", "inconclusive", "invalid", "running", "1x8", "2x8", "operators", "session", "comparison"),
    *("certificate", "result", "chinese", "chinese certificate"),
)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", STATES)
def test_a_page_of_every_state_is_readable_silent_and_fits(
    browser: Browser, states: dict[str, Path], name: str, width: int, dark: bool
) -> None:
    path = states[name]
    browser.open(path, width=width, dark=dark)
    browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    browser.settle()

    assert browser.console() == []
    assert browser.requests() == [path.as_uri()]
    assert browser.run("return document.scrollingElement.scrollWidth") <= width
    assert browser.run(CONTRAST) == {}
    assert browser.run(UNREACHABLE) == []


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["certificate", "result", "comparison"])
def test_every_column_of_a_page_for_a_meeting_is_in_view(
    browser: Browser, states: dict[str, Path], name: str, width: int
) -> None:
    browser.open(states[name], width=width)

    cut = "return [...document.querySelectorAll('.scroll')].filter((box) => box.scrollWidth > box.clientWidth).length"
    assert browser.run(cut) == 0


@pytest.mark.parametrize("name", ["pass", "fail", "inconclusive", "invalid", "running"])
def test_verdict_amount_cause_and_next_step_are_on_the_first_screen(
    browser: Browser, states: dict[str, Path], name: str
) -> None:
    for width in (390, 1280):
        browser.open(states[name], width=width)

        bottom = browser.run("return document.querySelector('dl.answer').getBoundingClientRect().bottom")
        badge = browser.run("return document.querySelector('h1 .verdict').textContent.trim().split(/\\s+/)[1]")

        assert bottom < 844  # CSS pixels of a phone
        assert badge == name


@pytest.mark.parametrize("name", ["certificate", "result", "chinese certificate"])
def test_a_certificate_is_one_sheet_of_a4(browser: Browser, states: dict[str, Path], name: str) -> None:
    browser.open(states[name])

    pdf = browser.printed()

    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 1
    assert re.search(rb"/MediaBox\s*\[0 0 59[45](?:\.[0-9]+)? 84[12](?:\.[0-9]+)?\]", pdf)


@pytest.fixture
def drawn_file(tmp_path: Path) -> Path:
    """A page of charts that no run has all of: logarithmic axes, and a heat map."""
    curves = [
        Curve("within a host", [(2.0**power, power**2) for power in range(10, 31)]),
        Curve("between hosts", [(2.0**power, power) for power in range(10, 31, 2)], style="points", tone="accent"),
    ]
    charts = [
        x_y("bytes", "Bandwidth", curves, kind="bytes", x_log=True, y_log=True, levels=[Level("bound", 500.0)]),
        x_y("roof", "Roofline", [Curve("roof", [(0.1, 2.0), (10.0, 200.0), (1000.0, 200.0)])], x_log=True, y_log=True),
    ]
    tiles = {(0, 0): Tile("5 %", 0.05, {"found": "1 ULP"}), (0, 2): Tile("310 %", 3.1, {"found": "62 ULP"})}
    matrix = heat_map(HeatMap("ops", "Operators", ["exp", "conv2d"], ["fp32", "fp16", "bf16"], tiles))
    body = Markup("<h1>Charts</h1>") + figure(charts[0]) + figure(charts[1]) + matrix
    return written(tmp_path / "charts.html", page("Charts", body, charts))


def test_logarithmic_axes_are_drawn(browser: Browser, drawn_file: Path) -> None:
    browser.open(drawn_file, width=390)

    drawn = browser.drawn()

    assert {name: counted for name, counted in drawn.items() if not all(counted)} == {}
    assert browser.console() == []
    assert browser.run("return document.scrollingElement.scrollWidth") <= 390


def test_a_tile_shows_its_numbers_by_click_and_by_the_arrow_keys(browser: Browser, drawn_file: Path) -> None:
    browser.open(drawn_file)
    details = "const box = document.querySelector('#ops .details'); return box.hidden ? '' : box.textContent"

    before = browser.run(details)
    browser.run("document.querySelector('#ops .tile').click()")
    clicked = browser.run(details)
    browser.press("ArrowDown")  # no tile is there: the focus stays
    kept = browser.run(details)
    browser.press("ArrowRight")

    assert (before, clicked, kept, browser.run(details)) == ("", "found1 ULP", "found1 ULP", "found62 ULP")
    assert browser.run("return [...document.querySelectorAll('#ops .tile')].map((one) => one.tabIndex)") == [-1, 0]


def test_nothing_that_evidence_says_is_run(browser: Browser, tmp_path: Path) -> None:
    bundle = all_readings()
    for rank in bundle.ranks:
        bundle.one("start", rank).update(host=HOSTILE, device_name=HOSTILE, serial=HOSTILE, versions={HOSTILE: HOSTILE})
    for sample in bundle.telemetry:
        sample.update(host=HOSTILE, source=HOSTILE, throttle=HOSTILE)
    bundle.telemetry.append({"t_ns": 1, "source": HOSTILE, "error": HOSTILE})
    bundle.run["boot"] = {"exit_code": 1, "failure": {"phase": HOSTILE, "message": f"one\ntwo {HOSTILE}"}}
    bundle.run["command"] = ["torchrun", f"--data={HOSTILE}"]
    run = page_of(tmp_path / "run", bundle=bundle, folder=HOSTILE, notes=[HOSTILE], commands={HOSTILE: HOSTILE})
    run = replace(run, run=replace(run.run, cell=replace(run.run.cell, card=0)))
    pages = {
        "run": run_page(run),
        "session": session_page([run], comparisons=[], gate=f"GATE: FAIL {HOSTILE}", command=HOSTILE),
    }

    for name, html in pages.items():
        path = written(tmp_path / f"{name}.html", html)
        browser.open(path)
        browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        browser.settle()

        assert browser.run("return window.canary") is None
        assert browser.run("return [document.scripts.length, document.images.length]") == [3, 0]
        assert browser.console() == []
        assert browser.requests() == [path.as_uri()]
        assert main_text(browser).count(visible(HOSTILE)) > 10
        assert f"one\ntwo {visible(HOSTILE)}" in main_text(browser)
        assert all(any(counted) for counted in browser.drawn().values())
