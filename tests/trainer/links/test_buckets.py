"""DDP's buckets as they are computed, beside those that DDP itself uses after its first backward pass."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.forked import run_two_ranks


def train(rank: int, port: int, name: str, bucket_mb: int | None) -> None:
    """Be one of two ranks: train until DDP has ordered its buckets, and compare."""
    import torch
    import torch.distributed as dist

    from trainer.devices import load_backend
    from trainer.links.plan import bucket_bytes
    from trainer.loop.trainee import distributed
    from trainer.model.networks import build_model
    from trainer.settings import Settings

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    settings = Settings(Path(os.devnull), Path(os.devnull), pretrained_backbone=False, model=name, bucket_mb=bucket_mb)
    torch.manual_seed(0)
    model = build_model(settings)
    expected = bucket_bytes([one for one in model.parameters() if one.requires_grad], bucket_mb)
    wrapped: Any = distributed(model, settings, load_backend("cpu"), 2)
    images = [torch.rand(3, 96, 96)]
    targets = [{"boxes": torch.tensor([[8.0, 8.0, 64.0, 64.0]]), "labels": torch.tensor([1])}]
    for _ in range(12):
        sum(wrapped(images, targets).values()).backward()
        model.zero_grad()
    found = wrapped._get_ddp_logging_data()
    sizes = [int(size) for size in found.get("rebuilt_bucket_sizes", found["bucket_sizes"]).split(", ")]
    print(name, bucket_mb, sizes, expected)
    assert sum(sizes) == sum(expected)
    assert len(sizes) == len(expected)
    assert all(abs(one - other) <= 0.1 * other for one, other in zip(sizes, expected))


@pytest.mark.integration
@pytest.mark.parametrize("bucket_mb", [None, 10])
def test_the_buckets_of_the_small_model_are_those_of_ddp(tmp_path: Path, bucket_mb: int | None) -> None:
    run_two_ranks("tests.trainer.links.test_buckets:train", "fasterrcnn_resnet18_fpn_small", bucket_mb, folder=tmp_path)


def test_the_buckets_of_the_benchmarks_model_are_those_that_ddp_cuts(tmp_path: Path) -> None:
    from trainer.links.plan import MIB, bucket_bytes
    from trainer.probes.links import _trained
    from trainer.settings import Settings

    weights = tmp_path / "resnet50-0676ba61.pth"  # is not read
    parameters = _trained(Settings(tmp_path, tmp_path, backbone=weights, steps=20, protocol="steady"))

    buckets = bucket_bytes(parameters, None)

    assert sum(buckets) == 4 * 41_532_886
    assert [round(size / MIB, 2) for size in buckets] == [1.42, 53.36, 28.02, 29.0, 26.75, 19.88]
