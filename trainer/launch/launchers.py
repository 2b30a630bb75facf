"""The launchers: which processes to start on this host so that an agent runs on every host of the run.

`local` starts agents directly, `ssh` through the OpenSSH client, `slurm` by srun.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Mapping, Sequence

PROGRAM_FOLDER = Path(__file__).resolve().parents[2]
"""The folder that `python -m trainer` has to be started in."""

# The words after it are its arguments, so nothing needs quoting; the host's own PYTHONPATH stays in force.
_BOOTSTRAP = 'PYTHONPATH="$1${PYTHONPATH:+:$PYTHONPATH}" exec "$2" -m trainer.launch.agent $3'

# Never prompt; notice a dead host or network within 15 s. Host keys are checked as usual.
_SSH_OPTIONS = (
    *("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=5", "ServerAliveCountMax=3", "LogLevel=INFO"),
)

_SSH_ADVICE = {
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


@dataclass(frozen=True)
class Start:
    """A process to start: `nodes` are the hosts whose agents answer through it, `name` is for messages.

    `added` is the environment that it needs beside the session's.
    """

    command: list[str]
    nodes: tuple[int, ...]
    name: str
    added: Mapping[str, str] = field(default_factory=dict)


def agent_command(prefix: Sequence[str], python: str | None, node: int | None) -> list[str]:
    """Return the command that starts an agent on a host, after `prefix`; without `node` it takes Slurm's number."""
    number = "" if node is None else f"--node={node}"
    return [*prefix, "sh", "-c", _BOOTSTRAP, "agent", str(PROGRAM_FOLDER), python or sys.executable, number]


def local_starts(prefix: Sequence[str], python: str | None, *, nodes: int = 1) -> list[Start]:
    """Return how to start `nodes` agents on this host; several stand for the hosts of a simulated device.

    >>> [start.nodes for start in local_starts([], None, nodes=2)]
    [(0,), (1,)]
    """
    return [Start(agent_command(prefix, python, node), (node,), "this host") for node in range(nodes)]


def ssh_starts(hosts: Sequence[str], prefix: Sequence[str], python: str | None, config: Path | None) -> list[Start]:
    """Return how to start an agent on each of `hosts`, whose names have been checked (`hosts.check_hosts`)."""
    client = ["ssh", "-T", *_config(config), *(word for option in _SSH_OPTIONS for word in ("-o", option))]
    return [
        Start([*client, host, shlex.join(agent_command(prefix, python, node))], (node,), host)
        for node, host in enumerate(hosts)
    ]


def slurm_starts(
    nodes: int,
    hosts: Sequence[str],
    prefix: Sequence[str],
    python: str | None,
    options: Sequence[str],
    environment: Mapping[str, str],
) -> list[Start]:
    """Return how to start an agent on each of `nodes` nodes; srun passes standard input on to all of them.

    Inside an allocation (`environment` has SLURM_JOB_ID) `options` go to srun, otherwise to salloc.
    """
    shape = [f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
    shape += [f"--nodelist={','.join(hosts[:nodes])}"] if hosts else []
    inside = bool(environment.get("SLURM_JOB_ID"))
    # All of a node's cores for its one task, and not bound: the ranks divide them among themselves.
    step = ["srun", *shape, "--cpu-bind=none", "--kill-on-bad-exit=0"]
    cores = environment.get("SLURM_CPUS_ON_NODE", "") if inside else ""
    step += [f"--cpus-per-task={cores}"] if cores.isdigit() else []
    agents = agent_command(prefix, python, None)
    command = [*step, *options, *agents] if inside else ["salloc", *shape, "--exclusive", *options, *step, *agents]
    return [Start(command, tuple(range(nodes)), "Slurm")]


def real_name(host: str, config: Path | None) -> str:
    """Return the name or address that ssh connects to for `host`, which may be an alias of its configuration."""
    names: list[str] = []
    command = ["ssh", *_config(config), "-G", host]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=10, check=False)
        names = [line.split(None, 1)[1] for line in done.stdout.splitlines() if line.startswith("hostname ")]
    except (OSError, subprocess.TimeoutExpired):
        pass
    return names[0] if names else host.rpartition("@")[2]


def ssh_advice(said: str) -> str:
    """Return what to do about an error message of ssh, "" for an unknown one."""
    return next((f"{text}; `ssh HOST true` has to work" for words, text in _SSH_ADVICE.items() if words in said), "")


def _config(file: Path | None) -> list[str]:
    return [] if file is None else ["-F", str(file)]
