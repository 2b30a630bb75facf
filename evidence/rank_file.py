"""Reads the events of one rank from its file."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any, Callable

from evidence.events import (
    LEDGER_PARTS,
    SCHEMA,
    STEP_COLUMNS,
    ClockProbe,
    DataSet,
    End,
    Epoch,
    Evaluation,
    Failure,
    Memory,
    Optimization,
    RankEvidence,
    Resumed,
    Start,
    TrainEnd,
    Windows,
)
from evidence.fields import (
    NON_FINITE,
    FieldError,
    KindError,
    any_number,
    decode,
    flag,
    number,
    table,
    text,
    texts,
    whole,
)
from evidence.host import host_facts
from evidence.jsonlines import Problems, read_objects


def read_rank(path: Path, rank: int, problems: Problems) -> RankEvidence:
    """Read the file of `rank`; whatever is wrong with it goes to `problems`."""
    reader = _RankReader(path.name, rank, problems)
    for line, record in read_objects(path, problems):
        reader.take(line, record)
    return reader.finish()


_INTS, _FLOATS = frozenset((int,)), frozenset((float,))


def _whole_list(value: Any) -> array[int]:
    # This looks at every entry without a loop in Python.
    if type(value) is list and _INTS.issuperset(map(type, value)):
        try:
            return array("q", value)
        except OverflowError:
            pass
    raise KindError("a list of whole numbers")


def _loss_list(value: Any) -> array[float]:
    if type(value) is list:
        if _FLOATS.issuperset(map(type, value)):
            return array("d", value)
        try:
            return array("d", map(any_number, value))
        except FieldError:
            pass
    raise KindError(f"a list of numbers or {', '.join(NON_FINITE)}")


def _ledger(value: Any) -> dict[str, int]:
    return decode(table(value), dict.fromkeys(LEDGER_PARTS, whole))


def _counts(value: Any) -> dict[str, Any]:
    return decode(table(value), {"images": whole}, {"images_listed": whole})


def _items(value: Any) -> list[dict[str, Any]]:
    if type(value) is not list:
        raise KindError("a list of items")
    return [decode(table(item), _OPTIMIZATION) for item in value]


def _rounds(value: Any) -> tuple[int, ...]:
    return tuple(_whole_list(value))


_CLOCK_PROBE: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("work_ns", "synchronise_ns", "after_ns", "timer_ns", "timer_wall_ns"), _rounds),
    "steps_back": whole,
}

_PER_WINDOW = {
    **dict.fromkeys(("epoch", "step", "wall_ns", "wait_ns", "copy_ns", "compute_host_ns", "forward_ns"), whole),
    **dict.fromkeys(("padded_pixels", "proposals", "sampled", "positives"), whole),
    "warmup": flag,
    "lr": number,
}
_WINDOW: dict[str, Callable[[Any], Any]] = {**_PER_WINDOW, **dict.fromkeys(STEP_COLUMNS, _whole_list)}
_WINDOW["loss"] = _loss_list

_START = {
    "schema": whole,
    "cell": text,
    "rank": whole,
    "local_rank": whole,
    "world_size": whole,
    "local_world_size": whole,
    "host": text,
    "backend": text,
    "simulated": flag,
    "device_name": text,
    "card": whole,
    "precision": text,
    "batch_size": whole,
    "protocol": text,
    "timing": text,
}
_START_OPTIONAL = {
    "capacity_gib": number,
    "learning_rate": number,
    "model": text,
    "seed": whole,
    "tf32": flag,
    "clock": text,
    "host_clock": flag,
    "serial": text,
    "attempt": whole,
    "without": texts,
    "bucket_mb": whole,
}

_OPTIMIZATION = {**dict.fromkeys(("name", "what", "published", "allowed", "proof", "why"), text), "on": flag}

_EVALUATION_OPTIONAL = {
    **dict.fromkeys(("images_total", "images_expected"), whole),
    **dict.fromkeys(("map", "checked_map", "check_difference"), any_number),
    "scorer": text,
}

_RESUMED = dict.fromkeys(("epoch", "step", "steps_left", "first_step"), whole)
_TRAIN_END = {"images": whole, "steps": whole, "ledger": _ledger}
_TYPECODES = {"warmup": "b", "lr": "d", "loss": "d"}  # the other columns are "q": int64
_HEAD = {"event": text, "t_ns": whole}
_ONCE = ("start", "clock_test", "environment", "optimizations", "resumed", "train_begin", "train_end", "end")


class _RankReader:
    """Takes the lines of one file in turn; knows which events are open and what time it is."""

    def __init__(self, file: str, rank: int, problems: Problems) -> None:
        self._file = file
        self._rank = rank
        self._problems = problems
        self._seen: dict[str, int] = {}
        self._last_ns: int | None = None
        self._columns = {name: array(_TYPECODES.get(name, "q")) for name in ("t_ns", "size", *_WINDOW)}
        # Bound once: a long run has a hundred thousand windows.
        self._per_window = [(self._columns[name], name) for name in _PER_WINDOW]
        self._per_step = [(self._columns[name], name) for name in STEP_COLUMNS]
        self._once: dict[str, Any] = {}
        self._evaluating: tuple[int, int] | None = None
        self._planned: dict[int, int] = {}
        self._data: list[DataSet] = []
        self._evaluations: list[Evaluation] = []
        self._epochs: list[Epoch] = []
        self._memories: list[Memory] = []
        self._failures: list[Failure] = []
        self._checkpoints_ns: list[int] = []
        self._takers: dict[str, Callable[[int, dict[str, Any]], None]] = {
            "start": self._start,
            "clock_test": self._clock_test,
            "data": self._data_set,
            "environment": self._environment,
            "optimizations": self._optimizations,
            "resumed": self._resumed,
            "eval_begin": self._eval_begin,
            "eval_end": self._eval_end,
            "train_begin": self._train_begin,
            "epoch_begin": self._epoch_begin,
            "window": self._window,
            "epoch_end": self._epoch_end,
            "checkpoint": self._checkpoint,
            "train_end": self._train_end,
            "memory": self._memory,
            "failure": self._failure,
            "end": self._end,
        }

    def take(self, line: int, record: dict[str, Any]) -> None:
        """Read one event; an unknown one only has to name itself and its time."""
        try:
            head = decode(record, _HEAD)
            event, t_ns = head["event"], head["t_ns"]
            self._seen[event] = self._seen.get(event, 0) + 1
            if self._last_ns is not None and t_ns < self._last_ns:
                raise FieldError(f"the clock goes backwards, from t_ns {self._last_ns} to {t_ns}")
            self._last_ns = t_ns
            taker = self._takers.get(event)
            if taker is None:
                return
            if "start" not in self._seen:
                raise FieldError(f"{event!r} comes before 'start', which has to be the first event")
            if "end" in self._seen and event != "end":
                raise FieldError(f"{event!r} comes after 'end', which has to be the last event")
            if event in _ONCE and self._seen[event] > 1:
                raise FieldError(f"{event!r} comes a second time")
            taker(t_ns, record)
        except FieldError as error:
            event = record.get("event")
            self._problems.add(f"{event}: {error}" if type(event) is str else str(error), line)

    def finish(self) -> RankEvidence:
        """Everything that was read."""
        if self._evaluating is not None:
            self._problems.add(f"the evaluation of epoch {self._evaluating[0]} began and did not end")
        return RankEvidence(
            rank=self._rank,
            file=self._file,
            seen=self._seen,
            start=self._once.get("start"),
            clock=self._once.get("clock_test"),
            data=tuple(self._data),
            evaluations=tuple(self._evaluations),
            epochs=tuple(self._epochs),
            windows=self._windows(),
            train_begin_ns=self._once.get("train_begin"),
            train_end=self._once.get("train_end"),
            memories=tuple(self._memories),
            failures=tuple(self._failures),
            end=self._once.get("end"),
            resumed=self._once.get("resumed"),
            checkpoints_ns=tuple(self._checkpoints_ns),
            environment=self._once.get("environment"),
            optimizations=self._once.get("optimizations", ()),
        )

    def _windows(self) -> Windows:
        import numpy as np  # here, so that collecting tests does not pay for it

        columns = {}
        for name, values in self._columns.items():
            kind = bool if name == "warmup" else np.float64 if values.typecode == "d" else np.int64
            columns[name] = np.array(values, dtype=kind)
            columns[name].flags.writeable = False
        return Windows(**columns)

    def _start(self, t_ns: int, record: dict[str, Any]) -> None:
        start = Start(t_ns=t_ns, **decode(record, _START, _START_OPTIONAL))
        self._once["start"] = start
        if start.schema != SCHEMA:
            raise FieldError(f"schema {start.schema}, expected {SCHEMA}; judge it with the version that wrote it")
        if start.rank != self._rank:
            raise FieldError(f"the file of rank {self._rank} was written by rank {start.rank}")

    def _clock_test(self, t_ns: int, record: dict[str, Any]) -> None:
        probe = ClockProbe(**decode(record, _CLOCK_PROBE))
        rounds = [times for times in vars(probe).values() if isinstance(times, tuple)]
        if not rounds[0] or {len(times) for times in rounds} != {len(rounds[0])}:
            raise FieldError("expected one entry a round in every list and at least one")
        self._once["clock_test"] = probe

    def _data_set(self, t_ns: int, record: dict[str, Any]) -> None:
        values = decode(record, {"train": _counts}, {"val": _counts})
        train, val = values["train"], values["val"] or {"images": None, "images_listed": None}
        self._data.append(DataSet(train["images"], val["images"], train["images_listed"], val["images_listed"]))

    def _environment(self, t_ns: int, record: dict[str, Any]) -> None:
        self._once["environment"] = host_facts(record)

    def _optimizations(self, t_ns: int, record: dict[str, Any]) -> None:
        items = decode(record, {"items": _items})["items"]
        self._once["optimizations"] = tuple(Optimization(**item) for item in items)

    def _resumed(self, t_ns: int, record: dict[str, Any]) -> None:
        self._once["resumed"] = Resumed(**decode(record, _RESUMED))

    def _eval_begin(self, t_ns: int, record: dict[str, Any]) -> None:
        epoch = decode(record, {"epoch": whole})["epoch"]
        if self._evaluating is not None:
            raise FieldError(f"epoch {epoch} while the evaluation of epoch {self._evaluating[0]} is still open")
        self._evaluating = epoch, t_ns

    def _eval_end(self, t_ns: int, record: dict[str, Any]) -> None:
        values = decode(
            record,
            {"epoch": whole, "images": whole},
            _EVALUATION_OPTIONAL,
        )
        if self._evaluating is None or self._evaluating[0] != values["epoch"]:
            raise FieldError(f"the evaluation of epoch {values['epoch']} ends and has not begun")
        self._evaluations.append(Evaluation(begin_ns=self._evaluating[1], end_ns=t_ns, **values))
        self._evaluating = None

    def _train_begin(self, t_ns: int, record: dict[str, Any]) -> None:
        self._once["train_begin"] = t_ns

    def _epoch_begin(self, t_ns: int, record: dict[str, Any]) -> None:
        values = decode(record, {"epoch": whole, "steps": whole})
        self._planned[values["epoch"]] = values["steps"]

    def _epoch_end(self, t_ns: int, record: dict[str, Any]) -> None:
        values = decode(record, {"epoch": whole, "steps": whole, "images": whole})
        self._epochs.append(Epoch(planned_steps=self._planned.get(values["epoch"]), **values))

    def _window(self, t_ns: int, record: dict[str, Any]) -> None:
        values = decode(record, _WINDOW)
        sizes = [len(values[name]) for name in STEP_COLUMNS]
        if sizes.count(sizes[0]) < len(sizes) or sizes[0] == 0:
            counts = ", ".join(f"{name} {count}" for name, count in zip(STEP_COLUMNS, sizes))
            raise FieldError(f"expected one entry a step in every list and at least one, found {counts}")
        for column, name in self._per_window:
            column.append(values[name])
        for column, name in self._per_step:
            column.extend(values[name])
        self._columns["t_ns"].append(t_ns)
        self._columns["size"].append(sizes[0])

    def _checkpoint(self, t_ns: int, record: dict[str, Any]) -> None:
        self._checkpoints_ns.append(t_ns)  # what was written is for resuming to read

    def _train_end(self, t_ns: int, record: dict[str, Any]) -> None:
        self._once["train_end"] = TrainEnd(t_ns=t_ns, **decode(record, _TRAIN_END))

    def _memory(self, t_ns: int, record: dict[str, Any]) -> None:
        kinds = dict.fromkeys(("allocated_gib", "reserved_gib", "resident_gib"), number)
        self._memories.append(Memory(**decode(record, {}, kinds)))

    def _failure(self, t_ns: int, record: dict[str, Any]) -> None:
        self._failures.append(Failure(**decode(record, {"kind": text, "message": text})))

    def _end(self, t_ns: int, record: dict[str, Any]) -> None:
        self._once["end"] = End(t_ns=t_ns, **decode(record, {"reason": text}))
