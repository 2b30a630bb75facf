"""Measures a run: every metric that its protocol measures, and e2e_time, map and epochs_to_target themselves."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from typing import Iterable, Mapping, Sequence

from evidence.bundle import Evidence
from evidence.errors import SuiteError
from evidence.events.training import Evaluation
from evidence.verdict import Interval
from expected import ALL_METRICS, METRICS
from verdict.metrics import links, memory, peaks, throughput  # noqa: F401 - they register their metrics
from verdict.metrics.measurement import DEFINITIONS, Measurement, metric
from verdict.metrics.statistics import NORMAL_QUANTILE, t_quantile
from verdict.wording import counted, times

MIN_BOOTS = 3
"""Of two boots the spread between boots is not known."""


def protocol_metrics(evidence: Evidence, among: Iterable[str] = METRICS) -> tuple[str, ...]:
    """Those of the metrics that this run has to have measured, in their order; none when its protocol is unknown."""
    if evidence.run is None:
        return ()
    return tuple(name for name in metrics_of(evidence.run.protocol, among) if not _lost(name, evidence))


def metrics_of(protocol: str, among: Iterable[str] = METRICS) -> tuple[str, ...]:
    """Those of the metrics, by default the table's columns, that a protocol measures, in their order.

    >>> metrics_of("steady")
    ('p_train', 'p_core', 'mem')
    """
    return tuple(name for name in among if name in DEFINITIONS and protocol in DEFINITIONS[name].protocols)


def parts(name: str) -> tuple[str, ...]:
    """What is measured for a column of the table: p_core also by the host's clock, for tables published so."""
    return ("p_core", "p_core_host") if name == "p_core" else (name,)


def unmeasured(name: str, evidence: Evidence) -> str:
    """Why this run has not measured the metric; "" if it has to have."""
    if protocol_metrics(evidence, [name]):
        return ""
    protocol = "unknown" if evidence.run is None else evidence.run.protocol
    why = _lost(name, evidence) if metrics_of(protocol, [name]) else f"protocol {protocol} does not measure it"
    return f"{name} is not measured: {why}"


def measure(evidence: Evidence, among: Iterable[str] = METRICS) -> Mapping[str, Measurement]:
    """What the run measured, by metric name, p_core_host beside p_core. Never raises for damaged evidence.

    `among` are the metrics that are wanted, by default the table's columns. One that the evidence does not give, for
    whatever reason, is left out.

    >>> from evidence.bundle import read_run
    >>> round(measure(read_run("tests/stored/cpu-steady"))["p_core"].value, 2)
    8.33
    """
    found: dict[str, Measurement] = {}
    for name in protocol_metrics(evidence, among):
        for part in parts(name):
            measurement = DEFINITIONS[part].compute(evidence)
            if measurement is not None and math.isfinite(measurement.value):
                found[part] = measurement
    return found


def together(found: Sequence[Measurement]) -> Measurement:
    """One measurement of the same metric of several boots: a rate over all steps, the largest mem, else the mean.

    A rate's interval has the spread between the boots: measured, by Student's t, from MIN_BOOTS on; below that the
    assumed one or theirs, whichever is larger. It is never narrower than the steps of all of them allow.
    """
    first, count = found[0], len(found)
    n = sum(one.n for one in found)
    method = f"{'largest' if first.metric == 'mem' else 'mean'} of {count} runs; each: {first.method}"
    doubt, note = (
        "; ".join(dict.fromkeys(filter(None, texts))) for texts in zip(*((one.doubt, one.note) for one in found))
    )
    joint = replace(first, method=method, n=n, doubt=doubt, note=note)
    if first.metric not in throughput.RATES:
        values = [one.value for one in found]
        return replace(joint, value=max(values) if first.metric == "mem" else statistics.mean(values))
    # Images over time: of boots with as many steps the harmonic mean.
    value = n / sum(one.n / one.value for one in found)
    shares = [(one, one.n / n * (value / one.value) ** 2) for one in found if one.within is not None]
    if len(shares) < count:
        return replace(joint, value=value, interval=None, within=None)
    down = math.sqrt(sum((share * (one.value - one.within.low)) ** 2 for one, share in shares if one.within))
    up = math.sqrt(sum((share * (one.within.high - one.value)) ** 2 for one, share in shares if one.within))
    spread = statistics.stdev(one.value for one in found)
    if count >= MIN_BOOTS:
        reach = t_quantile(count - 1) * spread / math.sqrt(count)
        interval = Interval(value - max(reach, down), value + max(reach, up))
    else:
        spread = max(spread, first.between * value)
        reach = NORMAL_QUANTILE * spread / math.sqrt(count)
        interval = Interval(value - math.hypot(reach, down), value + math.hypot(reach, up))
    return replace(joint, value=value, interval=interval, within=Interval(value - down, value + up))


