"""Threads that read cards and host now and then and append what they read to telemetry.jsonl."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

from evidence.telemetry import append_samples
from trainer.clocks import Clock, SimulatedClock

Read = Callable[[], List[Dict[str, Any]]]


_LONGEST_INTERVAL_S = 10.0
_SAMPLES_AT_FULL_RATE = 600
_MOST_ERRORS = 20
_PATIENCE_S = 25.0  # a tool is given ten seconds: for the sample that is being taken, and for the last one


class Watch:
    """Samples one source from `start` until `stop`, and once more at each, so that no run is too short to be seen.

    After ten minutes at one sample a second the interval grows with the run, up to ten seconds: a day's run of sixteen
    cards should not have a million lines, and a peak between two samples is the allocator's to tell.

    A reading that fails is written as a line with `error` and `source`, each message once: whoever judges the run must
    learn that the figure is incomplete, and the run must not die of it. Each source has a thread of its own, so that a
    tool that hangs keeps nothing from the others. On a simulated clock samples are taken when that clock gets to them.
    """

    def __init__(
        self,
        path: Path,
        read: Read | None,
        *,
        interval_s: float,
        source: str = "sampler",
        clock: Clock | None = None,
        **labels: Any,
    ) -> None:
        self._path = path
        self._read = read
        self._clock = clock or Clock()
        self._begun_ns = 0
        self._interval_s = interval_s
        self._longest_s = max(interval_s, _LONGEST_INTERVAL_S)
        self._source = source
        self._labels = labels
        self._done = threading.Event()
        self._errors: list[str] = []
        self._failing = False
        self._thread = threading.Thread(target=self._run, name=f"telemetry {source}", daemon=True)

    def start(self) -> None:
        """Begin sampling; does nothing when there is nothing to read."""
        if self._read is None:
            return
        self._begun_ns = self._clock.now_ns()
        if isinstance(self._clock, SimulatedClock):
            self._sample_and_plan(self._clock)
        else:
            self._thread.start()

    def end(self) -> None:
        """Ask for the last sample, without waiting for it."""
        self._done.set()

    def stop(self) -> None:
        """Take a last sample and end the thread."""
        self.end()
        if self._read is not None and isinstance(self._clock, SimulatedClock):
            self._sample()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE_S)
        if self._thread.is_alive():  # a library that hangs cannot be ended, and the run is over
            self._write(
                [{"error": f"did not answer within {_PATIENCE_S:g} s at the end; its last samples are missing"}]
            )

    def _sample_and_plan(self, clock: SimulatedClock) -> None:
        if not self._done.is_set():
            self._sample()
            clock.call_at(clock.now_ns() + round(self._pause_s() * 1e9), lambda: self._sample_and_plan(clock))

    def _pause_s(self) -> float:
        elapsed_s = (self._clock.now_ns() - self._begun_ns) / 1e9
        return min(max(elapsed_s / _SAMPLES_AT_FULL_RATE, self._interval_s), self._longest_s)

    def _run(self) -> None:
        while True:
            last = self._done.is_set()
            # Of a tool that hung a moment ago nobody waits for another answer at the very end.
            if not (last and self._failing):
                self._sample()
            if last:
                return
            self._done.wait(self._pause_s())

    def _sample(self) -> None:
        assert self._read is not None
        now_ns = self._clock.now_ns()
        try:
            samples = self._read()
            self._failing = False
        except Exception as error:  # a vendor's tool can fail in any way; the training must not
            samples = [{"error": f"{type(error).__name__}: {error}"}]
            self._failing = True
        self._write([one for one in samples if "error" not in one or self._is_new(one)], now_ns)

    def _write(self, samples: Sequence[dict[str, Any]], now_ns: int | None = None) -> None:
        head = {"t_ns": self._clock.now_ns() if now_ns is None else now_ns, "source": self._source, **self._labels}
        append_samples(self._path, [{**head, **sample} for sample in samples])

    def _is_new(self, sample: dict[str, Any]) -> bool:
        """Whether this complaint is to be written: each once, and no more than a person would read."""
        message = str(sample["error"])
        if message in self._errors or len(self._errors) > _MOST_ERRORS:
            return False
        self._errors.append(message)
        if len(self._errors) > _MOST_ERRORS:
            sample["error"] = f"{message}; and more, which are not written"
        return True


def stop_all(watches: Sequence[Watch]) -> None:
    """Stop several watches; their last samples are taken side by side."""
    for watch in watches:
        watch.end()
    for watch in watches:
        watch.stop()
