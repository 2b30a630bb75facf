"""`python -m reports compare A B`: holds two runs, or the runs of two releases, against each other."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Mapping, Sequence

from expected import METRICS, load_devices
from reports.commands.history import add_place, place
from reports.escapes import visible
from reports.history import HistoryError
from reports.history.comparable import Group, Side, comparisons, read_groups, side_of_folder, side_of_history
from reports.numbers import half_width_percent, quantity
from reports.terminal.console import aligned
from verdict.compare.comparability import differing, refusals

if TYPE_CHECKING:
    from verdict.compare.ab_comparison import ABComparison

EXIT_NOT_COMPARABLE = 2
SIGNIFICANT = 0.05

_HEADINGS = ("metric", "A", "B", "B / A", "95 % interval", "effect (g)", "p", "p (Holm)", "in words")
_OF_ONE_RUN = (
    "p and interval say how surely these two runs differ, from the scatter within each. What differs from run to run, "
    "of the same release too, is in neither: compare releases with --by release for that."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what may be asked for."""
    parser.add_argument("first", metavar="A", help="a run's folder, or its id or number in the history")
    parser.add_argument("second", metavar="B", help="what is held against it")
    parser.add_argument(
        "--by", choices=("run", "release"), default="run", help="what A and B name; with release, two labels"
    )
    parser.add_argument("--cell", metavar="ID", help="with --by release: only this cell")
    add_place(parser)


def main(arguments: argparse.Namespace) -> int:
    """Print the comparison, or why there can be none, and return the exit code."""
    return _by_release(arguments) if arguments.by == "release" else _by_run(arguments)


def _by_run(arguments: argparse.Namespace) -> int:
    devices = load_devices()
    sides: list[Side] = []
    for word in (arguments.first, arguments.second):
        folder = Path(word)
        sides.append(
            side_of_folder(folder, devices)
            if folder.is_dir()
            else side_of_history(place(arguments), word, devices, arguments.runs)
        )
    first, second = sides
    why = refusals(first.candidate, second.candidate)
    if why:
        return _refuse(f"{first.candidate.name} and {second.candidate.name}", why)
    found = comparisons(first, second)
    lines = [f"A  {first.told}", f"B  {second.told}", "", *_table(found, (first.intervals, second.intervals))]
    lines += ["", *_changed(first.versions, second.versions), _OF_ONE_RUN]
    print("\n".join(lines))
    return 0


def _by_release(arguments: argparse.Namespace) -> int:
    groups = read_groups(place(arguments), arguments.first, arguments.second, arguments.cell)
    if not groups:
        raise HistoryError(
            f"found no cell with valid runs of both {visible(arguments.first)} and {visible(arguments.second)}; "
            "python -m reports history lists the runs and the releases that they are filed under"
        )
    code = 0
    for at, group in enumerate(groups):
        print("\n" * bool(at) + f"{visible(group.cell_id)}")
        code = max(code, _group(group))
    return code


def _group(group: Group) -> int:
    if group.refused:
        return _refuse("the runs of the two releases", group.refused)
    for letter, release, names in zip("AB", group.releases, group.names):
        print(f"{letter}  {visible(release)}: {len(names)} run{'s' * (len(names) != 1)} ({', '.join(names)})")
    lines = ["", *_table(group.comparisons, ({}, {}))]
    if group.least_p > SIGNIFICANT:
        lines += ["", f"so few runs cannot show a difference: no p of theirs is less than {group.least_p:.2g}"]
    print("\n".join(lines))
    return 0


def _refuse(what: str, why: Sequence[str]) -> int:
    print("\n".join([f"{what} cannot be compared:", *(f"  {visible(reason)}" for reason in why)]))
    return EXIT_NOT_COMPARABLE


def _table(found: Sequence[ABComparison], intervals: Sequence[Mapping[str, list[float]]]) -> list[str]:
    from verdict.compare.ab_comparison import holm

    corrected = holm({one.metric: one.p for one in found if one.p is not None})
    rows = [_HEADINGS, *(_row(one, corrected.get(one.metric), intervals) for one in found)]
    lines = [line.text for line in aligned(rows, [""] * len(rows))]
    explained = [f"{one.metric}: {one.why_not}" for one in found if one.why_not]
    return [*lines, "", *explained] if explained else lines


def _row(one: ABComparison, p: float | None, intervals: Sequence[Mapping[str, list[float]]]) -> tuple[str, ...]:
    unit = METRICS[one.metric].unit
    values = [
        quantity(value, unit) + half_width_percent(value, of_side.get(one.metric))
        for value, of_side in zip((one.first, one.second), intervals)
    ]
    span = "-" if one.interval is None else f"{one.interval.low:.4f} to {one.interval.high:.4f}"
    return (
        one.metric,
        *values,
        "-" if one.ratio is None else f"{one.ratio:.4f}",
        span,
        "-" if one.effect is None else f"{one.effect:+.2f}",
        "-" if one.p is None else f"{one.p:.4f}",
        "-" if p is None else f"{p:.4f}",
        _in_words(replace(one, p=p)),
    )


def _in_words(one: ABComparison) -> str:
    if one.p is None or one.ratio is None:
        return "not told"
    if one.p >= SIGNIFICANT:
        return "no difference shown"
    better = (one.ratio > 1) == (METRICS[one.metric].better == "higher")
    return f"B is {'better' if better else 'worse'} by {abs(one.ratio - 1):.1%}"


def _changed(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    found = [
        f"{visible(name)}: {visible(one) or '-'} in A, {visible(other) or '-'} in B"
        for name, one, other in differing(first, second)
    ]
    return ["what else differs:", *(f"  {line}" for line in found), ""] if found else []
