"""The table of metrics, probes and comparisons, each with its distance to the bound in words and as a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Sequence

from markupsafe import Markup

from evidence.verdict import MetricVerdict, ProbeVerdict, Verdict
from reports.console import published
from reports.html.charts import Level
from reports.html.page import render
from reports.html.texts import text, texts
from verdict.wording import bounds, clearance, figure, half_width, limit, of_published, percent, quantity, span

KINDS = {
    Verdict.PASS: ("✓", "good"),
    Verdict.FAIL: ("✗", "bad"),
    Verdict.INCONCLUSIVE: ("≈", "warn"),
    Verdict.RECORDED: ("·", ""),
    Verdict.MISSING: ("–", "warn"),
    Verdict.INVALID: ("!", "bad"),
}
"""Of each verdict its sign and its colour."""
_WIDTH, _HEIGHT, _ROOM = 160, 30, 12
_LEAST_SPAN, _MOST_SPAN = 0.05, 0.25


@dataclass(frozen=True)
class Margin:
    """A value against its bound, as shares of the bound: above 0 passes, whichever side is better.

    `begin` and `end` are of its 95 % interval, None without one, `published` of the published number, `other` of the
    bound on the other side.
    """

    value: float
    begin: float | None
    end: float | None
    published: float | None
    other: float | None


def badge(verdict: Verdict) -> Markup:
    """Return a verdict as a word with its sign, in its colour."""
    sign, kind = KINDS[verdict]
    return render("badge.html", word=text(f"state.{verdict}"), sign=sign, kind=kind)


def margin_of(metric: MetricVerdict) -> Margin | None:
    """Return how far a metric is from the bound that decides; None without a value that proves something or a bound.

    >>> margin_of(metric("p_core", measured=139.1, low=152.0, better="higher")).value  # doctest: +SKIP
    -0.0849
    """
    higher = metric.better == "higher"
    bound, other = (metric.low, metric.high) if higher else (metric.high, metric.low)
    if metric.verdict is Verdict.INVALID or metric.measured is None or not bound or not math.isfinite(bound):
        return None

    def share(value: float | None) -> float | None:
        if value is None or not math.isfinite(value):
            return None
        return (value - bound if higher else bound - value) / abs(bound)

    ends = () if metric.interval is None else (share(metric.interval.low), share(metric.interval.high))
    known = sorted(one for one in ends if one is not None)
    value = share(metric.measured)
    if value is None:
        return None
    begin, end = (known[0], known[-1]) if len(known) == 2 else (None, None)
    return Margin(value, begin, end, share(metric.expected), share(other))


def distance(metric: MetricVerdict, inside: str = "distance.inside", outside: str = "distance.outside") -> str:
    """Return how far a metric is from its nearer bound in words, as "8.5 % outside"; "" without either.

    `inside` and `outside` are the texts that say it.
    """
    clear = None if margin_of(metric) is None else clearance(metric)
    if clear is None:
        return ""
    return text(inside if clear >= 0 else outside, amount=percent(abs(clear)))


def amount(metric: MetricVerdict) -> str:
    """Return value, distance to the bound and percent of published in a line, as far as they are known."""
    share = of_published(metric)
    expected = "" if share == "-" else text("distance.published", share=share)
    said = filter(None, (distance(metric, "amount.inside", "amount.outside"), expected))
    return f"{metric.metric} {quantity(metric.measured, metric.unit)}: {', '.join(said)}"


def levels_of(
    name: str,
    unit: str,
    low: float | None,
    high: float | None,
    expected: float | None,
    *,
    ranks: int = 1,
) -> list[Level]:
    """Return bounds and published number of a metric as lines of a chart; of several `ranks`, one's share of them."""
    share = text("level.share", ranks=ranks) if ranks > 1 else ""
    levels = []
    for one in (low, high):
        if one is not None:
            shown = limit(one, unit) if ranks == 1 else figure(one / ranks)
            levels.append(Level(f"{text('level.bound', of=name)} {shown}{share}", one / ranks))
    if expected is not None:
        shown = quantity(expected / ranks, unit)
        levels.append(Level(f"{text('level.published')} {shown}{share}", expected / ranks, "published"))
    return levels


