"""The closing tables of what was held against each other: topologies of a device, ranks of a run, cards of a host."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from reports.numbers import bound, half_width_percent, quantity
from reports.terminal.console import COLOURS, Line, aligned

_SCALING = ("cell", "compared with", "efficiency", "bound", "verdict", "skew", "slowest rank")
_CARDS = ("card", "serial", "p_core", "of its siblings'", "verdict")


def comparison_lines(compared: Sequence[Mapping[str, Any]]) -> dict[str, list[Line]]:
    """Return the lines of each table by its title, from what the comparisons sent along; none for a table of nothing.

    Each has `metric`, `verdict`, `measured`, `interval`, `low`, `high` and `cell`; of an efficiency also `than`, of a
    skew `slowest`, of siblings `cards`: of each its `card`, `serial`, `p_core`, `interval`, `share` and `verdict`.
    """
    tables = {"scaling": _scaling([one for one in compared if one["metric"] in ("efficiency", "skew")])}
    for one in compared:
        if one["metric"] == "siblings":
            tables[f"cards of {one['cell']}"] = _cards(one)
    return {title: lines for title, lines in tables.items() if lines}


def _scaling(compared: Sequence[Mapping[str, Any]]) -> list[Line]:
    if not compared:
        return []
    rows, colours = [_SCALING], [""]
    for cell in dict.fromkeys(one["cell"] for one in compared):
        mine = [one for one in compared if one["cell"] == cell]
        skew = next((one for one in mine if one["metric"] == "skew"), None)
        efficiencies: list[Mapping[str, Any] | None] = [one for one in mine if one["metric"] == "efficiency"]
        for efficiency in efficiencies or [None]:
            verdicts = [one["verdict"] for one in (efficiency, skew) if one is not None]
            rows.append((cell, *_efficiency(efficiency), *_skew(skew)))
            colours.append(next((COLOURS[word] for word in COLOURS if word in verdicts and word != "pass"), "green"))
    return aligned(rows, colours) + _explained(compared)


def _efficiency(one: Mapping[str, Any] | None) -> tuple[str, str, str, str]:
    if one is None:
        return "-", "-", "-", "-"
    return one["than"], _value(one), bound(one["low"], one["high"], ""), one["verdict"]


def _skew(one: Mapping[str, Any] | None) -> tuple[str, str]:
    if one is None or one["measured"] is None:
        return "-", "-"
    return f"{one['measured']:.3f} {one['verdict']}", one["slowest"]


def _cards(one: Mapping[str, Any]) -> list[Line]:
    rows, colours = [_CARDS], [""]
    for card in one["cards"]:
        share = "-" if card["share"] is None else f"{card['share']:.1%}"
        p_core = quantity(card["p_core"], "images/s")
        if card["p_core"] is not None:
            p_core += half_width_percent(card["p_core"], card["interval"])
        rows.append((str(card["card"]), card["serial"] or "-", p_core, share, card["verdict"]))
        colours.append(COLOURS[card["verdict"]])
    return aligned(rows, colours) + _explained([one])


def _explained(compared: Sequence[Mapping[str, Any]]) -> list[Line]:
    """Say of what does not pass why; of siblings also who is the slowest of those that do."""
    told = [one for one in compared if one["verdict"] != "pass" or one["metric"] == "siblings"]
    lines = [Line(f"{one['metric']}: {one['reason']}", COLOURS[one["verdict"]]) for one in told]
    return [Line(""), *lines] if lines else []


def _value(one: Mapping[str, Any]) -> str:
    if one["measured"] is None:
        return "-"
    return quantity(one["measured"], "") + half_width_percent(one["measured"], one["interval"])
