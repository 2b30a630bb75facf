"""A device that computes wrong is named in the gate's last line, and what may differ is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.suite.junit import Session, run_suite
from tests.suite.stored import site_file, waiver

CELL = "virtual-1x2-fp32-bs2"
SCENARIO = """
[[fault]]
kind = "numerics"
error = "element"
operator = "conv2d"
direction = "wgrad"
ranks = [1]

[[fault]]
kind = "numerics"
error = "unordered"
operator = "roi-align"
direction = "backward"
"""

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def session(tmp_path_factory: Any) -> Session:
    folder = Path(str(tmp_path_factory.mktemp("numerics")))
    scenario = folder / "scenario.toml"
    scenario.write_text(SCENARIO)
    return run_suite(folder, "-m", "virtual", "--topo", "1x2", "--steps", "100", "--gate", "--scenario", scenario)


def test_one_wrong_device_is_named_with_operator_pass_and_dtype(session: Session) -> None:
    last = session.last_line

    assert last == f"GATE: FAIL  {CELL}: operators: conv2d wgrad fp32 on device 1"
    assert session.cases[f"test_operator[{CELL}-conv2d-wgrad-fp32]"].outcome == "failure"
    assert session.cases[f"test_operator[{CELL}-conv2d-fprop-fp32]"].outcome == "passed"


def test_its_answers_are_kept_and_sealed(session: Session) -> None:
    (run_dir,) = session.runs

    assert [path.name for path in run_dir.glob("operators-*.npz")] == ["operators-0001.npz"]
    assert "operators-0001.npz" in (run_dir / "SHA256SUMS").read_text()


def test_the_site_can_waive_it(session: Session, tmp_path: Path) -> None:
    site = site_file(tmp_path / "site.toml", {}, [waiver("conv2d wgrad fp32", cell=CELL)])

    replayed = run_suite(tmp_path, "--replay", session.runs[0], "--gate", "--baseline", site)

    assert replayed.cases[f"test_operator[{CELL}-conv2d-wgrad-fp32]"].outcome == "skipped"
    assert replayed.last_line.startswith("GATE: PASS, simulated, 1 waived")


def test_another_order_of_summation_is_recorded_where_it_is_allowed(session: Session, tmp_path: Path) -> None:
    (run_dir,) = session.runs
    replayed = run_suite(tmp_path, "--replay", run_dir)

    for case in (session.cases[f"test_repeatable[{CELL}]"], replayed.cases[f"test_repeatable[{CELL}]"]):
        assert case.outcome == "passed"
        assert "roi-align-backward-fp32" in case.properties["note"]
