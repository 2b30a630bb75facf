"""Fetches the next batch in a thread, so that the loop can tell whether it would have to wait."""

from __future__ import annotations

import queue
import threading
from typing import Any, Callable, Iterator

_END = object()
_JOIN_S = 10.0


class Prefetch:
    """Iterates over `batches` one ahead; `ready` says whether the next one is there.

    What is handed on is what `prepare` makes of a batch, in the thread that fetches. An exception of either is raised
    where the batch would have been. `close` lets the thread end; a source that waits forever does not keep the process
    alive.
    """

    def __init__(self, batches: Iterator[Any], prepare: Callable[[Any], Any] = lambda batch: batch) -> None:
        self._batches = batches
        self._prepare = prepare
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=1)
        self._closed = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._fetch, name="prefetch", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether the next call of `next` returns at once."""
        return self._over or not self._queue.empty()

    def __iter__(self) -> Prefetch:
        return self

    def __next__(self) -> Any:
        if self._over:
            raise StopIteration
        batch, error = self._queue.get()
        if error is None and batch is not _END:
            return batch
        self._over = True
        if error is not None:
            raise error
        raise StopIteration

    def close(self) -> None:
        """End the thread, waiting for it a moment; batches that nobody took are dropped."""
        self._closed.set()
        self._over = True
        self._thread.join(_JOIN_S)

    def _fetch(self) -> None:
        try:
            for batch in self._batches:
                if not self._hand_over((self._prepare(batch), None)):
                    return
            self._hand_over((_END, None))
        except BaseException as error:  # whatever it is, it belongs where the batch was wanted
            self._hand_over((None, error))

    def _hand_over(self, item: Any) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False
