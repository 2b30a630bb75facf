"""What a launcher makes of a run: the processes to start on this host, each with the agents that answer through it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Mapping, Sequence

from trainer.launch.source import PROGRAM_FOLDER

# The words after it are its arguments, so nothing has to be quoted; what PYTHONPATH holds over there stays in force.
_BOOTSTRAP = 'PYTHONPATH="$1${PYTHONPATH:+:$PYTHONPATH}" exec "$2" -m trainer.launch.agent $3'


@dataclass(frozen=True)
class Start:
    """A process to start: `nodes` are the numbers of the hosts whose agents answer through it, `name` is for messages.

    `added` is the environment that it needs beside the session's.
    """

    command: list[str]
    nodes: tuple[int, ...]
    name: str
    added: Mapping[str, str] = field(default_factory=dict)


def agent_command(prefix: Sequence[str], python: str | None, node: int | None) -> list[str]:
    """Return the words that start an agent on a host, behind `prefix`; without `node` it finds out which it is."""
    asked = "" if node is None else f"--node={node}"
    return [*prefix, "sh", "-c", _BOOTSTRAP, "agent", str(PROGRAM_FOLDER), python or sys.executable, asked]
