"""The certificate of a run: one A4 page for a meeting, with what was proven, what was not, and whether it is signed."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from evidence.files import SIGNATURE_FILE
from evidence.run_file import Run
from evidence.verdict import Verdict
from reports.html.page import page, render
from reports.html.pages import PageOf, facts_of, gate_parts, state_of
from reports.html.sections.facts import deviations_of, seal_of
from reports.html.sections.metrics import badge, metric_row, probe_row
from reports.html.texts import text

_MOST = 10  # lines of a list; more would not fit the page
_HEX = 16  # digits of a digest that a person compares


def certificate_page(of: PageOf) -> str:
    """Return the certificate as one HTML file that prints on one A4 page.

    Of a run that does not pass it is the result of the test, and says so: nothing on it reads as a pass.
    """
    verdict, run = of.run.verdict, of.run.evidence.run
    state = state_of(of)
    gate, rest, kind = gate_parts(of.gate)
    proven = state.verdict is Verdict.PASS and gate in ("", "GATE: PASS") and not verdict.simulated
    title = text("certificate.title" if proven else "certificate.result")
    shown = [*verdict.shown.values(), *state.beside]
    rows = [metric_row(one, 1.0) for one in shown]
    rows += [probe_row(name, one) for name, one in verdict.probes.items()]
    open_points = not_proven(of)
    html = render(
        "certificate.html",
        title=title,
        name=f"{of.run.device.name} {verdict.cell}",
        badge=badge(state.verdict),
        meaning=text(f"meaning.{state.verdict}"),
        gate=render("gate.html", word=gate, rest=rest, kind=kind) if of.gate else "",
        facts=[*facts_of(of), *_identity(of)],
        rows=rows,
        health={"badge": badge(state.health.verdict), "reason": state.health.reason},
        open_points=open_points[:_MOST],
        more=max(0, len(open_points) - _MOST),
        signature=signature_of(of),
        digests=_digests(of, run),
        again=of.commands.get("again", ""),
    )
    return page(f"{title}: {of.run.device.name} {verdict.cell}", html)


def signature_of(of: PageOf) -> dict[str, str]:
    """Return the state of the seal and its signature in words, and the colour: good only if a signer was verified."""
    evidence = of.run.evidence
    seal = seal_of(of.run)
    if seal["state"] != "holds":
        return {"words": text(f"seal.{seal['state']}"), "kind": "bad"}
    if evidence.signer:
        return {"words": text("signature.verified", signer=evidence.signer), "kind": "good"}
    is_signed = (evidence.path / SIGNATURE_FILE).is_file()
    return {"words": text("signature.unverified" if is_signed else "signature.none"), "kind": "warn"}


def not_proven(of: PageOf) -> list[str]:
    """Return what this run does not show, each in a line: the most important first."""
    verdict, run = of.run.verdict, of.run.evidence.run
    points = [text("open.simulated")] if verdict.simulated else []
    points += [] if of.gate else [text("open.gate")]
    points += [text("open.restarted", n=verdict.restarts)] if verdict.restarts else []
    for word, key in ((Verdict.MISSING, "open.missing"), (Verdict.RECORDED, "open.recorded")):
        names = [name for name, one in verdict.metrics.items() if one.verdict is word]
        points += [text(key, metrics=", ".join(names))] if names else []
    points += [] if "operators" in verdict.probes else [text("open.operators")]
    if state_of(of).health.verdict is Verdict.RECORDED:
        points.append(text("open.health"))
    for found in ("differs", "unknown"):
        items = list(dict.fromkeys(one.item for one in of.run.environment if one.verdict == found))
        points += [text(f"open.{found}", items=", ".join(items))] if items else []
    points += [text("open.unsigned")] if signature_of(of)["kind"] != "good" else []
    if run is not None and run.repeat is None:
        points.append(text("open.one_boot"))
    names = [one.partition(":")[0] for one in deviations_of(of.run)]
    return [*points, *([text("open.deviations", n=len(names), names=", ".join(names))] if names else [])]


def _identity(of: PageOf) -> list[tuple[str, str]]:
    starts = [start for _, start in of.run.evidence.starts]
    serials = list(dict.fromkeys(start.serial for start in starts if start.serial))
    drivers = list(dict.fromkeys(start.driver for start in starts if start.driver))
    rows = {"serials": ", ".join(serials[:8]) + (", ..." if len(serials) > 8 else ""), "driver": ", ".join(drivers)}
    return [(text(f"fact.{name}"), words) for name, words in rows.items() if words]


def _digests(of: PageOf, run: Run | None) -> Sequence[tuple[str, str]]:
    digests: Mapping[str, Any] = {"seal": seal_of(of.run)["digest"]}
    if run is not None:
        digests = {**digests, **vars(run.digests)}
    return [(text(f"digest.{name}"), str(found)[:_HEX]) for name, found in digests.items() if found]
