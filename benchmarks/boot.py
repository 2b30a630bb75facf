"""Where the time goes from pytest's start to the first training step: python -m benchmarks.boot [pytest options].

Starts the suite as a user does (`pytest -m cpu --topo 1x1` without options), and reads when each event of rank 0 was
written: all processes of a host read the same monotonic clock. Printed are seconds since the start of pytest.
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
}


def account(events: Sequence[dict], begun_ns: int) -> dict[str, float]:
    """Seconds from `begun_ns` to the first of each kind of event, in the order in which they happened."""
    first: dict[str, float] = {}
    for event in events:
        name = "launched" if event["event"] == "start" else event["event"]
        if event["event"] == "window" and "window" not in first:
            first["step"] = (event["t_ns"] - event["wall_ns"] - begun_ns) / 1e9
        if name in _WORDS and name not in first:
            first[name] = (event["t_ns"] - begun_ns) / 1e9
    return first


def main(arguments: Sequence[str]) -> int:
    """Run the suite in a folder of its own, print the account, and return pytest's exit code."""
    with tempfile.TemporaryDirectory(prefix="boot-") as folder:
        runs = Path(folder) / "runs"
        command = [sys.executable, "-m", "pytest", "-q", f"--runs={runs}", *arguments]
        begun_ns = time.perf_counter_ns()
        done = subprocess.run(command, cwd=str(ROOT), stdout=subprocess.DEVNULL, check=False)
        ended_s = (time.perf_counter_ns() - begun_ns) / 1e9
        files = sorted(runs.glob("*/rank-0000.jsonl"))
        if not files:
            print("no rank started; run the same pytest command by hand to see why", file=sys.stderr)
            return done.returncode or 1
        events = [json.loads(line) for line in files[0].read_text(encoding="utf-8").splitlines()]
    for name, since_s in account(events, begun_ns).items():
        print(f"{since_s:8.2f} s  {_WORDS[name]}")
    print(f"{ended_s:8.2f} s  pytest ended, code {done.returncode}")
    for name, spent in next((event["ledger"] for event in events if event["event"] == "train_end"), {}).items():
        print(f"{spent / 1e9:8.2f} s  of training: {name[: -len('_ns')].replace('_', ' ')}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
