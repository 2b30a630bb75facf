"""The table of probes: who asks for each, what every rank has to answer, and how its questions are judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Collection, Mapping, Optional

from evidence.bundle import Evidence
from evidence.events.rank import RankEvidence
from evidence.verdict import ProbeVerdict
from expected import Cell
from verdict.probes import explained, links, one_step, operators, peaks
from verdict.probes.answers import ProbeAnswer

Judge = Callable[[Evidence, Cell, str], Optional[ProbeAnswer]]
"""Of a run, its cell and the part that a question asks about, as an operator; None if the run was not asked."""
Line = Callable[[Evidence, Cell], Optional[ProbeVerdict]]


@dataclass(frozen=True)
class Probe:
    """A measurement before training; its `event` is the last one of a rank, which `done` returns.

    `option` is that of pytest which asks for it, and the field of run.json. `answered` takes that event, the rank and
    how much was asked; it returns what is wrong with the rank's answers, "" if nothing is, and what all ranks have to
    have answered alike, None to compare nothing. Fewer than `least_ranks` are asked nothing. `questions` are those of
    suite/, `lines` those of the closing table, each with the questions that it sums up.
    """

    event: str
    option: str
    done: Callable[[RankEvidence], Any]
    answered: Callable[[Any, RankEvidence, str], tuple[str, object]]
    questions: Mapping[str, Judge]
    lines: Mapping[str, tuple[Line, Collection[str]]]
    least_ranks: int = 1


_OPERATORS = ("operators", "blocks", "fp32_is_fp32", "special_values", "ties", "repeatable", "devices_agree")

PROBES = (
    Probe(
        event="operators",
        option="numerics",
        done=lambda rank: rank.operators_done,
        answered=operators.answered,
        questions={
            **dict.fromkeys(
                _OPERATORS[:-2],
                lambda evidence, _, part: operators.judge_operators(evidence).get(part.replace(" ", "-")),
            ),
            "repeatable": lambda evidence, *_: operators.judge_repeats(evidence),
            "devices_agree": lambda evidence, *_: operators.judge_agreement(evidence),
        },
        lines={"operators": (operators.operators_line, _OPERATORS)},
    ),
    Probe(
        event="one_step",
        option="numerics",
        done=lambda rank: rank.one_step,
        answered=one_step.answered,
        questions={
            "gradients": lambda evidence, *_: one_step.judge_gradients(evidence),
            "trajectory": lambda evidence, *_: one_step.judge_trajectory(evidence),
            "replayed_step": lambda evidence, *_: one_step.judge_replayed_step(evidence),
        },
        lines={"one step": (one_step.one_step_line, ("gradients", "trajectory", "replayed_step"))},
    ),
    Probe(
        event="links",
        option="links",
        done=lambda rank: rank.links_done,
        answered=links.answered,
        questions={
            "collective_results": lambda evidence, *_: links.judge_results(evidence),
            "buckets": lambda evidence, *_: links.judge_buckets(evidence),
            "latency": lambda evidence, *_: links.judge_latency(evidence),
            "pairs": lambda evidence, cell, _: links.judge_pairs(evidence, cell),
        },
        lines={"links": (links.links_line, ("collective_results", "buckets", "latency", "pairs"))},
        least_ranks=2,
    ),
    Probe(
        event="peaks",
        option="links",
        done=lambda rank: rank.peaks_done,
        answered=peaks.answered,
        questions={
            "copies": lambda evidence, cell, _: peaks.judge_copies(evidence, cell),
            "memory": peaks.judge_memory,
            "peak": peaks.judge_peak,
            "sustained": lambda evidence, *_: peaks.judge_sustained(evidence),
            "explained": lambda evidence, cell, _: explained.judge_explained(evidence, cell),
        },
        lines={
            "copies": (peaks.copies_line, ("copies",)),
            "memory": (peaks.memory_line, ("memory",)),
            "peaks": (peaks.peaks_line, ("peak", "sustained")),
            "explained": (explained.explained_line, ("explained",)),
        },
    ),
)
"""In the order of the closing table's lines."""

LINES = {name: line for probe in PROBES for name, line in probe.lines.items()}
PROBE_OF = {question: probe for probe in PROBES for question in probe.questions}
