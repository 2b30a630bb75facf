"""What the ledger, the timers and the evidence add to a step: the training loop around a step that does nothing.

`share of a 100 ms step`, in the extra info of `--benchmark-json` and printed with `-s`, is the loop's median time per
step over 100 ms. Real batches, real event files; the images are as small as can be, since copying them is no overhead.
"""

from __future__ import annotations

from itertools import count, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from evidence.rank_file import EventLog
from trainer.clocks import Ledger
from trainer.data.dataset import Batch
from trainer.devices.cpu import CpuBackend
from trainer.devices.timers import EventTimer, StepTimer, SynchronisedTimer, WindowTimer
from trainer.loop.steps import StepLoop
from trainer.loop.trainee import Seen

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
        settings=SimpleNamespace(window=20, host_clock=False),
        backend=backend,
        optimizer=SimpleNamespace(param_groups=[{}]),
        fingerprint=SimpleNamespace(take=Seen),
        step=step,
    )


@pytest.mark.parametrize("timer", TIMERS)
def test_the_loop_around_a_step(benchmark: Any, tmp_path: Path, timer: str) -> None:
    """Divide by STEPS for one step."""
    batch = Batch([torch.zeros(3, 1, 1, dtype=torch.uint8)], [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}])
    log = EventLog(tmp_path, 0)
    loop = StepLoop(trainee(TIMERS[timer]()), log, Ledger())

    benchmark(loop.run, repeat(batch), [0.01] * STEPS, epoch=0)

    log.close()
    share = benchmark.stats.stats.median * 1e9 / STEPS / STEP_NS
    benchmark.extra_info["share of a 100 ms step"] = share
    print(f"\n{timer}: {share:.4%} of a 100 ms step")
