"""A loader worker's memory does not grow over five epochs, measured on a quarter of COCO's images.

`python -m tests.trainer.data.worker_memory` measures it on all of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainer.data.worker_memory import Memory

IMAGES = 30_000


def measured(*options: str) -> list[Memory]:
    """Measures in a process as new as a rank: a worker is given all that the tests before this one have left here."""
    sizes = [f"--images={IMAGES}", "--batch=128"]
    command = [sys.executable, "-m", "tests.trainer.data.worker_memory", "--made", "--json", *sizes, *options]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [Memory(**one) for one in json.loads(done.stdout)]


def grown(found: list[Memory]) -> float:
    """Returns what the worker copied or took since it began, as a share of the memory that it had then.

    Its own pages are what tells: a page that is copied on being written to was resident before, too. They are set
    against all that is resident, for they alone are little, and an allocator that settles takes 1 or 2 MiB of them.
    Not the PSS: that also changes when another program of the host ends that had the same library.
    """
    return max(memory.own - found[0].own for memory in found) / found[0].resident


@pytest.mark.integration
def test_a_worker_has_no_more_memory_after_five_epochs() -> None:
    found = measured("--epochs=5")

    assert len(found) == 6
    resident = [memory.resident for memory in found]
    assert max(resident) <= 1.05 * min(resident)
    assert grown(found) <= 0.05


@pytest.mark.integration
def test_the_measurement_sees_what_a_worker_copies() -> None:
    found = measured("--epochs=2", "--lists")

    lists_kib = IMAGES * 6 * (56 + 4 * 8 + 4 * 24) // 1024
    assert found[-1].own - found[0].own > 0.3 * lists_kib
    assert grown(found) > 0.05  # so this many images are enough for the test above to see them held as objects
