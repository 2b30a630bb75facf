"""The file of --junitxml as its readers see it: every number, the time of a boot, the words of a failure."""

from __future__ import annotations

import html
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.suite.junit import run_suite
from tests.suite.stored import EIGHT, store


def cases_of(report: Path) -> dict[str, ElementTree.Element]:
    return {case.get("name", ""): case for case in ElementTree.parse(str(report)).getroot().iter("testcase")}


def said_by(case: ElementTree.Element) -> dict[str, str]:
    """The lines of a case's output, by the name before the colon."""
    lines = (case.findtext("system-out") or "").splitlines()
    return dict(line.split(": ", 1) for line in lines if ": " in line)


def test_every_case_prints_its_numbers_and_the_place_of_the_page(tmp_path: Path) -> None:
    run_dir = store(tmp_path / "stored")

    run_suite(tmp_path, f"--replay={run_dir}", "--gate")

    for name, case in cases_of(tmp_path / "report.xml").items():
        properties = {one.get("name", ""): one.get("value", "") for one in case.iter("property")}
        assert {key: value for key, value in properties.items() if value}.items() <= said_by(case).items(), name
        if "run" in properties:
            assert Path(said_by(case)["report"]).name == "report.html"
    mem = said_by(cases_of(tmp_path / "report.xml")[f"test_mem[{EIGHT}]"])
    assert (mem["shown"], mem["margin"], mem["of_published"]) == ("16.00 GiB", "45.6 % inside", "57.1 %")


def test_a_failure_is_told_in_the_words_of_the_verdict_alone(tmp_path: Path) -> None:
    session = run_suite(tmp_path, f"--replay={store(tmp_path / 'stored', used_gib=31.0)}")

    assert session.by_metric["mem"].message.startswith("fail: mem 31.00 GiB is above 29.40")
    assert "Failed: " not in (tmp_path / "report.xml").read_text()
    assert "Failed: " not in session.output


def test_an_invalid_run_is_told_in_the_words_of_the_verdict_alone(tmp_path: Path) -> None:
    run_dir = store(tmp_path / "stored")
    (run_dir / "SHA256SUMS").unlink()

    run_suite(tmp_path, f"--replay={run_dir}")

    assert "Failed: " not in (tmp_path / "report.xml").read_text()


@pytest.mark.integration
@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_time_of_a_boot_stands_in_a_case_of_its_own(tmp_path: Path, workers: str) -> None:
    session = run_suite(tmp_path, "-m", "virtual", "--topo", "1x1", "--steps", "20", "-n", workers)

    cases = cases_of(tmp_path / "report.xml")
    (boot,) = [case for name, case in cases.items() if name.startswith("boot[")]
    others = [float(case.get("time", "")) for name, case in cases.items() if not name.startswith("boot[")]
    assert float(boot.get("time", "")) > sum(others)
    assert said_by(boot)["run"].endswith(session.runs[0].name)
    assert int(session.counts["tests"]) == len(cases)


@pytest.mark.labs
def test_a_viewer_that_ignores_properties_shows_each_number(tmp_path: Path) -> None:
    pytest.importorskip("junit2htmlreport")
    run_suite(tmp_path, f"--replay={store(tmp_path / 'stored')}", "--gate")

    viewer = [sys.executable, "-m", "junit2htmlreport", str(tmp_path / "report.xml"), str(tmp_path / "report.html")]
    subprocess.run(viewer, check=True)

    page = html.unescape((tmp_path / "report.html").read_text())
    for name, case in cases_of(tmp_path / "report.xml").items():
        values = [one.get("value", "") for one in case.iter("property")]
        assert [one for one in values if re.search(r"\d", one) and one not in page] == [], name
