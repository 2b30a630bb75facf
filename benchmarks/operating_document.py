"""The operating curve on paper: docs/operating-curve.md and its plot."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING, Callable, Iterable, Sequence

if TYPE_CHECKING:
    from benchmarks.operating_curve import Point

COMMAND = "python -m benchmarks.operating_curve"

_STYLES = {"pass": ("#0b6e3a", "-", "o"), "fail": ("#b3261e", "--", "s"), "inconclusive": ("#3b4a8c", ":", "^")}
"""Of each verdict: colour, line and marker; any one of them alone tells the three apart."""
_BOUND_PERCENT = -5


def document(points: Sequence[Point], *, seed: int, steps: int, window: int, ranks: int, noise: float) -> str:
    """Markdown: the plot, how it was made, the table, and what it means for a release."""
    said = ", ".join(f"{one:g}" for one in _correlations(points))
    parts = [
        "# Operating curve",
        "How often a run passes, fails or stays inconclusive, when it is known how fast the device is.",
        "![Share of runs that pass, fail and are inconclusive, by the device's true speed](operating-curve.svg)",
        f"    {COMMAND}",
        _wrapped(
            f"writes this page and the plot (seed {seed}; the plot needs the extra `docs`). Each point is "
            f"{points[0].runs:,} simulated runs of {ranks} ranks with {steps} measured steps each, in windows of "
            f"{window}. The time of a step scatters normally, with a standard deviation of {100 * noise:g} %; the "
            "noise is a first-order autoregression, independent in each rank, in which neighbouring steps have a "
            f"correlation of {said}. The evidence is made up in memory, where the files of a run would have been read; "
            "from there on `verdict/` does with it what it does with every run: p_core with its interval, held against "
            "a published number with the default bound, 0.95 x published."
        ),
        "## Share of runs in percent",
        _wrapped(
            "The first column is the device's true speed against the published one, the number after a verdict the "
            "correlation of neighbouring steps."
        ),
        _table(points),
        "## What it means for a release",
        "\n".join(_wrapped(f"{at}. {one}", "   ") for at, one in enumerate(_meaning(points, steps), start=1)),
    ]
    return "\n\n".join(parts) + "\n"


def _table(points: Sequence[Point]) -> str:
    correlations = _correlations(points)
    heads = [f"{verdict}, {one:g}" for one in correlations for verdict in _STYLES]
    lines = [f"| speed | {' | '.join(heads)} |", f"| ---: |{' ---: |' * len(heads)}"]
    at = {(point.offset_percent, point.correlation): point for point in points}
    for offset in sorted({point.offset_percent for point in points}):
        cells = [f"{100 * at[offset, one].share(verdict):.2f}" for one in correlations for verdict in _STYLES]
        lines.append(f"| {f'{offset:+d}' if offset else '0'} % | {' | '.join(cells)} |")
    return "\n".join(lines)


def _meaning(points: Sequence[Point], steps: int) -> list[str]:
    def runs(offset_percent: int, verdict: str, of: Callable[[Iterable[int]], int]) -> str:
        return f"{of(point.count[verdict] for point in points if point.offset_percent == offset_percent):,}"

    every = f"{points[0].runs:,}"
    return [
        f"A device that is 7 % too slow passed in {runs(-7, 'pass', max)} of {every} runs, and one that delivers what "
        f"is published failed in {runs(0, 'fail', max)}, at the worst of the correlations: a pass and a fail can be "
        "relied on.",
        f"A device exactly at the bound, 5 % below the published value, passed in at most {runs(-5, 'pass', max)} of "
        f"{every} runs, because a pass takes an interval that lies above the bound as a whole.",
        "Close to the bound most runs are therefore inconclusive, the more so the more steps resemble their "
        "neighbours; that is no fault of the device or of the run, and the cure is more steps, about as many as the "
        "reason says.",
        f"With {steps} steps a device that is 2 % below the published value passed in at least {runs(-2, 'pass', min)} "
        f"of {every} runs, and one that is 8 % below failed in at least {runs(-8, 'fail', min)}, so that a short run "
        "decides all but the close cases.",
        "The noise here forgets within some dozen steps; of a drift much slower than that a short run sees too little, "
        "so where the margin is small a release is better gated on a long run than on a short one.",
    ]


def _correlations(points: Sequence[Point]) -> list[float]:
    return sorted({point.correlation for point in points})


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 118, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def plot(points: Sequence[Point]) -> str:
    """The curves as SVG, a panel for each correlation; the same points always give the same text."""
    import matplotlib

    matplotlib.use("svg")
    # Text stays text, so that it can be searched; the salt makes the names inside the file repeatable.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "operating-curve", "font.size": 10})
    from matplotlib import pyplot

    correlations = _correlations(points)
    figure, panels = pyplot.subplots(1, len(correlations), figsize=(11, 4), sharey=True, facecolor="white")
    for panel, correlation in zip(panels, correlations):
        row = sorted(
            (point for point in points if point.correlation == correlation), key=lambda one: one.offset_percent
        )
        offsets = [point.offset_percent for point in row]
        for verdict, (colour, line, marker) in _STYLES.items():
            shares = [100 * point.share(verdict) for point in row]
            panel.plot(offsets, shares, line, color=colour, marker=marker, markersize=5, linewidth=1.8, label=verdict)
        panel.axvline(_BOUND_PERCENT, color="#555555", linewidth=1)
        panel.annotate("bound", (_BOUND_PERCENT, 102), ha="center", va="bottom", fontsize=9, annotation_clip=False)
        panel.set_title(f"correlation of neighbouring steps {correlation:g}", fontsize=10, pad=20)
        panel.set_xlabel("true speed against published (%)")
        panel.set_xticks(offsets[::5] if len(offsets) > 6 else offsets)
        panel.set_ylim(-3, 103)
        panel.grid(color="#dddddd", linewidth=0.6)
    panels[0].set_ylabel("share of runs (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=3, frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"
