"""The faults that the gate has been tested with, one row each: how it is planted, and the verdict that it must get.

`python -m tests.faults.table` prints the tables of docs/faults.md: this one, sound machines (sound.py), and a lab's
mishaps (mishaps.py).
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Callable, NamedTuple

from evidence.bundle import Evidence
from evidence.seal import write_seal
from evidence.verdict import RunVerdict, Verdict
from tests.faults import mishaps, sound
from tests.faults.gates import SESSIONS
from tests.faults.lab import Event, Lab, Stored, the_cell
from tests.support import cell_of
from verdict.checks.accounts import CONSTANT_LOSS_STEPS
from verdict.compare.health import judge_health
from verdict.metrics.throughput import STEADY_MIN_STEPS

RUN, STORED = "a run", "a stored run"
SLOW_7_PERCENT = 1 / 0.93
FEW = 20  # steps after the warm-up, for a fault that does not show in a rate


class Answer(NamedTuple):
    """The verdict of a question of its own, as the run's has it."""

    outcome: Verdict
    reasons: tuple[str, ...]


class Row(NamedTuple):
    """`outcome` is the verdict of the run or of a question, `words` are among its reasons."""

    name: str
    planted: str
    outcome: str
    words: str
    plant: Callable[[Lab], RunVerdict | Answer]


ROWS: list[Row] = []


def _in_a_run(
    name: str, outcome: str, words: str, scenario: str, *, steps: int = FEW, stall_timeout_s: float = 60.0
) -> None:
    ROWS.append(Row(name, RUN, outcome, words, lambda lab: lab.run(scenario, steps, stall_timeout_s)))


def _of_health(evidence: Evidence) -> Answer:
    found = judge_health([evidence])
    return Answer(found.verdict, (found.reason,))


def _in_health(name: str, words: str) -> None:
    ROWS.append(Row(name, RUN, "fail", words, lambda lab: _of_health(lab.unhealthy(_UNHEALTHY, FEW))))


def _altered(
    name: str, words: str, of: Callable[[Lab], Stored] = Lab.stored, *, seal: bool = True
) -> Callable[..., None]:
    def note(alter: Callable[[Stored], object]) -> None:
        def plant(lab: Lab) -> RunVerdict:
            stored = of(lab)
            alter(stored)
            return stored.judged(seal=seal)

        ROWS.append(Row(name, STORED, "invalid", words, plant))

    return note


def _in_a_stored_run(name: str, words: str, outcome: str = "invalid") -> Callable[..., None]:
    return lambda plant: ROWS.append(Row(name, STORED, outcome, words, plant))


def _fault(kind: str, **values: object) -> str:
    keys = "".join(f"{key} = {json.dumps(value).lower()}\n" for key, value in values.items())  # TOML writes nan
    return f'[[fault]]\nkind = "{kind}"\n{keys}'


