"""Threads that sample devices and host and append the samples to telemetry.jsonl."""

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
_PATIENCE_S = 25.0  # a tool has ten seconds for each of two samples: the one being taken and the last


class Watch:
    """Samples one source from `start` until `stop`, and at both, so that the shortest run has samples.

    After ten minutes at one sample a second the interval grows with the run, up to ten seconds, to bound the file of a
    day's run; peaks between two samples are in the allocator's figures.

    A failed reading does not end the run: it is written as a line with `error` and `source`, each message once. Each
    source has its own thread, so that a hanging tool does not delay others. On a simulated clock samples are taken at
    its times.
    """

    def __init__(
        self,
        path: Path,
        read: Read,
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
        """Begin sampling."""
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
        if isinstance(self._clock, SimulatedClock):
            self._sample()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE_S)
        if self._thread.is_alive():  # a hanging library cannot be interrupted
            self._write(
                [{"error": f"did not answer within {_PATIENCE_S:g} s at the end; its last samples are missing"}]
            )

    def _sample_and_plan(self, clock: SimulatedClock) -> None:
        if not self._done.is_set():
            self._sample()
            clock.call_at(clock.true_ns() + round(self._pause_s() * 1e9), lambda: self._sample_and_plan(clock))

    def _pause_s(self) -> float:
        elapsed_s = (self._clock.now_ns() - self._begun_ns) / 1e9
        return min(max(elapsed_s / _SAMPLES_AT_FULL_RATE, self._interval_s), self._longest_s)

    def _run(self) -> None:
        while True:
            last = self._done.is_set()
            # No last sample from a tool that has just failed: it may hang again.
            if not (last and self._failing):
                self._sample()
            if last:
                return
            self._done.wait(self._pause_s())

    def _sample(self) -> None:
        now_ns = self._clock.now_ns()
        try:
            samples = self._read()
            self._failing = False
        except Exception as error:  # a vendor's tool can fail in any way
            samples = [{"error": f"{type(error).__name__}: {error}"}]
            self._failing = True
        self._write([one for one in samples if "error" not in one or self._is_new(one)], now_ns)

    def _write(self, samples: Sequence[dict[str, Any]], now_ns: int | None = None) -> None:
        head = {"t_ns": self._clock.now_ns() if now_ns is None else now_ns, "source": self._source, **self._labels}
        append_samples(self._path, [{**head, **sample} for sample in samples])

    def _is_new(self, sample: dict[str, Any]) -> bool:
        """Whether to write this complaint: each once, and at most _MOST_ERRORS."""
        message = str(sample["error"])
        if message in self._errors or len(self._errors) > _MOST_ERRORS:
            return False
        self._errors.append(message)
        if len(self._errors) > _MOST_ERRORS:
            sample["error"] = f"{message}; and more, which are not written"
        return True


def stop_all(watches: Sequence[Watch]) -> None:
    """Stop several watches; their last samples are taken in parallel."""
    for watch in watches:
        watch.end()
    for watch in watches:
        watch.stop()
