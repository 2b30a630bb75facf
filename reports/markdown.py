"""A session's summary in Markdown, for the page of a CI job: the gate's line, and the table of each run."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Mapping, Sequence

from evidence.text import visible
from evidence.verdict import Comparison, RunVerdict, Verdict
from reports.console import comparison_lines, metric_rows, run_title

_SIGNS = {
    Verdict.PASS: "\N{WHITE HEAVY CHECK MARK}",
    Verdict.FAIL: "\N{CROSS MARK}",
    Verdict.INVALID: "\N{CROSS MARK}",
    Verdict.INCONCLUSIVE: "\N{BLACK QUESTION MARK ORNAMENT}",
    Verdict.MISSING: "\N{BLACK QUESTION MARK ORNAMENT}",
    Verdict.RECORDED: "\N{MEMO}",
}
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&!$])")
_NUMERIC = ("measured", "published", "of published")


@dataclass(frozen=True)
class Summarised:
    """A run with what stands beside its verdict: the device's name, folder and page as shown, and next commands."""

    verdict: RunVerdict
    name: str
    folder: str
    report: str = ""
    serial: str = ""
    commands: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def summary(runs: Sequence[Summarised], comparisons: Sequence[Comparison] = (), gate: str = "") -> str:
    """Return the summary: the figures and words of the closing table; `gate` is the gate's line, "" without --gate.

    >>> print(summary([], gate="GATE: INCOMPLETE  nothing was run: --data is missing"))
    # GATE: INCOMPLETE
    <BLANKLINE>
    nothing was run: --data is missing
    <BLANKLINE>
    """
    word, _, why = gate.partition("  ")
    outcomes = [run.verdict.outcome for run in runs]
    counted = ", ".join(f"{outcomes.count(one)} {one}" for one in dict.fromkeys(outcomes)) or "no run"
    parts = [f"# {escaped(word) or f'Conformance: {counted}'}", escaped(why)]
    for run in runs:
        parts += _run_parts(run)
    for title, lines in comparison_lines(comparisons).items():
        parts += [f"## {escaped(title)}", _verbatim([line.text for line in lines])]
    return "\n\n".join(part for part in parts if part) + "\n"


def refused(message: str) -> str:
    """Return the summary of a session that was refused before it began, for these reasons, one a line."""
    return "\n\n".join(["# Nothing was run", "\n".join(f"- {escaped(one)}" for one in message.splitlines())]) + "\n"


def escaped(text: str) -> str:
    """Return text from outside as Markdown that shows it as it is, on one line."""
    return _MARKUP.sub(r"\\\1", visible(text))


def _run_parts(run: Summarised) -> list[str]:
    verdict = run.verdict
    headings, *rows = metric_rows(verdict)
    words = [*(one.verdict for one in verdict.shown.values()), *(one.verdict for one in verdict.probes.values())]
    table = [
        _row(headings),
        _row(["---:" if name in _NUMERIC else "---" for name in headings], escape=False),
        *(_row([*cells[:-1], f"{_SIGNS[word]} {cells[-1]}"]) for cells, word in zip(rows, words)),
    ]
    reasons = verdict.reasons if verdict.outcome is not Verdict.PASS else ()
    said = [*reasons, *(f"changed since the run: {one}" for one in verdict.changed), *verdict.notes, *run.notes]
    page = [f"report  {run.report}"] if run.report else []
    commands = [*page, *(f"{word:<8}{command}" for word, command in run.commands.items())]
    title = escaped(run_title(run.name, verdict, run.folder, run.serial))
    return [
        f"## {_SIGNS[verdict.outcome]} {verdict.outcome}: {title}",
        "\n".join(table) if rows else "",
        "\n".join(f"- {escaped(one)}" for one in said),
        _verbatim(commands),
    ]


def _row(cells: Sequence[str], *, escape: bool = True) -> str:
    return f"| {' | '.join(escaped(one) if escape else one for one in cells)} |"


def _verbatim(lines: Sequence[str]) -> str:
    """Return lines as a block of code, behind a fence that is longer than any of theirs."""
    text = "\n".join(map(visible, lines))
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}text\n{text}\n{fence}" if lines else ""
