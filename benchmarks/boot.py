"""Where the time goes from pytest's start to the first training step: python -m benchmarks.boot [pytest options].

Starts the suite as a user does (`pytest -m cpu --topo 1x1` without options), and watches rank 0's file for when each
event is written, whatever clock the rank goes by. Printed are seconds since the start of pytest, to a fiftieth.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Sequence

ROOT = Path(__file__).resolve().parents[1]
_WORDS = {
    "launched": "trainer imported, first rank started",
    "clock_test": "device opened, ranks met, clock tested",
    "environment": "environment looked at",
    "data": "annotations read, loaders built",
    "model": "model built",
    "eval_begin": "initial evaluation begun",
    "eval_end": "initial evaluation done",
    "train_begin": "training begun",
    "step": "first training step begun",
    "window": "first window of steps done",
    "train_end": "training done",
}
_POLL_S = 0.02


def watched(process: subprocess.Popen, runs: Path, begun_s: float) -> list[tuple[float, dict]]:
    """Return rank 0's events, each with the seconds from `begun_s` until it was seen, when the process has ended."""
    seen: list[tuple[float, dict]] = []
    over = False
    while not over:
        over = process.poll() is not None
        now_s = time.perf_counter() - begun_s
        files = sorted(runs.glob("*/rank-0000.jsonl"))
        lines = files[0].read_bytes().split(b"\n")[:-1] if files else []
        seen += [(now_s, json.loads(line)) for line in lines[len(seen) :]]
        time.sleep(_POLL_S)
    return seen


def account(events: Sequence[tuple[float, dict]]) -> dict[str, float]:
    """Seconds until the first of each kind of event, in the order in which they happened."""
    first: dict[str, float] = {}
    real = all(event.get("clock") != "simulated" for _, event in events)
    for since_s, event in events:
        if event["event"] == "window" and real:
            first.setdefault("step", since_s - event["wall_ns"] / 1e9)
        name = "launched" if event["event"] == "start" else event["event"]
        if name in _WORDS:
            first.setdefault(name, since_s)
    return first


def main(arguments: Sequence[str]) -> int:
    """Run the suite in a folder of its own, print the account, and return pytest's exit code."""
    with tempfile.TemporaryDirectory(prefix="boot-") as folder:
        runs = Path(folder) / "runs"
        command = [sys.executable, "-m", "pytest", "-q", f"--runs={runs}", *arguments]
        begun_s = time.perf_counter()
        with subprocess.Popen(command, cwd=str(ROOT), stdout=subprocess.DEVNULL) as process:
            events = watched(process, runs, begun_s)
        ended_s = time.perf_counter() - begun_s
    if not events:
        print("no rank started; run the same pytest command by hand to see why", file=sys.stderr)
        return process.returncode or 1
    for name, since_s in account(events).items():
        print(f"{since_s:8.2f} s  {_WORDS[name]}")
    print(f"{ended_s:8.2f} s  pytest ended, code {process.returncode}")
    for name, spent in next((event["ledger"] for _, event in events if event["event"] == "train_end"), {}).items():
        print(f"{spent / 1e9:8.2f} s  of training: {name[: -len('_ns')].replace('_', ' ')}")
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
