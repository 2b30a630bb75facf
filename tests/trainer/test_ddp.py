"""Two real ranks train the same with every setting of DDP, to the last bit."""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from torchvision.models.resnet import BasicBlock, ResNet

from tests.forked import run_two_ranks
from tests.trainer.small import small_settings
from trainer.devices import load_backend
from trainer.loop.trainee import Trainee, build_optimizer, distributed
from trainer.model import networks
from trainer.model.networks import build_model
from trainer.optimizations import SWITCHED, unavailable
from trainer.ranks import HostGroup, Ranks
from trainer.settings import Settings

STEPS = 10
OF_RANKS = tuple(one.name for one in SWITCHED if one.proof.startswith("tests/trainer/test_ddp.py::"))
WAYS: dict[str, dict[str, Any]] = {
    "all": {},
    **{name: {"without": (name,)} for name in OF_RANKS},
    "none": {"without": OF_RANKS},
    "small buckets": {"bucket_mb": 1},
}


def images_of(rank: int, step: int) -> tuple[list[Any], list[dict[str, Any]]]:
    """A picture of noise with two boxes, another one on every rank and in every step."""
    drawn = torch.Generator()
    drawn.manual_seed(1000 * step + rank)
    corner = torch.rand((2, 2), generator=drawn) * 40
    boxes = torch.cat([corner, corner + 8 + torch.rand((2, 2), generator=drawn) * 40], dim=1)
    labels = torch.randint(1, 4, (2,), generator=drawn)
    return [torch.rand((3, 96, 96), generator=drawn)], [{"boxes": boxes, "labels": labels}]


def train(rank: int, port: int, folder: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    torch.set_num_threads(1)
    group, backend = HostGroup(Ranks(rank, rank, 2, 2)), load_backend("cpu")
    group.join(backend)
    losses, ways, states = {}, {}, {}
    # A body of every kind of layer, with half of the layers and on smaller images: this is about the gradients' way.
    for name, changes in WAYS.items():
        settings = replace(small_settings(Path("data"), Path("run")), sides=(64, 64), **changes)
        torch.manual_seed(settings.seed)
        with mock.patch.object(networks, "resnet18", side_effect=lambda weights: ResNet(BasicBlock, [1, 1, 1, 1])):
            bare = build_model(settings)
        torch.manual_seed(settings.seed + 1 + rank)
        model = distributed(bare, settings, backend, 2)
        trainee = Trainee(settings, backend, model, build_optimizer(bare, settings))
        losses[name] = [float(trainee.step(*images_of(rank, step))).hex() for step in range(STEPS)]
        group.broadcast_buffers(bare)
        states[name] = {key: value.double().sum().item().hex() for key, value in bare.state_dict().items()}
        ways[name] = [model.broadcast_buffers, model.gradient_as_bucket_view, model.static_graph]
    group.leave()
    Path(folder, f"rank-{rank}.json").write_text(json.dumps({"losses": losses, "ways": ways, "states": states}))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: Any) -> list[dict[str, Any]]:
    """What either rank did."""
    folder = tmp_path_factory.mktemp("ddp")
    run_two_ranks("tests.trainer.test_ddp:train", str(folder), folder=folder)
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.integration
@pytest.mark.parametrize("way", [name for name in WAYS if name != "all"])
def test_losses_of_two_ranks_are_the_same_without(way: str, trained: list[dict[str, Any]]) -> None:
    for found in trained:
        assert len(set(found["losses"]["all"])) == STEPS
        assert found["losses"][way] == found["losses"]["all"]
        # Running statistics are in no loss of training, and in every evaluation.
        assert any("running_var" in name for name in found["states"]["all"])
        assert found["states"][way] == found["states"]["all"] == trained[0]["states"]["all"]


@pytest.mark.integration
def test_the_ranks_trained_on_different_images(trained: list[dict[str, Any]]) -> None:
    assert trained[0]["losses"]["all"] != trained[1]["losses"]["all"]


@pytest.mark.integration
def test_each_way_is_another_one(trained: list[dict[str, Any]]) -> None:
    ways = trained[0]["ways"]

    assert ways["all"] == ways["small buckets"] == [False, True, True]
    assert ways["buffers_left_alone"] == [True, True, True]
    assert ways["gradient_views"] == [False, False, True]
    assert ways["static_graph"] == [False, True, False]
    assert ways["none"] == [True, False, False]


def alone(**changes: Any) -> Settings:
    return replace(small_settings(Path("data"), Path("run")), **changes)


def test_one_rank_needs_no_ddp() -> None:
    model = torch.nn.Linear(1, 1)

    assert distributed(model, alone(), load_backend("cpu"), 1) is model
    assert set(OF_RANKS) <= set(unavailable(alone(), load_backend("cpu"), 1))


def test_ddp_is_plain_with_a_framework_on_which_nothing_else_was_tried() -> None:
    absent = unavailable(alone(workers=1), load_backend("kunlunxin"), 8)

    assert set(absent) == {"gradient_views", "static_graph", "overlapped_copies"}
    assert "kunlunxin" in absent["static_graph"]
    assert unavailable(alone(workers=1), load_backend("cuda"), 8) == {}


@pytest.mark.parametrize("without", [(), OF_RANKS], ids=["all", "none"])
def test_training_uses_nothing_that_this_torch_deprecates(without: tuple[str, ...], monkeypatch: Any) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    backend, settings = load_backend("cpu"), alone(without=without)
    backend.open(0, 1)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        try:
            bare = build_model(settings)
            model = distributed(bare, settings, backend, 2)
            trainee = Trainee(settings, backend, model, build_optimizer(bare, settings))
            losses = [float(trainee.step(*images_of(0, step))) for step in range(2)]
        finally:
            dist.destroy_process_group()

    assert len(set(losses)) == 2
    assert model.broadcast_buffers is bool(without)
    deprecated = [one for one in found if issubclass(one.category, (FutureWarning, DeprecationWarning))]
    assert [f"{one.filename}:{one.lineno}: {one.message}" for one in deprecated] == []
