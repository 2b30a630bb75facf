"""The decisions of a detector's training step, recorded and taken again, so that rounding errors stay small.

    with recorded(model) as decisions:
        model(images, targets)
    with taken(model, decisions):   # the same proposals, samples and labels, whatever the arithmetic
        losses = model(images, targets)

Top-k, NMS and matching choose between boxes whose scores may be equal but for rounding, and sampling draws at random.
On which side of its kink each ReLU is, and where each max pool has its maximum, are decisions too: there a gradient
jumps though the value does not.
"""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Iterable, Iterator, Mapping

import numpy as np
import torch

from trainer.model.products import replaced

_DECIDING = (
    ("rpn", "assign_targets_to_anchors"),
    ("rpn", "fg_bg_sampler"),
    ("rpn", "filter_proposals"),
    ("roi_heads", "select_training_samples"),
)
"""Of torchvision's Faster R-CNN; each returns a tuple of lists with a tensor for each image."""

Decisions = Mapping[str, torch.Tensor]
"""Tensors on the host by function, place in what it returned, and image: a step calls each function once. Of kinks, by
number of the call, the bits of a mask and the places of the maxima."""


@contextlib.contextmanager
def recorded(model: Any) -> Iterator[dict[str, torch.Tensor]]:
    """Yield a dictionary that the next training step of `model` fills with its decisions, kinks included."""
    found: dict[str, torch.Tensor] = {}

    def recording(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def decide(*given: Any, **named: Any) -> Any:
            decision = real(*given, **named)
            for place, images in enumerate(decision):
                for image, one in enumerate(images):
                    found[f"{name}.{place}.{image}"] = one.detach().cpu().clone()
            return decision

        return decide

    def relu(real: Any, x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
        if x.requires_grad:  # a frozen part has no gradients that could jump
            found[f"relu.{_count(found, 'relu')}"] = _packed(x.detach() > 0)
        return real(x)

    def max_pool2d(real: Any, x: torch.Tensor, *given: Any, **named: Any) -> torch.Tensor:
        if not x.requires_grad:
            return real(x, *given, **named)
        named["return_indices"] = True
        y, places = torch.nn.functional.max_pool2d_with_indices(x, *given, **named)
        found[f"pool.{_count(found, 'pool')}"] = places
        return y

    with _deciding(model, recording), replaced(relu=relu, max_pool2d=max_pool2d):
        yield found


@contextlib.contextmanager
def taken(model: Any, decisions: Decisions) -> Iterator[None]:
    """Give the next training step of `model` these decisions, on its device, boxes in its dtype."""
    like = next(model.parameters())
    done: list[str] = []

    def given_back(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given, **named: _returned(decisions, name, like)

    def following(kind: str) -> torch.Tensor:
        done.append(f"{kind}.{_count(done, kind)}")
        return decisions[done[-1]]

    def relu(real: Any, x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
        if not x.requires_grad:
            return real(x)
        return torch.where(_unpacked(following("relu"), x), x, torch.zeros_like(x))

    def max_pool2d(real: Any, x: torch.Tensor, *given: Any, **named: Any) -> torch.Tensor:
        if not x.requires_grad:
            return real(x, *given, **named)
        places = following("pool").to(x.device)
        return x.flatten(2).gather(2, places.flatten(2)).reshape(places.shape)

    with _deciding(model, given_back), replaced(relu=relu, max_pool2d=max_pool2d):
        yield


@contextlib.contextmanager
def _deciding(model: Any, wrapped: Callable[[str, Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for part, name in _DECIDING:
            own, before = vars(getattr(model, part)), getattr(getattr(model, part), name)
            # Beside the methods of the class: what is in the instance is found first.
            if name in own:
                stack.callback(own.__setitem__, name, before)
            else:
                stack.callback(own.pop, name)
            own[name] = wrapped(name, before)
        yield


def _count(names: Iterable[str], kind: str) -> int:
    return sum(name.startswith(kind) for name in names)


def _packed(mask: torch.Tensor) -> torch.Tensor:
    """Return the elements of a mask as bits, uint8 on the host: a step of ResNet-50 has 30 million."""
    return torch.from_numpy(np.packbits(mask.cpu().numpy()))


def _unpacked(bits: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    mask = np.unpackbits(bits.numpy(), count=like.numel()).astype(bool)
    return torch.from_numpy(mask).reshape(like.shape).to(like.device)


def _returned(decisions: Decisions, name: str, like: torch.Tensor) -> tuple[list[torch.Tensor], ...]:
    places: dict[int, list[torch.Tensor]] = {}
    for key, one in decisions.items():
        if key.startswith(f"{name}."):
            there = one.to(like.device, like.dtype) if one.is_floating_point() else one.to(like.device)
            places.setdefault(int(key.split(".")[1]), []).append(there)
    return tuple(places[place] for place in sorted(places))
