"""The page of a history: every metric of each cell over its runs, the steps in it marked and told in words."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Iterator, Mapping, Sequence

from expected import METRICS
from reports.history.queries import Course
from reports.html.charts import Chart, Mark, Series
from reports.html.page import page
from reports.html.templates import render
from reports.numbers import quantity
from verdict.compare.change_points import FALSE_ALARMS, ChangePoint, find_change_points
from verdict.compare.comparability import differing

_BOUNDARIES = 24  # marks of new releases; more would hide the chart
_RELEASES = 30  # rows of a table
_IDENTIFYING = ("driver", "framework", "torch")
"""The versions that tell a release where no label does."""


@dataclass(frozen=True)
class Found:
    """A step of a metric, `at` which run, and what it is in words."""

    metric: str
    step: ChangePoint
    at: int
    words: str


def trend_page(courses: Sequence[Course], history: str) -> str:
    """The page as one file; `history` is where the runs come from, as it may be shown."""
    charts: list[Chart] = []
    sections = []
    for number, course in enumerate(courses):
        found = [one for name in METRICS if name in course.values for one in steps_of(course, name)]
        releases = release_of_each(course)
        names = [name for name in METRICS if name in course.values]
        mine = [_chart(course, name, f"c{number}-{name.replace('_', '-')}", found, releases) for name in names]
        charts += mine
        sections.append(
            {
                "title": _title(course),
                "told": _told(course),
                "steps": [one.words for one in found],
                "charts": mine,
                "names": [(name, METRICS[name].unit) for name in names],
                "releases": list(_releases(course, releases, names)),
            }
        )
    count = sum(len(section["steps"]) for section in sections)
    title = f"Trend: {count} step{'s' * (count != 1)} in {len(courses)} course{'s' * (len(courses) != 1)}"
    body = render("trend.html", title=title, history=history, sections=sections, false_steps=f"{FALSE_ALARMS:.0%}")
    return page(title, body, charts)


def steps_of(course: Course, metric: str) -> Iterator[Found]:
    """The steps of one metric, each with what changed where it is."""
    places = [at for at, value in enumerate(course.values[metric]) if value is not None]
    values = [value for value in course.values[metric] if value is not None]
    for step in find_change_points(values):
        yield Found(metric, step, places[step.at], _words(course, metric, step, places[step.at - 1], places[step.at]))


def release_of_each(course: Course) -> list[str]:
    """The release of each run: its label or, where it has none, the versions that tell one."""
    return [
        label or ", ".join(f"{name} {versions[name]}" for name in _IDENTIFYING if name in versions) or "not told"
        for label, versions in zip(course.releases, course.versions)
    ]


def _words(course: Course, metric: str, step: ChangePoint, last: int, first: int) -> str:
    unit = METRICS[metric].unit
    by = f" ({step.share:+.1%})" if step.before else ""
    better = (step.after > step.before) == (METRICS[metric].better == "higher")
    changed = [
        f"{name} {before or '-'} to {after or '-'}"
        for name, before, after in differing(_state(course, last), _state(course, first))
    ]
    return (
        f"{metric}: {'better' if better else 'worse'}, from {quantity(step.before, unit)} to "
        f"{quantity(step.after, unit)}{by}, between {_run(course, last)} and {_run(course, first)}; "
        f"changed there: {', '.join(changed) or 'nothing that is recorded'}"
    )


def _state(course: Course, at: int) -> Mapping[str, str]:
    return {"release": course.releases[at], **course.versions[at]}


def _run(course: Course, at: int) -> str:
    return f"{course.run_ids[at]} ({_when(course, at)})"


def _when(course: Course, at: int) -> str:
    return course.started_utc[at][:16].replace("T", " ")


def _title(course: Course) -> str:
    return f"{course.cell_id} {course.protocol}{' (simulated)' * course.simulated}"


def _told(course: Course) -> str:
    count = len(course.run_ids)
    told = f"{count} run{'s' * (count != 1)}"
    if count:
        told += f" from {_when(course, 0)} to {_when(course, count - 1)} (UTC)"
    return told + (f"; {course.left_out} more invalid or restarted and left out" if course.left_out else "")


def _chart(course: Course, metric: str, name: str, found: Sequence[Found], releases: Sequence[str]) -> Chart:
    values = course.values[metric]
    count = len(values)
    mine = [one for one in found if one.metric == metric]
    series = [Series(metric, values, style="points", tone="muted" if mine else "")]
    if mine:
        series.append(Series("level", _levels(values, mine), tone="accent"))
    # Runs are counted from 1: the first of the new level is number at + 1.
    marks = [Mark("step", one.at + 0.5, sign="S", tone="bad") for one in mine]
    steps = {one.at for one in mine}
    changes = [at for at in range(1, count) if releases[at] != releases[at - 1]]
    if len(changes) <= _BOUNDARIES:
        marks += [Mark("another release", at + 0.5, sign="R", tone="muted") for at in changes if at not in steps]
    return Chart(
        id=name,
        title=metric,
        x=range(1, count + 1),
        series=series,
        unit=METRICS[metric].unit,
        x_label="runs, in the order in which they started",
        marks=sorted(marks, key=lambda mark: mark.begin),
        summary=" ".join(f"{one.words}." for one in mine) or "No step.",
        group=name.partition("-")[0],
    )


def _levels(values: Sequence[float | None], found: Sequence[Found]) -> list[float | None]:
    edges = [0, *(one.at for one in found), len(values)]
    levels = [found[0].step.before, *(one.step.after for one in found)]
    return [level for level, begin, end in zip(levels, edges, edges[1:]) for _ in range(begin, end)]


def _releases(course: Course, releases: Sequence[str], names: Sequence[str]) -> Iterator[dict[str, object]]:
    """A row a release, the newest first: how many runs, since when, and the median of each metric."""
    runs: dict[str, list[int]] = {}
    for at, release in enumerate(releases):
        runs.setdefault(release, []).append(at)
    for release in sorted(runs, key=lambda one: -runs[one][-1])[:_RELEASES]:
        medians = []
        for name in names:
            values = [value for at in runs[release] for value in [course.values[name][at]] if value is not None]
            medians.append(quantity(statistics.median(values), METRICS[name].unit) if values else "-")
        since = _when(course, runs[release][0])
        yield {"name": release, "count": len(runs[release]), "since": since, "medians": medians}
