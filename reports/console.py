"""The closing tables of a session in the terminal: each run's metrics, its environment, and what was compared."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from evidence.verdict import Comparison, MetricVerdict, RunVerdict, Verdict
from expected.site import ACCEPTED_IN
from reports.lines import Line, aligned
from verdict.environment.findings import EnvironmentFinding
from verdict.wording import bounds, margin, measured, number, of_published, quantity

COLOURS = {
    Verdict.PASS: "green",
    Verdict.FAIL: "red",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.RECORDED: "",
    Verdict.MISSING: "yellow",
    Verdict.INVALID: "red",
}
_EXPLAINED = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.MISSING)
_FOUND = {"differs": "red", "unknown": "yellow"}
_METRICS = ("metric", "measured", "bound", "published", "of published", "verdict")
_SCALING = ("cell", "compared with", "efficiency", "bound", "verdict", "skew", "slowest rank")
_DEVICES = ("run on", "serial or name", "p_core", "of its siblings'", "verdict")
_MOST_NAMES = 2  # of optimizations in a title


def run_lines(
    verdict: RunVerdict,
    *,
    name: str,
    folder: str,
    commands: Mapping[str, str],
    notes: Sequence[str] = (),
    serial: str = "",
    more: Sequence[Line] = (),
) -> list[Line]:
    """Return the closing lines of one run.

    `name` is the device's, `folder` the run's path as it should be shown, `serial` the device's of a run of
    --each-card, or the name that the host of --each-host gives. `notes` and `more` stand before `commands`, the next
    things to do by a short word for each.
    """
    verdicts = [one.verdict for one in verdict.shown.values()] + [one.verdict for one in verdict.probes.values()]
    colours = ["", *map(COLOURS.__getitem__, verdicts)]
    said_of = {
        metric.metric: (metric.reason if metric.verdict in _EXPLAINED else metric.note, COLOURS[metric.verdict])
        for metric in verdict.metrics.values()
    }
    said_of.update((name, (one.reason, COLOURS[one.verdict])) for name, one in verdict.probes.items())
    explained = [
        Line(text if text.startswith(f"{name} ") else f"{name}: {text}", colour)
        for name, (text, colour) in said_of.items()
        if text
    ]
    if verdict.broken:
        explained = [Line(f"invalid: {reason}", COLOURS[Verdict.INVALID]) for reason in verdict.reasons]
    said = [*(f"changed since the run: {change}" for change in verdict.changed), *verdict.notes, *notes]
    parts: list[Sequence[Line]] = [
        [Line(run_title(name, verdict, folder, serial))],
        aligned(metric_rows(verdict), colours),
        [] if verdict.workload is None else [Line(f"workload  {verdict.workload}")],
        explained,
        [Line(text, "yellow") for text in said],
        more,
        [Line(f"{word:<8}{command}", lead=f"{word:<8}") for word, command in commands.items()],
    ]
    return [
        line for at, part in enumerate(part for part in parts if part) for line in ([Line("")] * (at > 0) + [*part])
    ]


def metric_rows(verdict: RunVerdict) -> list[tuple[str, ...]]:
    """Return the closing table as rows of texts, the headings first: each metric, then each probe."""
    rows = [_METRICS, *(_row(metric) for metric in verdict.shown.values())]
    return rows + [(name, one.measured, one.bound, "", "", one.verdict.value) for name, one in verdict.probes.items()]


def switched_off(verdict: RunVerdict) -> str:
    """Return the optimizations that were off for a title: "without boxes_only", "13 optimizations off", or ""."""
    if len(verdict.without) > _MOST_NAMES:
        return f"{len(verdict.without)} optimizations off"
    return f"without {', '.join(verdict.without)}" if verdict.without else ""


def published(metric: MetricVerdict) -> str:
    """Return the expected number with its unit, marked if the site accepted it."""
    return quantity(metric.expected, metric.unit) + _accepted(metric)


def environment_lines(findings: Sequence[EnvironmentFinding]) -> list[Line]:
    """Return a line for each item that differs or is unknown on some host; hosts of the same finding stand together.

    So do items of which nothing was found for the same reason, as where a run ended before it looked.
    """
    by_item: dict[str, list[EnvironmentFinding]] = {}
    for one in findings:
        if one.verdict in _FOUND:
            by_item.setdefault(one.item, []).append(one)
    together: dict[tuple[Any, ...], list[str]] = {}
    for item, mine in by_item.items():
        alike = all(one.reason and not one.found for one in mine)
        together.setdefault(tuple((one.host, one.reason) for one in mine) if alike else (item,), []).append(item)
    return [_environment_line(items, by_item[items[0]]) for items in together.values()]


def comparison_lines(compared: Sequence[Comparison]) -> dict[str, list[Line]]:
    """Return the lines of each table of comparisons by its title."""
    tables = {"scaling": _scaling([one for one in compared if one.judged.metric not in ("siblings", "health")])}
    tables["health"] = _health([one for one in compared if one.judged.metric == "health"])
    tables.update({f"siblings of {one.cell}": _devices(one) for one in compared if one.judged.metric == "siblings"})
    return {title: lines for title, lines in tables.items() if lines}


def run_title(device: str, verdict: RunVerdict, folder: str, serial: str = "") -> str:
    """Return a run in a line: device and cell, how it was made, ranks, and its folder."""
    cell = verdict.cell
    restarted = f"restarted {verdict.restarts}x" if verdict.restarts else ""
    place = cell.place + (f" ({serial})" if cell.place and serial else "")
    simulated = "simulated" if verdict.simulated else ""
    facts = (simulated, switched_off(verdict), restarted, verdict.protocol, cell.shape, place, folder)
    return " · ".join((f"{device} {cell}", *filter(None, facts)))


def _row(metric: MetricVerdict) -> tuple[str, ...]:
    value = measured(metric.measured, metric.interval, metric.unit)
    bound = ", ".join(filter(None, (bounds(metric.low, metric.high, metric.unit), margin(metric))))
    expected = number(metric.expected, metric.unit) + _accepted(metric)
    return metric.metric, value, bound, expected, of_published(metric), metric.verdict.value


def _accepted(metric: MetricVerdict) -> str:
    return " (accepted)" if metric.source.startswith(ACCEPTED_IN) else ""


def _environment_line(items: Sequence[str], findings: Sequence[EnvironmentFinding]) -> Line:
    hosts: dict[tuple[str, str, str], list[str]] = {}
    for one in findings:
        hosts.setdefault((one.found, one.verdict, one.reason), []).append(one.host)
    parts = []
    for (found, verdict, reason), names in hosts.items():
        where = ", ".join(filter(None, names))
        why = f"{verdict}: {reason}" if reason else verdict
        parts.append(f"found {found or 'nothing'}{f' on {where}' if where else ''} ({why})")
    worst = next(word for word in _FOUND if any(one.verdict == word for one in findings))
    stated = f"stated {findings[0].stated}, " if len(items) == 1 else ""
    return Line(f"environment  {', '.join(items)}: {stated}{'; '.join(parts)}", _FOUND[worst])


def _scaling(compared: Sequence[Comparison]) -> list[Line]:
    if not compared:
        return []
    rows: list[Sequence[str]] = [_SCALING]
    colours = [""]
    for cell in dict.fromkeys(one.cell for one in compared):
        mine = [one for one in compared if one.cell == cell]
        skew = next((one for one in mine if one.judged.metric == "skew"), None)
        efficiencies: list[Comparison | None] = [one for one in mine if one.judged.metric == "efficiency"]
        for efficiency in efficiencies or [None]:
            words = [one.judged.verdict for one in (efficiency, skew) if one is not None]
            rows.append((cell, *_efficiency(efficiency), *_skew(skew)))
            colours.append(next((COLOURS[word] for word in COLOURS if word in words and word != Verdict.PASS), "green"))
    return aligned(rows, colours) + _explained(compared)


def _efficiency(one: Comparison | None) -> tuple[str, str, str, str]:
    if one is None:
        return "-", "-", "-", "-"
    judged = one.judged
    efficiency = measured(judged.measured, judged.interval, "")
    return one.than, efficiency, bounds(judged.low, judged.high, ""), judged.verdict.value


def _skew(one: Comparison | None) -> tuple[str, str]:
    if one is None or one.judged.measured is None:
        return "-", "-"
    return f"{one.judged.measured:.3f} {one.judged.verdict}", one.slowest


def _health(compared: Sequence[Comparison]) -> list[Line]:
    return [
        Line(f"{one.cell}   {one.judged.verdict.value}   {one.judged.reason}", COLOURS[one.judged.verdict])
        for one in compared
    ]


def _devices(one: Comparison) -> list[Line]:
    rows: list[Sequence[str]] = [_DEVICES]
    for device in one.devices:
        share = "-" if device.share is None else f"{device.share:.1%}"
        p_core = measured(device.p_core, device.interval, "images/s")
        rows.append((device.place, device.serial or "-", p_core, share, device.verdict.value))
    return aligned(rows, ["", *(COLOURS[device.verdict] for device in one.devices)]) + _explained([one])


def _explained(compared: Sequence[Comparison]) -> list[Line]:
    """Return why each one does not pass; of siblings also which is the slowest of those that do."""
    judged = [one.judged for one in compared if one.judged.verdict != Verdict.PASS or one.judged.metric == "siblings"]
    lines = [Line(f"{one.metric}: {one.reason}", COLOURS[one.verdict]) for one in judged]
    return [Line(""), *lines] if lines else []
