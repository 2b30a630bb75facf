"""The metrics of the vendor's table, computed from evidence."""

from __future__ import annotations

import math
from typing import Callable, Mapping

from evidence.bundle import Evidence
from evidence.errors import SuiteError
from evidence.events import Evaluation
from expected import METRICS
from verdict.metrics.measurement import Measurement
from verdict.metrics.memory import card_memories, still_rising
from verdict.metrics.throughput import p_core, p_core_host, p_train, p_whole
from verdict.wording import times

PROTOCOL_METRICS: Mapping[str, tuple[str, ...]] = {
    "full": ("e2e_time", "p_whole", "p_train", "p_core", "map", "mem"),
    "epoch": ("p_whole", "p_train", "p_core", "mem"),
    "steady": ("p_train", "p_core", "mem"),
}
"""What each protocol measures."""


def protocol_metrics(evidence: Evidence) -> tuple[str, ...]:
    """The metrics that this run has to have measured, in the table's order; none when its protocol is unknown."""
    if evidence.run is None:
        return ()
    metrics = PROTOCOL_METRICS.get(evidence.run.protocol, ())
    return tuple(name for name in metrics if not (lost_by_restart(name, evidence) or _shortened(name, evidence)))


def unmeasured(name: str, evidence: Evidence) -> str:
    """Why this run has not measured the metric; "" where it has to have."""
    if name in protocol_metrics(evidence):
        return ""
    protocol = "unknown" if evidence.run is None else evidence.run.protocol
    why = ""
    if name in PROTOCOL_METRICS.get(protocol, ()):
        why = lost_by_restart(name, evidence) or _shortened(name, evidence)
    return f"{name} is not measured: {why or f'protocol {protocol} does not measure it'}"


def _shortened(name: str, evidence: Evidence) -> str:
    return shortened_run(evidence) if name in ("e2e_time", "map") else ""


def shortened_run(evidence: Evidence) -> str:
    """Why the run cannot say how far and in what time training comes; "" when it can.

    A full run with fewer epochs than its recipe has, that did not reach the target in them, would otherwise
    pass for a quick one.
    """
    run = evidence.run
    if run is None or run.epochs is None or not evidence.ranks:
        return ""
    planned, end = run.recipe.get("epochs"), evidence.ranks[0].end
    if type(planned) is not int or run.epochs >= planned or end is None or end.reason == "target":
        return ""
    return f"the run was shortened to {run.epochs} of {planned} epochs and ended before the target mAP"


def measure(evidence: Evidence) -> Mapping[str, Measurement]:
    """What the run measured, by metric name; beside p_core stands p_core_host.

    A metric that the evidence cannot give, for whatever reason, is left out. Never raises for damaged evidence.
    """
    found: dict[str, Measurement] = {}
    for name in protocol_metrics(evidence):
        for part in ("p_core", "p_core_host") if name == "p_core" else (name,):
            measurement = _MEASURES[part](evidence)
            if measurement is not None and math.isfinite(measurement.value):
                found[part] = measurement
    return found


def compared_value(timing: str, measurements: Mapping[str, Measurement]) -> Measurement | None:
    """The measurement to hold against a published p_core that was read with a "host" or a "device" clock.

    Raises SuiteError for any other `timing`.
    """
    names = {"host": "p_core_host", "device": "p_core"}
    if timing not in names:
        raise SuiteError(f"found the timing {timing!r} of a published p_core, expected host or device")
    return measurements.get(names[timing])


def _e2e_time(evidence: Evidence) -> Measurement | None:
    times_ns = []
    for rank in evidence.ranks:
        if rank.start is None or rank.end is None:
            return None
        times_ns.append((rank.end.t_ns - rank.start.t_ns, -rank.rank))
    if not times_ns:
        return None
    slowest_ns, last = max(times_ns)
    method = f"trainer's start to its end, longest of {len(times_ns)} ranks"
    source = next(rank.file for rank in evidence.ranks if rank.rank == -last)
    return Measurement("e2e_time", slowest_ns / 1e9, METRICS["e2e_time"].unit, None, method, source, len(times_ns))


def _map(evidence: Evidence) -> Measurement | None:
    last = last_evaluation(evidence)
    # The initial evaluation scores the weights that training began with, not what it came to.
    if last is None or last.epoch < 0 or last.map is None:
        return None
    images = last.images_total or 0
    method = f"COCO box AP@[.50:.95] after epoch {last.epoch}, over {images} images"
    return Measurement("map", last.map, METRICS["map"].unit, None, method, evidence.ranks[0].file, images)


def last_evaluation(evidence: Evidence) -> Evaluation | None:
    """Rank 0's last evaluation, the one on which the run decided to stop."""
    scored = [rank.evaluations[-1] for rank in evidence.ranks if rank.rank == 0 and rank.evaluations]
    return scored[0] if scored else None


def _mem(evidence: Evidence) -> Measurement | None:
    cards = card_memories(evidence)
    peaks = [card.peak for card in cards if card.peak is not None]
    if not cards or len(peaks) < len(cards):
        return None
    value = max(peaks)
    highest = cards[peaks.index(value)]
    parts = [f"sampled by {', '.join(highest.sources)} {highest.sampled:.2f} GiB"]
    for name, peak in (
        ("allocator's peak, allocated", highest.allocated),
        ("allocator's peak, reserved", highest.reserved),
        ("resident in the rank's process", highest.resident),
    ):
        if peak is not None:
            parts.append(f"{name} {peak:.2f} GiB")
    if evidence.telemetry.errors:
        parts.append(f"samplers reported {len(evidence.telemetry.errors)} errors, first {evidence.telemetry.errors[0]}")
    method = f"highest of {len(cards)} cards, {highest}: {'; '.join(parts)}"
    samples = sum(card.samples for card in cards)
    rising = still_rising(evidence)
    doubt = f"memory was still rising at the end, so its peak is not known: {'; '.join(rising)}" if rising else ""
    return Measurement("mem", value, METRICS["mem"].unit, None, method, "telemetry.jsonl", samples, doubt=doubt)


_MEASURES: Mapping[str, Callable[[Evidence], Measurement | None]] = {
    "e2e_time": _e2e_time,
    "p_whole": p_whole,
    "p_train": p_train,
    "p_core": p_core,
    "p_core_host": p_core_host,
    "map": _map,
    "mem": _mem,
}


_OF_THE_WHOLE = ("e2e_time", "p_whole")
"""What is measured from a run's beginning to its end, and so by no attempt alone."""
_OF_TRAINING = ("p_train", "p_core", "mem")


def lost_by_restart(name: str, evidence: Evidence) -> str:
    """Why a metric cannot be told of a run that was restarted; "" where it can, or where the run never was."""
    restarts = () if evidence.run is None else evidence.run.restarts
    if not restarts:
        return ""
    why = f"the run was restarted {times(len(restarts))}: {'; '.join(map(str, restarts))}"
    if name in _OF_THE_WHOLE:
        return why
    idle = bool(evidence.ranks) and all(rank.nothing_left and not rank.epochs for rank in evidence.ranks)
    return f"{why}; the last attempt had nothing left to train" if name in _OF_TRAINING and idle else ""
