"""What a run did without: the trainer's optimizations that were switched off, in words."""

from __future__ import annotations

from typing import Any, Mapping

_FEW = 2


def switched_off(verdict: Mapping[str, Any]) -> str:
    """Return what stands in a title, from a verdict.json: "without boxes_only", "13 optimizations off", or ""."""
    names = verdict.get("without") or ()
    if len(names) > _FEW:
        return f"{len(names)} optimizations off"
    return f"without {', '.join(names)}" if names else ""
