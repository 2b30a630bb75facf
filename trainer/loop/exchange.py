"""How the ranks exchange gradients: torch's DistributedDataParallel, with what makes it faster."""

from __future__ import annotations

from typing import Any

import torch

from trainer.devices import Backend
from trainer.settings import Settings

_ONE_RANK = "there is one rank, which exchanges nothing"


def exchanging(model: torch.nn.Module, settings: Settings, backend: Backend, world_size: int) -> Any:
    """Return `model` as it is trained: itself on one rank, else wrapped so that a backward pass exchanges gradients.

    With running statistics brought together before each evaluation, nothing but gradients has to be exchanged. Every
    step has the same graph: what a detector's losses reach does not depend on the images, only how often.
    """
    if world_size == 1:
        return model
    absent = not_here(settings, backend, world_size)
    wants = {name: settings.uses(name) and name not in absent for name in ("gradient_views", "static_graph")}
    return torch.nn.parallel.DistributedDataParallel(
        model,
        broadcast_buffers=not settings.uses("buffers_left_alone"),
        # Not even torch's own 25 unless it is asked for: told nothing, torch has a smaller first bucket.
        **({} if settings.bucket_mb is None else {"bucket_cap_mb": settings.bucket_mb}),
        gradient_as_bucket_view=wants["gradient_views"],
        static_graph=wants["static_graph"],
    )


def not_here(settings: Settings, backend: Backend, world_size: int) -> dict[str, str]:
    """Return why a run has no use for these optimizations, or cannot have them, by name."""
    if world_size == 1:
        return dict.fromkeys(("buffers_left_alone", "gradient_views", "static_graph"), _ONE_RANK)
    if backend.plain_exchange:
        why = f"nobody has tried it with the {backend.name} backend's framework"
        return dict.fromkeys(("gradient_views", "static_graph"), why)
    return {}
