"""What writing evidence costs: steps by the window beside a line for each step, and the ledger's part of one step."""

from __future__ import annotations

from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

from benchmarks.beside import beside
from evidence.events.training import Window
from evidence.rank_file import EventLog

STEPS = 20
WINDOWS = 100
FACTS = {
    "epoch": 0,
    "warmup": False,
    "lr": 0.02,
    "wall_ns": 2 * 10**9,
    "wait_ns": 1,
    "copy_ns": 1,
    "compute_host_ns": 1,
    "forward_ns": 1,
}
TIMES = tuple(range(10**8, 10**8 + STEPS))
WORKED_ON = dict.fromkeys(("padded_pixels", "proposals", "sampled", "positives"), 1)
Step = make_dataclass("Step", ["step", "images", "compute_ns", "loss", *FACTS], namespace={"event": "step"})


def test_windows_beside_a_line_for_each_step(benchmark: Any, tmp_path: Path) -> None:
    """2,000 steps; the reference is what trainers commonly do, an object a step, flushed as ours are."""
    by_window, by_step = EventLog(tmp_path, 0), EventLog(tmp_path, 1)

    def ours() -> None:
        for step in range(0, WINDOWS * STEPS, STEPS):
            by_window.write(
                Window(step=step, images=TIMES, compute_ns=TIMES, loss=(0.5,) * STEPS, **FACTS, **WORKED_ON)
            )

    def reference() -> None:
        for step in range(WINDOWS * STEPS):
            by_step.write(Step(step=step, images=8, compute_ns=TIMES[step % STEPS], loss=0.5, **FACTS))

    beside(benchmark, ours, reference, name="events of 2,000 steps", units=WINDOWS * STEPS, unit="steps")

    by_window.close()
    by_step.close()
    assert len(by_window.path.read_bytes().splitlines()) * STEPS == len(by_step.path.read_bytes().splitlines())
