"""The file of --junitxml as its readers see it: every number, the time of a boot, the words of a failure.

And as Jenkins and GitLab accept it.
"""

from __future__ import annotations

import html
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import xmlschema

from tests.suite.junit import Session, run_suite
from tests.suite.stored import EIGHT, store

JENKINS = Path(__file__).parents[1] / "reports" / "jenkins" / "junit-10.xsd"


def cases_of(report: Path) -> dict[str, ElementTree.Element]:
    return {case.get("name", ""): case for case in ElementTree.parse(str(report)).getroot().iter("testcase")}


def said_by(case: ElementTree.Element) -> dict[str, str]:
    """The lines of a case's output, by the name before the colon."""
    lines = (case.findtext("system-out") or "").splitlines()
    return dict(line.split(": ", 1) for line in lines if ": " in line)


def require_valid(report: Path) -> None:
    """Require a file of the schema, but for the properties of its test cases."""
    schema, root = xmlschema.XMLSchema(str(JENKINS)), ElementTree.parse(str(report)).getroot()
    found = [(case, case.find("properties")) for case in root.iter("testcase")]
    assert any(properties is not None for _, properties in found)
    assert not schema.is_valid(ElementTree.tostring(root, encoding="unicode"))  # else what follows is not needed
    for case, properties in found:
        if properties is not None:
            case.remove(properties)
    schema.validate(ElementTree.tostring(root, encoding="unicode"))


@pytest.fixture(scope="module")
def gated(tmp_path_factory: Any) -> Path:
    """The folder of a gated session over a run in which metrics pass and are recorded."""
    folder = Path(str(tmp_path_factory.mktemp("gated")))
    run_suite(folder, f"--replay={store(folder / 'stored')}", "--gate")
    return folder


def test_every_case_prints_its_numbers_and_the_place_of_the_page(gated: Path) -> None:
    for name, case in cases_of(gated / "report.xml").items():
        properties = {one.get("name", ""): one.get("value", "") for one in case.iter("property")}
        assert {key: value for key, value in properties.items() if value}.items() <= said_by(case).items(), name
        if "run" in properties:
            assert Path(said_by(case)["report"]).name == "report.html"
    mem = said_by(cases_of(gated / "report.xml")[f"test_mem[{EIGHT}]"])
    assert (mem["shown"], mem["margin"], mem["of_published"]) == ("16.00 GiB", "45.6 % inside", "57.1 %")


def test_a_gated_session_is_valid_and_so_is_the_file_of_its_run_without_any_exception(gated: Path) -> None:
    require_valid(gated / "report.xml")
    tags = {one.tag for case in cases_of(gated / "report.xml").values() for one in case}
    assert tags == {"system-out", "skipped", "failure", "properties"}
    xmlschema.XMLSchema(str(JENKINS)).validate(str(gated / "stored" / "junit.xml"))
    (suite,) = ElementTree.parse(str(gated / "stored" / "junit.xml")).getroot()
    assert (suite.get("name"), suite.get("tests")) == (EIGHT, "6")


def told(folder: Path, run_dir: Path) -> Session:
    """Judge a run in a session whose file is valid, and tells of what is wrong in the words of the verdict alone."""
    session = run_suite(folder, f"--replay={run_dir}")
    require_valid(folder / "report.xml")
    assert "Failed: " not in (folder / "report.xml").read_text()
    assert "Failed: " not in session.output
    return session


def test_a_failure_is_told_in_the_words_of_the_verdict_alone(tmp_path: Path) -> None:
    mem = told(tmp_path, store(tmp_path / "stored", used_gib=31.0)).by_metric["mem"]

    assert mem.outcome == "failure"
    assert mem.message.startswith("fail: mem 31.00 GiB is above 29.40")


def test_an_invalid_run_is_told_in_the_words_of_the_verdict_alone(tmp_path: Path) -> None:
    run_dir = store(tmp_path / "stored")
    (run_dir / "SHA256SUMS").unlink()

    session = told(tmp_path, run_dir)

    assert {case.outcome for case in session.by_metric.values()} == {"error"}


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
def test_a_viewer_that_ignores_properties_shows_each_number(gated: Path, tmp_path: Path) -> None:
    pytest.importorskip("junit2htmlreport")

    viewer = [sys.executable, "-m", "junit2htmlreport", str(gated / "report.xml"), str(tmp_path / "report.html")]
    subprocess.run(viewer, check=True)

    page = html.unescape((tmp_path / "report.html").read_text())
    for name, case in cases_of(gated / "report.xml").items():
        values = [one.get("value", "") for one in case.iter("property")]
        assert [one for one in values if re.search(r"\d", one) and one not in page] == [], name
