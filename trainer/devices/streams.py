"""Copies beside the computing: in a stream of the device's own, or in the thread that asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Iterable, TypeVar

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


class CopyStream:
    """Copies of a device whose work is done when a call returns: beside the computing, if another thread asks."""

    def run(self, work: Callable[[], T]) -> tuple[T, Any]:
        """Do `work`, or queue what it queues; return its result, and what marks it done."""
        return work(), None

    def join(self, event: Any, used: Iterable[torch.Tensor]) -> None:
        """Let all that this thread does from now on come after `event`; it is going to use those tensors."""


class CudaCopyStream(CopyStream):
    """A stream of a card beside the one that computes, and the order between the two.

    `cuda` is torch.cuda, or what has its streams. Threads may differ: each has a current stream of its own.
    """

    def __init__(self, device: torch.device, cuda: Any) -> None:
        self._device = device
        self._cuda = cuda
        self._stream = cuda.Stream(device)

    def run(self, work: Callable[[], T]) -> tuple[T, Any]:
        """Queue what `work` queues on this stream; return its result, and the event that marks it done."""
        # Each thread has a current card of its own, at first card 0, where a context would be made for nothing.
        self._cuda.set_device(self._device)
        with self._cuda.stream(self._stream):
            result = work()
            return result, self._stream.record_event()

    def join(self, event: Any, used: Iterable[torch.Tensor]) -> None:
        """Let all that this thread queues from now on come after `event`; the host does not wait."""
        computing = self._cuda.current_stream(self._device)
        computing.wait_event(event)
        for tensor in used:
            # The allocator gives memory back to the stream that asked for it, which here is not the one that uses it:
            # untold, it would let the next copy overwrite a batch that is still being computed.
            tensor.record_stream(computing)
