"""All ranks on this host. A simulated device's hosts are simulated too: an agent each, side by side."""

from __future__ import annotations

from typing import Sequence

from trainer.launch.starts import Start, agent_command


def local_starts(prefix: Sequence[str], python: str | None, *, nodes: int = 1) -> list[Start]:
    """Return how to start `nodes` agents on this host; more than one stand for several hosts of a simulated device."""
    return [Start(agent_command(prefix, python, node), (node,), "this host") for node in range(nodes)]
