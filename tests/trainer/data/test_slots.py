"""Memory that is used again: never while anything of it is in use, whoever keeps it and however."""

from __future__ import annotations

import gc
import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

import numpy as np
import pytest
import torch

from tests.trainer.data.one_rank import loader_of_one_rank
from trainer.data import dataset, shapes
from trainer.data.coco import load_index
from trainer.data.dataset import CocoBoxes, Slots, slots_for


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Any:
    """This process takes itself for worker 1 of a loader."""
    info = SimpleNamespace(id=1)
    monkeypatch.setattr(dataset, "get_worker_info", lambda: info)
    return info


def sent(lent: Any) -> Any:
    """Return what comes out of the queue for what a worker put in."""
    return pickle.loads(pickle.dumps(lent))


def test_what_a_worker_wrote_is_what_the_other_process_reads(worker: Any) -> None:
    memory = Slots(2, 100)
    lent = memory.lend(7)
    assert lent is not None
    lent.array[:] = np.arange(7)

    tensor = sent(lent)

    assert tensor.dtype == torch.uint8
    assert tensor.tolist() == list(range(7))


KEEP: dict[str, Callable[[Any], Any]] = {
    "the tensor": lambda tensor: tensor,
    "a slice": lambda tensor: tensor[3:5],
    "a view": lambda tensor: tensor.reshape(2, 2, 3).permute(2, 0, 1),
    "an array": lambda tensor: tensor[1:].numpy(),
}


@pytest.mark.parametrize("keep", KEEP)
def test_a_slot_is_free_only_when_the_last_of_it_is_gone(worker: Any, keep: str) -> None:
    memory = Slots(2, 100)
    lent = memory.lend(12)
    assert lent is not None
    slot, tensor = lent.slot, sent(lent)
    kept = KEEP[keep](tensor)
    del tensor, lent
    gc.collect()
    others = [memory.lend(12) for _ in range(6)]

    assert slot not in {one.slot for one in others if one is not None}

    del kept
    gc.collect()
    again = memory.lend(12)
    assert again is not None
    assert again.slot == slot


def test_a_worker_has_its_own_slots_and_none_when_all_are_lent(worker: Any) -> None:
    memory = Slots(2, 100)

    of_one = [memory.lend(100) for _ in range(6)]
    worker.id = 0
    of_the_other = memory.lend(100)

    assert of_one[-1] is None
    taken = [one.slot for one in of_one if one is not None]
    assert len(set(taken)) == 5
    assert of_the_other is not None
    assert of_the_other.slot not in taken


def test_slots_do_not_overlap(worker: Any) -> None:
    memory = Slots(2, 5000)
    lent = [memory.lend(5000) for _ in range(5)]

    for number, one in enumerate(lent):
        assert one is not None
        one.array[:] = number

    assert [set(sent(one).tolist()) for one in lent] == [{0}, {1}, {2}, {3}, {4}]


def test_nothing_is_lent_that_has_no_room_or_no_worker(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Slots(2, 5000)

    assert memory.lend(1 << 20) is None
    monkeypatch.setattr(dataset, "get_worker_info", lambda: None)
    assert memory.lend(10) is None


@pytest.mark.parametrize("forked", [True, False])
def test_batches_that_are_kept_stay_as_they_were(tmp_path: Path, forked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """More batches than there are slots, and all of them kept; then none is, and slots are used over and over."""
    monkeypatch.setattr("trainer.data.dataset.can_share", lambda: forked)
    data = shapes.ensure(tmp_path, seed=0, train_images=40, val_images=1)
    index = load_index(data, "train2017", num_classes=4, training=True)

    def loader(workers: int) -> Any:
        return loader_of_one_rank(index, CocoBoxes(index, data / "train2017"), batch_size=2, workers=workers)

    alone = [batch.pixels for batch in loader(0)]
    helped = loader(2)

    lending: list[str] = []
    receive = Slots.receive

    def noting(self: Slots, slot: int, size: int) -> Any:
        lending.append("slots")
        return receive(self, slot, size)

    monkeypatch.setattr(Slots, "receive", noting)
    kept = [batch.pixels for batch in helped]
    passing = [bytes(batch.pixels.numpy()) for batch in helped]

    assert len(kept) > 10
    assert ("slots" in lending) == forked
    assert all(torch.equal(one, other) for one, other in zip(kept, alone))
    assert passing == [bytes(one.numpy()) for one in alone]


def test_what_a_forked_process_lets_go_of_stays_lent(worker: Any) -> None:
    memory = Slots(2, 100)
    lent = memory.lend(12)
    assert lent is not None
    kept = [sent(lent)]

    child = os.fork()
    if child == 0:
        kept.clear()
        gc.collect()
        os._exit(0)
    os.waitpid(child, 0)

    assert [one for one in (memory.lend(1) for _ in range(6)) if one is not None and one.slot == lent.slot] == []


@pytest.mark.parametrize("size", [2**70, 2**40])
def test_what_there_is_no_room_for_is_done_without(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "_MOST_BYTES", 2**80)

    assert slots_for(4, size) is None


def test_a_slot_is_never_larger_than_any_batch_ought_to_be(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "_MOST_BYTES", 2**20)
    memory = slots_for(2, 2**50)

    assert memory is not None
    assert memory.lend(2**20) is not None
    assert memory.lend(2**20 + 1) is None
    assert slots_for(0, 100) is None


def test_memory_is_shared_only_with_workers_that_are_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multiprocessing.get_start_method", lambda: "spawn")

    assert not dataset.can_share()
