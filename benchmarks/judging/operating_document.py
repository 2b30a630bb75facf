"""The operating curve on paper: docs/operating-curve.md and its plot."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING, Sequence

from benchmarks.judging.noise import STALLS
from verdict.metrics.throughput import DECISIVE_STEPS as LEAST

if TYPE_CHECKING:
    from benchmarks.judging.noise import Noise
    from benchmarks.judging.operating_curve import Boots, Point

COMMAND = "python -m benchmarks.judging.operating_curve"

_STYLES = {"pass": ("#0b6e3a", "-", "o"), "fail": ("#b3261e", "--", "s"), "inconclusive": ("#3b4a8c", ":", "^")}
"""Of each verdict: colour, line and marker; any one of them alone distinguishes the three."""
_BOUND_PERCENT = -5
SLOW_PERCENT, SOUND_PERCENT = -7, 0


def document(
    points: Sequence[Point],
    long: Sequence[Point],
    boots: Sequence[Boots],
    kinds: Sequence[Noise],
    *,
    seed: int,
    window: int,
) -> str:
    """Markdown: the plot, how it was made, the tables, and what they mean for a release.

    `long` are points of rare stalls in longer runs, `boots` those of several boots.
    """
    lengths = sorted({point.steps for point in points})
    full = lengths[-1]
    said = ", ".join(f"{steps:,}" for steps in lengths[:-1])
    parts = [
        "# Operating curve",
        "How often a run passes, fails or stays inconclusive, when it is known how fast the device is.",
        "![Share of runs that pass, fail and are inconclusive, by the device's true speed](operating-curve.svg)",
        f"    {COMMAND}",
        _wrapped(
            f"writes this page and the plot (seed {seed}; the plot needs the extra `docs`). Of each of {len(kinds)} "
            f"kinds of noise, {points[0].runs:,} steady runs of one real device are simulated of each length: {said} "
            f"and {full:,} steps, which is an epoch of COCO on one device with batches of 16; in windows of {window}. "
            "The evidence is made up in memory, where the files of a run would have been read; from there on "
            "`verdict/` does with it what it does with every run: p_core with its interval, held against a published "
            "number with the default bound, 0.95 x published. A device's speed is its mean over all runs, noise "
            "included: one at -7 % delivers 0.93 x published in the long run."
        ),
        _table([("noise", "of the time of a step"), *((kind.name, kind.words) for kind in kinds)]),
        "## Right and wrong verdicts",
        _wrapped(
            "Percent of runs. What neither passes nor fails is inconclusive, and says how many more steps would decide."
        ),
        _verdicts(points, kinds, lengths),
        f"## Runs of {full:,} steps",
        _wrapped("The first column is the device's true speed against the published one. Percent of runs that pass:"),
        _curves(points, kinds, full, "pass"),
        "Percent of runs that fail:",
        _curves(points, kinds, full, "fail"),
        "## Several boots",
        _wrapped(
            f"Percent of sessions with `--repeat` that pass, where the speed differs by 1 % from run to run ({full:,} "
            "steps each)."
        ),
        _boots(boots),
        "## What it means for a release",
        "\n".join(_wrapped(f"{at}. {one}", "   ") for at, one in enumerate(_meaning(points, long, full), start=1)),
    ]
    return "\n\n".join(parts) + "\n"


def _meaning(points: Sequence[Point], long: Sequence[Point], full: int) -> list[str]:
    runs = f"{points[0].runs:,}"
    slow = [point for point in points if point.offset_percent == SLOW_PERCENT]
    sound = [point for point in points if point.offset_percent == SOUND_PERCENT]
    passes = {point.kind: point.count["pass"] for point in sound if point.steps == full}
    stalled = passes.pop(STALLS)
    wrong, refused = max(point.count["pass"] for point in slow), max(point.count["fail"] for point in sound)
    (longer,) = (point for point in long if point.offset_percent == SOUND_PERCENT)
    return [
        f"A device that is 7 % too slow passed in at most {wrong} of {runs} runs, and one that delivers what is "
        f"published failed in at most {refused}, under the worst of the kinds and lengths.",
        f"With {full:,} steps, a device that delivers what is published passed in at least {min(passes.values()):,} of "
        f"{runs} runs, but for rare stalls.",
        f"Under rare stalls it passed in {stalled:,}, and the other runs are inconclusive: {full:,} steps hold 7 of "
        "them, give or take 3, each of which costs 0.8 % of the run, so that a run knows its device's speed to 2.2 % "
        "only. No rule that goes by the speed in the run could be wrong in 1 % of the runs at most and pass more than "
        f"93 % of the sound ones. With {longer.steps:,} steps the device passed in {longer.count['pass']:,}.",
        "Few steps show no rare stall and no second regime, and look the same whether there are any: a steady run of "
        f"a real device decides nothing against a published number below {LEAST:,} steps over all its ranks.",
        "Within 2 % of the bound, which is at -5 %, a run stays inconclusive however long it is, because boots of the "
        "same device may differ by 1 %: there more boots help, and more steps do not.",
        "Three boots know the spread between them only roughly, so that now and then a sound device is inconclusive "
        "that would have passed with the assumed 1 %; five know it well enough.",
    ]


def _boots(boots: Sequence[Boots]) -> str:
    offsets = list(dict.fromkeys(one.offset_percent for one in boots))
    rows: list[Sequence[str]] = [("boots", *map(_speed, offsets))]
    for count in dict.fromkeys(one.boots for one in boots):
        rows.append((str(count), *(f"{100 * one.passed:.2f}" for one in boots if one.boots == count)))
    return _table(rows)


def _speed(offset_percent: int) -> str:
    return f"{offset_percent:+d} %" if offset_percent else "0 %"


def _verdicts(points: Sequence[Point], kinds: Sequence[Noise], lengths: Sequence[int]) -> str:
    at = {(point.kind, point.steps, point.offset_percent): point for point in points}
    asked = ((SLOW_PERCENT, "pass"), (SOUND_PERCENT, "fail"), (SOUND_PERCENT, "pass"))
    rows = [("noise", "steps", "7 % low passes", "sound fails", "sound passes")]
    for kind in kinds:
        for steps in lengths:
            shares = [f"{100 * at[kind.name, steps, offset].share(verdict):.2f}" for offset, verdict in asked]
            rows.append((kind.name, f"{steps:,}", *shares))
    return _table(rows)


def _curves(points: Sequence[Point], kinds: Sequence[Noise], steps: int, verdict: str) -> str:
    at = {(point.kind, point.offset_percent): point for point in points if point.steps == steps}
    rows = [("speed", *(kind.name for kind in kinds))]
    for offset in sorted({offset for _, offset in at}):
        shares = (f"{100 * at[kind.name, offset].share(verdict):.2f}" for kind in kinds)
        rows.append((_speed(offset), *shares))
    return _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown; columns of numbers to the right."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    rules = ["---:" if cell.replace(".", "").replace(",", "").isdigit() else "---" for cell in rows[1]]
    return "\n".join([lines[0], f"| {' | '.join(rules)} |", *lines[1:]])


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 118, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def plot(points: Sequence[Point], steps: int) -> str:
    """The curves of runs of so many steps as SVG, a panel for each kind; the same points always give the same text."""
    import matplotlib

    matplotlib.use("svg")
    # Text stays text, so that it can be searched; the salt makes the names inside the file repeatable.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "operating-curve", "font.size": 10})
    from matplotlib import pyplot

    kinds = list(dict.fromkeys(point.kind for point in points))
    figure, panels = pyplot.subplots(2, -(-len(kinds) // 2), figsize=(13, 7), sharey=True, facecolor="white")
    for panel, kind in zip(panels.flat, kinds):
        row = sorted(
            (point for point in points if (point.kind, point.steps) == (kind, steps)),
            key=lambda one: one.offset_percent,
        )
        offsets = [point.offset_percent for point in row]
        for verdict, (colour, line, marker) in _STYLES.items():
            shares = [100 * point.share(verdict) for point in row]
            panel.plot(offsets, shares, line, color=colour, marker=marker, markersize=4, linewidth=1.8, label=verdict)
        panel.axvline(_BOUND_PERCENT, color="#555555", linewidth=1)
        panel.annotate("bound", (_BOUND_PERCENT, 102), ha="center", va="bottom", fontsize=9, annotation_clip=False)
        panel.set_title(kind, fontsize=10, pad=20)
        panel.set_xticks(offsets[::5] if len(offsets) > 6 else offsets)
        panel.set_ylim(-3, 103)
        panel.grid(color="#dddddd", linewidth=0.6)
    for panel in panels[-1]:
        panel.set_xlabel("true speed against published (%)")
    for panel in panels[:, 0]:
        panel.set_ylabel("share of runs (%)")
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=3, frameon=False)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"
