"""Reads losses as the published runs did: each by itself, in every step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Sequence

if TYPE_CHECKING:
    import torch

    from trainer.devices import Backend


def read_each(backend: Backend, losses: Sequence[torch.Tensor]) -> list[float]:
    """Return the losses, each read back from the device by itself: each reading waits for all that was queued."""
    return [backend.numbers([loss])[0] for loss in losses]
