"""The words that start an agent reach it as they are, locally, through ssh and through srun."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Sequence

import pytest

from tests.support import python_script
from trainer.launch import launchers
from trainer.launch.hosts import check_hosts
from trainer.launch.launchers import (
    PROGRAM_FOLDER,
    agent_command,
    local_starts,
    real_name,
    slurm_starts,
    ssh_advice,
    ssh_starts,
)

# Stands for an agent's Python, and says what it was started with.
FAKE_PYTHON = """import json, os, sys
print(json.dumps({"words": sys.argv[1:], "path": os.environ.get("PYTHONPATH"), "mark": os.environ.get("MARK")}))
"""
ODD_NAMES = ("plain", "with space", "semi;colon", "quo'te", 'dou"ble', "dol$HOME", "back`id`tick", "new\nline", "star*")


def fake_python(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "python"
    path.write_text(python_script(FAKE_PYTHON))
    path.chmod(0o755)
    return str(path)


def said_by(command: Sequence[str], **environment: str) -> dict[str, Any]:
    inherited = {key: text for key, text in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, env={**inherited, **environment}, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("remote", [False, True])
def test_odd_paths_and_words_arrive_as_they_are(tmp_path: Path, monkeypatch: Any, name: str, remote: bool) -> None:
    monkeypatch.setattr(launchers, "PROGRAM_FOLDER", tmp_path / name / "program")
    python = fake_python(tmp_path / name)
    command = agent_command(["env", f"MARK={name}"], python, 1)

    # What ssh does with it: the words become one, which the login shell takes apart again.
    found = said_by(["sh", "-c", shlex.join(command)] if remote else command)

    assert found["words"] == ["-m", "trainer.launch.agent", "--node=1"]
    assert found["path"] == str(tmp_path / name / "program")
    assert found["mark"] == name


def test_what_python_finds_over_there_stays_behind_the_program(tmp_path: Path) -> None:
    command = agent_command([], fake_python(tmp_path), 0)

    assert said_by(command)["path"] == str(PROGRAM_FOLDER)
    assert said_by(command, PYTHONPATH="/their/own")["path"] == f"{PROGRAM_FOLDER}:/their/own"


def test_an_agent_that_has_to_find_out_its_number_is_told_none(tmp_path: Path) -> None:
    assert said_by(agent_command([], fake_python(tmp_path), None))["words"] == ["-m", "trainer.launch.agent"]


def test_without_another_python_it_is_this_one() -> None:
    assert sys.executable in agent_command([], None, 0)
    assert sys.executable not in agent_command([], "/opt/vendor/bin/python", 0)


def test_on_this_host_there_is_one_process_for_each_simulated_host() -> None:
    first, second = local_starts(["nice"], None, nodes=2)

    assert (first.nodes, second.nodes) == ((0,), (1,))
    assert first.command[0] == "nice"
    assert {first.name, second.name} == {"this host"}
    assert (first.command[-1], second.command[-1]) == ("--node=0", "--node=1")
    assert len(local_starts([], None)) == 1


NEEDS_SSH = pytest.mark.skipif(shutil.which("ssh") is None, reason="needs the OpenSSH client")

# As the real one: what follows the host becomes one text, which a shell on the other side takes apart.
FAKE_SSH = """#!/bin/sh
while [ $# -gt 0 ]; do
  case "$1" in -o|-F) shift 2;; -*) shift;; *) break;; esac
