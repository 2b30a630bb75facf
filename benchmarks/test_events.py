"""What writing evidence costs: one window of twenty steps, and the ledger's part of one step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.clock import Ledger
from trainer.events import EventLog

STEPS = 20


def test_writing_a_window_of_steps(benchmark: Any, tmp_path: Path) -> None:
    """Divide by STEPS for the cost per step."""
    log = EventLog(tmp_path, 0)
    times = list(range(10**8, 10**8 + STEPS))
    facts = dict.fromkeys(("images", "compute_ns"), times)

    benchmark(
        log.write,
        "window",
        epoch=0,
        step=0,
        warmup=False,
        lr=0.02,
        wall_ns=2 * 10**9,
        wait_ns=1,
        copy_ns=1,
        compute_host_ns=1,
        forward_ns=1,
        loss=[0.5] * STEPS,
        **facts,
    )

    log.close()


def test_the_ledgers_part_of_a_step(benchmark: Any) -> None:
    """Four phases are entered in every step."""
    ledger = Ledger()

    def step() -> None:
        for phase in ("data_wait", "copy", "compute", "bookkeeping"):
            ledger.enter(phase)

    benchmark(step)
