"""The JUnit files of real sessions are those that Jenkins and GitLab accept."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import xmlschema

from tests.suite.junit import run_suite
from tests.suite.stored import EIGHT, store

JENKINS = Path(__file__).parents[1] / "reports" / "jenkins" / "junit-10.xsd"


def validated(report: Path) -> ElementTree.Element:
    """Return the session's file, which is that of the schema but for the properties of its test cases."""
    schema, root = xmlschema.XMLSchema(str(JENKINS)), ElementTree.parse(str(report)).getroot()
    found = [(case, case.find("properties")) for case in root.iter("testcase")]
    assert any(properties is not None for _, properties in found)
    for case, properties in found:
        if properties is not None:
            assert not schema.is_valid(ElementTree.tostring(root, encoding="unicode"))  # else this is not needed
            case.remove(properties)
    schema.validate(ElementTree.tostring(root, encoding="unicode"))
    return root


@pytest.mark.parametrize("gate", [False, True])
def test_a_session_in_which_metrics_pass_are_recorded_and_decide_the_gate(tmp_path: Path, gate: bool) -> None:
    run_dir = store(tmp_path / "stored")

    run_suite(tmp_path, f"--replay={run_dir}", *(["--gate"] if gate else []))

    root = validated(tmp_path / "report.xml")
    assert {one.tag for case in root.iter("testcase") for one in case} == {
        "system-out",
        "skipped",
        *(["failure"] if gate else []),
    }


def test_a_session_with_failures(tmp_path: Path) -> None:
    run_dir = store(tmp_path / "stored", used_gib=31.0)

    session = run_suite(tmp_path, f"--replay={run_dir}")

    assert session.by_metric["mem"].outcome == "failure"
    validated(tmp_path / "report.xml")


def test_a_session_in_which_nothing_can_be_trusted(tmp_path: Path) -> None:
    run_dir = store(tmp_path / "stored")
    (run_dir / "SHA256SUMS").unlink()

    session = run_suite(tmp_path, f"--replay={run_dir}")

    assert {case.outcome for case in session.by_metric.values()} == {"error"}
    validated(tmp_path / "report.xml")


def test_each_judged_run_has_a_file_that_needs_no_exception(tmp_path: Path) -> None:
    run_dir = store(tmp_path / "stored")

    run_suite(tmp_path, f"--replay={run_dir}")

    schema = xmlschema.XMLSchema(str(JENKINS))
    schema.validate(str(run_dir / "junit.xml"))
    (suite,) = ElementTree.parse(str(run_dir / "junit.xml")).getroot()
    assert (suite.get("name"), suite.get("tests")) == (EIGHT, "6")
