"""The loaders: batches as planned, workers seeded and reused, memory kept."""

from __future__ import annotations

import os
import platform
import random
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, Sequence

import numpy as np
import psutil
import pytest
import torch

from tests.support import ROOT
from tests.trainer.data.sample import box, good, image, write
from tests.trainer.small import small_settings
from trainer.data import loader, shapes
from trainer.data.coco import CocoIndex, load_index
from trainer.data.dataset import BadSample, Batch, CocoBoxes, require_batch
from trainer.data.loader import Slowed, build_loaders, keep_freed_memory, train_loader, val_loader
from trainer.errors import DataError
from trainer.model.networks import build_model


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return shapes.ensure(tmp_path, seed=0, train_images=20, val_images=16)


def indexed(data: Path, split: str) -> tuple[CocoIndex, Path]:
    return load_index(data, split, num_classes=4, training=split == "train2017"), data / split


def training(data: Path, workers: int, world_size: int = 1, **changes: Any) -> Any:
    settings = small_settings(data, data, batch_size=4, workers=workers, **changes)
    index, folder = indexed(data, "train2017")
    return train_loader(settings, index, CocoBoxes(index, folder), 0, world_size)


def validation(data: Path, workers: int, batch_size: int, rank: int, world_size: int) -> Any:
    settings = small_settings(data, data, batch_size=batch_size, workers=workers)
    index, folder = indexed(data, "val2017")
    return val_loader(settings, index, CocoBoxes(index, folder), rank, world_size)


def content(batches: Any) -> list[Any]:
    return [
        [
            (target["image_id"], image.sum().item(), target["boxes"].tolist())
            for image, target in zip(batch.images, batch.targets)
        ]
        for batch in batches
    ]


def workers_of_this_process() -> set[int]:
    return {
        child.pid
        for child in psutil.Process().children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in " ".join(child.cmdline())
    }


def test_workers_deliver_exactly_what_the_process_itself_would(data: Path) -> None:
    alone, helped = training(data, 0), training(data, 2)

    for epoch in (0, 1):
        alone.batch_sampler.set_epoch(epoch)
        helped.batch_sampler.set_epoch(epoch)
        assert content(alone) == content(helped)
    assert len(alone) == len(helped) == 4


def test_every_epoch_has_another_order_and_other_flips(data: Path) -> None:
    batches = training(data, 0)
    batches.batch_sampler.set_epoch(0)
    first = content(batches)
    batches.batch_sampler.set_epoch(1)

    assert content(batches) != first


def test_workers_are_not_forked_again_every_epoch(data: Path) -> None:
    batches = training(data, 2)
    before = workers_of_this_process()
    seen = []

    for epoch in range(3):
        batches.batch_sampler.set_epoch(epoch)
        assert len(list(batches)) == 4
        seen.append(workers_of_this_process() - before)

    assert len(seen[0]) >= 2
    assert seen[0] == seen[1] == seen[2]


def test_workers_that_are_not_persistent_are_started_for_every_pass(data: Path) -> None:
    batches, lasting = training(data, 1, without=("persistent_workers",)), training(data, 1)
    before = workers_of_this_process()
    seen = []

    for _ in range(2):
        assert content(batches) == content(lasting)
        left = workers_of_this_process() - before
        batches_of_one_pass = iter(batches)
        seen.append(workers_of_this_process() - before - left)
        del batches_of_one_pass

    assert len(seen[0]) == len(seen[1]) == 1
    assert seen[0] != seen[1]


def test_an_epoch_left_early_does_not_spoil_the_next(data: Path) -> None:
    batches = training(data, 2)
    batches.batch_sampler.set_epoch(0)
    next(iter(batches))
    batches.batch_sampler.set_epoch(1)

    after = content(batches)

    expected = training(data, 0)
    expected.batch_sampler.set_epoch(1)
    assert after == content(expected)


def test_loading_leaves_the_models_random_numbers_alone(data: Path) -> None:
    batches = training(data, 0)
    torch.manual_seed(5)
    expected = torch.rand(3).tolist()
    torch.manual_seed(5)

    list(batches)

    assert torch.rand(3).tolist() == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_validation_shards_of_two_ranks_hold_every_image_once(data: Path, workers: int) -> None:
    ranks = [validation(data, workers, batch_size=3, rank=rank, world_size=2) for rank in (0, 1)]

    ids = [target["image_id"] for batches in ranks for batch in batches for target in batch.targets]

    assert sorted(ids) == load_index(data, "val2017", num_classes=4, training=False).image_ids.tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_rank_without_validation_images_has_an_empty_loader(data: Path, workers: int) -> None:
    batches = validation(data, workers, batch_size=16, rank=40, world_size=41)

    assert len(batches) == 0
    assert list(batches) == []


