"""What a step really worked on, so that a shrunken or diverged workload cannot pass for a fast device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass
class Seen:
    """What passed through the model.

    `padded_pixels`: height x width of the padded batches, over all images; `proposals`: boxes that the region proposal
    network handed on; `positives`: for each batch a scalar on the device, the boxes among the sampled ones that were
    matched to an object; `sampled`: the boxes that the box head was given.
    """

    padded_pixels: int = 0
    proposals: int = 0
    sampled: int = 0
    positives: list[torch.Tensor] = field(default_factory=list)


class Fingerprint:
    """Counts what passes through a detector of torchvision's kind in training; of another model, nothing.

    Nothing here waits for the device: shapes are known on the host, and the positives are left where they are.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._seen = Seen()
        transform, rpn, heads = (getattr(model, name, None) for name in ("transform", "rpn", "roi_heads"))
        if transform is not None:
            transform.register_forward_hook(self._transformed)
        if rpn is not None:
            rpn.register_forward_hook(self._proposed)
        if heads is not None:
            self._count_positives(heads)

    def take(self) -> Seen:
        """Return what was seen since the last call."""
        seen, self._seen = self._seen, Seen()
        return seen

    def _transformed(self, module: Any, _: Any, output: Any) -> None:
        if module.training:
            images, _channels, height, width = output[0].tensors.shape
            self._seen.padded_pixels += images * height * width

    def _proposed(self, module: Any, _: Any, output: Any) -> None:
        if module.training:
            self._seen.proposals += sum(len(boxes) for boxes in output[0])

    def _count_positives(self, heads: Any) -> None:
        # The sampled labels are no module's output, so the method that draws them is wrapped.
        draw = heads.select_training_samples

        def drawn(*arguments: Any) -> Any:
            samples = draw(*arguments)
            self._seen.sampled += sum(len(labels) for labels in samples[2])
            self._seen.positives.append((torch.cat(samples[2]) > 0).sum())
            return samples

        heads.select_training_samples = drawn
