"""How much room a run needs on its host: disk, shared memory and open files, estimated before any rank is started."""

from __future__ import annotations

import multiprocessing
import resource
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

from evidence.run_file import BY_STEPS
from trainer.settings import Settings

_PAGE_BYTES = 4096

CHECKPOINT_BYTES = {
    "fasterrcnn_resnet50_fpn": 334_680_152,
    "fasterrcnn_resnet18_fpn_small": 99_315_536,
    "fasterrcnn_tiny": 158_256,
}
"""Weights and momentum of each model, at the default number of classes."""

_EVIDENCE_BYTES_PER_IMAGE = 100
"""Per image trained: an event log of 64 bytes a step and rank, and telemetry of 240 bytes a second and device at three
images/s."""

# Of COCO's train2017: most images are of this size, and have so many boxes.
_PIXELS = 640 * 480
_BOXES = 849_949 / 117_266

_BASE_FILES = 128  # a framework's libraries and devices, logs, sockets to other ranks
_FILES_PER_WORKER = 6  # its queues and process
_IN_USE = 3  # batches beside those that torch's DataLoader requests in advance, two a worker


@dataclass(frozen=True)
class Boot:
    """What one boot on this host writes and loads: its settings, ranks, and the images that it trains on.

    `keeps_checkpoints` is False if they are written on another host.
    """

    settings: Settings
    ranks: int
    images: int
    keeps_checkpoints: bool = True


def too_little(free: int, needed: int) -> str:
    """Return how many bytes are free and how many are needed, in a unit in which they differ.

    >>> too_little(0, 5_242_880)
    '0 bytes are free, expected 5.00 MiB'
    """
    texts = [_size(count) for count in (free, needed)]
    if texts[0] == texts[1]:
        texts = [f"{count} bytes" for count in (free, needed)]
    return f"{texts[0]} are free, expected {texts[1]}"


def _size(count: int) -> str:
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= factor:
            return f"{count / factor:.2f} {unit}"
    return f"{count} bytes"


def disk_problems(folder: Path, boots: Sequence[Boot]) -> list[str]:
    """Return a sentence if the disk of `folder`, which need not exist, has no room for the evidence of the boots."""
    each = [
        CHECKPOINT_BYTES[one.settings.model] if one.keeps_checkpoints and one.settings.protocol not in BY_STEPS else 0
        for one in boots
    ]
    evidence = sum(one.images for one in boots) * _EVIDENCE_BYTES_PER_IMAGE
    needed = 2 * sum(each) + max(each, default=0) + evidence
    free = shutil.disk_usage(str(next(one for one in (folder, *folder.parents) if one.is_dir()))).free
    if free >= needed:
        return []
    checkpoints = "the last two checkpoints of each run and the next one while it is written, and " if any(each) else ""
    return [
        f"{folder}: {too_little(free, needed)}: {checkpoints}evidence of about "
        f"{_EVIDENCE_BYTES_PER_IMAGE} bytes an image trained; make room, or name another disk with --runs"
    ]


def loader_problems(boots: Sequence[Boot], shared_memory: Path = Path("/dev/shm")) -> list[str]:  # noqa: S108
    """Return a sentence if the loaders of boots that run side by side lack shared memory, or their ranks open files."""
    problems = []
    needed = sum(one.ranks * _shared_bytes(one.settings) for one in boots)
    free = shutil.disk_usage(str(shared_memory)).free if shared_memory.is_dir() else 0
    if free < needed:
        problems.append(
            f"{shared_memory}: {too_little(free, needed)} for the batches that "
            "loader workers hand to their ranks; enlarge it (docker run --shm-size, or --ipc=host)"
        )
    files, limit = max(map(_open_files, (one.settings for one in boots)), default=0), _file_limit()
    if limit < files:
        problems.append(
            f"open files: the limit is {limit} a process (ulimit -n), expected {files} for a rank with its loaders; "
            f"raise it: ulimit -n {max(files, 4096)}, or docker run --ulimit nofile={max(files, 4096)}"
        )
    return problems


def _in_flight(settings: Settings) -> int:
    """Batches of a rank that are loaded at once; at the end of an epoch both loaders have theirs, if they persist."""
    batches = 2 * settings.workers + _IN_USE if settings.workers else 0
    return batches * (2 if settings.uses("persistent_workers") else 1)


def _is_published(settings: Settings) -> bool:
    return not (settings.uses("boxes_only") and settings.uses("bytes_on_device"))


def _shared_bytes(settings: Settings) -> int:
    """Bytes in /dev/shm of the batches of one rank that are in flight.

    The pixels are elsewhere if a loader has its own shared memory (`Slots` of trainer/data/dataset.py).
    """
    forked = multiprocessing.get_all_start_methods()[0] == "fork"
    if forked and settings.uses("persistent_workers") and not _is_published(settings):
        return _in_flight(settings) * 2 * _PAGE_BYTES  # boxes and labels
    pixel_bytes = 3 if settings.uses("bytes_on_device") else 3 * 4
    masks = 0 if settings.uses("boxes_only") else _BOXES
    return int(_in_flight(settings) * settings.batch_size * _PIXELS * (pixel_bytes + masks))


def _open_files(settings: Settings) -> int:
    """Files that a rank has open: each tensor that a worker hands over is one as long as it is in use."""
    of_an_image = 3 if settings.uses("boxes_only") else 7  # trainer/data/published.py
    tensors = settings.batch_size * of_an_image if _is_published(settings) else 2
    return _BASE_FILES + 2 * settings.workers * _FILES_PER_WORKER + _in_flight(settings) * tensors


def _file_limit() -> float:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return float("inf") if soft == resource.RLIM_INFINITY else soft
