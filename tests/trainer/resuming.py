"""Real runs of the trainer's own program, broken off by force and started again, for the tests of resuming."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Mapping

from trainer.settings import Settings, to_flags

ROOT = Path(__file__).resolve().parents[2]

_POLL_S = 0.02
_LONGEST_S = 300.0
_ENDS_S = 60.0


def run(settings: Settings, ranks: int) -> int:
    """Run the trainer to whatever end and return torchrun's exit code."""
    code: int = _start(settings, ranks).wait(_LONGEST_S)
    return code


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
    process = _start(settings, ranks)
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


def _start(settings: Settings, ranks: int) -> Any:
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    # One thread a rank, whatever machine this is: sums of floats depend on how they are split.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=1", f"--nproc_per_node={ranks}"]
    command += ["--max_restarts=0", "--monitor_interval=1", "--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0"]
    command += ["-m", "trainer", *to_flags(settings)]
    with (settings.run_dir / "launcher.log").open("wb") as log:
        return subprocess.Popen(
            command,
            cwd=str(ROOT),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _has_come(path: Path, step: int, then: str) -> bool:
    return any(event["step"] >= step for event in named(path, then))


def _move_away(settings: Settings) -> None:
    for path in [*settings.run_dir.glob("rank-*"), *settings.run_dir.glob("*.jsonl")]:
        if path.exists() and not path.name.startswith("attempt-"):
            path.rename(path.with_name(f"attempt-{settings.attempt}.{path.name}"))