_in_a_run("device 7 % too slow", "fail", "p_core", _fault("slow", factor=SLOW_7_PERCENT), steps=STEADY_MIN_STEPS)
_in_a_run(
    "one rank 10 % slow", "fail", "rank 1 (device 1 of ", _fault("slow", factor=1.1, ranks=[1]), steps=STEADY_MIN_STEPS
)
_in_a_run(
    "stalls in a tenth of the steps", "fail", "p_core", _fault("stall", share=0.1, factor=3.0), steps=STEADY_MIN_STEPS
)
_in_a_run(
    "warm-up longer than configured",
    "invalid",
    "the device was not in a steady state",
    _fault("warmup", steps=170, factor=1.3, decay=True),
    steps=STEADY_MIN_STEPS,
)
_in_a_run(
    "device slows down in the middle",
    "invalid",
    "the device was not in a steady state",
    _fault("slow", factor=1.2, from_step=90),
    steps=STEADY_MIN_STEPS,
)
_in_a_run("`synchronise` that does not wait", "invalid", "it does not wait for the device", _fault("blind_synchronise"))
_in_a_run("device events that run too fast", "invalid", "the step timer saw", _fault("fast_timer", factor=2.0))
_in_a_run(
    "step timer 10 % fast on a device 8 % too slow",
    "invalid",
    "the device's events saw",
    _fault("slow", factor=1.08) + _fault("fast_timer", factor=1.1),
)
_in_a_run("a rank's clock at 80 %", "invalid", "where its agent's says", _fault("wrong_clock", rate=0.8, ranks=[1]))
_in_a_run(
    "`synchronise` that waits only before training",
    "invalid",
    "clock test before step",
    _fault("blind_synchronise", from_step=1),
)
_in_a_run(
    "`synchronise` that waits only while it is tested",
    "invalid",
    "reading the last loss of a window took",
    'timing = "windows"\n' + _fault("blind_synchronise", only_training=True),
)
_in_a_run(
    "one rank 10 % slow, timed by windows",
    "fail",
    "rank 1 (device 1 of ",
    'timing = "windows"\n' + _fault("slow", factor=1.1, ranks=[1]),
    steps=STEADY_MIN_STEPS,
)
_in_a_run("loss is NaN", "invalid", "the model has diverged", _fault("loss", value=float("nan"), from_step=15))
_in_a_run("loss is constant", "invalid", "found loss 1.5 on", _fault("loss", value=1.5), steps=CONSTANT_LOSS_STEPS)
_in_a_run(
    "an optimizer that does nothing",
    "invalid",
    "expected them to change: nothing was trained",
    _fault("idle_optimizer"),
)
_in_a_run(
    "an optimizer that does nothing any more in the middle",
    "invalid",
    "expected them to change: nothing was trained",
    _fault("idle_optimizer", from_step=60),
    steps=STEADY_MIN_STEPS,
)
_in_a_run("no backward pass after the second step", "invalid", "backward passes are missing", _fault("no_backward"))
_in_a_run("one batch for ever", "invalid", "images trained on before in the same epoch", _fault("same_batch"))
_in_a_run("DDP that exchanges nothing", "invalid", "the ranks do not exchange their gradients", _fault("no_exchange"))
_in_a_run("a rank dies", "invalid", "rank 1 (SIGKILL) ended without a message", _fault("die", step=15, ranks=[1]))
_in_a_run(
    "a rank hangs",
    "invalid",
    "(--stall-timeout), so the run was ended",
    _fault("hang", step=15, ranks=[1]),
    stall_timeout_s=8.0,
)
_in_a_run("a device is out of memory", "invalid", "rank 1: memory", _fault("out_of_memory", step=15, ranks=[1]))
_in_a_run(
    "memory creeps up",
    "inconclusive",
    "memory was still rising at the end",
    "memory_gib = 15.0\n" + _fault("memory_creep", gib_per_step=0.02),
    steps=STEADY_MIN_STEPS,
)
_in_a_run("a device throttles", "invalid", "throttled (thermal)", _fault("throttle", from_step=20, ranks=[1]))
_in_a_run("nobody can read the memory", "invalid", "found no memory sample", _fault("no_samples", how="failing"))
_in_a_run("a device of another size", "invalid", "this is another model", _fault("card", capacity_gib=24.0, ranks=[1]))
_in_a_run(
    "two ranks on one device", "invalid", "in use by rank 0, expected its own", _fault("card", index=0, ranks=[1])
)


# One run for all of them; tests/verdict/compare/test_health.py has each alone.
_UNHEALTHY = "".join(
    (
        _fault("ecc_errors", from_step=15, ranks=[1]),
        _fault("retired_pages", from_step=15, ranks=[1]),
        _fault("pcie_width", lanes=8, ranks=[1]),
        _fault("pcie_generation", generation=1, ranks=[0]),
        _fault("xid", number=79, from_step=15, ranks=[0]),
    )
)
_in_health("an uncorrected memory error in training", "1 new uncorrected ECC error in the run, expected none")
_in_health("a memory page is retired in training", "1 new retired page in the run, expected none")
_in_health("a device on half its PCIe lanes", "PCIe x8 before training and x8 after training")
_in_health("a slow PCIe link", "PCIe generation 1 before and after training, expected the 4")
_in_health("the driver reports an Xid in training", "kernel log of the run: NVRM: Xid")


@_in_a_stored_run(
    "a device that cannot be read any more after training", "read before training and not", "inconclusive"
)
def _health_is_gone(lab: Lab) -> Answer:
    stored = lab.stored()
    stored.edit("rank-0001.jsonl", lambda events: _all(events, "health")[1].update(ecc_uncorrected=None))
    return _of_health(stored.evidence())


