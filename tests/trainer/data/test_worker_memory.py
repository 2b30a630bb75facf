"""A loader worker's memory stays what it is over five epochs of an index of COCO's size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from tests.trainer.data.worker_memory import Memory

pytestmark = pytest.mark.needs_torch


def measured(*options: str) -> list[Memory]:
    """Measures in a process as new as a rank: a worker is given all that the tests before this one have left here."""
    command = [sys.executable, "-m", "tests.trainer.data.worker_memory", "--made", "--json", *options]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [Memory(**one) for one in json.loads(done.stdout)]


@pytest.mark.slow
def test_a_worker_has_no_more_memory_after_five_epochs() -> None:
    found = measured("--epochs=5")

    # Not its PSS: that also changes when another program of the host ends that had the same library.
    assert len(found) == 6
    for values in ([memory.resident for memory in found], [memory.own for memory in found]):
        assert max(values) <= 1.05 * min(values)


def test_the_measurement_sees_what_a_worker_copies() -> None:
    begun, _, ended = measured("--epochs=2", "--images=30000", "--batch=128", "--lists")

    lists_kib = 30_000 * 6 * (56 + 4 * 8 + 4 * 24) // 1024
    assert ended.own - begun.own > 0.3 * lists_kib
