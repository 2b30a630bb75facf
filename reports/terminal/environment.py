"""The closing lines about the environment: what is not as the vendor's document states, a line an item."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from reports.terminal.console import Line

_COLOURS = {"differs": "red", "unknown": "yellow"}


def environment_lines(findings: Sequence[Mapping[str, Any]]) -> list[Line]:
    """Return a line for each item that differs or is unknown on some host; hosts of the same finding stand together.

    `findings` are EnvironmentFindings as objects; those that match, or of which nothing is stated, say nothing here.
    """
    by_item: dict[str, list[Mapping[str, Any]]] = {}
    for one in findings:
        if one["verdict"] in _COLOURS:
            by_item.setdefault(one["item"], []).append(one)
    return [_line(item, mine) for item, mine in by_item.items()]


def telemetry_lines(errors: Sequence[str]) -> list[Line]:
    """Return a line for each thing that a sampler could not read."""
    return [Line(f"telemetry  {error}", "yellow") for error in errors]


def _line(item: str, findings: Sequence[Mapping[str, Any]]) -> Line:
    hosts: dict[tuple[str, str, str], list[str]] = {}
    for one in findings:
        hosts.setdefault((one["found"], one["verdict"], one["reason"]), []).append(one["host"])
    parts = []
    for (found, verdict, reason), names in hosts.items():
        where = ", ".join(filter(None, names))
        why = f"{verdict}: {reason}" if reason else verdict
        parts.append(f"found {found or 'nothing'}{f' on {where}' if where else ''} ({why})")
    worst = "differs" if any(one["verdict"] == "differs" for one in findings) else "unknown"
    return Line(f"environment  {item}: stated {findings[0]['stated']}, {'; '.join(parts)}", _COLOURS[worst])
