"""Whether a device waits for its data: python -m benchmarks.data.waiting [--steps N].

Runs the trainer on the simulated device (50 ms an image, batches of two) with images that take 30 ms more to decode
than they do, and prints where the time went: with four loader workers as the benchmark's recipe has them, and with
each way of keeping the device busy switched off.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Sequence

from trainer.data.shapes import ensure
from trainer.settings import Settings, to_flags

ROOT = Path(__file__).resolve().parents[2]
WAYS: dict[str, dict[str, Any]] = {
    "4 workers, as by default": {"workers": 4},
    "4 workers, nothing asked for ahead": {"workers": 4, "without": ("batches_ahead", "overlapped_copies")},
    "no workers": {"workers": 0},
}


def run(folder: Path, data: Path, steps: int, changes: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a steady run of one rank."""
    folder.mkdir()
    scenario = folder / "scenario.toml"
    scenario.write_text('clock = "real"\ndecode_ms = 30\n', encoding="utf-8")
    settings = Settings(
        run_dir=folder,
        data=data,
        device="virtual",
        scenario=scenario,
        model="fasterrcnn_tiny",
        num_classes=4,
        pretrained_backbone=False,
        protocol="steady",
        steps=steps,
        batch_size=2,
        learning_rate=0.02,
        **changes,
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "trainer", *to_flags(settings)]
    subprocess.run(command, check=True, cwd=str(ROOT), env=environment)
    lines = (folder / "rank-0000.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def account(events: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Shares of compute time in percent, and the two rates in images/s."""
    begin, end = (next(e for e in events if e["event"] == name) for name in ("train_begin", "train_end"))
    measured = [event for event in events if event["event"] == "window" and not event["warmup"]]
    ledger, compute_s = end["ledger"], sum(sum(event["compute_ns"]) for event in measured) / 1e9
    p_train, p_core = end["images"] / ((end["t_ns"] - begin["t_ns"]) / 1e9), end["images"] / compute_s
    share = {name: 100 * ledger[f"{name}_ns"] / 1e9 / compute_s for name in ("data_wait", "copy", "bookkeeping")}
    return {**share, "p_train": p_train, "p_core": p_core, "ratio": p_train / p_core}


def main(arguments: Sequence[str]) -> int:
    """Print the account of each way."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data.waiting", description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    steps = parser.parse_args(list(arguments)).steps
    head = ("data wait %", "copy %", "bookkeeping %", "p_train /s", "p_core /s", "p_train/p_core")
    print(f"{'of compute time':<36}" + "".join(f"{name:>16}" for name in head))
    with tempfile.TemporaryDirectory(prefix="waiting-") as folder:
        data = ensure(Path(folder) / "data", seed=0, train_images=560, val_images=32)
        for number, (name, changes) in enumerate(WAYS.items()):
            found = account(run(Path(folder) / f"run-{number}", data, steps, changes))
            print(f"{name:<36}" + "".join(f"{value:16.3f}" for value in found.values()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
