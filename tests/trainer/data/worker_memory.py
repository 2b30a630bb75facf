"""`python -m tests.trainer.data.worker_memory`: the memory of a loader worker over five epochs of 118,287 images.

The annotation file is one of that many images, written for the purpose; its index, the loader, its worker and the queue
between them are the real ones. No image is decoded (one pixel stands for each), for that would take hours; so what is
left out is Pillow's own memory, which does not depend on the index. With `--lists` the boxes of the index are held as
Python's lists beside it, to show what the measurement would see.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Iterator
from unittest import mock

import numpy as np

from tests.trainer.data.large import IMAGES, large_index, write_large
from tests.trainer.data.one_rank import loader_of_one_rank
from trainer.cache import FOLDER_VARIABLE
from trainer.data import dataset
from trainer.data.coco import CocoIndex
from trainer.data.dataset import CocoBoxes, Sample
from trainer.data.index_cache import obtain
from trainer.data.sampler import Item

BATCH = 1024  # large, for the time that each takes to travel
_BEGUN = 10
_PIXEL = np.zeros((1, 1, 3), dtype=np.uint8)


@dataclass(frozen=True)
class Memory:
    """A process's memory in KiB, as /proc/PID/smaps_rollup has it.

    `resident` counts every page that it has, `proportional` (PSS) shares those of several processes out among them, and
    `own` are the pages that it alone has and has written to: what it copied of its parent's is in there.
    """

    resident: int
    proportional: int
    own: int


def memory_of(pid: int) -> Memory:
    values = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        name, value = line.split(":")
        values[name] = int(value.split()[0])
    return Memory(values["Rss"], values["Pss"], values["Private_Dirty"])


class ListedBoxes(CocoBoxes):
    """The same images, with the boxes held as lists of lists of numbers."""

    def __init__(self, index: CocoIndex, folder: Path) -> None:
        super().__init__(index, folder)
        self._boxes = [index.boxes_of(position)[0].tolist() for position in range(len(index))]

    def __getitem__(self, item: Item) -> Any:
        sample = super().__getitem__(item)
        assert isinstance(sample, Sample)
        return sample._replace(boxes=np.array(self._boxes[item.position], dtype=np.float32).reshape(-1, 4))


def memories(index: CocoIndex, images: CocoBoxes, epochs: int, batch: int = BATCH) -> Iterator[Memory]:
    """Yields the memory of the loader's one worker soon after it has begun, and at the end of every epoch."""

    def fake_decode(*_: Any) -> tuple[np.ndarray, bool]:
        return _PIXEL, False

    loader: Any = loader_of_one_rank(index, images, batch_size=batch, workers=1)
    # As a rank does before it forks.
    gc.collect()
    gc.freeze()
    with mock.patch.object(dataset, "decode", fake_decode):
        for epoch in range(epochs):
            loader.batch_sampler.set_epoch(epoch)
            for step, batch_or_message in enumerate(loader):
                dataset.require_batch(batch_or_message)
                if epoch == 0 and step == _BEGUN:
                    yield memory_of(loader._iterator._workers[0].pid)
            yield memory_of(loader._iterator._workers[0].pid)
    gc.unfreeze()


def _parsed(folder: Path, images: int) -> CocoIndex:
    """The index of a file, built here and now, so that this process is one that has parsed it."""
    # Written by another, which leaves nothing of it in the memory of this one.
    writer = get_context("spawn").Process(target=write_large, args=(folder, "train2017", images))
    writer.start()
    writer.join()
    return obtain(folder, "train2017", num_classes=91, training=True).index


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the memory of a loader worker over several epochs.")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--lists", action="store_true", help="hold the boxes as lists, to compare")
    parser.add_argument(
        "--made", action="store_true", help="leave the annotation file out, which takes half of the time"
    )
    parser.add_argument("--json", action="store_true", help="print a list of objects, KiB")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ[FOLDER_VARIABLE] = folder
        index = large_index(options.images) if options.made else _parsed(Path(folder), options.images)
        images = (ListedBoxes if options.lists else CocoBoxes)(index, Path(folder))
        found = list(memories(index, images, options.epochs, options.batch))
    if options.json:
        print(json.dumps([asdict(memory) for memory in found]))
        return
    print(f"{len(index)} images, {len(index.boxes)} boxes, MiB of the worker")
    print(f"{'':<12}{'resident':>10}{'PSS':>10}{'its own':>10}")
    for epoch, memory in enumerate(found):
        sizes = (memory.resident, memory.proportional, memory.own)
        print(f"{f'epoch {epoch}' if epoch else 'begun':<12}" + "".join(f"{kib / 1024:>10.1f}" for kib in sizes))


if __name__ == "__main__":
    main()
