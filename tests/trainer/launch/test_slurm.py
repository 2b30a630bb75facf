"""srun starts one agent a node, inside an allocation or in one that salloc makes."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.launch.slurm import slurm_starts

OPTIONS = ("--partition=gpu", "--time=8:00:00")


def words(environment: dict[str, str], nodes: int = 2, hosts: Any = (), options: Any = OPTIONS) -> list[str]:
    (start,) = slurm_starts(nodes, hosts, ["env", "A=b c"], None, options, environment)
    assert (start.nodes, start.name) == (tuple(range(nodes)), "Slurm")
    return start.command


def test_inside_an_allocation_it_is_a_step_of_it_and_the_options_are_its_own() -> None:
    command = words({"SLURM_JOB_ID": "7"})

    assert command[:4] == ["srun", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1"]
    assert "salloc" not in command
    assert command.index("--partition=gpu") < command.index("env")


def test_outside_salloc_has_the_options_and_srun_stands_behind_it() -> None:
    command = words({})

    assert command[0] == "salloc"
    assert command.count("srun") == 1
    assert command.index("--exclusive") < command.index("--time=8:00:00") < command.index("srun")
    assert not any(word.startswith("--cpus-per-task") for word in command)
    for part in (command[: command.index("srun")], command[command.index("srun") :]):
        assert {"--nodes=2", "--ntasks=2", "--ntasks-per-node=1"} <= set(part)


@pytest.mark.parametrize("environment", [{}, {"SLURM_JOB_ID": ""}, {"SLURM_CPUS_ON_NODE": "8"}])
def test_only_a_jobs_number_means_that_there_is_an_allocation(environment: dict[str, str]) -> None:
    assert words(environment)[0] == "salloc"


@pytest.mark.parametrize(("cores", "expected"), [("64", ["--cpus-per-task=64"]), ("", []), ("64(x2)", []), ("-1", [])])
def test_a_task_has_all_cores_of_its_node_and_is_not_bound(cores: str, expected: list[str]) -> None:
    command = words({"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": cores})

    assert [word for word in command if word.startswith("--cpus-per-task")] == expected
    assert "--cpu-bind=none" in command
    # The others have something to say when one host's ranks end badly.
    assert "--kill-on-bad-exit=0" in command


@pytest.mark.parametrize("environment", [{}, {"SLURM_JOB_ID": "7"}])
def test_only_as_many_hosts_as_are_needed_are_asked_for(environment: dict[str, str]) -> None:
    assert "--nodelist=a,b" in words(environment, hosts=("a", "b", "c"))
    assert not any(word.startswith("--nodelist") for word in words(environment))


def test_the_agents_find_out_which_node_they_are_on_and_need_no_quotes() -> None:
    command = words({"SLURM_JOB_ID": "7"})

    assert command[-1] == ""
    assert command[command.index("env") + 1] == "A=b c"
