"""The words that start an agent reach it as they are, through a real shell, whatever stands in them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Sequence

import pytest

from trainer.launch import starts
from trainer.launch.local import local_starts
from trainer.launch.source import PROGRAM_FOLDER
from trainer.launch.starts import agent_command

# Stands for an agent's Python, and says what it was started with.
FAKE_PYTHON = f"""#!{sys.executable}
import json, os, sys
print(json.dumps({{"words": sys.argv[1:], "path": os.environ.get("PYTHONPATH"), "mark": os.environ.get("MARK")}}))
"""
ODD_NAMES = ("plain", "with space", "semi;colon", "quo'te", 'dou"ble', "dol$HOME", "back`id`tick", "new\nline", "star*")


def fake_python(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "python"
    path.write_text(FAKE_PYTHON)
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
    monkeypatch.setattr(starts, "PROGRAM_FOLDER", tmp_path / name / "program")
    python = fake_python(tmp_path / name)
    command = agent_command(["env", f"MARK={name}"], python, 1)

    # What ssh does with it: the words become one, which the login shell takes apart again.
    told = said_by(["sh", "-c", shlex.join(command)] if remote else command)

    assert told["words"] == ["-m", "trainer.launch.agent", "--node=1"]
    assert told["path"] == str(tmp_path / name / "program")
    assert told["mark"] == name


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
