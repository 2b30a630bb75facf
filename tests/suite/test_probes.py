"""Sessions that ask about links and peaks without training: a sound one, and one that finds each planted cause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.suite.junit import Session, run_suite

pytestmark = pytest.mark.integration

CELL = "virtual-1x2-fp32-bs2"
PEAKS = ("suite/test_peaks.py", "-m", "virtual", "--topo", "1x2", "--numerics", "none", "--links", "quick")
PLANTED = """
[[fault]]
kind = "links"
error = "bit"
collective = "broadcast"
least_bytes = 4096
ranks = [1]

[[fault]]
kind = "slow_part"
part = "memory"
factor = 1.5
ranks = [1]

[[fault]]
kind = "wrong_part"
part = "convolution"
ranks = [0]
"""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: Any) -> Session:
    return run_suite(Path(str(tmp_path_factory.mktemp("sound"))), *PEAKS, "suite/test_links.py")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: Any) -> Session:
    folder = Path(str(tmp_path_factory.mktemp("planted")))
    (folder / "planted.toml").write_text(PLANTED)
    return run_suite(folder, *PEAKS, "suite/test_links.py", "--scenario", folder / "planted.toml")


def test_sound_links_pass_and_their_numbers_are_in_the_junit_report(sound: Session) -> None:
    names = ("collective_results", "buckets", "latency", "pairs")
    assert {name: sound.cases[f"test_{name}[{CELL}]"].outcome for name in names} == dict.fromkeys(names, "passed")
    assert 19 < float(sound.cases[f"test_latency[{CELL}]"].properties["latency_us"]) < 21
    assert float(sound.cases[f"test_pairs[{CELL}]"].properties["slowest_devices_gb_per_s"]) > 30
    (line,) = [line for line in sound.output.splitlines() if line.startswith("links ")]
    assert line.split()[-1] == "pass"


def test_peaks_are_answered_without_data_and_training(sound: Session) -> None:
    assert sound.code == 0, sound.output
    assert not (sound.runs[0].parent / "data").exists()
    outcomes = {name: case.outcome for name, case in sound.cases.items()}
    assert {outcomes[f"test_{name}"] for name in (f"copies[{CELL}]", f"memory[{CELL}-patterns]")} == {"passed"}
    assert outcomes[f"test_peak[{CELL}-fp32-gemm]"] == "passed"
    assert outcomes[f"test_peak[{CELL}-conv-256-256-3x3-200x336]"] == "skipped"
    assert "memory   " in sound.output


def test_a_wrong_bit_is_found_with_the_rank_that_received_it(planted: Session) -> None:
    case = planted.cases[f"test_collective_results[{CELL}]"]

    assert case.outcome == "failure"
    assert "broadcast of 262148 B from rank 0 on rank 1 (device 1 of " in case.message
    assert planted.cases[f"test_latency[{CELL}]"].outcome == "passed"


def test_a_slow_memory_and_wrong_convolutions_are_found_with_their_rank(planted: Session) -> None:
    of_links = f"test_collective_results[{CELL}]"
    failed = {name: case.message for name, case in planted.cases.items() if case.outcome == "failure"}

    convolutions = {name for name in planted.cases if "-conv-" in name}
    assert set(failed) == {of_links, f"test_memory[{CELL}-bandwidth]", *convolutions}
    assert "rank 1 (device 1 of" in failed[f"test_memory[{CELL}-bandwidth]"]
    assert "rank 0 (device 0 of" in failed[f"test_peak[{CELL}-conv-256-256-3x3-50x84]"]


def test_a_rate_above_the_specification_makes_the_run_invalid(tmp_path: Path) -> None:
    scenario = tmp_path / "fast.toml"
    scenario.write_text("gemm_tflops = 120.0")
    session = run_suite(tmp_path, *PEAKS, "--scenario", scenario)

    assert session.code != 0
    assert {case.outcome for name, case in session.cases.items() if name.startswith("test_")} == {"error"}
    assert "expected at most the specified 21" in session.output
    assert "not computed in fp32 but in a narrower format" in session.output
