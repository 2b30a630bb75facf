"""What is asked of which device, and the answer to a question about something that does not exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.suite.junit import run_suite

CLOCKS = ["clock_is_monotonic", "synchronise_waits", "timer_sees_queued_work"]
R300 = [
    *("machine", "card", "card_count", "card_memory", "os", "kernel", "driver", "image", "framework", "dependencies"),
    *("python", "torch", "torchvision", "numpy", "pillow", "train_images", "val_images", "backbone"),
]
CPU = ["torch", "torchvision", "train_images", "val_images"]
VIRTUAL = ["card_count", "card_memory", *CPU]
R300_1X8 = ["e2e_time", "map", "mem", "p_core", "p_train", "p_whole", "health", "step_times", *CLOCKS]


def collected(folder: Path, *arguments: str, **environment: str) -> list[str]:
    session = run_suite(folder, "--collect-only", "-q", *arguments, **environment)
    assert (session.code, session.runs) == (0, []), session.output
    return [line.partition("::")[2] for line in session.output.splitlines() if "::" in line]


def about(cell: str, questions: list[str], items: list[str]) -> list[str]:
    """The names of the tests of a cell: its questions, and one for each item of its environment."""
    return [
        *(f"test_{question}[{cell}]" for question in questions),
        *(f"test_environment[{cell}-{item}]" for item in items),
    ]


@pytest.fixture(scope="module")
def r300(tmp_path_factory: Any) -> list[str]:
    """The names of all tests of the R300, in their order."""
    return collected(Path(str(tmp_path_factory.mktemp("r300"))), "-m", "r300", "-n", "0")


def test_what_the_table_marks_as_not_applicable_is_not_asked(r300: list[str]) -> None:
    asked = ["mem", "p_core", "p_train", "p_whole", "health", "step_times", *CLOCKS]
    names = [name for name in r300 if "[r300-1x1-" in name and "-to-" not in name]

    assert sorted(names) == sorted(about("r300-1x1-fp32-bs16", asked, R300))


def test_the_network_is_asked_about_where_there_are_several_machines(r300: list[str]) -> None:
    names = [name for name in r300 if name.startswith("test_environment[r300-2x8-")]

    assert sorted(names) == sorted(about("r300-2x8-fp32-bs16", [], [*R300, "network"]))


def test_what_needs_several_runs_is_asked_last(r300: list[str]) -> None:
    assert [name.partition("[")[0] for name in r300[-2:]] == ["test_efficiency"] * 2
    assert not any("efficiency" in name for name in r300[:-2])


def test_without_a_marker_the_cpu_is_asked(tmp_path: Path) -> None:
    asked = [name for name in R300_1X8 if name != "health"]  # a share of the host has no health of its own
    assert set(collected(tmp_path)) == set(about("cpu-1x1-fp32-bs8", asked, CPU))


def test_a_gate_needs_none_of_the_packages_that_only_the_projects_own_tests_need(tmp_path: Path) -> None:
    """A topology that is given as a word of its own makes pytest read tests/conftest.py too."""
    missing = tmp_path / "missing"
    missing.mkdir()
    for name in ("faster_coco_eval", "hypothesis", "psycopg", "selenium", "xmlschema", "yaml"):
        (missing / f"{name}.py").write_text(f"raise ModuleNotFoundError('No module named {name}')")

    names = collected(tmp_path, "-m", "r300", "--topo", "1x8", PYTHONPATH=str(missing))

    assert sorted(names) == sorted(about("r300-1x8-fp32-bs16", [*R300_1X8, "skew"], R300))


def test_other_data_than_the_tables_is_not_asked_how_many_images_it_has(tmp_path: Path) -> None:
    names = collected(tmp_path, "suite/test_environment.py", "--data", str(tmp_path))

    assert sorted(names) == sorted(about("cpu-1x1-fp32-bs8", [], ["torch", "torchvision"]))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-m", "nosuch"], "Devices: a100, a100_80g, bi_v100, c500, cpu, h100, h200, r300"),
        (["suite/test_steps.py", "-m", "labs"], "selects no device; devices: a100"),
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


def test_each_topology_is_held_against_the_next_smaller_one_of_the_same_batch_size(tmp_path: Path) -> None:
    names = collected(tmp_path, "suite/test_scaling.py", "-m", "a100")

    assert sorted(name for name in names if "efficiency" in name) == [
        "test_efficiency[a100-1x1-fp32-bs16-to-1x8]",
        "test_efficiency[a100-1x8-fp32-bs16-to-2x8]",
    ]


def test_where_no_batch_size_is_common_the_test_says_both(tmp_path: Path) -> None:
    names = collected(tmp_path, "suite/test_scaling.py", "-m", "virtual", "--topo", "1x1", "--topo", "1x8")

    assert sorted(names) == ["test_efficiency[virtual-1x1-fp32-bs2-to-1x8]", "test_skew[virtual-1x8-fp32-bs2]"]


def test_each_card_asks_every_question_of_every_card_and_one_of_all(tmp_path: Path) -> None:
    names = collected(tmp_path, "-m", "virtual", "--each-card", VIRTUAL_VISIBLE_DEVICES="5,3")

    asked = ["mem", "p_core", "p_train", "health", "step_times", *CLOCKS]
    expected = [name for card in (3, 5) for name in about(f"virtual-1x1-fp32-bs2-card{card}", asked, VIRTUAL)]
    assert sorted(names) == sorted([*expected, "test_no_device_is_slower[virtual-1x1-fp32-bs2]"])


def test_without_the_variable_each_card_is_all_that_a_host_has(tmp_path: Path) -> None:
    names = collected(tmp_path, "suite/test_memory.py", "-m", "r300", "--each-card", XPU_VISIBLE_DEVICES="")

    assert names == [f"test_mem[r300-1x1-fp32-bs16-card{card}]" for card in range(8)]


def test_each_card_says_what_does_not_go_with_it(tmp_path: Path) -> None:
    session = run_suite(tmp_path, "--collect-only", "--each-card", "-m", "virtual", VIRTUAL_VISIBLE_DEVICES="1,1")

    assert session.code == 4
    assert "expected indexes or UUIDs of devices, as in 0,1, each once" in session.output
    assert "Traceback" not in session.output
