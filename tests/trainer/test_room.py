"""How much room a run needs: the estimates beside what is really written, and what is said of too little."""

from __future__ import annotations

import resource
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from trainer import optimizations
from trainer.model.networks import build_model
from trainer.room import CHECKPOINT_BYTES, Boot, disk_problems, loader_problems
from trainer.settings import MODELS, Settings

Usage = namedtuple("Usage", "total used free")


def settings(**changes: Any) -> Settings:
    return Settings(Path("run"), Path("data"), pretrained_backbone=False, **changes)


@pytest.fixture
def free(monkeypatch: Any) -> Any:
    """A function that sets how much every disk has free, in bytes."""

    def put(found: float) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**15, 0, int(found)))

    return put


def limit_files(monkeypatch: Any, soft: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (soft, 1 << 20))


@pytest.mark.parametrize("model", MODELS)
def test_a_checkpoint_is_as_large_as_the_models_weights_and_momentum(model: str) -> None:
    network = build_model(settings(model=model))

    weights = sum(one.numel() * one.element_size() for one in network.state_dict().values())
    momentum = sum(one.numel() * one.element_size() for one in network.parameters() if one.requires_grad)

    assert CHECKPOINT_BYTES[model] == weights + momentum


def test_two_checkpoints_of_each_run_and_one_more_have_to_fit(tmp_path: Path, free: Any) -> None:
    boots, needed = [Boot(settings(), 8, 0)] * 2, 5 * CHECKPOINT_BYTES["fasterrcnn_resnet50_fpn"]

    free(needed)
    assert disk_problems(tmp_path / "new" / "runs", boots) == []
    free(needed - 1)
    (found,) = disk_problems(tmp_path / "new" / "runs", boots)

    assert found.startswith(
        f"{tmp_path}/new/runs: {needed - 1} bytes are free, expected {needed} bytes: the last two checkpoints"
    )
    assert "name another disk with --runs" in found


def test_a_run_without_checkpoints_needs_room_for_its_evidence(tmp_path: Path, free: Any) -> None:
    steady = Boot(settings(protocol="steady", steps=100), 8, 10**9)
    elsewhere = Boot(settings(), 8, 10**9, keeps_checkpoints=False)

    for boot in (steady, elsewhere):
        free(10**11)
        assert disk_problems(tmp_path, [boot]) == []
        free(5 * 10**10)
        (found,) = disk_problems(tmp_path, [boot])
        assert "46.57 GiB are free, expected 93.13 GiB: evidence of about 100 bytes an image trained" in found


def test_the_stored_runs_have_no_more_evidence_an_image_than_is_reckoned_with() -> None:
    from evidence.bundle import read_run
    from tests.support import ROOT

    run_dir = ROOT / "tests" / "stored" / "cpu-full"
    images = sum(int(rank.windows.images.sum()) for rank in read_run(run_dir).ranks)
    logs = sum(file.stat().st_size for file in run_dir.glob("rank-*.jsonl"))

    assert logs <= 100 * images


def test_batches_in_shared_memory_of_the_loader_need_little_of_dev_shm(tmp_path: Path, free: Any) -> None:
    free(64 * 2**20)  # what docker gives a container

    assert loader_problems([Boot(settings(), 8, 0)], tmp_path) == []


def test_batches_loaded_as_published_travel_through_dev_shm(tmp_path: Path, free: Any, monkeypatch: Any) -> None:
    limit_files(monkeypatch, 1 << 20)
    published = Boot(settings(without=optimizations.NAMES), 8, 0)
    # Eleven batches a rank of sixteen images of 640 x 480 pixels, three floats and 7.2 masks a pixel.
    needed = 8 * 11 * 16 * 640 * 480 * (3 * 4 + 849_949 / 117_266)

    free(needed + 8)
    assert loader_problems([published], tmp_path) == []
    free(needed - 8)
    assert len(loader_problems([published], tmp_path)) == 1
    free(300_000)
    (found,) = loader_problems([published], tmp_path)

    assert found.startswith(f"{tmp_path}: 292.97 KiB are free, expected 7.75 GiB for the batches")
    assert "docker run --shm-size" in found


def test_devices_side_by_side_share_dev_shm(tmp_path: Path, free: Any, monkeypatch: Any) -> None:
    limit_files(monkeypatch, 1 << 20)
    alone = Boot(settings(without=optimizations.NAMES), 1, 0)
    free(1.5e9)

    assert loader_problems([alone], tmp_path) == []
    assert len(loader_problems([alone, alone], tmp_path)) == 1


def test_a_limit_of_open_files_that_is_too_low_is_said_with_the_command(monkeypatch: Any, tmp_path: Path) -> None:
    limit_files(monkeypatch, 1024)
    suites, published = settings(), settings(without=optimizations.NAMES)

    assert loader_problems([Boot(suites, 1, 0)], tmp_path) == []
    (found,) = [text for text in loader_problems([Boot(published, 1, 0)], tmp_path) if "ulimit" in text]
    assert found.startswith("open files: the limit is 1024 a process (ulimit -n), expected 1408 for a rank")
    assert "raise it: ulimit -n 4096" in found

    limit_files(monkeypatch, resource.RLIM_INFINITY)
    assert [text for text in loader_problems([Boot(published, 1, 0)], tmp_path) if "ulimit" in text] == []


def test_without_workers_nothing_is_handed_over(tmp_path: Path, free: Any) -> None:
    free(0)

    assert loader_problems([Boot(settings(workers=0, without=optimizations.NAMES), 8, 0)], tmp_path) == []
