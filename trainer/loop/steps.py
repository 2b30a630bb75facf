"""The step loop: runs training steps, times their parts, and writes one `window` event for every few steps."""

from __future__ import annotations

import math
from typing import Iterator

import torch

from evidence.events import training
from evidence.rank_file import EventLog
from trainer.clocks import Ledger
from trainer.data.dataset import Batch, require_batch
from trainer.data.loader import Loaded
from trainer.data.passes import Passes
from trainer.data.published import PublishedBatch
from trainer.errors import DataError, DivergedError
from trainer.loop.staging import Staged, Staging
from trainer.loop.trainee import Trainee
from trainer.probes.clocks import ClockWatch

_LEAST_WINDOWS, _SHORTEST_WINDOW = 20, 5


class Window:
    """The measurements of a few steps, written as one event; losses stay on the device until then."""

    def __init__(self) -> None:
        self.images: list[int] = []
        self.wait_ns = 0
        self.copy_ns = 0
        self.losses: list[torch.Tensor] = []
        self.scales: list[torch.Tensor] = []
        self.backward_steps = 0
        self.rate = 0.0

    def __len__(self) -> int:
        return len(self.images)


class StepLoop:
    """Runs steps over batches, splits their time, and writes a `window` event every few steps."""

    def __init__(
        self, trainee: Trainee, log: EventLog, ledger: Ledger, passes: Passes, clocks: ClockWatch | None = None
    ) -> None:
        self._trainee = trainee
        self._log = log
        self._ledger = ledger
        self._passes = passes
        self._clocks = clocks
        self._scale = math.inf if trainee.scaler is None else trainee.scaler.get_scale()
        self._timer = trainee.backend.step_timer()
        self.window = trainee.settings.window
        """Steps of a window."""
        self.staging = Staging(trainee.settings, trainee.backend)
        """Copies batches to the device; prefetching may begin a copy ahead."""
        self.steps = 0
        self.images = 0
        self.last_step_ns = 0.0
        """Mean compute time of the steps of the window that was closed last."""

    def expect(self, steps: int) -> None:
        """Shorten windows so that 20 fit into `steps`, or as many of five steps, if only a window's sum is exact."""
        if self._timer.by_window:
            self.window = min(self.window, max(_SHORTEST_WINDOW, steps // _LEAST_WINDOWS))

    def run(self, batches: Iterator[Loaded | Staged], rates: list[float], *, epoch: int, warmup: bool = False) -> None:
        """Take one step per learning rate in `rates`, each with the next batch.

        Raises DataError for a sample that cannot be read and if the batches end early, DivergedError for a loss that is
        not finite.
        """
        ledger, done = self._ledger, 0
        while done < len(rates):
            count = min(self.window, len(rates) - done)
            begun_ns = ledger.enter("bookkeeping")
            window = Window()
            for rate in rates[done : done + count]:
                self._log.heartbeat(phase="training", done=self.steps + len(window))
                self._one(batches, rate, window)
            self._close(window, begun_ns, epoch, warmup)
            done += count
            if self._clocks is not None and not warmup:
                self._clocks.step(self.steps, len(window))
        ledger.enter("idle")

    def _one(self, batches: Iterator[Loaded | Staged], rate: float, window: Window) -> None:
        ready = getattr(batches, "ready", False)
        if not ready:
            # The timer may wait for the device here; that wait is compute time.
            self._ledger.enter("compute")
            self._timer.settle()
        wait_from_ns = self._ledger.enter("data_wait")
        loaded = next(batches, None)
        if loaded is None:
            raise DataError("the loader ended before the epoch's planned steps; a worker may have been killed")
        batch: Batch | PublishedBatch | Staged = require_batch(loaded)
        copy_from_ns = self._ledger.enter("copy")
        if not ready:
            self._timer.idle(copy_from_ns - wait_from_ns)
        images, targets = self.staging.take(batch)
        for group in self._trainee.optimizer.param_groups:
            group["lr"] = rate
        compute_from_ns = self._ledger.enter("compute")
        self._timer.start()
        loss = self._trainee.step(images, targets, self._timer.forward_done)
        self._timer.stop()
        if self._trainee.settings.host_clock:
            # Runs timed by the host's clock read the loss right after the timed region, and so waited for the device
            # outside of it. Without this, that wait would fall into the next step's region or into the data wait.
            self._ledger.enter("compute")
            self._trainee.backend.synchronise()
        if self._trainee.parts:
            self._ledger.enter("compute")
            # As the published runs did: one by one, so that each reading waits for all that was queued.
            for part in self._trainee.parts:
                self._trainee.backend.numbers([part])
        self._ledger.enter("bookkeeping")
        window.wait_ns += copy_from_ns - wait_from_ns
        window.copy_ns += compute_from_ns - copy_from_ns
        window.images.append(len(images))
        window.losses.append(loss)
        window.backward_steps += self._trainee.has_gradients
        scale = self._trainee.loss_scale()
        if scale is not None:
            window.scales.append(scale)
        self._passes.add(batch.image_ids, batch.oriented)
        window.rate = rate

    def _close(self, window: Window, begun_ns: int, epoch: int, warmup: bool) -> None:
        # Draining waits for the device; that wait is compute time.
        self._ledger.enter("compute")
        times = self._timer.drain()
        ended_ns = self._ledger.enter("bookkeeping")
        # This needs all that was queued to be done; if synchronise has waited, it takes no time.
        self._trainee.backend.numbers(window.losses[-1:])
        read_ns = self._trainee.backend.clock.now_ns() - ended_ns
        seen = self._trainee.fingerprint.take()
        norm = self._trainee.gradient_norm()
        parts = (window.losses, window.scales, [norm, self._trainee.moved()], seen.positives)
        numbers = iter(self._trainee.backend.numbers([scalar for part in parts for scalar in part]))
        losses, scales, (gradient_norm, moved), positives = ([next(numbers) for _ in part] for part in parts)
        # A GradScaler lowers its scale exactly when it skips a step.
        skipped = [at for at, (old, new) in enumerate(zip([self._scale, *scales], scales)) if new < old]
        self._scale = scales[-1] if scales else self._scale
        self._log.write(
            training.Window(
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
                positives=int(sum(positives)),
                images=tuple(window.images),
                compute_ns=tuple(times.compute_ns),
                loss=tuple(losses),
                backward_steps=window.backward_steps,
                gradient_norm=gradient_norm,
                moved=int(moved),
                skipped=tuple(skipped),
                loss_scale=scales[-1] if scales else None,
                forward_images=sum(window.images[: len(times.forward_ns)]),
                read_ns=read_ns,
                span_ns=times.span_ns,
                span_device_ns=times.span_device_ns,
            )
        )
        for one in self._passes.completed():
            self._log.write(one)
        self.last_step_ns = sum(times.compute_ns) / len(times.compute_ns)
        for offset, loss in enumerate(losses):
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the loss of step {self.steps + offset} (epoch {epoch}) is {loss}: the model has diverged, and "
                    "what would be measured from here on is another workload; check the learning rate and the device"
                )
        self.steps += len(window)
        self.images += sum(window.images)