done
shift
exec sh -c "$*"
"""


def test_each_host_has_a_client_of_its_own_in_their_order() -> None:
    first, second = ssh_starts(["gpu-1", "ci@gpu-0"], ["docker", "exec", "-i", "x"], "/bin/py", Path("/etc/own config"))

    assert [(one.nodes, one.name) for one in (first, second)] == [((0,), "gpu-1"), ((1,), "ci@gpu-0")]
    assert first.command[:4] == ["ssh", "-T", "-F", "/etc/own config"]
    assert first.command[-2] == "gpu-1"
    assert shlex.split(second.command[-1])[:4] == ["docker", "exec", "-i", "x"]
    assert shlex.split(second.command[-1])[-1] == "--node=1"


def test_nothing_is_asked_and_a_dead_host_is_noticed() -> None:
    (start,) = ssh_starts(["gpu"], [], None, None)

    options = [word for before, word in zip(start.command, start.command[1:]) if before == "-o"]
    assert {"BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=5", "ServerAliveCountMax=3"} <= set(options)
    assert not any("StrictHostKeyChecking" in word or "KnownHosts" in word for word in start.command)
    assert "-F" not in start.command


@pytest.mark.parametrize("name", ODD_NAMES)
def test_the_remote_shell_makes_of_it_what_was_meant(tmp_path: Path, monkeypatch: Any, name: str) -> None:
    client = tmp_path / "bin" / "ssh"
    client.parent.mkdir()
    client.write_text(FAKE_SSH)
    client.chmod(0o755)
    monkeypatch.setattr(launchers, "PROGRAM_FOLDER", tmp_path / name)
    (start,) = ssh_starts(["gpu"], ["env", f"MARK={name}"], fake_python(tmp_path / name), tmp_path / "config")

    found = json.loads(
        subprocess.run(
            start.command,
            env={**os.environ, "PATH": f"{client.parent}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
    )

    assert (found["words"][-1], found["mark"]) == ("--node=0", name)
    assert found["path"].split(":")[0] == str(tmp_path / name)


@NEEDS_SSH
def test_the_real_client_takes_the_options(tmp_path: Path) -> None:
    (start,) = ssh_starts(["gpu-7"], [], None, None)
    empty = tmp_path / "config"
    empty.write_text("")

    done = subprocess.run([*start.command[:-2], "-F", str(empty), "-G", "gpu-7"], stdout=subprocess.PIPE, text=True)

    assert done.returncode == 0
    assert {"batchmode yes", "serveraliveinterval 5", "serveralivecountmax 3", "connecttimeout 10"} <= set(
        done.stdout.splitlines()
    )


@NEEDS_SSH
def test_an_alias_has_the_name_that_ssh_connects_to(tmp_path: Path) -> None:
    config = tmp_path / "own config"
    config.write_text("Host first\n  HostName 10.7.0.1\n  User ci\nHost *.gpu\n  HostName %h.example.org\n")

    assert real_name("first", config) == "10.7.0.1"
    assert real_name("a.gpu", config) == "a.gpu.example.org"
    assert real_name("user@first", config) == "10.7.0.1"
    assert real_name("other", config) == "other"


def test_without_a_client_or_with_a_broken_file_the_name_is_as_given(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "config").write_text("Nonsense yes\n")

    assert real_name("user@gpu-7", tmp_path / "config") == "gpu-7"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert real_name("user@gpu-7", None) == "gpu-7"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Host key verification failed.", "check the key"),
        ("ci@gpu: Permission denied (publickey).", "authorized_keys"),
        ("ssh: Could not resolve hostname gpu: Name or service not known", "check --hosts"),
        ("ssh: connect to host gpu port 22: Connection refused", "no sshd listens there"),
        ("ssh: connect to host gpu port 22: Connection timed out", "check that it is up"),
        ("ssh: connect to host gpu port 22: No route to host", "cannot be reached"),
        ("Timeout, server gpu not responding.", "lost in the middle of the run"),
    ],
)
def test_what_ssh_says_is_explained(said: str, expected: str) -> None:
    assert expected in ssh_advice(f"motd | {said}")
    assert ssh_advice(said).endswith("`ssh HOST true` has to work")


@NEEDS_SSH
def test_what_the_real_client_says_of_a_closed_port_is_known(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("Host *\n  HostName 127.0.0.1\n  Port 1\n")
    (start,) = ssh_starts(["gpu"], [], None, tmp_path / "config")

    done = subprocess.run(start.command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    assert done.returncode == 255
    assert "no sshd listens there" in ssh_advice(done.stderr)


@pytest.mark.parametrize("said", ["", "it said nothing", "sh: 1: /bin/py: not found"])
def test_nothing_is_made_up_about_other_words(said: str) -> None:
    assert ssh_advice(said) == ""


@NEEDS_SSH
def test_the_real_client_takes_every_name_that_is_let_through(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("")
    for host in ("gpu-07", "ci@gpu-07", "10.0.0.7", "fe80::1%eth0"):
        assert check_hosts([host]) == ""
        assert real_name(host, tmp_path / "config") == host.rpartition("@")[2]


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
