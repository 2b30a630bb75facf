"""A device whose training step is wrong is named by rank and parameter, and so is one that is unlike its siblings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.suite.junit import Session, run_suite

CELL = "virtual-1x2-fp32-bs2"
SCENARIO = """
[[fault]]
kind = "numerics"
error = "tf32"
operator = "linear"
layer = "roi_heads.box_head.fc6"
ranks = [1]
"""

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def session(tmp_path_factory: Any) -> Session:
    folder = Path(str(tmp_path_factory.mktemp("one-step")))
    scenario = folder / "scenario.toml"
    scenario.write_text(SCENARIO)
    asked = ("suite/test_numerics.py", "-m", "virtual", "--topo", "1x2", "--numerics", "quick", "--scenario", scenario)
    return run_suite(folder, *asked, "-k", "gradients or trajectory or replayed or devices_agree")


def test_the_wrong_layer_and_its_device_are_named(session: Session) -> None:
    case = session.cases[f"test_gradients[{CELL}]"]

    assert case.outcome == "failure"
    assert case.properties["worst"].startswith("roi_heads.box_head.fc6")
    assert "rank 1 (device 1 of " in session.output
    assert "one step" in session.output


def test_a_device_that_is_wrong_each_time_gives_the_same_bits_again(session: Session) -> None:
    assert session.cases[f"test_replayed_step[{CELL}]"].outcome == "passed"
    assert session.cases[f"test_devices_agree[{CELL}]"].outcome == "failure"


def test_a_replay_asks_and_answers_the_same(session: Session, tmp_path: Path) -> None:
    replayed = run_suite(
        tmp_path, "suite/test_numerics.py", "--replay", session.runs[0], "-k", "gradients or trajectory"
    )

    outcomes = {name: case.outcome for name, case in replayed.cases.items()}
    assert outcomes == {name: session.cases[name].outcome for name in outcomes}
    assert set(outcomes) == {f"test_gradients[{CELL}]", f"test_trajectory[{CELL}]"}
