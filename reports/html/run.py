"""The page of one run: the verdict first, then how it went, where the time went, and what it stands on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from markupsafe import Markup

from evidence.bundle import Evidence
from expected import Device
from reports.html.cards import cards_part
from reports.html.charts import Chart
from reports.html.course import course_part, time_marks
from reports.html.facts import facts_part
from reports.html.metrics import head, verdict_part
from reports.html.page import page
from reports.html.ranks import ranks_part
from reports.html.series import stalls
from reports.html.templates import render


@dataclass(frozen=True)
class RunBody:
    """The page of a run without what surrounds it: `head` is what `metrics.head` tells."""

    head: Mapping[str, Any]
    html: Markup
    charts: Sequence[Chart]


def run_page(
    evidence: Evidence,
    verdict: Mapping[str, Any],
    *,
    device: Device,
    folder: str,
    commands: Mapping[str, str],
    notes: Sequence[str] = (),
    serial: str = "",
) -> str:
    """The page of a run as one file, from its evidence and its verdict.json.

    `folder` is the run's path as it should be shown, `commands` what can be done next, by a short word for it; `notes`
    stand beside the reasons. `serial` is the card's, of a run that was to use one card. Broken evidence gives a page
    that says so.
    """
    body = run_body(
        evidence, verdict, device=device, folder=folder, commands=commands, notes=notes, serial=serial, prefix=""
    )
    title = f"{body.head['title']}: {verdict['outcome']}"
    return page(title, render("run.html", head=body.head, body=body.html), body.charts)


def run_body(
    evidence: Evidence,
    verdict: Mapping[str, Any],
    *,
    device: Device,
    folder: str,
    commands: Mapping[str, str],
    notes: Sequence[str] = (),
    serial: str = "",
    prefix: str = "",
) -> RunBody:
    """The sections of a run; the ids of its charts and headings begin with `prefix`."""
    found = stalls(evidence.ranks)
    marks = time_marks(evidence.ranks, found)
    course, course_charts = course_part(evidence, verdict, found, marks, prefix)
    ranks, rank_charts = ranks_part(evidence, prefix)
    cards, card_charts = cards_part(evidence, verdict, marks, prefix)
    about = head(verdict, device=device.name, folder=folder, serial=serial)
    html = render(
        "sections.html",
        prefix=prefix,
        verdict=verdict_part(verdict, notes),
        course=course,
        ranks=ranks,
        cards=cards,
        facts=facts_part(evidence, verdict, device),
        commands=dict(commands),
        folder=folder,
    )
    return RunBody(about, html, [*course_charts, *rank_charts, *card_charts])
