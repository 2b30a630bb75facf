"""What the evidence adds to a step: ledger, timers, events, digests, gradient norms, tests and readings of the clocks.

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
from trainer.clocks import AGENT_CLOCK, AgentClock, Clock, Ledger
from trainer.data.dataset import Sample, collate
from trainer.data.passes import Passes
from trainer.data.sampler import EpochBatches
from trainer.devices.cpu import CpuBackend
from trainer.devices.timers import EventTimer, StepTimer, SynchronisedTimer, WindowTimer
from trainer.loop.steps import StepLoop
from trainer.loop.trainee import ParameterDigests, Seen, Trainee
from trainer.probes.clocks import ClockWatch, probe_clock

STEPS = 1_000
STEP_NS = 100e6
EPOCH_STEPS = 7_320  # of COCO at batch size 2 on eight devices, in windows of 20
MINUTE_NS = 60e9


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
        moved=lambda: torch.ones(()),
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


@pytest.fixture
def agent(monkeypatch: Any) -> Any:
    """An agent that answers for its clock, in a thread of this process; a real one has a process of its own."""
    agent = AgentClock()
    monkeypatch.setenv(AGENT_CLOCK, agent.name)
    yield agent
    agent.close()


def test_a_reading_of_the_agents_clock(benchmark: Any, agent: AgentClock) -> None:
    """Taken once a minute, and five times before and after training."""
    ask = Clock().ask_agent()

    assert benchmark(ask) is not None

    share = benchmark.stats.stats.median * 1e9 / MINUTE_NS
    benchmark.extra_info["share of a minute"] = share
    print(f"\nreading the agent's clock: {share:.6%} of a minute")


def test_the_clocks_watched_for_an_epoch(benchmark: Any, agent: AgentClock, tmp_path: Path) -> None:
    """All tests of the step timer in an epoch, about seven of some 0.2 s; work of the CPU stands in for a device's."""
    backend = CpuBackend()
    backend.device = torch.device("cpu")
    log, probe = EventLog(tmp_path, 0), probe_clock(backend)

    def epoch() -> None:
        watch = ClockWatch(backend, log, probe, seed=0)
        watch.begin(EPOCH_STEPS)
        for step in range(20, EPOCH_STEPS + 1, 20):
            watch.step(step, 20)
        watch.end()

    benchmark.pedantic(epoch, rounds=3)

    log.close()
    share = benchmark.stats.stats.median * 1e9 / EPOCH_STEPS / STEP_NS
    benchmark.extra_info["share of a 100 ms step"] = share
    print(f"\nclocks watched: {share:.4%} of a 100 ms step")
