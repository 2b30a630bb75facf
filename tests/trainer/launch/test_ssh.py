"""ssh is asked for nothing that it would have to ask back, and its words are explained."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.launch.test_starts import ODD_NAMES, fake_python
from trainer.launch import starts
from trainer.launch.names import check_hosts
from trainer.launch.ssh import advice, real_name, ssh_starts

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
    monkeypatch.setattr(starts, "PROGRAM_FOLDER", tmp_path / name)
    (start,) = ssh_starts(["gpu"], ["env", f"MARK={name}"], fake_python(tmp_path / name), tmp_path / "config")

    told = json.loads(
        subprocess.run(
            start.command,
            env={**os.environ, "PATH": f"{client.parent}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
    )

    assert (told["words"][-1], told["mark"]) == ("--node=0", name)
    assert told["path"].split(":")[0] == str(tmp_path / name)


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
    assert expected in advice(f"motd | {said}")
    assert advice(said).endswith("`ssh HOST true` has to work")


@NEEDS_SSH
def test_what_the_real_client_says_of_a_closed_port_is_known(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("Host *\n  HostName 127.0.0.1\n  Port 1\n")
    (start,) = ssh_starts(["gpu"], [], None, tmp_path / "config")

    done = subprocess.run(start.command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    assert done.returncode == 255
    assert "no sshd listens there" in advice(done.stderr)


@pytest.mark.parametrize("said", ["", "it said nothing", "sh: 1: /bin/py: not found"])
def test_nothing_is_made_up_about_other_words(said: str) -> None:
    assert advice(said) == ""


@NEEDS_SSH
def test_the_real_client_takes_every_name_that_is_let_through(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("")
    for host in ("gpu-07", "ci@gpu-07", "10.0.0.7", "fe80::1%eth0"):
        assert check_hosts([host]) == ""
        assert real_name(host, tmp_path / "config") == host.rpartition("@")[2]
