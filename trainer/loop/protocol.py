"""The protocols full, epoch, steady and smoke: what is trained and evaluated in which order."""

from __future__ import annotations

import itertools
import resource
import time
from typing import Any, Callable, Iterator

import numpy as np
import torch

from evidence.events.state import Progress
from evidence.events.training import Checkpoint, EpochBegin, EpochEnd, EvalBegin, EvalEnd, TrainBegin, TrainEnd
from evidence.files import DETECTIONS_FILE, KeptDetections, write_detections
from evidence.rank_file import EventLog
from evidence.run_file import BY_STEPS
from trainer.clocks import Ledger
from trainer.data.annotations import annotation_file
from trainer.data.index_cache import VAL, digest_of
from trainer.data.loader import Loaded, Loaders
from trainer.data.passes import Passes
from trainer.errors import DiskError
from trainer.loop.checkpoint import Checkpoints, Position, blocks, snapshot
from trainer.loop.evaluate import collector, detect
from trainer.loop.staging import Prefetch, Staged
from trainer.loop.steps import StepLoop
from trainer.loop.trainee import ParameterDigests, Trainee, learning_rate
from trainer.probes.clocks import ClockWatch
from trainer.ranks import HostGroup
from trainer.settings import Settings

_BEFORE_TRAINING = -1
_PROGRESS_EVERY_S = 1.0
_WARMUP_LIMIT = 5
_WARM_WITHIN = 0.05  # windows of 20 steps with 3 % noise differ by less, autocorrelated ones too