def span_of(metrics: Sequence[MetricVerdict]) -> float:
    """Return what the pictures reach to either side of the bound, as a share of it: one scale for all of them."""
    return scale_of([margin for one in metrics for margin in [margin_of(one)] if margin is not None])


def scale_of(margins: Sequence[Margin]) -> float:
    """Return the share of the bound that shows all of the margins, within limits."""
    shown = [abs(part) for one in margins for part in (one.value, one.begin, one.end, one.published) if part]
    most = 1.15 * max(shown, default=0.0)
    return min(_MOST_SPAN, max(_LEAST_SPAN, math.ceil(100 * most) / 100))


def metric_row(metric: MetricVerdict, scale: float, *, provisional: bool = False) -> dict[str, Any]:
    """Return a row of the table; `scale` is that of the pictures. `provisional`: nothing of it is invalid yet."""
    is_open = provisional and metric.verdict in (Verdict.INVALID, Verdict.MISSING)
    return {
        "name": metric.metric,
        "term": term_of(metric.metric),
        "badge": running_badge() if is_open else badge(metric.verdict),
        "kind": "" if is_open else KINDS[metric.verdict][1],
        "measured": quantity(metric.measured, metric.unit),
        "half_width": half_width(metric.measured, metric.interval),
        "interval": "" if metric.interval is None else span(metric.interval, metric.unit),
        "bound": bounds(metric.low, metric.high, metric.unit),
        "published": published(metric),
        "share": "-" if metric.verdict is Verdict.INVALID else of_published(metric),
        "distance": distance(metric) or "-",
        "graphic": _graphic(metric, scale),
        "reason": "" if is_open else metric.reason,
        "method": metric.method,
        "source": metric.source,
    }


def probe_row(name: str, probe: ProbeVerdict) -> dict[str, Any]:
    """Return the row of a probe, which has words for its result and its bound."""
    measured, _, more = probe.measured.partition("; ")
    blank = dict.fromkeys(("half_width", "interval", "graphic", "method", "source"), "")
    return {
        **blank,
        "name": name,
        "term": term_of(name),
        "badge": badge(probe.verdict),
        "kind": KINDS[probe.verdict][1],
        "measured": measured,
        "bound": probe.bound,
        "published": "",
        "share": "",
        "distance": "",
        "reason": "; ".join(filter(None, (more, probe.reason))),
    }


def running_badge() -> Markup:
    """Return the state of a run that has not ended."""
    return render("badge.html", word=text("state.running"), sign="…", kind="running")


def term_of(name: str) -> str:
    """Return what a metric or probe is called in the language in force; "" for one without a text."""
    key = f"metric.{'_'.join(name.split())}"
    return text(key) if key in texts() else ""


def _graphic(metric: MetricVerdict, scale: float) -> Markup:
    margin = margin_of(metric)
    if margin is None:
        return Markup("")
    number = quantity(metric.measured, metric.unit)
    words = f"{metric.metric} {number}: {distance(metric)}; {bounds(metric.low, metric.high, metric.unit)}"
    return picture(margin, scale, words, KINDS[metric.verdict][1])


def picture(margin: Margin, scale: float, words: str, kind: str) -> Markup:
    """Return a small picture of a value and its interval beside the bound, better to the right; `words` say the same.

    It reaches `scale` to either side; `kind` is the colour.
    """

    def across(share: float) -> float:
        return round(_WIDTH / 2 + max(-1.0, min(1.0, share / scale)) * (_WIDTH / 2 - _ROOM), 1)

    beyond = 0 if abs(margin.value) <= scale else 1 if margin.value > 0 else -1
    return render(
        "interval.html",
        words=words,
        kind=kind,
        width=_WIDTH,
        height=_HEIGHT,
        good=(across(0.0), _WIDTH if margin.other is None else across(margin.other)),
        bounds=[across(one) for one in (0.0, margin.other) if one is not None],
        published=None if margin.published is None else across(margin.published),
        begin=None if beyond or margin.begin is None else across(margin.begin),
        end=None if beyond or margin.end is None else across(margin.end),
        at=across(margin.value),
        beyond=beyond,
    )