def test_a_truncated_jpeg_ends_the_pass_with_its_name_and_no_hang(data: Path) -> None:
    batches = training(data, 2)
    victim = data / "train2017" / indexed(data, "train2017")[0].file_names[list(batches.batch_sampler)[2][1].position]
    os.truncate(victim, victim.stat().st_size // 2)

    delivered = list(batches)

    bad = [batch for batch in delivered if isinstance(batch, BadSample)]
    assert len(delivered) == 4
    assert len(bad) == 1
    assert str(victim) in bad[0].message
    assert f"image {int(victim.stem)} cannot be read" in bad[0].message
    assert delivered.index(bad[0]) == 2
    with pytest.raises(DataError, match="truncated"):
        require_batch(bad[0])


def test_a_file_removed_while_training_is_named(data: Path) -> None:
    batches = training(data, 2)
    assert all(isinstance(batch, Batch) for batch in batches)
    for file in (data / "train2017").iterdir():
        file.unlink()

    batches.batch_sampler.set_epoch(1)

    assert all(isinstance(batch, BadSample) and "FileNotFoundError" in batch.message for batch in batches)


def test_too_few_images_for_the_ranks_are_refused_before_any_worker_starts(data: Path) -> None:
    before = workers_of_this_process()

    with pytest.raises(DataError, match="fewer than one batch per rank"):
        training(data, 2, world_size=8)

    assert workers_of_this_process() == before


def test_no_two_workers_share_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    states = (random.getstate(), np.random.get_state(), torch.get_rng_state())
    draws = []
    for rank in range(3):
        for kind in (loader._TRAIN, loader._VAL):
            for worker in range(4):
                loader._start_worker([0, rank, kind], False, worker)
                draws.append((random.random(), float(np.random.rand()), float(torch.rand(1))))
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])

    assert len(draws) == 24
    for source in zip(*draws):
        assert len(set(source)) == 24


def test_a_worker_uses_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    states = (random.getstate(), np.random.get_state(), torch.get_rng_state())
    monkeypatch.setattr(torch, "set_num_threads", counts.append)

    loader._start_worker([0, 0, 1], False, 0)

    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    assert counts == [1]


FAULTS = """
import ctypes, resource, sys
from trainer.data.loader import keep_freed_memory

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a fault is one page, also where huge ones are the rule
kept = sys.argv[1] == "kept" and keep_freed_memory()
def batch():
    images = [b"x" * 2**20 for _ in range(16)]
for _ in range(3):
    batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    batch()
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc, whose malloc can be told")
def test_a_worker_is_not_given_the_same_pages_again_and_again() -> None:
    def pages_of(way: str) -> list[int]:
        command = [sys.executable, "-c", FAULTS, way]
        said = subprocess.run(command, cwd=str(ROOT), stdout=subprocess.PIPE, text=True, check=True).stdout
        return [int(word) for word in said.split()]

    usual, kept = pages_of("usual"), pages_of("kept")

    every_page = 10 * 16 * 2**20 // resource.getpagesize()
    assert usual[0] == 0
    assert usual[1] > every_page / 2
    assert kept[0] == 1
    assert kept[1] < every_page / 100


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader.ctypes, "CDLL", lambda name: object())

    assert keep_freed_memory() is False


class Letters:
    """Stands for images: a letter each."""

    collate = staticmethod("".join)

    def __len__(self) -> int:
        return 3

    def __getitem__(self, at: int) -> str:
        return "abc"[at]


def test_every_sample_is_the_images_own_and_takes_its_delay(monkeypatch: Any) -> None:
    slept: list[float] = []
    monkeypatch.setattr(loader.time, "sleep", slept.append)
    images = Slowed(Letters(), 0.03)

    assert (len(images), images.collate([images[0], images[2]])) == (3, "ac")
    assert slept == [0.03, 0.03]


def written(root: Path, split: str, names: Sequence[str], *, width: int = 64) -> None:
    categories = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    images = [image(number, width, 2 if width > 64 else 48) for number in range(1, 9)]
    annotations = [box(number, number, (0.0, 0.0, 60.0, 2.0)) for number in range(1, 9)]
    write(root, {**good(), "images": images, "annotations": annotations, "categories": categories}, split)


@pytest.mark.parametrize(
    ("names", "width", "words"),
    [
        (
            ("two", "one"),
            64,
            r"instances_val2017\.json: category 1 is 'two', and in instances_train2017\.json it is 'one'",
        ),
        (("one", "two"), 300, r"instances_val2017\.json: 8 of 8 pictures are so narrow .* \(id 1, 300x2\)"),
    ],
)
def test_what_both_splits_or_the_model_tell_to_be_wrong_ends_the_run_at_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: Sequence[str], width: int, words: str
) -> None:
    monkeypatch.setenv("CONFORMANCE_CACHE", str(tmp_path / "cache"))
    written(tmp_path, "train2017", ("one", "two"))
    written(tmp_path, "val2017", names, width=width)
    settings = small_settings(tmp_path, tmp_path, workers=0)

    for _ in range(2):  # the second time from the cache
        with pytest.raises(DataError, match=words):
            build_loaders(settings, rank=0, world_size=1, pin_memory=False)


def test_slivers_that_were_handed_to_a_model_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision refuses a box whose corners meet after mirroring and resizing, without naming a file."""
    monkeypatch.setenv("CONFORMANCE_CACHE", str(tmp_path / "cache"))
    for split in ("train2017", "val2017"):
        content = good()
        slivers = [(0.0, 20.0, 1e-6, 30.0), (20.0, 0.0, 30.0, 1e-7), (63.99999, 5.0, 9.0, 9.0)]
        content["annotations"] += [box(number, 7, xywh) for number, xywh in enumerate(slivers, 10)]
        write(tmp_path, content, split)
    settings = small_settings(tmp_path, tmp_path, workers=0, horizontal_flip=1.0, batch_size=1)
    model = build_model(settings)

    for batch in build_loaders(settings, rank=0, world_size=1, pin_memory=False).train:
        images = [one.float() / 255 for one in batch.images]
        losses = model(images, [{"boxes": one["boxes"], "labels": one["labels"]} for one in batch.targets])
        assert all(torch.isfinite(loss) for loss in losses.values())
