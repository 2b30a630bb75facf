"""Real runs of the trainer's own program, broken off by force and started again, for the tests of resuming."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Mapping

from tests.forked import Forked, free_port
from trainer.settings import Settings, to_flags

_POLL_S = 0.02
_LONGEST_S = 300.0
_ENDS_S = 60.0


def run(settings: Settings, ranks: int) -> int:
    """Run the trainer to whatever end and return 0, or the code of a rank that broke."""
    return _Running(settings, ranks).wait(_LONGEST_S)


def finish(settings: Settings, ranks: int) -> None:
    """Run the trainer to its end."""
    code = run(settings, ranks)
    logs = "\n".join(path.read_text()[-2000:] for path in sorted(settings.run_dir.glob("*.log")))
    assert code == 0, logs


def kill_at(settings: Settings, ranks: int, *, step: int, then: str = "window") -> None:
    """Run the trainer until its last rank has written the event `then` of `step`, and kill that rank outright.

    The step is that of a window's first; of another event it is the one that it names. Files are moved away as a
    session does that starts a run again.
    """
    process = _Running(settings, ranks)
    victim = settings.run_dir / f"rank-{0 if then == 'checkpoint' else ranks - 1:04d}.jsonl"
    begun_s = time.monotonic()
    while not _has_come(victim, step, then):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() - begun_s < _LONGEST_S
        time.sleep(_POLL_S)
    os.kill(events(victim)[0]["pid"], signal.SIGKILL)
    assert process.wait(_ENDS_S) != 0
    _move_away(settings)


def events(path: Path) -> list[dict[str, Any]]:
    """Return the whole events of a rank's file."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def named(path: Path, name: str) -> list[dict[str, Any]]:
    """Return the events of a rank's file by name."""
    return [event for event in events(path) if event["event"] == name]


def losses(path: Path) -> Mapping[int, float]:
    """Return the loss of each step in a rank's file, by the step's number in the run."""
    return {
        window["step"] + offset: loss for window in named(path, "window") for offset, loss in enumerate(window["loss"])
    }


def next_attempt(settings: Settings) -> Settings:
    """Return the settings of the run's next launch."""
    return replace(settings, attempt=settings.attempt + 1)


class _Running:
    """Ranks of the trainer's program, each forked from a process that has imported torch (tests/forked.py)."""

    def __init__(self, settings: Settings, ranks: int) -> None:
        settings.run_dir.mkdir(parents=True, exist_ok=True)
        # One thread a rank, whatever machine this is: sums of floats depend on how they are split.
        shared = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1"}
        shared.update(MASTER_PORT=str(free_port()), WORLD_SIZE=str(ranks), LOCAL_WORLD_SIZE=str(ranks))
        log = str(settings.run_dir / "launcher.log")
        self._ranks = [
            Forked(
                "tests.forked:rank",
                *to_flags(settings),
                environment={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                output=log,
            )
            for rank in range(ranks)
        ]

    def poll(self) -> int | None:
        """Return 0 when all have ended well, the code of one that has not, the others killed; None while they run."""
        codes = [one.poll() for one in self._ranks]
        broken = next((code for code in codes if code), None)
        if broken is not None:
            for one in self._ranks:
                one.kill()
        return 0 if codes == [0] * len(codes) else broken

    def wait(self, longest_s: float) -> int:
        """Return what `poll` does in the end."""
        begun_s, code = time.monotonic(), self.poll()
        while code is None:
            assert time.monotonic() - begun_s < longest_s, f"the ranks still ran after {longest_s:.0f} s"
            time.sleep(_POLL_S)
            code = self.poll()
        return code


def _has_come(path: Path, step: int, then: str) -> bool:
    return any(event["step"] >= step for event in named(path, then))


def _move_away(settings: Settings) -> None:
    for path in [*settings.run_dir.glob("rank-*"), *settings.run_dir.glob("*.jsonl")]:
        if path.exists() and not path.name.startswith("attempt-"):
            path.rename(path.with_name(f"attempt-{settings.attempt}.{path.name}"))
