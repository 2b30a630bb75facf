"""From a loader's batch to what the model takes: copied to the device, made numbers there, beside the step before."""

from __future__ import annotations

from typing import Any, List, NamedTuple, Tuple

import numpy as np
import torch

from trainer.data.dataset import BadSample, Batch, Sample, Target, collate, cut, cut_boxes
from trainer.devices import Backend
from trainer.settings import Settings

Inputs = Tuple[List[torch.Tensor], List[Target]]
"""Images, float32 [3, height, width] of 0..1, contiguous; targets of `boxes` float32 [n, 4] and `labels` int64 [n],
and of `masks` uint8 [n, height, width] where masks were decoded."""


_WANTED = ("boxes", "labels")


def to_device(batch: Any, device: torch.device, *, blocking: bool = True, everything: bool = False) -> Inputs:
    """Return the Inputs that a batch holds, on `device`; with `everything`, whatever else a published target has too.

    A copy that does not block has to come from pinned memory: other memory may be used again before it is read.

    Images come out bit for bit as the host makes them, whether they travel as bytes or as floats.
    """
    wait = not blocking
    if not isinstance(batch, Batch):
        images = [_floats(image.to(device, non_blocking=wait), False) for image in batch.images]
        targets = [
            {
                name: value.to(device, non_blocking=wait)
                for name, value in one.items()
                if name in _WANTED or (everything and isinstance(value, torch.Tensor))
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
    """The bytes of an image [3, height, width], however they lie, as float32 of 0..1; floats stay as they are."""
    if image.dtype == torch.float32:
        return image
    if image.device.type == "cpu":
        # In one pass, mirrored on the way: here it is the host's time, and numpy takes least of it.
        planes = image.numpy()
        out = np.empty(planes.shape, dtype=np.float32)
        np.divide(planes[..., ::-1] if mirrored else planes, np.float32(255), out=out, dtype=np.float32)
        return torch.from_numpy(out)
    return _on_the_card(image, mirrored)


def _on_the_card(image: torch.Tensor, mirrored: bool) -> torch.Tensor:
    planes = (image.flip(-1) if mirrored else image).to(torch.float32).contiguous()
    # Divided by a plain number, cards multiply by its reciprocal, and half of all bytes come out in other bits.
    return planes.div_(torch.full((), 255.0, device=image.device))


def other_floats(device: torch.device) -> str:
    """Return why bytes must not become numbers on a device; "" where they come out as the host's, bit for bit.

    Tried with every byte, mirrored and not, in images of three shapes, with and without boxes. A device may lack an
    operation that this takes, or divide in its own way.
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
        told = (*images, *(values for target in targets for values in target.values()))
        found = [one.cpu().numpy() for one in told if len(one)]
    except Exception as error:
        said = str(error).strip().splitlines()
        return f"this device could not make numbers of bytes: {type(error).__name__}: {said[0] if said else ''}"
    upright = [one.pixels[:, :: -1 if one.mirrored else 1].transpose(2, 0, 1) for one in samples]
    expected = [np.divide(one, np.float32(255)) for one in upright]
    expected += [values for one in samples for values in (one.boxes, one.labels) if len(values)]
    if all(np.array_equal(one, other) for one, other in zip(found, expected)):
        return ""
    return "this device made other numbers of bytes than the host does"


class Staged(NamedTuple):
    """A batch that is on its way to the device: nobody may look at it before `event`."""

    images: list[torch.Tensor]
    targets: list[Target]
    event: Any


class Staging:
    """Brings batches to the device: where it has a stream for copies, beside the steps that are computed meanwhile."""

    def __init__(self, settings: Settings, backend: Backend) -> None:
        wanted = settings.uses("overlapped_copies")
        self._backend = backend
        self._device = backend.device
        self._blocking = not (wanted and backend.pin_memory)
        possible = "overlapped_copies" not in not_here(settings, backend)
        self._stream = backend.copy_stream() if wanted and possible else None

    def ahead(self, batch: Any) -> Any:
        """Begin the copy of a batch that a later step wants, in whichever thread; return what `take` is to be given."""
        stream = self._stream
        if stream is None or isinstance(batch, BadSample):
            return batch
        (images, targets), event = stream.run(lambda: to_device(batch, self._device, everything=True))
        return Staged(images, targets, event)

    def take(self, batch: Any) -> Inputs:
        """Return the Inputs of a batch, or of what `ahead` made of it, for work queued after this in this thread.

        Nothing waits on the host for a batch that was begun ahead; its device waits if the copy is not done yet.
        """
        if not isinstance(batch, Staged):
            inputs = to_device(batch, self._device, blocking=self._blocking, everything=True)
            self._backend.copied(len(inputs[0]))
            return inputs
        assert self._stream is not None  # who else staged it
        used = [*batch.images, *(tensor for target in batch.targets for tensor in target.values())]
        self._stream.join(batch.event, used)
        return batch.images, batch.targets


def not_here(settings: Settings, backend: Backend) -> dict[str, str]:
    """Return why a run has no use for these optimizations, or cannot have them, by name."""
    reasons: dict[str, str] = {}
    if not settings.workers:
        why = "the recipe has no loader workers"
        reasons.update(persistent_workers=why, batches_ahead=why, overlapped_copies=why)
    elif not settings.uses("batches_ahead"):
        reasons["overlapped_copies"] = "no batch is there before the step before it is over"
    if not backend.copies_beside:
        reasons["overlapped_copies"] = f"the {backend.name} backend has no stream beside the one that computes"
    return reasons
