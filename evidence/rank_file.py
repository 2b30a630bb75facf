"""Append-only JSON Lines event log of one rank: written by EventLog, read by read_rank.

A truncated last line is tolerated and reported.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from array import array
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Callable, Iterator

from evidence.codec import (
    LARGEST,
    FieldError,
    KindError,
    any_number,
    any_numbers,
    decode,
    decode_fields,
    dumps,
    encode,
    flag,
    kinds_of,
    number,
    text,
    whole,
    whole_numbers,
)
from evidence.events.declare import EVENTS, ONCE
from evidence.events.rank import RankEvidence, Windows
from evidence.events.state import Progress
from evidence.events.training import (
    LEDGER_PARTS,
    STEP_COLUMNS,
    Epoch,
    EpochBegin,
    EpochEnd,
    Evaluation,
    Window,
    evaluation_name,
)
from evidence.files import WORK_SCHEMA, Problems, other_schema, rank_file, read_objects, whole_lines

HEARTBEAT_S = 5.0


class EventLog:
    """Appends events to `rank-NNNN.jsonl`, each with its name and the rank's monotonic time in ns; flushed at once."""

    def __init__(self, run_dir: Path, rank: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.now_ns: Callable[[], int] = time.perf_counter_ns
        self._clock = clock  # of heartbeats, which are for the supervision in real time
        self._written_s = clock()
        self.path = run_dir / rank_file(rank)
        # O_EXCL: two processes that both believe to be this rank are an error, not a mixed file.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._file = os.fdopen(os.open(str(self.path), flags, 0o644), "w", encoding="utf-8")

    def write(self, event: Any, t_ns: int | None = None) -> None:
        """Append an event of evidence/events; `t_ns` is now unless it is given."""
        line = {"event": type(event).event, "t_ns": self.now_ns() if t_ns is None else t_ns}
        line.update((name, value) for name, value in encode(event).items() if name != "t_ns")
        self._file.write(dumps(line) + "\n")
        self._file.flush()
        self._written_s = self._clock()

    def heartbeat(self, phase: str, done: int) -> None:
        """Write a `progress` event if no event was written for HEARTBEAT_S."""
        if self._clock() - self._written_s >= HEARTBEAT_S:
            self.write(Progress(phase, done))

    @contextlib.contextmanager
    def beating(self, phase: str, most_s: float = 3600.0) -> Iterator[None]:
        """Write heartbeats from a thread while the caller waits or computes on the host, for `most_s` at most.

        The caller must not write meanwhile.
        """
        done = threading.Event()

        def beat() -> None:
            begun_s = self._clock()
            while not done.wait(HEARTBEAT_S) and self._clock() - begun_s < most_s:
                self.heartbeat(phase, 0)

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def close(self) -> None:
        """Close the file; the log cannot be written afterwards."""
        self._file.close()


def read_rank(content: bytes, rank: int, problems: Problems, *, whole: bool = True) -> RankEvidence:
    """Return what the content of a rank's file says; whatever is wrong with it goes to `problems`.

    A file that need not be `whole` may end within a line or an evaluation.

    problems = Problems("rank-0000.jsonl")
    rank = read_rank(Path("rank-0000.jsonl").read_bytes(), 0, problems)
    print(rank.start.device_name, rank.windows.compute_ns.mean(), *problems.all())
    """
    reader = RankReader(problems.file, rank, problems)
    for line, record in read_objects(content if whole else whole_lines(content), problems):
        reader.take(line, record)
    if whole:
        reader.finish()
    return reader.so_far()


_WINDOW = {**kinds_of(Window).required, **dict.fromkeys(STEP_COLUMNS, whole_numbers), "loss": any_numbers}
_SUMS = [name for name, kind in _WINDOW.items() if kind is whole]
_CLOCKS = dict.fromkeys(("forward_images", "read_ns", "span_ns", "span_device_ns"), whole)  # since WORK_SCHEMA
_INTS = frozenset((int,))
_WORK = {
    name: kinds_of(Window).optional[name]
    for name in ("backward_steps", "moved", "skipped", "gradient_norm", "loss_scale")
}
_WHOLE = (*_SUMS, *_CLOCKS, "backward_steps", "moved", "warmup", "t_ns", "size")
_REAL = ("lr", "gradient_norm", "loss_scale")
_TYPECODES = {"images": "q", "compute_ns": "q", "trained": "q", "loss": "d"}
"""Of the columns with an entry a step; those with an entry a window are _WHOLE and _REAL."""
_HEAD = {"event": text, "t_ns": whole}


class RankReader:
    """Takes the lines of one file in turn; keeps track of open evaluations and of the clock."""

    def __init__(self, file: str, rank: int, problems: Problems) -> None:
        self._file = file
        self._rank = rank
        self._problems = problems
        self._seen: dict[str, int] = {}
        self._last_ns: int | None = None
        # Rows one after the other, and not a list a column: a long run has a hundred thousand windows.
        self._whole: array[int] = array("q")
        self._real: array[float] = array("d")
        self._steps: dict[str, array[Any]] = {name: array(code) for name, code in _TYPECODES.items()}
        self._once: dict[str, Any] = {}
        self._all: dict[str, list[Any]] = {}
        self._evaluating: tuple[int, int] | None = None
        self._planned: dict[int, EpochBegin] = {}
        self._takers: dict[str, Callable[[int, dict[str, Any]], None]] = {
            "eval_begin": self._eval_begin,
            "eval_end": self._eval_end,
            "train_begin": self._train_begin,
            "epoch_begin": self._epoch_begin,
            "epoch_end": self._epoch_end,
            "window": self._window,
            "checkpoint": self._checkpoint,
        }

    def take(self, line: int, record: dict[str, Any]) -> None:
        """Read one event; of an unknown one only name and time are checked."""
        try:
            event: Any = record.get("event")
            t_ns: Any = record.get("t_ns")
            if type(event) is not str or type(t_ns) is not int or abs(t_ns) > LARGEST:
                decode_fields(record, _HEAD)  # says which
            self._seen[event] = self._seen.get(event, 0) + 1
            if self._last_ns is not None and t_ns < self._last_ns:
                raise FieldError(f"the clock goes backwards, from t_ns {self._last_ns} to {t_ns}")
            self._last_ns = t_ns
            if event not in EVENTS or event == "progress":
                return
            if "start" not in self._seen and event != "failure":  # a device that cannot be opened has no start
                raise FieldError(f"{event!r} comes before 'start', which has to be the first event")
            if "end" in self._seen and event != "end":
                raise FieldError(f"{event!r} comes after 'end', which has to be the last event")
            if event in ONCE and self._seen[event] > 1:
                raise FieldError(f"{event!r} comes a second time")
            taker = self._takers.get(event)
            if taker is not None:
                taker(t_ns, record)
                return
            self._keep(event, decode(EVENTS[event], record))
        except FieldError as error:
            event = record.get("event")
            self._problems.add(f"{event}: {error}" if type(event) is str else str(error), line)

    def _keep(self, event: str, found: Any) -> None:
        if event in ("clock_test", "clock_retest") and not (found.timer_ns and len(set(map(len, found.rounds))) == 1):
            raise FieldError("expected one entry a round in every list and at least one")
        if event not in ONCE:
            self._all.setdefault(event, []).append(found)
            return
        if event == "train_end":
            try:
                ledger = decode_fields(found.ledger, dict.fromkeys(LEDGER_PARTS, whole))
            except FieldError as error:
                raise FieldError(f"in 'ledger': {error}") from None
            found = replace(found, ledger=ledger)
        self._once[event] = found
        if event == "start" and other_schema(found.schema):
            raise FieldError(f"{other_schema(found.schema)}; judge it with the version that wrote it")
        if event == "start" and found.rank != self._rank:
            raise FieldError(f"the file of rank {self._rank} was written by rank {found.rank}")

    def finish(self) -> None:
        """Note what a file that has ended must not leave open."""
        if self._evaluating is not None:
            self._problems.add(f"the {evaluation_name(self._evaluating[0])} began and did not end")

    def so_far(self) -> RankEvidence:
        """Return everything that was read."""
        once, every = self._once, self._all
        found: dict[str, Any] = {
            one.name: once.get(of["once"]) if "once" in of else tuple(every.get(of["all"], ()))
            for one, of in ((one, one.metadata) for one in fields(RankEvidence))
            if of
        }
        found["optimizations"] = once["optimizations"].items if "optimizations" in once else ()
        found["model"] = next(iter(every.get("model", ())), None)
        return RankEvidence(self._rank, self._file, dict(self._seen), self._windows(), **found)

    def _windows(self) -> Windows:
        import numpy as np  # here, so that collecting tests does not pay for it

        whole = np.array(self._whole, dtype=np.int64).reshape(-1, len(_WHOLE)).T.copy()
        real = np.array(self._real, dtype=np.float64).reshape(-1, len(_REAL)).T.copy()
        columns = {**dict(zip(_WHOLE, whole)), **dict(zip(_REAL, real))}
        columns["warmup"] = columns["warmup"].astype(bool)
        columns.update((name, np.array(values)) for name, values in self._steps.items())
        for column in columns.values():
            column.flags.writeable = False
        return Windows(**columns)

    def _eval_begin(self, t_ns: int, record: dict[str, Any]) -> None:
        epoch = decode_fields(record, {"epoch": whole})["epoch"]
        if self._evaluating is not None:
            raise FieldError(
                f"the {evaluation_name(epoch)} begins while the {evaluation_name(self._evaluating[0])} is still open"
            )
        self._evaluating = epoch, t_ns

    def _eval_end(self, t_ns: int, record: dict[str, Any]) -> None:
        begin_ns = self._evaluating[1] if self._evaluating else 0
        found = decode(Evaluation, record, begin_ns=begin_ns, end_ns=t_ns)
        if self._evaluating is None or self._evaluating[0] != found.epoch:
            raise FieldError(f"the {evaluation_name(found.epoch)} ends and has not begun")
        self._keep("eval_end", found)
        self._evaluating = None

    def _train_begin(self, t_ns: int, record: dict[str, Any]) -> None:
        self._once["train_begin"] = t_ns

    def _epoch_begin(self, t_ns: int, record: dict[str, Any]) -> None:
        begin = decode(EpochBegin, record)
        self._planned[begin.epoch] = begin

    def _epoch_end(self, t_ns: int, record: dict[str, Any]) -> None:
        begin = self._planned.get(decode(EpochEnd, record).epoch)
        planned: dict[str, Any] = dict.fromkeys(("planned_steps", "images_unused", "from_step"))
        if begin is not None:
            planned = {
                "planned_steps": begin.steps,
                "images_unused": begin.images_unused,
                "from_step": begin.from_step,
            }
        self._keep("epoch_end", decode(Epoch, record, **planned))

    def _window(self, t_ns: int, record: dict[str, Any]) -> None:
        start = self._once.get("start")
        clocks = {} if start is not None and start.schema < WORK_SCHEMA else _CLOCKS
        try:
            # All sums at once, and not field by field: this is most of the time that a long run takes to read.
            sums = [record[name] for name in (*_SUMS, *clocks)]
            steps: tuple[Any, ...] = (
                whole_numbers(record["images"]),
                whole_numbers(record["compute_ns"]),
                any_numbers(record["loss"]),
            )
            warmup, rate = flag(record["warmup"]), number(record["lr"])
            backward, moved, skipped, *scales = (record.get(name) for name in _WORK)
            sums += [-1 if one is None else one for one in (backward, moved)]
            skipped = whole_numbers([] if skipped is None else skipped)
            last = [math.nan if one is None else any_number(one) for one in scales]
            if not _INTS.issuperset(map(type, sums)) or max(sums) > LARGEST or min(sums) < -LARGEST:
                raise KindError
        except (KeyError, FieldError):
            decode_fields(record, {**_WINDOW, **clocks}, _WORK)  # says which
            raise
        size = len(steps[0])
        if size == 0 or size != len(steps[1]) or size != len(steps[2]):
            counts = ", ".join(f"{name} {len(values)}" for name, values in zip(STEP_COLUMNS, steps))
            raise FieldError(f"expected one entry a step in every list and at least one, found {counts}")
        trained = array("q", steps[0])
        for position in skipped:
            if not 0 <= position < size:
                raise FieldError(f"'skipped' has {position}, expected the positions of steps, 0 to {size - 1}")
            trained[position] = 0
        sums[-2:-2] = [0] * (len(_CLOCKS) - len(clocks))
        self._whole.extend((*sums, warmup, t_ns, size))
        self._real.extend((rate, *last))
        for name, values in zip(_TYPECODES, (steps[0], steps[1], trained, steps[2])):
            self._steps[name].extend(values)

    def _checkpoint(self, t_ns: int, record: dict[str, Any]) -> None:
        self._keep("checkpoint", t_ns)  # what was written is for resuming to read