@_altered("host clock steps back between two events", "the clock goes backwards")
def _events_step_back(stored: Stored) -> None:
    def step_back(events: list[Event]) -> None:
        for event in events[len(events) // 2 :]:
            event["t_ns"] -= 3_600 * 10**9

    stored.edit("rank-0000.jsonl", step_back)


_altered("host clock set back during the run", "the host's clock was set meanwhile")(
    lambda stored: stored.edit_run(
        lambda record: record["boot"].update(elapsed_utc_s=record["boot"]["elapsed_s"] - 3_600)
    )
)


@_altered("64 % of the training is bookkeeping", "64% of the")
def _bookkeeping(stored: Stored) -> None:
    def book(events: list[Event]) -> None:
        ledger = _one(events, "train_end")["ledger"]
        ledger["bookkeeping_ns"] = int(0.64 * sum(ledger.values()))
        ledger["compute_ns"] -= ledger["bookkeeping_ns"]
        for window in _all(events, "window"):
            window["compute_ns"] = [ns * 36 // 100 for ns in window["compute_ns"]]
            for name in ("compute_host_ns", "forward_ns"):
                window[name] = window[name] * 36 // 100

    for rank in (0, 1):
        stored.edit(f"rank-000{rank}.jsonl", book)


@_altered("a variable lowers the precision of products", "XDNN_CONV_GEMM_DTYPE=int16, by which")
def _lowered_by_a_variable(stored: Stored) -> None:
    lowered = {"XDNN_CONV_GEMM_DTYPE": "int16"}
    for rank in ("rank-0000.jsonl", "rank-0001.jsonl"):
        stored.edit(rank, lambda events: _one(events, "start").update(variables=lowered))


_altered("ranks with different variables of arithmetic", "found XACC_ARGS=-L O1, expected no XACC_ARGS")(
    lambda stored: stored.edit(
        "rank-0001.jsonl", lambda events: _one(events, "start").update(variables={"XACC_ARGS": "-L O1"})
    )
)


_altered("images over-counted in the sum", "images, expected the")(
    lambda stored: stored.edit("rank-0001.jsonl", lambda events: _one(events, "train_end").update(images=10_000))
)


@_altered("images over-counted in the batches", "found a batch of 4 images, expected 1 to 2")
def _batches_overcounted(stored: Stored) -> None:
    def double(events: list[Event]) -> None:
        for window in _all(events, "window"):
            window["images"] = [2 * images for images in window["images"]]
        _one(events, "train_end")["images"] *= 2

    for rank in (0, 1):
        stored.edit(f"rank-000{rank}.jsonl", double)


@_altered("smaller images than the model's", "padded pixels an image")
def _smaller_images(stored: Stored) -> None:
    def shrink(events: list[Event]) -> None:
        for window in _all(events, "window"):
            window["padded_pixels"] //= 8

    stored.edit("rank-0000.jsonl", shrink)


_altered("a rank's file is missing", "rank 1: found no file")(lambda stored: stored.path("rank-0001.jsonl").unlink())


_altered("a rank's file is another's copy", "the file of rank 1 was written by rank 0")(
    lambda stored: stored.path("rank-0001.jsonl").write_bytes(stored.path("rank-0000.jsonl").read_bytes())
)


_altered("a rank too many", "rank 2: found a file, expected only ranks 0 to 1")(
    lambda stored: stored.path("rank-0002.jsonl").write_bytes(stored.path("rank-0001.jsonl").read_bytes())
)


_altered("a rank's last line is cut off", "the last line is cut off")(
    lambda stored: stored.path("rank-0001.jsonl").write_bytes(stored.path("rank-0001.jsonl").read_bytes()[:-20])
)


_altered("a rank's file is empty", "rank 1: found 0 'start' events")(
    lambda stored: stored.path("rank-0001.jsonl").write_bytes(b"")
)


_altered("another number of ranks", "found world size 4, expected 2")(
    lambda stored: stored.edit("rank-0001.jsonl", lambda events: _one(events, "start").update(world_size=4))
)


@_altered("evaluation on fewer images", "images in total, expected", Lab.stored_full)
def _fewer_images(stored: Stored) -> None:
    def fewer(events: list[Event]) -> None:
        last = _all(events, "eval_end")[-1]
        last["images"] = last["images_total"] = last["images"] - 8

    stored.edit("rank-0000.jsonl", fewer)


_altered("training ended before the target", "for reason target, expected at least", Lab.stored_full)(
    lambda stored: stored.edit("rank-0000.jsonl", lambda events: _one(events, "end").update(reason="target"))
)


@_in_a_stored_run("training was shortened", "ended before the target", "missing")
def _shortened(lab: Lab) -> RunVerdict:
    stored = lab.stored_full()
    longer = replace(stored.cell, recipe=replace(stored.cell.recipe, epochs=2))
    stored.edit_run(lambda record: record["recipe"].update(epochs=2))
    return stored.judged(longer)


@_in_a_stored_run("a byte was changed", "rank-0000.jsonl: ")
def _byte_changed(lab: Lab) -> RunVerdict:
    stored = lab.stored()
    path = stored.path("rank-0000.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"lr": 0.0', b'"lr": 0.1', 1))
    return stored.judged(seal=False)


_altered("the seal is missing", "SHA256SUMS: not there", seal=False)(lambda stored: stored.path("SHA256SUMS").unlink())


@_in_a_stored_run(
    "edited and sealed again without the key", "is not a signature of this seal by any of lab@example.com"
)
def _sealed_without_the_key(lab: Lab) -> RunVerdict:
    stored = lab.stored()
    allowed = stored.signed()
    stored.edit("rank-0000.jsonl", lambda events: _one(events, "memory").update(allocated_gib=15.0))
    write_seal(stored.folder)
    return stored.judged_as_signed(allowed)


@_in_a_stored_run("the signature is missing", "SHA256SUMS.sig: not there, and a signature is required")
def _signature_missing(lab: Lab) -> RunVerdict:
    stored = lab.stored()
    allowed = stored.signed()
    stored.path("SHA256SUMS.sig").unlink()
    return stored.judged_as_signed(allowed)


@_in_a_stored_run("less memory in use than weights, gradients and momentum need", "expected at least 0.465 GiB")
def _too_little_memory(lab: Lab) -> RunVerdict:
    stored = lab.stored()
    # A virtual device has the tiny model; with the benchmark's, 0.3 GiB could not hold its state.
    _of_the_benchmarks_model(stored)
    _reading(stored, memory_used_gib=0.3)
    for rank in (0, 1):
        stored.edit(
            f"rank-000{rank}.jsonl",
            lambda events: _one(events, "memory").update(allocated_gib=None, reserved_gib=None),
        )
    return stored.judged()


_altered("a device at 0 % use", "read a use of 0.0 % on average in training")(
    lambda stored: _reading(stored, use_percent=0.0)
)


@_altered("a device that draws no more power than before", "W on average in training and 60.0 W before")
def _no_power(stored: Stored) -> None:
    _reading(stored, power_w=61.0)
    stored.edit("telemetry.jsonl", lambda samples: [one.update(power_w=60.0) for one in samples[:4] if "card" in one])


_altered("the SMI watches another device", "and the allocator had given out 12.80 GiB at its peak")(
    lambda stored: _reading(stored, memory_used_gib=1.0)
)


_altered("another schema version", "schema 1, expected 2")(
    lambda stored: stored.edit_run(lambda record: record.update(schema=1))
)


@_in_a_stored_run("evidence of another cell", "found cell virtual-1x2-fp32-bs2, expected virtual-1x1-fp32-bs2")
def _another_cell(lab: Lab) -> RunVerdict:
    return lab.stored().judged(cell_of("virtual", "1x1"))


@_in_a_stored_run("a simulated device as a physical one", "found a simulated device, expected a real r300")
def _simulated(lab: Lab) -> RunVerdict:
    return lab.stored().judged(cell_of("r300", "1x1"))


@_in_a_stored_run("an epoch of 400 steps where COCO has 916", "expected the 117266 of the data set")
def _short_epoch(lab: Lab) -> RunVerdict:
    return lab.stored_coco(steps=400).judged()


@_altered("person_keypoints_val2017.json renamed", "annotations of val2017: found 11004 annotations", Lab.stored_coco)
def _keypoints(stored: Stored) -> None:
    def rename(events: list[Event]) -> None:
        _one(events, "data")["val"].update(boxes_listed=11_004, crowds=227, categories=1)

    for rank in range(8):
        stored.edit(f"rank-000{rank}.jsonl", rename)


_altered("a host with other annotations", "copy one file to all hosts")(
    lambda stored: stored.edit(
        "rank-0001.jsonl", lambda events: _one(events, "data")["train"].update(annotations_sha256="cd" * 32)
    )
)


@_altered("amp whose loss scale collapses", "gradients overflow at any scale")
def _scale_collapses(stored: Stored) -> None:
    def collapse(events: list[Event]) -> None:
        for place, window in enumerate(_all(events, "window")):
            window.update(skipped=[*range(len(window["images"]) - 1)], loss_scale=65536.0 * 2.0 ** (-6 * place))

    for rank in (0, 1):
        stored.edit(f"rank-000{rank}.jsonl", collapse)


@_in_a_stored_run("faster than 1.5 x published", "too good to be believed", "inconclusive")
def _too_good(lab: Lab) -> RunVerdict:
    return lab.stored(compute_ns=50_000_000).judged()


@_altered("TF32 behind the fp32 products of the probes", "expected at most the specified 21")
def _tf32_in_the_probe(stored: Stored) -> None:
    product = {"event": "device_rate", "of": "gemm", "precision": "fp32", "amount": 118 * 10**9, "units": 1}
    product.update(times_ns=[10**6] * 9, checked=8192)

    def add(events: list[Event]) -> None:
        at = [event["event"] for event in events].index("clock_test")
        events.insert(at + 1, {**product, "t_ns": events[at]["t_ns"]})

    stored.edit("rank-0001.jsonl", add)


@_in_a_stored_run("faster than the device's specified peak", "expected at most the specified peak of 125")
def _above_the_peak(lab: Lab) -> RunVerdict:
    return lab.stored_coco(compute_ns=80_000_000, host_ns=80_000_000).judged()


@_in_a_stored_run("every metric blank", "no number is published", "recorded")
def _all_blank(lab: Lab) -> RunVerdict:
    stored = lab.stored()
    stored.edit_run(lambda record: record.update(expectation={}))
    return stored.judged(the_cell().without_numbers("a table of blanks"))


@_in_a_stored_run("200 steps, in which a rare stall does not show", "too few to show rare stalls", "inconclusive")
def _short(lab: Lab) -> RunVerdict:
    return lab.stored_a100(
        cell_of("a100", "1x1"), protocol="steady", steps=200, host_ns=350_000_000, compute_ns=360_000_000
    )


@_in_a_stored_run("one lucky boot of a device 6 % low, as boots differ by 1 %", "boots judged together", "inconclusive")
def _lucky(lab: Lab) -> RunVerdict:
    device = cell_of("a100", "1x1")
    lucky = 0.955 * (device.expectations["p_core"].value or 0.0)
    images = 16 * (1 - 1 / (16 * 7))  # of a step, as a few of the bundle's batches lack one
    return lab.stored_a100(device, host_ns=int(images / lucky * 1e9), compute_ns=int(images / lucky * 1.01e9))


def _reading(stored: Stored, **values: float) -> None:
    """Have every sample of a device show these values."""

    def show(samples: list[Event]) -> None:
        for sample in samples:
            if "card" in sample:
                sample.update(values)

    stored.edit("telemetry.jsonl", show)


def _of_the_benchmarks_model(stored: Stored) -> None:
    for rank in (0, 1):
        stored.edit(
            f"rank-000{rank}.jsonl",
            lambda events: _one(events, "model").update(parameters=41_755_286, trained=41_532_886),
        )


def _all(events: list[Event], name: str) -> list[Event]:
    return [event for event in events if event["event"] == name]


def _one(events: list[Event], name: str) -> Event:
    return _all(events, name)[0]


def lines() -> list[str]:
    """The table as Markdown."""
    rows = [("fault", "planted in", "verdict", "what it says")]
    rows += [(row.name, row.planted, row.outcome, f"... {row.words.strip()} ...") for row in ROWS]
    rows += [
        (row.name, "a session", f"`GATE: {row.gate}`", f"... {row.words} ..." if row.words else "") for row in SESSIONS
    ]
    shown = [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return [shown[0], "| --- | --- | --- | --- |", *shown[1:]]


if __name__ == "__main__":
    print("\n".join([*lines(), "", *sound.lines(), "", *mishaps.lines()]))
