"""Sessions that ask what the device does at most: one that passes, and planted causes that are found and named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.suite.junit import run_suite

pytestmark = pytest.mark.integration

CELL = "virtual-1x2-fp32-bs2"
ASK = ("suite/test_peaks.py", "-m", "virtual", "--topo", "1x2", "--numerics", "none", "--links", "quick")


def test_it_is_answered_without_data_and_training(tmp_path: Path) -> None:
    session = run_suite(tmp_path, *ASK)

    assert session.code == 0, session.output
    assert not (session.runs[0].parent / "data").exists()
    outcomes = {name: case.outcome for name, case in session.cases.items()}
    assert {outcomes[f"test_{name}"] for name in (f"copies[{CELL}]", f"memory[{CELL}-patterns]")} == {"passed"}
    assert outcomes[f"test_peak[{CELL}-fp32-gemm]"] == "passed"
    assert outcomes[f"test_peak[{CELL}-conv-256-256-3x3-200x336]"] == "skipped"
    assert "memory   " in session.output


def test_planted_causes_are_found_with_their_rank(tmp_path: Path) -> None:
    scenario = tmp_path / "planted.toml"
    scenario.write_text(
        '[[fault]]\nkind = "slow_part"\npart = "memory"\nfactor = 1.5\nranks = [1]\n'
        '[[fault]]\nkind = "wrong_part"\npart = "convolution"\nranks = [0]\n'
    )
    session = run_suite(tmp_path, *ASK, "--scenario", scenario)

    failed = {name: case.message for name, case in session.cases.items() if case.outcome == "failure"}
    assert set(failed) == {
        f"test_memory[{CELL}-bandwidth]",
        *(name for name in session.cases if "-conv-" in name),
    }
    assert "rank 1 (device 1 of" in failed[f"test_memory[{CELL}-bandwidth]"]
    assert "rank 0 (device 0 of" in failed[f"test_peak[{CELL}-conv-256-256-3x3-50x84]"]


def test_a_rate_above_the_specification_makes_the_run_invalid(tmp_path: Path) -> None:
    scenario = tmp_path / "fast.toml"
    scenario.write_text("gemm_tflops = 120.0")
    session = run_suite(tmp_path, *ASK, "--scenario", scenario)

    assert session.code != 0
    assert {case.outcome for name, case in session.cases.items() if name.startswith("test_")} == {"error"}
    assert "expected at most the specified 21" in session.output
    assert "not computed in fp32 but in a narrower format" in session.output