def compared_value(timing: str, measurements: Mapping[str, Measurement]) -> Measurement | None:
    """The measurement to hold against a published p_core that was read with a "host" or a "device" clock.

    Raises SuiteError for any other `timing`.
    """
    names = {"host": "p_core_host", "device": "p_core"}
    if timing not in names:
        raise SuiteError(f"found the timing {timing!r} of a published p_core, expected host or device")
    return measurements.get(names[timing])


def shortened_run(evidence: Evidence) -> str:
    """Why the run does not show how far and in what time training comes; "" if it does.

    A full run with fewer epochs than its recipe has, that did not reach the target in them, would otherwise pass for
    a quick one.
    """
    run = evidence.run
    if run is None or run.epochs is None or not evidence.ranks:
        return ""
    planned, end = run.recipe.get("epochs"), evidence.ranks[0].end
    if type(planned) is not int or run.epochs >= planned or end is None or end.reason == "target":
        return ""
    return f"the run was shortened to {run.epochs} of {planned} epochs and ended before the target mAP"


def last_evaluation(evidence: Evidence) -> Evaluation | None:
    """Rank 0's last evaluation, the one on which the run decided to stop."""
    scored = [rank.evaluations[-1] for rank in evidence.ranks if rank.rank == 0 and rank.evaluations]
    return scored[0] if scored else None


@metric("e2e_time", "full", "smoke", of="run", whole_recipe=True)
def e2e_time(evidence: Evidence) -> Measurement | None:
    """From the trainer's start to its end without the probes of operators, on the rank where it took longest, in s."""
    took = []
    for rank in evidence.ranks:
        if rank.start is None or rank.end is None:
            return None
        took.append((rank.end.t_ns - rank.start.t_ns - rank.probes_ns, -rank.rank, rank.file))
    if not took:
        return None
    longest_ns, _, source = max(took)
    method = f"trainer's start to its end, longest of {counted(len(took), 'rank')}"
    return Measurement("e2e_time", longest_ns / 1e9, METRICS["e2e_time"].unit, None, method, source, len(took))


@metric("map", "full", "smoke", of="model", whole_recipe=True)
def mean_average_precision(evidence: Evidence) -> Measurement | None:
    """COCO box AP@[.50:.95] of the last evaluation; the one before training does not count."""
    last = last_evaluation(evidence)
    if last is None or last.epoch < 0 or last.map is None:
        return None
    images = last.images_total or 0
    method = f"COCO box AP@[.50:.95] after epoch {last.epoch + 1}, over {images} images"
    return Measurement("map", last.map, METRICS["map"].unit, None, method, evidence.ranks[0].file, images)


def missed_target(evidence: Evidence) -> str:
    """Why the run does not show how many epochs reach the target mAP; "" if it does."""
    last, end = last_evaluation(evidence), evidence.ranks[0].end if evidence.ranks else None
    if end is None or end.reason == "target" or last is None:
        return ""
    return f"after epoch {last.epoch + 1}, the last one, the target mAP was not reached"


@metric("epochs_to_target", "full", of="model", whole_recipe=True, without=missed_target)
def epochs_to_target(evidence: Evidence) -> Measurement | None:
    """Epochs trained until an evaluation reached the target mAP, which is where a full run ends."""
    last, run = last_evaluation(evidence), evidence.run
    if last is None or run is None or last.epoch < 0:
        return None
    epochs = last.epoch + 1
    method = f"epochs until the evaluation reached the target mAP, {run.recipe.get('target_map')}"
    unit = ALL_METRICS["epochs_to_target"].unit
    return Measurement("epochs_to_target", float(epochs), unit, None, method, evidence.ranks[0].file, epochs)


def _lost(name: str, evidence: Evidence) -> str:
    """Why a restarted or shortened run does not show a metric of its protocol; "" if it does."""
    definition, restarts = DEFINITIONS[name], () if evidence.run is None else evidence.run.restarts
    if restarts:
        why = f"the run was restarted {times(len(restarts))}: {'; '.join(map(str, restarts))}"
        if definition.of == "run":
            return why
        idle = bool(evidence.ranks) and all(rank.nothing_left and not rank.epochs for rank in evidence.ranks)
        if definition.of == "training" and idle:
            return f"{why}; the last attempt had nothing left to train"
    return (shortened_run(evidence) if definition.whole_recipe else "") or definition.without(evidence)
