"""Whole processes: collecting the suite, and starting a rank up to its first look at the data."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.beside import beside
from trainer.settings import Settings, to_flags

pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[1]
COLLECT = ["--collect-only", "-q", "-p", "no:cacheprovider"]
_WITH_TORCH = "import sys, torch, pytest; sys.exit(pytest.main(sys.argv[1:]))"


def output_of(command: list[str], code: int = 0, **environment: str) -> str:
    """What a process prints that ends with that code."""
    done = subprocess.run(
        command,
        cwd=str(ROOT),
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


def test_collecting_the_suite(benchmark: Any) -> None:
    """`pytest --collect-only` from start to end; the reference is the same in a process that has imported torch."""
    listed: list[str] = []

    def ours() -> None:
        listed.append(output_of([sys.executable, "-m", "pytest", *COLLECT]))

    def reference() -> None:
        listed.append(output_of([sys.executable, "-c", _WITH_TORCH, *COLLECT]))

    beside(benchmark, ours, reference, name="collecting the suite", unit="sessions")

    assert {text.count("::") for text in listed} == {listed[0].count("::")}
    assert "::" in listed[0]


def test_starting_a_rank_that_is_alone(benchmark: Any, tmp_path: Path) -> None:
    """Up to the error about a data set that is not there; the reference starts it under torchrun."""
    made = iter(range(1000))

    def flags() -> list[str]:
        folder = tmp_path / f"run-{next(made)}"
        settings = Settings(run_dir=folder, data=tmp_path / "nowhere", pretrained_backbone=False)
        return ["-m", "trainer", *to_flags(settings)]

    def said() -> str:
        (last,) = [line for line in newest().read_text(encoding="utf-8").splitlines() if '"failure"' in line]
        return last

    def newest() -> Path:
        return max(tmp_path.glob("run-*"), key=lambda path: int(path.name[4:])) / "rank-0000.jsonl"

    def ours() -> None:
        output_of([sys.executable, *flags()], code=1, GLOO_SOCKET_IFNAME="lo")
        assert "does not exist" in said()

    def reference() -> None:
        torchrun = ["-m", "torch.distributed.run", "--nnodes=1", "--nproc_per_node=1", "--rdzv_backend=c10d"]
        command = [sys.executable, *torchrun, "--rdzv_endpoint=localhost:0", *flags()]
        output_of(command, code=1, GLOO_SOCKET_IFNAME="lo")
        assert "does not exist" in said()

    beside(benchmark, ours, reference, name="starting a rank that is alone", unit="starts")
