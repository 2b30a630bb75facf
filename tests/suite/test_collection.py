"""What is asked of which device, and the answer to a question about something that does not exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.suite.junit import run_suite

CLOCKS = ["clock_is_monotonic", "synchronise_waits", "timer_sees_queued_work"]
R300_1X8 = ["e2e_time", "map", "mem", "p_core", "p_train", "p_whole", "step_times", *CLOCKS]


def collected(folder: Path, *arguments: str) -> list[str]:
    session = run_suite(folder, "--collect-only", "-q", *arguments)
    assert session.code == 0, session.output
    return [line.partition("::")[2] for line in session.output.splitlines() if "::" in line]


def test_there_is_one_test_for_each_applicable_metric_the_steps_and_each_clock(tmp_path: Path) -> None:
    names = collected(tmp_path, "-m", "r300", "--topo", "1x8")

    assert sorted(names) == sorted(f"test_{question}[r300-1x8-fp32-bs16]" for question in R300_1X8)


def test_what_the_table_marks_as_not_applicable_is_not_asked(tmp_path: Path) -> None:
    names = collected(tmp_path, "-m", "r300", "--topo", "1x1")

    asked = ["mem", "p_core", "p_train", "p_whole", "step_times", *CLOCKS]
    assert sorted(names) == sorted(f"test_{question}[r300-1x1-fp32-bs16]" for question in asked)


def test_without_a_marker_the_cpu_is_asked(tmp_path: Path) -> None:
    assert set(collected(tmp_path)) == {f"test_{question}[cpu-1x1-fp32-bs8]" for question in R300_1X8}


def test_collecting_boots_nothing(tmp_path: Path) -> None:
    assert run_suite(tmp_path, "--collect-only", "-q").runs == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-m", "r300", "--topo", "3x7"], "r300: 1x1, 1x8, 2x8"),
        (["-m", "r300", "--topo", "eight"], "NODESxCARDS"),
        (["-m", "nosuch"], "Devices: a100, bi_v100, c500, cpu, r300"),
        (["-m", "slow"], "selects no device; devices: a100"),
        (["suite/test_steps.py", "-m", "slow"], "selects no device; devices: a100"),
        (["--steps", "3", "--epochs", "1"], "give one of them"),
        (["--steps", "0"], "at least 1"),
        (["--precision", "int8"], "invalid choice"),
    ],
)
def test_what_does_not_exist_is_a_usage_error_that_lists_what_does(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    session = run_suite(tmp_path, *arguments)

    assert session.code == 4
    assert says in session.output
    assert "Traceback" not in session.output
    assert session.runs == []
