"""The subcommands of `python -m reports`."""

from __future__ import annotations
