"""Twelve defects that public trainers for this benchmark have had; ours has none of them, one test each."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evidence.bundle import read_run
from evidence.rank_file import EventLog
from expected import ExpectationError, load_device
from fixtures.boot.boot import boot
from tests.support import cell_of, device_of, options_for
from tests.trainer.small import small_settings
from tests.verdict.bundles import CPU, a_cell, build
from trainer.data.loader import build_loaders
from trainer.data.sampler import aspect_groups, plan_flips, shard_validation
from trainer.devices import load_backend
from trainer.devices.timers import SynchronisedTimer
from trainer.errors import DataError
from trainer.loop.evaluate import Detections
from trainer.loop.session import _prepare
from trainer.ranks import HostGroup, Ranks
from verdict.judge import judge_run
from verdict.metrics.measure import measure


def test_01_the_compute_timer_waits_for_the_device() -> None:
    pending_s = [0.0]

    def synchronise() -> None:
        time.sleep(pending_s[0])
        pending_s[0] = 0.0

    timer = SynchronisedTimer(synchronise)
    timer.start()
    pending_s[0] = 0.05  # queued, and the call that queued it has returned
    timer.stop()

    times = timer.drain()

    assert times.compute_ns[0] - times.host_ns[0] >= 0.05e9


def test_02_no_polygon_is_decoded_and_boxes_are_all_that_travels(
    shapes: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    import pycocotools.mask

    def decoding(*_: Any) -> None:
        raise AssertionError("a segmentation was decoded")

    for name in ("decode", "frPyObjects", "merge"):
        monkeypatch.setattr(pycocotools.mask, name, decoding)

    batch = next(iter(build_loaders(small_settings(shapes, tmp_path), rank=0, world_size=1, pin_memory=False).train))

    assert all(set(target) == {"boxes", "labels", "image_id"} for target in batch.targets)
    assert all(image.dtype == torch.uint8 for image in batch.images)


def test_03_an_epoch_without_a_step_is_an_error_not_an_epoch(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fewer than one batch per rank"):
        build_loaders(small_settings(shapes, tmp_path, batch_size=20), rank=0, world_size=2, pin_memory=False)


def test_04_a_diverged_model_is_invalid_whatever_its_rate(tmp_path: Path) -> None:
    bundle = build(CPU)
    bundle.one("window")["loss"][0] = "NaN"

    verdict = judge_run(read_run(bundle.write(tmp_path)), a_cell(CPU, p_core=1.0))

    assert verdict.outcome == "invalid"
    assert any("loss" in reason for reason in verdict.reasons)


@pytest.mark.integration
def test_05_any_ranks_failure_is_the_runs_failure(shapes: Path, tmp_path: Path) -> None:
    cell, device = cell_of("cpu", "1x2"), device_of("cpu")
    options = options_for(tmp_path, data=shapes, steps=1)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "rank-0001.jsonl").write_text("")  # rank 1 finds its own file taken and cannot go on

    boot(cell, device, options, run_dir, lambda line, phase: None)

    record = json.loads((run_dir / "run.json").read_text())
    assert record["boot"]["failure"] is not None
    assert record["boot"]["exit_code"] != 0


def test_06_one_rank_of_all_scores_not_one_of_every_host() -> None:
    first_of_the_second_host = HostGroup(Ranks(rank=8, local_rank=0, world_size=16, local_world_size=8, node=1))

    # Without a ground truth: who scores would fail.
    outcome = Detections(None, fast=False).outcome(first_of_the_second_host, lambda reached: True)

    assert outcome.facts == {}


def test_07_evaluation_batches_do_not_mix_orientations() -> None:
    rng = np.random.RandomState(0)
    sizes = rng.permutation([(128, 96), (96, 128)] * 50)
    groups = aspect_groups(sizes[:, 0], sizes[:, 1], 3)

    for rank in range(3):
        for batch in shard_validation(groups, batch_size=8, rank=rank, world_size=3):
            assert len({int(groups[item.position]) for item in batch}) == 1


def test_08_buffers_are_not_broadcast_on_every_forward(shapes: Path, tmp_path: Path, monkeypatch: Any) -> None:
    asked: dict[str, Any] = {}

    def wrap(model: Any, **options: Any) -> Any:
        asked.update(options)
        return model

    monkeypatch.setattr(torch.nn.parallel, "DistributedDataParallel", wrap)
    backend, ranks = load_backend("cpu"), Ranks(0, 0, 2, 2)
    backend.open(0, 2)

    _prepare(small_settings(shapes, tmp_path), ranks, backend, EventLog(tmp_path, 0), HostGroup(ranks))

    assert asked["broadcast_buffers"] is False


def test_09_a_step_reads_nothing_back_and_workers_stay(shapes: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from tests.trainer.test_steps import Diverging, batches_of, loop_for

    settings = small_settings(shapes, tmp_path, window=5)
    loop = loop_for(settings, EventLog(tmp_path, 0), Diverging(step=100))
    batches = batches_of(settings)
    read: list[str] = []
    for name in ("item", "tolist"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda self, name=name, original=original: (read.append(name), original(self))[1]
        )

    loop.run(batches, [0.001] * 10, epoch=0)

    assert read == ["tolist"] * 4  # two for each window of five steps, at its end
    loaders = build_loaders(replace(settings, workers=1), rank=0, world_size=1, pin_memory=False)
    assert loaders.train.persistent_workers
    assert loaders.val.persistent_workers


def test_10_no_two_epochs_and_no_two_ranks_share_a_pattern_of_flips(shapes: Path, tmp_path: Path) -> None:
    settings = small_settings(shapes, tmp_path)
    patterns = []
    for rank in (0, 1):
        plan = build_loaders(settings, rank=rank, world_size=2, pin_memory=False).train_plan
        plan.set_epoch(0)
        patterns.append([item.flip for batch in plan for item in batch])

    assert patterns[0] != patterns[1]
    first, second = (plan_flips(200, epoch=epoch, seed=0, probability=0.5) for epoch in (0, 1))
    assert not np.array_equal(first, second)


def test_11_an_empty_table_is_an_error_and_blank_cells_pass_nothing(tmp_path: Path) -> None:
    (tmp_path / "cpu.toml").write_text("schema = 1\n")
    with pytest.raises(ExpectationError, match=r"cpu\.toml"):
        load_device(tmp_path / "cpu.toml")

    verdict = judge_run(read_run(build(CPU).write(tmp_path / "run")), a_cell(CPU))

    assert {metric.verdict for metric in verdict.metrics.values()} == {"recorded"}


def test_12_a_rate_is_total_images_over_total_time(tmp_path: Path) -> None:
    bundle = build(replace(CPU, jitter=20))
    bundle.all("window")[0]["compute_ns"][0] *= 10  # one slow step: a mean of the steps' rates would hide it
    windows = bundle.all("window")
    images = 2 * sum(sum(window["images"]) for window in windows)  # both ranks
    seconds = sum(sum(window["compute_ns"]) for window in windows) / 1e9

    measured = measure(read_run(bundle.write(tmp_path)))["p_core"]

    assert measured.value == pytest.approx(images / seconds, rel=1e-12)
