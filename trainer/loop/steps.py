"""Training steps and the windows of steps that evidence is written in."""

from __future__ import annotations

import math
from typing import Any, Callable, Iterator

import torch

from evidence import events
from evidence.rank_file import EventLog
from trainer.data.dataset import require_batch
from trainer.devices import Backend
from trainer.errors import DataError, DivergedError
from trainer.ledger import Ledger
from trainer.loop.staging import Staging
from trainer.loop.workload import Fingerprint
from trainer.model.optim import set_learning_rate
from trainer.published.losses import read_each
from trainer.settings import Settings


class Trainee:
    """The model on its device with its optimizer: what one step needs and changes."""

    def __init__(self, settings: Settings, backend: Backend, model: torch.nn.Module, optimizer: Any) -> None:
        self.settings = settings
        self.backend = backend
        self.model = model
        self.optimizer = optimizer
        self.scaler = backend.gradient_scaler(settings.precision)
        # Of the model itself: its hooks work whether or not gradients are exchanged around it.
        self.fingerprint = Fingerprint(getattr(model, "module", model))
        self.parts: list[torch.Tensor] = []
        """The losses of the last step and their sum, on the device; none where nobody reads them in every step."""
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def step(
        self,
        images: list[torch.Tensor],
        targets: list[dict[str, torch.Tensor]],
        forward_done: Callable[[], None] = lambda: None,
    ) -> torch.Tensor:
        """Forward, backward with gradient exchange, optimizer; return the summed loss, a scalar left on the device.

        `forward_done` is called between the first two.
        """
        with self.backend.autocast(self.settings.precision):
            losses = self.model(images, targets)
            loss: torch.Tensor = sum(losses.values())
        forward_done()
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

    def _clip(self) -> None:
        if self.settings.gradient_clip:
            torch.nn.utils.clip_grad_norm_(self._trained, self.settings.gradient_clip)


class Window:
    """The readings of a few steps, written as one event; losses stay on the device until then."""

    def __init__(self) -> None:
        self.images: list[int] = []
        self.wait_ns = 0
        self.copy_ns = 0
        self.losses: list[torch.Tensor] = []
        self.rate = 0.0

    def __len__(self) -> int:
        return len(self.images)


class StepLoop:
    """Runs steps over batches, splits their time, and writes a `window` event every few steps."""

    def __init__(self, trainee: Trainee, log: EventLog, ledger: Ledger) -> None:
        self._trainee = trainee
        self._log = log
        self._ledger = ledger
        self._timer = trainee.backend.step_timer()
        self.staging = Staging(trainee.settings, trainee.backend)
        """How batches come to the device; who takes them from the loader ahead may begin that ahead too."""
        self.steps = 0
        self.images = 0
        self.last_step_ns = 0.0
        """Mean compute time of the steps of the window that was closed last."""

    def run(
        self,
        batches: Iterator[Any],
        rates: list[float],
        *,
        epoch: int,
        warmup: bool = False,
    ) -> None:
        """Take one step per learning rate in `rates`, each with the next batch.

        Raises DataError when a sample cannot be read or the batches end early, DivergedError when a loss is not finite.
        """
        settings, ledger, done = self._trainee.settings, self._ledger, 0
        while done < len(rates):
            count = min(settings.window, len(rates) - done)
            begun_ns = ledger.enter("bookkeeping")
            window = Window()
            for rate in rates[done : done + count]:
                self._log.heartbeat(phase="training", done=self.steps + len(window))
                self._one(batches, rate, window)
            self._close(window, begun_ns, epoch, warmup)
            done += count
        ledger.enter("idle")

    def _one(self, batches: Iterator[Any], rate: float, window: Window) -> None:
        ready = getattr(batches, "ready", False)
        if not ready:
            # Where the timer waits for the device here, it waits for its computing.
            self._ledger.enter("compute")
            self._timer.settle()
        wait_from_ns = self._ledger.enter("data_wait")
        batch = next(batches, None)
        if batch is None:
            raise DataError("the loader ended before the epoch's planned steps; a worker may have been killed")
        require_batch(batch)
        copy_from_ns = self._ledger.enter("copy")
        if not ready:
            self._timer.idle(copy_from_ns - wait_from_ns)
        images, targets = self.staging.take(batch)
        set_learning_rate(self._trainee.optimizer, rate)
        compute_from_ns = self._ledger.enter("compute")
        self._timer.start()
        loss = self._trainee.step(images, targets, self._timer.forward_done)
        self._timer.stop()
        if self._trainee.settings.host_clock:
            # Those who timed by the host's clock read the loss right after it, and so waited outside of their region
            # for what was still queued. Without that, the wait would fall into the next step's, or a late loader's.
            self._ledger.enter("compute")
            self._trainee.backend.synchronise()
        if self._trainee.parts:
            self._ledger.enter("compute")
            read_each(self._trainee.backend, self._trainee.parts)
        self._ledger.enter("bookkeeping")
        window.wait_ns += copy_from_ns - wait_from_ns
        window.copy_ns += compute_from_ns - copy_from_ns
        window.images.append(len(images))
        window.losses.append(loss)
        window.rate = rate

    def _close(self, window: Window, begun_ns: int, epoch: int, warmup: bool) -> None:
        # Draining waits for the device, and that wait is its computing.
        self._ledger.enter("compute")
        times = self._timer.drain()
        ended_ns = self._ledger.enter("bookkeeping")
        seen = self._trainee.fingerprint.take()
        numbers = self._trainee.backend.numbers([*window.losses, *seen.positives])
        losses, positives = numbers[: len(window)], int(sum(numbers[len(window) :]))
        self._log.write(
            events.Window(
                epoch=epoch,
                step=self.steps,
                warmup=warmup,
                lr=window.rate,
                wall_ns=ended_ns - begun_ns,
                wait_ns=window.wait_ns,
                copy_ns=window.copy_ns,
                compute_host_ns=sum(times.host_ns),
                forward_ns=sum(times.forward_ns),
                padded_pixels=seen.padded_pixels,
                proposals=seen.proposals,
                sampled=seen.sampled,
                positives=positives,
                images=tuple(window.images),
                compute_ns=tuple(times.compute_ns),
                loss=tuple(losses),
            )
        )
        self.last_step_ns = sum(times.compute_ns) / len(times.compute_ns)
        for offset, loss in enumerate(losses):
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the loss of step {self.steps + offset} (epoch {epoch}) is {loss}: the model has diverged, and "
                    "what would be measured from here on is another workload; check the learning rate and the device"
                )
        self.steps += len(window)
        self.images += sum(window.images)
