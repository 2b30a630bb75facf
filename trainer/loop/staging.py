"""From the loader to the device: batches are prefetched, copied beside the step before, and made floats there."""

from __future__ import annotations

import queue
import threading
from typing import Any, Callable, Iterator, List, NamedTuple, Tuple, TypeVar

import numpy as np
import torch

from trainer.data.dataset import BadSample, Batch, Sample, Target, collate, cut, cut_boxes
from trainer.data.loader import Loaded
from trainer.data.published import PublishedBatch
from trainer.devices import Backend
from trainer.errors import first_line
from trainer.optimizations import in_use
from trainer.settings import Settings

Inputs = Tuple[List[torch.Tensor], List[Target]]
"""Images, float32 [3, height, width] of 0..1, contiguous; targets of `boxes` float32 [n, 4] and `labels` int64 [n],
and of `masks` uint8 [n, height, width] where masks were decoded."""

B = TypeVar("B")

_WANTED = ("boxes", "labels")
_END = object()
_JOIN_S = 10.0


def to_device(
    batch: Batch | PublishedBatch, device: torch.device, *, blocking: bool = True, everything: bool = False
) -> Inputs:
    """Return the Inputs of a batch on `device`; with `everything`, all tensors of a published target, masks too.

    A copy that does not block has to come from pinned memory: other memory may be reused before it is read. Images are
    bit for bit the same, whether they are copied as bytes or as floats.
    """
    wait = not blocking
    if not isinstance(batch, Batch):
        images = [_floats(image.to(device, non_blocking=wait), False) for image in batch.images]
        targets = [
            {
                name: value.to(device, non_blocking=wait)
                for name, value in one.items()
                if isinstance(value, torch.Tensor) and (everything or name in _WANTED)
            }
            for one in batch.targets
        ]
        return images, targets
    rows = batch.rows
    decoded = cut(batch.pixels.to(device, non_blocking=wait), rows)
    boxes = cut_boxes(batch.boxes.to(device, non_blocking=wait), rows)
    labels = cut_boxes(batch.labels.to(device, non_blocking=wait), rows)
    images = [_floats(one.permute(2, 0, 1), bool(row.mirrored)) for one, row in zip(decoded, rows)]
    return images, [{"boxes": box, "labels": label} for box, label in zip(boxes, labels)]


def _floats(image: torch.Tensor, mirrored: bool) -> torch.Tensor:
    """Return an image [3, height, width] of bytes, of any strides, as float32 of 0..1; floats unchanged."""
    if image.dtype == torch.float32:
        return image
    if image.device.type == "cpu":
        # In one pass, mirroring included: this is host time, and numpy is fastest.
        planes = image.numpy()
        out = np.empty(planes.shape, dtype=np.float32)
        np.divide(planes[..., ::-1] if mirrored else planes, np.float32(255), out=out, dtype=np.float32)
        return torch.from_numpy(out)
    return _on_device(image, mirrored)


def _on_device(image: torch.Tensor, mirrored: bool) -> torch.Tensor:
    planes = (image.flip(-1) if mirrored else image).to(torch.float32).contiguous()
    # Devices divide by a Python number by multiplying by its reciprocal, which gives other bits for half of all bytes.
    return planes.div_(torch.full((), 255.0, device=image.device))


def other_floats(device: torch.device) -> str:
    """Return why a device cannot make floats of bytes; "" if they are the host's, bit for bit.

    Tried with every byte, mirrored and not, in images of three shapes, with and without boxes: a device may lack an
    operation, or divide differently.
    """
    every = np.arange(256 * 3, dtype=np.int64).astype(np.uint8)
    samples = [
        Sample(every.reshape(*shape, 3), mirrored, np.ones((boxes, 4), np.float32), np.ones(boxes, np.int64), 1)
        for shape, mirrored, boxes in (((16, 16), False, 2), ((32, 8), True, 0), ((8, 32), True, 1))
    ]
    batch = collate(samples)
    assert isinstance(batch, Batch)
    try:
        images, targets = to_device(batch, device)
        copied = (*images, *(values for target in targets for values in target.values()))
        found = [one.cpu().numpy() for one in copied if len(one)]
    except Exception as error:
        return f"this device could not make numbers of bytes: {type(error).__name__}: {first_line(error)}"
    upright = [one.pixels[:, :: -1 if one.mirrored else 1].transpose(2, 0, 1) for one in samples]
    expected = [np.divide(one, np.float32(255)) for one in upright]
    expected += [values for one in samples for values in (one.boxes, one.labels) if len(values)]
    if all(np.array_equal(one, other) for one, other in zip(found, expected)):
        return ""
    return "this device made other numbers of bytes than the host does"


class Staged(NamedTuple):
    """A batch that is being copied to the device; not valid before `event`."""

    images: list[torch.Tensor]
    targets: list[Target]
    event: Any
    image_ids: np.ndarray
    """int64 [images]"""
    oriented: int | None
    """As in Batch"""


class Staging:
    """Copies batches to the device, in a stream of its own if it has one, beside the step that is being computed."""

    def __init__(self, settings: Settings, backend: Backend) -> None:
        wanted = settings.uses("overlapped_copies")
        self._backend = backend
        self._device = backend.device
        self._blocking = not (wanted and backend.pin_memory)
        self._stream = backend.copy_stream() if in_use("overlapped_copies", settings, backend, 1) else None

    def ahead(self, batch: Loaded) -> Loaded | Staged:
        """Begin the copy of a later step's batch, in any thread; return the argument for `take`."""
        stream = self._stream
        if stream is None or isinstance(batch, BadSample):
            return batch
        (images, targets), event = stream.run(lambda: to_device(batch, self._device, everything=True))
        return Staged(images, targets, event, batch.image_ids, batch.oriented)

    def take(self, batch: Batch | PublishedBatch | Staged) -> Inputs:
        """Return the Inputs of a batch or of a result of `ahead`, valid for work queued after this in this thread.

        The host does not wait for a copy begun ahead; the device does, if it is not done yet.
        """
        if not isinstance(batch, Staged):
            inputs = to_device(batch, self._device, blocking=self._blocking, everything=True)
            self._backend.copied(len(inputs[0]))
            return inputs
        assert self._stream is not None  # it staged the batch
        used = [*batch.images, *(tensor for target in batch.targets for tensor in target.values())]
        self._stream.join(batch.event, used)
        return batch.images, batch.targets


class Prefetch(Iterator[B]):
    """Iterates over `batches` with one fetched ahead in a thread; `ready` is true if the next one is there.

    Yields `prepare(batch)`, which runs in that thread too. Exceptions of both are raised in place of the batch. `close`
    ends the thread; being a daemon, it does not keep the process alive if its source blocks.
    """

    def __init__(self, batches: Iterator[Any], prepare: Callable[[Any], B] = lambda batch: batch) -> None:
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

    def __next__(self) -> B:
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
        """End the thread, waiting for it at most _JOIN_S; fetched batches are dropped."""
        self._closed.set()
        self._over = True
        self._thread.join(_JOIN_S)

    def _fetch(self) -> None:
        try:
            for batch in self._batches:
                if not self._hand_over((self._prepare(batch), None)):
                    return
            self._hand_over((_END, None))
        except BaseException as error:  # raised by __next__
            self._hand_over((None, error))

    def _hand_over(self, item: Any) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False
