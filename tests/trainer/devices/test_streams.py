"""Copies beside the computing: the order that both streams and the allocator have to be told."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator

import pytest
import torch

from trainer.devices.base import CopyStream
from trainer.devices.cuda import CudaCopyStream

HAVE_CUDA = torch.cuda.is_available()


class FakeEvent:
    """A mark in a fake stream's queue."""


class FakeStream:
    """Notes what torch.cuda.Stream is asked: `record_event` and `wait_event`, as torch documents them."""

    def __init__(self, name: str, calls: list[Any]) -> None:
        self.name = name
        self._calls = calls

    def record_event(self) -> FakeEvent:
        event = FakeEvent()
        self._calls.append(("record", self.name, event))
        return event

    def wait_event(self, event: FakeEvent) -> None:
        self._calls.append(("wait", self.name, event))


class FakeTensor:
    """Notes the streams that torch.Tensor.record_stream is told of."""

    def __init__(self, calls: list[Any]) -> None:
        self._calls = calls

    def record_stream(self, stream: FakeStream) -> None:
        self._calls.append(("used on", stream.name, self))


class FakeCuda:
    """The part of torch.cuda that has streams: a new one, the current one, and one made current for a while."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self._current = FakeStream("computing", self.calls)

    def set_device(self, device: Any) -> None:
        self.calls.append(("card", str(device)))

    def Stream(self, device: Any) -> FakeStream:  # noqa: N802 - torch's name
        return FakeStream("copying", self.calls)

    def current_stream(self, device: Any) -> FakeStream:
        return self._current

    @contextlib.contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        before, self._current = self._current, stream
        yield
        self._current = before


def test_work_is_queued_on_the_copying_stream_and_marked_after_it() -> None:
    cuda = FakeCuda()
    stream = CudaCopyStream(torch.device("cpu"), cuda)

    def work() -> str:
        cuda.calls.append(("work", cuda.current_stream(None).name))
        return "result"

    result, event = stream.run(work)

    assert result == "result"
    assert cuda.calls == [("card", "cpu"), ("work", "copying"), ("record", "copying", event)]
    assert cuda.current_stream(None).name == "computing"


def test_the_computing_stream_waits_and_the_allocator_learns_who_uses_the_memory() -> None:
    cuda = FakeCuda()
    stream = CudaCopyStream(torch.device("cpu"), cuda)
    tensors: list[Any] = [FakeTensor(cuda.calls), FakeTensor(cuda.calls)]
    _, event = stream.run(lambda: None)
    cuda.calls.clear()

    stream.join(event, tensors)

    assert cuda.calls[0] == ("wait", "computing", event)
    assert cuda.calls[1:] == [("used on", "computing", tensor) for tensor in tensors]


def test_a_device_without_a_queue_has_done_the_work_when_it_is_joined() -> None:
    stream, done = CopyStream(), []

    result, event = stream.run(lambda: done.append("copied") or "result")
    stream.join(event, [torch.zeros(1)])

    assert (result, done) == ("result", ["copied"])


@pytest.mark.skipif(not HAVE_CUDA, reason="needs a CUDA device")
def test_a_cuda_device_computes_on_what_was_copied_beside_it_whatever_is_freed_meanwhile() -> None:
    from trainer.devices import load_backend

    backend = load_backend("cuda")
    backend.open(0, 1)
    stream = backend.copy_stream()
    assert stream is not None
    sums = []
    for value in range(20):
        host = torch.full((1 << 22,), value, dtype=torch.uint8).pin_memory()
        copied, event = stream.run(lambda host=host: host.to(backend.device, non_blocking=True))  # type: ignore[misc]
        backend.queue_work(1024, 4)  # the device is busy, so that the host runs ahead
        stream.join(event, [copied])
        sums.append(copied.to(torch.int64).sum())
        del copied, host  # the next copy may take this memory only when the sum is done

    assert [int(one) for one in sums] == [value << 22 for value in range(20)]
