"""The page of a comparison of two runs, or of the runs of two releases: which metric of B differs, and by how much."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping, Sequence

import numpy as np
from markupsafe import Markup

from expected import ALL_METRICS
from reports.html.charts import Chart, Curve, x_y
from reports.html.page import page, render
from reports.html.sections.metrics import Margin, picture, scale_of, term_of
from reports.html.texts import text
from verdict.compare.ab_comparison import POWER, ABComparison, tests_of
from verdict.metrics.throughput import RateSamples
from verdict.wording import percent, quantity

_BLOCKS = 60  # points of a curve
_KINDS = {"worse": "bad", "better": "good", "same": "", "refused": "warn"}
_SIGNS = {"worse": "✗", "better": "✓", "same": "≈", "refused": "!"}


@dataclass(frozen=True)
class Compared:
    """What was compared: A and B as they are shown, the comparison of each metric, and what else differs.

    `changed` has (name, in A, in B); `samples` those of the rates of A and B, {} where they are not known. `refused`
    are the reasons why the two cannot be compared.
    """

    title: str
    sides: tuple[str, str]
    found: Sequence[ABComparison] = ()
    changed: Sequence[tuple[str, str, str]] = ()
    samples: tuple[Mapping[str, RateSamples], Mapping[str, RateSamples]] = field(default=({}, {}))
    refused: Sequence[str] = ()

    @property
    def tests(self) -> int:
        """How many metrics are tested at once."""
        return tests_of(self.found)

    def shown(self, answer: str) -> list[ABComparison]:
        """Return the metrics of which B is shown to be "worse" or "better"."""
        return [one for one in self.found if one.answer(self.tests) == answer]

    @property
    def answer(self) -> str:
        """One of refused, worse, better and same: worse where anything is worse."""
        if self.refused:
            return "refused"
        return next((one for one in ("worse", "better") if self.shown(one)), "same")


def comparison_page(compared: Sequence[Compared]) -> str:
    """Return the page as one HTML file, a section for each of `compared`.

    >>> found = list(comparisons(first, second))  # doctest: +SKIP
    >>> comparison_page([Compared("r300-1x8-fp32-bs16", ("runs/a", "runs/b"), found)])  # doctest: +SKIP
    '<!DOCTYPE html>...'
    """
    charts: list[Chart] = []
    sections = []
    for number, one in enumerate(compared):
        mine = list(_charts(one, f"c{number}-"))
        charts += mine
        sections.append(_section(one, mine))
    answers = [one.answer for one in compared]
    answer = next((word for word in _KINDS if word in answers), "same")
    title = text("compare.title", of=", ".join(dict.fromkeys(one.title for one in compared)))
    html = render("comparison.html", title=title, sections=sections)
    return page(f"{text(f'compare.{answer}')}: {title}", html, charts)


def _section(one: Compared, charts: Sequence[Chart]) -> dict[str, Any]:
    intervals = [one_.interval(one.tests) for one_ in one.found]
    margins = [_margin(each, interval) for each, interval in zip(one.found, intervals)]
    scale = scale_of([margin for margin in margins if margin is not None])
    return {
        "title": one.title,
        "badge": _badge(one.answer),
        "answer": _answer(one),
        "sides": list(zip("AB", one.sides)),
        "refused": one.refused,
        "rows": [_row(one, each, margin, scale) for each, margin in zip(one.found, margins)],
        "span": percent(scale),
        "tests": one.tests,
        "changed": one.changed,
        "charts": charts,
    }


def _badge(answer: str) -> Markup:
    return render(
        "badge.html", word=text(f"compare.{answer}"), sign=_SIGNS.get(answer, "·"), kind=_KINDS.get(answer, "")
    )


def _answer(one: Compared) -> list[tuple[str, str]]:
    """Return the rows at the head: what differs by how much, what could have caused it, and what was not to be seen."""
    if one.refused:
        return [(text("answer.cause"), one.refused[0])]
    rows = [
        (text(f"compare.{word}"), ", ".join(f"{each.metric} {percent(abs((each.ratio or 1) - 1))}" for each in found))
        for word in ("worse", "better")
        for found in [one.shown(word)]
        if found
    ]
    names = ", ".join(name for name, _, _ in one.changed)
    if rows:
        return [*rows, (text("compare.changed"), names or text("compare.nothing"))]
    known = [found for each in one.found for found in [each.detectable(one.tests)] if found]
    least = text("compare.power", share=percent(max(known)), power=f"{100 * POWER:.0f} %") if known else ""
    return [(text("answer.result"), " ".join(filter(None, [text("compare.none"), least])))]


def _row(of: Compared, one: ABComparison, margin: Margin | None, scale: float) -> dict[str, Any]:
    unit, interval, p = ALL_METRICS[one.metric].unit, one.interval(of.tests), one.p(of.tests)
    answer = one.answer(of.tests)
    words = "" if one.ratio is None else f"{one.ratio:.4f}"
    detectable = one.detectable(of.tests)
    return {
        "name": one.metric,
        "term": term_of(one.metric),
        "first": quantity(one.first, unit),
        "second": quantity(one.second, unit),
        "ratio": words or "-",
        "interval": "" if interval is None else f"{interval.low:.4f} – {interval.high:.4f}",
        "p": "-" if p is None else "< 0.0001" if p < 1e-4 else f"{p:.4f}",
        "badge": _badge(answer),
        "detectable": "-" if detectable is None else percent(detectable),
        "graphic": "" if margin is None else picture(margin, scale, f"{one.metric}: {words}", _KINDS.get(answer, "")),
        "why": one.why_not,
    }


def _margin(one: ABComparison, interval: Any) -> Margin | None:
    if one.ratio is None:
        return None
    sign = 1 if ALL_METRICS[one.metric].better == "higher" else -1
    ends = [] if interval is None else sorted(sign * (end - 1) for end in (interval.low, interval.high))
    begin, end = (ends[0], ends[1]) if ends else (None, None)
    return Margin(sign * (one.ratio - 1), begin, end, None, None)


def _charts(one: Compared, prefix: str) -> list[Chart]:
    """Return the rate of A and B over their measured steps, of the first rate of which both have samples."""
    for name in ("p_core", "p_train", "p_whole"):
        pair = [side.get(name) for side in one.samples]
        known = [samples for samples in pair if samples is not None and len(samples.images)]
        if len(known) == 2:
            curves = [Curve(side, _points(samples)) for side, samples in zip("AB", known)]
            summary = text("compare.chart_words", of=name)
            facts = {"unit": "images/s", "x_label": text("compare.axis"), "summary": summary}
            return [x_y(f"{prefix}rate", text("compare.chart", of=name), curves, **facts)]
    return []


def _points(samples: RateSamples) -> list[tuple[float, float]]:
    """Return the rate of at most _BLOCKS blocks of neighbouring samples, each at its share of the run in percent."""
    blocks = np.array_split(np.arange(len(samples.images)), min(_BLOCKS, len(samples.images)))
    found = []
    for at, block in enumerate(blocks):
        time_ns = float(samples.time_ns[block].sum(dtype=float))
        if time_ns > 0:
            rate = float(samples.images[block].sum(dtype=float)) * 1e9 / time_ns
            found.append((100 * (at + 0.5) / len(blocks), rate))
    return found
