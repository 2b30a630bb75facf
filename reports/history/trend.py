"""The page of a history: every metric of each cell over its runs, with change points marked and described."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Iterator, Mapping, Sequence

from expected import ALL_METRICS
from reports.history.queries import TimeSeries
from reports.html.charts import Chart, Mark, Series
from reports.html.page import page, render
from reports.html.sections.metrics import levels_of
from reports.html.texts import text
from verdict.compare.change_points import FALSE_ALARMS, ChangePoint, find_change_points
from verdict.compare.comparability import differing
from verdict.wording import quantity

_BOUNDARIES = 24  # marks of new releases; more would hide the chart
_RELEASES = 30  # rows of a table
_SIGN = 12  # letters of a release above a chart
_IDENTIFYING = ("driver", "framework", "torch")
"""The versions that identify a release without a label."""


@dataclass(frozen=True)
class Found:
    """A change point of a metric: `at` is the index of the first run after it, `words` describes it."""

    metric: str
    step: ChangePoint
    at: int
    words: str


def trend_page(series: Sequence[TimeSeries], history: str) -> str:
    """Return the page as one file; `history` is where the runs come from, as it may be shown."""
    charts: list[Chart] = []
    sections = []
    for number, runs in enumerate(series):
        found = [one for name in ALL_METRICS if name in runs.values for one in steps_of(runs, name)]
        releases = release_of_each(runs)
        names = [name for name in ALL_METRICS if name in runs.values]
        mine = [_chart(runs, name, f"c{number}-{name.replace('_', '-')}", found, releases) for name in names]
        charts += mine
        sections.append(
            {
                "title": f"{runs.cell_id} {runs.protocol}" + f" ({text('flag.simulated')})" * runs.simulated,
                "counted": _counted(runs),
                "steps": [one.words for one in found],
                "charts": mine,
                "names": [(name, ALL_METRICS[name].unit) for name in names],
                "releases": list(_releases(runs, releases, names)),
            }
        )
    count = sum(len(section["steps"]) for section in sections)
    title = text("trend.title", n=count, series=len(series))
    body = render("trend.html", title=title, history=history, sections=sections, false_steps=f"{FALSE_ALARMS:.0%}")
    return page(title, body, charts)


def steps_of(runs: TimeSeries, metric: str) -> Iterator[Found]:
    """Yield the change points of one metric, each with what changed there."""
    places = [at for at, value in enumerate(runs.values[metric]) if value is not None]
    values = [value for value in runs.values[metric] if value is not None]
    for step in find_change_points(values):
        yield Found(metric, step, places[step.at], _words(runs, metric, step, places[step.at - 1], places[step.at]))


def release_of_each(runs: TimeSeries) -> list[str]:
    """Return the release of each run: its label or, without one, the versions that identify it."""
    return [
        label or ", ".join(f"{name} {versions[name]}" for name in _IDENTIFYING if name in versions) or "unknown"
        for label, versions in zip(runs.releases, runs.versions)
    ]


def _words(runs: TimeSeries, metric: str, step: ChangePoint, last: int, first: int) -> str:
    unit = ALL_METRICS[metric].unit
    by = f" ({step.share:+.1%})" if step.before else ""
    better = (step.after > step.before) == (ALL_METRICS[metric].better == "higher")
    changed = [
        text("trend.changed", name=name, before=before or "-", after=after or "-")
        for name, before, after in differing(_state(runs, last), _state(runs, first))
    ]
    return text(
        "trend.better" if better else "trend.worse",
        metric=metric,
        before=quantity(step.before, unit),
        after=f"{quantity(step.after, unit)}{by}",
        last=_run(runs, last),
        first=_run(runs, first),
        changed=", ".join(changed) or text("compare.nothing"),
    )


def _state(runs: TimeSeries, at: int) -> Mapping[str, str]:
    return {"release": runs.releases[at], **runs.versions[at]}


def _run(runs: TimeSeries, at: int) -> str:
    return f"{runs.run_ids[at]} ({_when(runs, at)})"


def _when(runs: TimeSeries, at: int) -> str:
    return runs.started_utc[at][:16].replace("T", " ")


def _counted(runs: TimeSeries) -> str:
    count = len(runs.run_ids)
    counted = text("trend.counted", n=count)
    if count:
        counted += " " + text("trend.between", first=_when(runs, 0), last=_when(runs, count - 1))
    return counted + (" " + text("trend.left_out", n=runs.left_out) if runs.left_out else "")


def _chart(runs: TimeSeries, metric: str, name: str, found: Sequence[Found], releases: Sequence[str]) -> Chart:
    """Return the chart of a metric: a point a run at its day, with the name of each release where it begins."""
    values, unit = runs.values[metric], ALL_METRICS[metric].unit
    count = len(values)
    mine = [one for one in found if one.metric == metric]
    series = [Series(metric, values, style="points", tone="muted" if mine else "")]
    if mine:
        series.append(Series(text("trend.level"), _levels(values, mine), tone="accent"))
    marks = [Mark(text("trend.step"), one.at - 0.5, sign="S", tone="bad") for one in mine]
    steps = {one.at for one in mine}
    changes = [at for at in range(1, count) if releases[at] != releases[at - 1]]
    if len(changes) <= _BOUNDARIES:
        label = text("trend.release")
        marks += [Mark(label, at - 0.5, sign=_short(releases[at]), tone="muted") for at in changes if at not in steps]
    return Chart(
        id=name,
        title=metric,
        x=range(count),
        series=series,
        unit=unit,
        kind="category",
        categories=[_when(runs, at)[:10] for at in range(count)],
        x_label=text("trend.axis"),
        marks=sorted(marks, key=lambda mark: mark.begin),
        levels=levels_of(metric, unit, *runs.limits.get(metric, (None, None, None))),
        summary=" ".join(f"{one.words}." for one in mine) or text("trend.no_step"),
        group=name.partition("-")[0],
    )


def _short(release: str) -> str:
    return release if len(release) <= _SIGN else f"{release[: _SIGN - 1]}…"


def _levels(values: Sequence[float | None], found: Sequence[Found]) -> list[float | None]:
    edges = [0, *(one.at for one in found), len(values)]
    levels = [found[0].step.before, *(one.step.after for one in found)]
    return [level for level, begin, end in zip(levels, edges, edges[1:]) for _ in range(begin, end)]


def _releases(runs: TimeSeries, releases: Sequence[str], names: Sequence[str]) -> Iterator[dict[str, object]]:
    """Yield a row for each release, the newest first: how many runs, since when, and the median of each metric."""
    places: dict[str, list[int]] = {}
    for at, release in enumerate(releases):
        places.setdefault(release, []).append(at)
    for release in sorted(places, key=lambda one: -places[one][-1])[:_RELEASES]:
        medians = []
        for name in names:
            values = [value for at in places[release] for value in [runs.values[name][at]] if value is not None]
            medians.append(quantity(statistics.median(values), ALL_METRICS[name].unit) if values else "-")
        since = _when(runs, places[release][0])
        yield {"name": release, "count": len(places[release]), "since": since, "medians": medians}
