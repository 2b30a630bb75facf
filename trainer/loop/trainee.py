"""The model under training: optimizer and learning rate, DDP, one step, and the evidence of what a step did."""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import dataclass, field
from typing import Any, Callable

import torch

from evidence.events.training import Parameters
from trainer.devices import Backend
from trainer.optimizations import in_use
from trainer.settings import Settings

_UNMOVED_NAMED = 4
_SAMPLED = 4


class Trainee:
    """The model under training on its device, with optimizer and gradient scaler; `step` takes one training step."""

    def __init__(
        self, settings: Settings, backend: Backend, model: torch.nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        self.settings = settings
        self.backend = backend
        self.model = model
        self.optimizer = optimizer
        self.scaler = backend.gradient_scaler(settings.precision)
        # Of the model below DDP: its hooks see every step with and without DDP.
        self.fingerprint = Fingerprint(getattr(model, "module", model))
        self.parts: list[torch.Tensor] = []
        """The losses of the last step and their sum, on the device; [] if they are read by windows."""
        self.steps = 0
        """Steps taken, those that a GradScaler skipped included."""
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._norm: torch.Tensor | None = None  # before clipping, of the last step
        self._elements = self._sample()

    def step(
        self,
        images: list[torch.Tensor],
        targets: list[dict[str, torch.Tensor]],
        forward_done: Callable[[], None] = lambda: None,
    ) -> torch.Tensor:
        """Run forward, backward with the all-reduce, and optimizer; return the summed loss, a scalar on the device.

        `forward_done` is called after the forward pass has been queued.
        """
        with self.backend.autocast(self.settings.precision):
            losses = self.model(images, targets)
            loss: torch.Tensor = sum(losses.values())
        forward_done()
        self.steps += 1
        if not self.settings.uses("losses_by_window"):
            self.parts = [part.detach() for part in (*losses.values(), loss)]
        self.optimizer.zero_grad(set_to_none=True)
        if self.scaler is None:
            loss.backward()
            self._clip()
            self.optimizer.step()
        else:
            self.scaler.scale(loss).backward()
            if self.settings.gradient_clip:
                self.scaler.unscale_(self.optimizer)
            self._clip()
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return loss.detach()

    @property
    def has_gradients(self) -> bool:
        """Whether the backward pass of the last step came to its end: the deepest parameter has a gradient."""
        return self._trained[0].grad is not None

    def gradient_norm(self) -> torch.Tensor:
        """Return the norm of the last step's gradients before clipping, a scalar on the device; 0 without any."""
        gradients = [parameter.grad.detach() for parameter in self._trained if parameter.grad is not None]
        if not gradients:
            return torch.zeros((), device=self.backend.device)
        if self.settings.gradient_clip and self._norm is not None:
            return self._norm
        return torch.norm(torch.stack([torch.norm(gradient) for gradient in gradients]))

    def moved(self) -> torch.Tensor:
        """Return how many of the first elements of each trained tensor have changed since the last call, a scalar."""
        before, self._elements = self._elements, self._sample()
        return (self._elements != before).sum()

    def _sample(self) -> torch.Tensor:
        return torch.cat([parameter.detach().reshape(-1)[:_SAMPLED] for parameter in self._trained])

    def loss_scale(self) -> torch.Tensor | None:
        """Return the GradScaler's scale after the last step, a scalar on the device; None without one."""
        # get_scale would wait for the device.
        return None if self.scaler is None else self.scaler.scale(torch.ones((), device=self.backend.device))

    def _clip(self) -> None:
        if self.settings.gradient_clip:
            self._norm = torch.nn.utils.clip_grad_norm_(self._trained, self.settings.gradient_clip).detach()


class ParameterDigests:
    """Digests of the trained parameters of a model; later ones are compared with the first."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._trained = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
        self._first: list[bytes] = []

    def take(self, steps: int) -> Parameters:
        """Return the event after `steps` steps. Waits for the device, and copies the parameters to the host."""
        digests = [_sha256(one) for _, one in self._trained]
        is_first = not self._first
        self._first = self._first or digests
        unmoved = [name for (name, _), now, then in zip(self._trained, digests, self._first) if now == then]
        return Parameters(
            steps=steps,
            sha256=hashlib.sha256(b"".join(digests)).hexdigest(),
            tensors=len(digests),
            moved=len(digests) - len(unmoved),
            unmoved=() if is_first else tuple(unmoved[:_UNMOVED_NAMED]),
        )


def _sha256(tensor: torch.Tensor) -> bytes:
    return hashlib.sha256(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()).digest()


def distributed(model: torch.nn.Module, settings: Settings, backend: Backend, world_size: int) -> torch.nn.Module:
    """Return `model` wrapped in DistributedDataParallel; on one rank the model itself.

    Buffers need no broadcast: running statistics are synchronised before each evaluation. The graph is static: which
    parameters a detector's losses reach does not depend on the images.
    """
    if world_size == 1:
        return model
    return torch.nn.parallel.DistributedDataParallel(
        model,
        **_buffers_in_forward(not settings.uses("buffers_left_alone")),
        # bucket_cap_mb=25 is not the same as the default, which has a smaller first bucket.
        **({} if settings.bucket_mb is None else {"bucket_cap_mb": settings.bucket_mb}),
        gradient_as_bucket_view=in_use("gradient_views", settings, backend, world_size),
        static_graph=in_use("static_graph", settings, backend, world_size),
    )


def _buffers_in_forward(wanted: bool) -> dict[str, bool]:
    """Return DDP's argument for broadcasts of buffers in each forward pass, by the name that this torch has for it."""
    parameters = inspect.signature(torch.nn.parallel.DistributedDataParallel.__init__).parameters
    # torch 2.14 deprecates broadcast_buffers.
    return {"forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers": wanted}


def build_optimizer(model: torch.nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """Return SGD over the trainable parameters.

    Not fused: under a GradScaler, fused SGD corrupts the momentum when a gradient overflows (torch 2.14).
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.SGD(
        trained, lr=settings.learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay
    )


def learning_rate(settings: Settings, *, epoch: int, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of `step` (counted from 0) of `epoch` (counted from 0).

    Linear warm-up from `warmup_factor` of the rate over min(warmup_steps, steps_per_epoch - 1) steps of the first
    epoch, then the rate, times `lr_gamma` from each milestone on: torchvision's detection reference.
    """
    rate = settings.learning_rate * settings.lr_gamma ** sum(epoch >= m for m in settings.lr_milestones)
    warmup = min(settings.warmup_steps, steps_per_epoch - 1)
    if epoch == 0 and step < warmup:
        rate *= settings.warmup_factor + (1 - settings.warmup_factor) * step / warmup
    return rate


@dataclass
class Seen:
    """The work of some steps, so that a shrunken or diverged workload is not taken for a fast device.

    `padded_pixels`: height x width of the padded batches, over all images; `proposals`: boxes that the RPN passed on;
    `sampled`: boxes sampled for the box head; `positives`: of these, per batch, those matched to an object, as a scalar
    on the device.
    """

    padded_pixels: int = 0
    proposals: int = 0
    sampled: int = 0
    positives: list[torch.Tensor] = field(default_factory=list)


class Fingerprint:
    """Counts the work of a torchvision detector in training through hooks; of another model, nothing.

    Never waits for the device: shapes are known on the host, and the positives stay on the device.
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
        """Return what was counted since the last call."""
        seen, self._seen = self._seen, Seen()
        return seen

    def _transformed(self, module: torch.nn.Module, _: object, output: Any) -> None:
        if module.training:
            images, _channels, height, width = output[0].tensors.shape
            self._seen.padded_pixels += images * height * width

    def _proposed(self, module: torch.nn.Module, _: object, output: Any) -> None:
        if module.training:
            self._seen.proposals += sum(len(boxes) for boxes in output[0])

    def _count_positives(self, heads: torch.nn.Module) -> None:
        # The sampled labels are no module's output, so the method that samples them is wrapped.
        draw = heads.select_training_samples

        def drawn(*arguments: Any) -> Any:
            samples = draw(*arguments)
            self._seen.sampled += sum(len(labels) for labels in samples[2])
            self._seen.positives.append((torch.cat(samples[2]) > 0).sum())
            return samples

        heads.select_training_samples = drawn
