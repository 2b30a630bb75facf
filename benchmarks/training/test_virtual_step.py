"""What a step of the tiny model costs the host, which has to stay ahead of the planted steps of simulated devices."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tests.trainer.data.one_rank import loader_of_one_rank
from trainer.data.coco import load_index
from trainer.data.dataset import CocoBoxes, require_batch
from trainer.data.shapes import ensure
from trainer.devices import load_backend
from trainer.loop.staging import to_device
from trainer.loop.trainee import Trainee, build_optimizer
from trainer.model.networks import build_model
from trainer.settings import Settings


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("images", [2, 4])
def test_a_step_with_its_data(benchmark: Any, tmp_path: Path, tmp_path_factory: Any, images: int) -> None:
    """Seconds of a core for loading a batch of the generated data set, forward, backward and optimizer."""
    data: Path = ensure(Path(str(tmp_path_factory.mktemp("data"))), seed=0, train_images=64, val_images=8)
    index = load_index(data, "train2017", num_classes=4, training=True)
    loader = loader_of_one_rank(index, CocoBoxes(index, data / "train2017"), batch_size=images)
    backend = load_backend("virtual")
    backend.configure(None, rank=0, world_size=1)
    threads = torch.get_num_threads()
    backend.open(0, 1)
    settings = Settings(
        run_dir=tmp_path,
        data=data,
        model="fasterrcnn_tiny",
        num_classes=4,
        pretrained_backbone=False,
        learning_rate=0.02,
    )
    model = build_model(settings)
    backend.attend(model)
    trainee = Trainee(settings, backend, model, build_optimizer(model, settings))

    def endless() -> Any:
        while True:
            yield from loader

    batches = endless()

    def step() -> Any:
        return trainee.step(*to_device(require_batch(next(batches)), backend.device))

    try:
        loss = benchmark.pedantic(step, rounds=60, warmup_rounds=10)
    finally:
        torch.set_num_threads(threads)
    assert torch.isfinite(loss)
