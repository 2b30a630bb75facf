"""Starts the ranks of a run with engines that exist; each launcher turns settings into a command and an environment."""

from __future__ import annotations

from trainer.launch.local import Launch, local_launch

__all__ = ["Launch", "local_launch"]
