"""What the ledger, the timers and the evidence add to a step: the training loop around a step that does nothing.

`share of a 100 ms step`, in the extra info of `--benchmark-json` and printed with `-s`, is the loop's median time per
step over 100 ms. Real batches, real event files; the images are as small as can be, since copying them is no overhead.
"""

from __future__ import annotations

from itertools import count, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from evidence.rank_file import EventLog
from trainer.clocks import Ledger
from trainer.data.dataset import Sample, collate
from trainer.data.passes import Passes
from trainer.data.sampler import EpochBatches
from trainer.devices.cpu import CpuBackend
from trainer.devices.timers import EventTimer, StepTimer, SynchronisedTimer, WindowTimer
from trainer.loop.steps import StepLoop
from trainer.loop.trainee import ParameterDigests, Seen, Trainee

STEPS = 1_000
STEP_NS = 100e6


class HostEvent:
    """A device event without a device: what recording a real one costs on top is the vendor's."""

    def record(self) -> None:
        self.at = 0

    def elapsed_time(self, later: Any) -> float:
        return 1.0


TIMERS = {
    "events": lambda: EventTimer(lambda: None, HostEvent),
    "windows": lambda: WindowTimer(lambda: None),
    "every step": lambda: SynchronisedTimer(lambda: None),
}


def trainee(timer: StepTimer) -> Any:
    """What the loop asks of a Trainee, with a step that returns at once."""
    losses = (torch.tensor(1.0 + step / 1e6) for step in count())

    def step(images: Any, targets: Any, forward_done: Any) -> Any:
        forward_done()
        return next(losses)

    backend = CpuBackend()
    backend.device = torch.device("cpu")
    backend.step_timer = lambda: timer  # type: ignore[method-assign]
    return SimpleNamespace(
        settings=SimpleNamespace(window=20, host_clock=False, uses=lambda name: False),
        backend=backend,
        optimizer=SimpleNamespace(param_groups=[{}]),
        fingerprint=SimpleNamespace(take=Seen),
        step=step,
        parts=[],
        scaler=None,
        has_gradients=True,
        gradient_norm=lambda: torch.zeros(()),
        loss_scale=lambda: None,
    )


@pytest.mark.parametrize("timer", TIMERS)
def test_the_loop_around_a_step(benchmark: Any, tmp_path: Path, timer: str) -> None:
    """Divide by STEPS for one step."""
    batch = collate([Sample(np.zeros((1, 1, 3), np.uint8), False, np.zeros((0, 4), np.float32), np.zeros(0, int), 1)])
    log = EventLog(tmp_path, 0)
    images = np.arange(118_000)
    plan = EpochBatches(images * 0, batch_size=16, rank=0, world_size=8, seed=0, flip_probability=0.5)
    loop = StepLoop(trainee(TIMERS[timer]()), log, Ledger(), Passes(plan, images))

    benchmark(loop.run, repeat(batch), [0.01] * STEPS, epoch=0)

    log.close()
    share = benchmark.stats.stats.median * 1e9 / STEPS / STEP_NS
    benchmark.extra_info["share of a 100 ms step"] = share
    print(f"\n{timer}: {share:.4%} of a 100 ms step")


@pytest.fixture(scope="module")
def trained() -> Any:
    """The benchmark's model after a backward pass: 41.5 million trained parameters, 166 MB, with gradients."""
    from torchvision.models.detection import fasterrcnn_resnet50_fpn

    model = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    return model


def test_the_digest_of_the_parameters(benchmark: Any, trained: Any) -> None:
    """Taken before training, at each checkpoint and after training."""
    digests = ParameterDigests(trained)

    benchmark.pedantic(digests.take, args=(0,), rounds=5)


def test_the_norm_of_the_gradients(benchmark: Any, trained: Any) -> None:
    """Computed once a window of 20 steps; divide by 20 for one step."""
    settings = SimpleNamespace(precision="fp32", gradient_clip=0.0)
    backend = SimpleNamespace(device=torch.device("cpu"), gradient_scaler=lambda precision: None)
    owner = Trainee(settings, backend, trained, None)  # type: ignore[arg-type]

    benchmark.pedantic(lambda: float(owner.gradient_norm()), rounds=5)

    share = benchmark.stats.stats.median * 1e9 / 20 / STEP_NS
    benchmark.extra_info["share of a 100 ms step"] = share
    print(f"\nnorm of the gradients: {share:.4%} of a 100 ms step")