class Protocol:
    """One run on one rank; it ends with the reason `target`, `last_epoch` or `steps`.

    `resumed` is the position of the checkpoint that was restored, None on a fresh start.
    """

    def __init__(
        self,
        trainee: Trainee,
        bare_model: torch.nn.Module,
        loaders: Loaders,
        group: HostGroup,
        log: EventLog,
        checkpoints: Checkpoints,
        resumed: Position | None = None,
        clocks: ClockWatch | None = None,
    ) -> None:
        self._trainee = trainee
        self._bare_model = bare_model  # without DDP, for evaluation and checkpoints
        self._loaders = loaders
        self._group = group
        self._log = log
        self._ledger = Ledger(trainee.backend.clock.now_ns)
        self._clocks = clocks
        self._settings: Settings = trainee.settings
        self._checkpoints = checkpoints
        self._resumed = resumed
        self._from = resumed or Position(0, 0, len(loaders.train_plan))
        self._passes = Passes(loaders.train_plan, loaders.image_ids, self._from.epoch, self._from.step)
        self._loop = StepLoop(trainee, log, self._ledger, self._passes, clocks)
        self._loop.steps = self._from.taken
        self._planned = self._settings.steps or self._from.left or self._from.steps
        self._loop.expect(self._planned)
        self._digests = ParameterDigests(bare_model)
        self._asked: Iterator[Loaded | Staged] | None = None  # the iterator of the next epoch, once workers load for it

    def run(self) -> str:
        """Run the protocol of the settings and return the reason it ended with."""
        self._note_parameters()
        if self._settings.protocol in BY_STEPS:
            return self._by_steps()
        epochs = self._settings.epochs if self._settings.protocol == "full" else 1
        if self._settings.protocol == "full" and self._resumed is None:
            self._ask_ahead(self._from.epoch, self._from.step, epochs)
            self._evaluate(_BEFORE_TRAINING)
        self._begin()
        reason = "last_epoch"
        for epoch in range(self._from.epoch, epochs):
            first = self._from.step if epoch == self._from.epoch else 0
            if first < self._from.steps:
                self._train_epoch(epoch, first)
            self._ask_ahead(epoch + 1, 0, epochs)
            reached = self._evaluate(epoch)
            if self._settings.protocol == "full" and reached >= self._settings.target_map:
                reason = "target"
                break
        self._end()
        self._close(self._asked)
        return reason

    def _begin(self) -> None:
        self._group.barrier()
        if self._clocks is not None:
            self._clocks.begin(self._planned)
        self._log.write(TrainBegin(), self._ledger.begin())

    def _end(self) -> None:
        spent = self._ledger.spent()
        end = TrainEnd(self._loop.images, self._loop.steps - self._from.taken, spent)
        self._log.write(end, self._trainee.backend.clock.now_ns())
        if self._clocks is not None:
            self._clocks.end()
        for one in self._passes.rest():
            self._log.write(one)
        self._note_parameters()

    def _note_parameters(self) -> None:
        self._log.write(self._digests.take(self._trainee.steps))

    def _train_epoch(self, epoch: int, first: int) -> None:
        """Take the steps of an epoch from `first` on; earlier ones were taken before the restart."""
        plan = self._loaders.train_plan
        self._ledger.enter("bookkeeping")
        steps, before = len(plan), self._loop.images
        self._log.write(EpochBegin(epoch, steps - first, plan.unused, from_step=first or None))
        self._ledger.enter("data_wait")
        batches, self._asked = self._asked or self._ask(epoch, first), None
        for begin, end in blocks(first, steps, self._settings.checkpoint_steps):
            rates = [
                learning_rate(self._settings, epoch=epoch, step=step, steps_per_epoch=steps)
                for step in range(begin, end)
            ]
            self._loop.run(batches, rates, epoch=epoch)
            if end < steps:
                self._keep(Position(epoch, end, steps))
        # A loader with persistent workers has one iterator for all epochs: stop fetching from it first.
        self._close(batches)
        self._log.write(EpochEnd(epoch, steps - first, self._loop.images - before))
        self._keep(Position(epoch, steps, steps))

    def _ask(self, epoch: int, first: int) -> Iterator[Loaded | Staged]:
        """Return the batches of an epoch from its step `first` on; workers begin to load them now."""
        self._loaders.train_plan.set_epoch(epoch, first)
        return self._ahead(iter(self._loaders.train))

    def _ahead(self, batches: Iterator[Loaded]) -> Iterator[Loaded | Staged]:
        ahead = Prefetch(batches, self._loop.staging.ahead) if self._takes_ahead else batches
        return self._arriving(ahead, training=True)

    def _arriving(self, batches: Any, *, training: bool) -> Any:
        settings = self._settings
        return self._trainee.backend.arriving(
            batches, batch_size=settings.batch_size, workers=settings.workers, training=training
        )

    def _ask_ahead(self, epoch: int, first: int, epochs: int) -> None:
        """Let workers load an epoch's first batches during the evaluation before it, if that epoch is to be trained."""
        if self._takes_ahead and epoch < epochs and first < len(self._loaders.train_plan):
            self._ledger.enter("data_wait")
            self._asked = self._ask(epoch, first)
            self._ledger.enter("idle")

    @staticmethod
    def _close(batches: Iterator[Loaded | Staged] | None) -> None:
        close = getattr(batches, "close", None)
        if close is not None:
            close()

    def _keep(self, position: Position) -> None:
        """Write a checkpoint. Raises DiskError on rank 0."""
        self._ledger.enter("checkpoint")
        self._note_parameters()
        tensors = snapshot(self._trainee, self._bare_model, self._group, position)
        if self._group.ranks.rank == 0:
            file, size = self._checkpoints.save(position, tensors)
            self._log.write(Checkpoint(position.epoch, position.step, file, size))
        # Without it, other ranks would wait for rank 0 in their next step, and count the wait as compute.
        self._group.barrier()
        self._ledger.enter("idle")

    def _evaluate(self, epoch: int) -> float:
        """Evaluate; return the mAP, the same on every rank."""
        self._log.write(EvalBegin(epoch), self._ledger.enter("evaluation"))
        self._group.broadcast_buffers(self._bare_model)
        scores = collector(self._settings, self._loaders.ground_truth, lambda rows: self._keep_detections(epoch, rows))
        oriented = detect(
            self._bare_model,
            self._arriving(self._loaders.val, training=False),
            self._trainee.backend,
            scores.add,
            self._progress(),
        )
        outcome = scores.outcome(self._group, lambda reached: self._decides(epoch, reached))
        end = EvalEnd(epoch, outcome.images, outcome.detections, **outcome.facts, exif_oriented=oriented)
        # The phase ends at the time of the event, so that judging can compare the two.
        self._log.write(end, self._ledger.enter("idle"))
        return outcome.map

    def _keep_detections(self, epoch: int, rows: np.ndarray) -> None:
        """Write the detections of the last evaluation. Raises DiskError."""
        digest = digest_of(annotation_file(self._settings.data, VAL))
        try:
            write_detections(self._settings.run_dir, KeptDetections(rows, epoch, digest))
        except OSError as error:
            path = self._settings.run_dir / DETECTIONS_FILE
            raise DiskError(f"{path}: cannot be written: {error.strerror}; make room there") from None

    def _decides(self, epoch: int, reached: float) -> bool:
        """Whether the run ends with this evaluation, so that its detections are kept and scored by pycocotools too."""
        settings = self._settings
        if settings.protocol == "smoke":
            return True
        if settings.protocol != "full" or epoch == _BEFORE_TRAINING:
            return False
        return epoch == settings.epochs - 1 or reached >= settings.target_map

    def _progress(self) -> Callable[[int], None]:
        total, last = self._loaders.val_images_of_rank, [time.monotonic()]

        def report(done: int) -> None:
            if time.monotonic() - last[0] >= _PROGRESS_EVERY_S:
                last[0] = time.monotonic()
                self._log.write(Progress("evaluation", done, total))

        return report

    def _by_steps(self) -> str:
        """Take the steps of the settings after a warm-up; under smoke, evaluate then."""
        assert self._settings.steps is not None  # Settings ties it to these protocols
        plan = self._loaders.train_plan
        # Of a smoke run's few images an epoch is shorter than the recipe's warm-up, which must not end with it.
        is_short = self._settings.protocol == "smoke"
        epoch = max(len(plan), self._settings.warmup_steps + 1) if is_short else len(plan)
        # Only if workers do not restart in every epoch.
        endless = self._takes_ahead and self._settings.uses("persistent_workers")
        plan.set_epoch(0, endless=endless)
        # Begun in this thread, not in the fetching one: pinned memory belongs to this thread's current device.
        batches = self._ahead(self._endless(iter(self._loaders.train)))

        def rates(first: int, count: int) -> list[float]:
            return [
                learning_rate(self._settings, epoch=0, step=step, steps_per_epoch=epoch)
                for step in range(first, first + count)
            ]

        warmup = self._warm_up(batches, rates)
        warmup_images = self._loop.images
        self._begin()
        self._loop.run(batches, rates(warmup, self._settings.steps), epoch=0)
        self._loop.steps, self._loop.images = self._settings.steps, self._loop.images - warmup_images
        if self._settings.protocol == "smoke":
            self._evaluate(0)
        self._end()
        self._close(batches)
        return "steps"

    def _warm_up(self, batches: Iterator[Loaded | Staged], rates: Callable[[int, int], list[float]]) -> int:
        """Take the warm-up steps and return their number.

        At least those of the settings, then a window at a time until one takes as long as the one before on every rank;
        at most _WARMUP_LIMIT times the steps of the settings. Under smoke, whose rates are not judged, those alone.
        """
        asked, done, before_ns = self._settings.steady_warmup, 0, 0.0
        limit = 1 if self._settings.protocol == "smoke" else _WARMUP_LIMIT
        while done < limit * asked:
            count = self._loop.window if done else asked
            self._loop.run(batches, rates(done, count), epoch=0, warmup=True)
            done += count
            step_ns, before_ns = self._loop.last_step_ns, before_ns or self._loop.last_step_ns
            change = np.array([[abs(step_ns / before_ns - 1)]])
            if done > asked and max(part[0, 0] for part in self._group.all_gather(change)) <= _WARM_WITHIN:
                break
            before_ns = step_ns
        return done

    @property
    def _takes_ahead(self) -> bool:
        # Without workers the loader decodes in the calling thread; a thread would compete with the device's cores.
        return self._settings.workers > 0 and self._settings.uses("batches_ahead")

    def _endless(self, first: Iterator[Loaded]) -> Iterator[Loaded]:
        yield from first
        for epoch in itertools.count(1):
            self._loaders.train_plan.set_epoch(epoch)
            yield from self._loaders.train


def peak_resident_gib() -> float | None:
    """Return this process's peak resident memory in GiB."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                # ru_maxrss would include the parent's size from before exec.
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 2**20
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
