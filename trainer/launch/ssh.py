"""Ranks on other hosts through the OpenSSH client, which must be able to log in without being asked anything."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Sequence

from trainer.launch.starts import Start, agent_command

# Never ask; notice within 15 s that a host or the network to it is gone, and say so. Host keys are checked as usual.
_OPTIONS = ("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=5", "ServerAliveCountMax=3", "LogLevel=INFO")

_ADVICE = {
    "Host key verification failed": "this machine does not know the host's key, or knows another one: log in once by "
    "hand and check the key",
    "Permission denied": "the login was refused: put your public key into its authorized_keys",
    "Could not resolve hostname": "no such name: check --hosts",
    "Connection refused": "no sshd listens there: start it, or check the port in ssh's configuration",
    "Connection timed out": "it does not answer: check that it is up, and the network and firewalls to it",
    "No route to host": "it cannot be reached: check that it is up, and the network to it",
    "Network is unreachable": "it cannot be reached: check the network to it",
    "not responding": "the connection was lost in the middle of the run: check the host and the network to it",
}


def ssh_starts(hosts: Sequence[str], prefix: Sequence[str], python: str | None, config: Path | None) -> list[Start]:
    """Return how to start an agent on each of `hosts`, whose names have been checked."""
    return [
        Start(
            [*_client(config), host, shlex.join(agent_command(prefix, python, node))],
            (node,),
            host,
        )
        for node, host in enumerate(hosts)
    ]


def real_name(host: str, config: Path | None) -> str:
    """Return the name or address that ssh connects to for `host`, which may be an alias of its configuration."""
    command = ["ssh", *_file(config), "-G", host]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return host.rpartition("@")[2]
    names = [line.split(None, 1)[1] for line in done.stdout.splitlines() if line.startswith("hostname ")]
    return names[0] if names else host.rpartition("@")[2]


def advice(said: str) -> str:
    """Return what to do about ssh's own words, "" where nothing is known about them."""
    return next((f"{text}; `ssh HOST true` has to work" for words, text in _ADVICE.items() if words in said), "")


def _client(config: Path | None) -> list[str]:
    options = [word for option in _OPTIONS for word in ("-o", option)]
    return ["ssh", "-T", *_file(config), *options]


def _file(config: Path | None) -> list[str]:
    return [] if config is None else ["-F", str(config)]
