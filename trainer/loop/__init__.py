"""The training program of one rank: session, protocol, steps, evaluation, checkpoints."""

from __future__ import annotations
