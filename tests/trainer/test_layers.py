"""What is counted of the model's layers: the benchmark's FLOPs, and its five heaviest convolutions."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest
import torch

from evidence.events.peaks import Layers
from trainer.model.layers import LayerCount
from trainer.model.networks import build_model
from trainer.probes.catalogue import HEAVIEST
from trainer.settings import Settings
from verdict.checks.workload import DETECTORS

HEIGHT, WIDTH = 128, 224


@lru_cache(maxsize=None)
def counted(model: str = "fasterrcnn_resnet50_fpn") -> Layers:
    """The layers of a step of two images; the network of the benchmark has the recipe's frozen parts."""
    how = {"protocol": "probes", "batch_size": 2, "num_classes": 4 if model == "fasterrcnn_tiny" else 91}
    settings = Settings(Path("run"), Path("coco"), model=model, sides=(HEIGHT, WIDTH), **how)
    found: list[Layers] = []
    network = build_model(settings).train()
    LayerCount(network, found.append)
    target = {"boxes": torch.tensor([[10.0, 10.0, 90.0, 100.0]]), "labels": torch.tensor([1])}
    for _ in range(2):
        network([torch.rand(3, HEIGHT, WIDTH)] * 2, [target] * 2)
    (only,) = found  # of the first step
    return only


@pytest.mark.integration
def test_the_flops_are_those_of_too_good_to_be_true() -> None:
    layers, detector = counted(), DETECTORS["fasterrcnn_resnet50_fpn"]
    flops = dict.fromkeys(layers.kind, 0)
    for kind, forward, backward in zip(layers.kind, layers.forward_flops, layers.backward_flops):
        flops[kind] += forward + backward

    assert layers.padded_pixels == 2 * HEIGHT * WIDTH
    assert flops["Conv2d"] / layers.padded_pixels == pytest.approx(detector.pixel_flops, rel=0.001)
    assert flops["Linear"] % detector.box_flops == 0


@pytest.mark.integration
def test_the_catalogue_has_the_five_heaviest_convolutions() -> None:
    layers = counted()
    flops: dict[str, int] = {}
    for size, forward, backward in zip(layers.size, layers.forward_flops, layers.backward_flops):
        flops[size] = flops.get(size, 0) + (forward + backward) * bool(size)
    heaviest = sorted(flops, key=lambda size: -flops[size])[: len(HEAVIEST)]

    def at_this_size(one: dict[str, int]) -> str:
        stride = 800 // one["h"]
        return "conv-{cin}-{cout}-{k}x{k}-".format(**one) + f"{HEIGHT // stride}x{WIDTH // stride}"

    assert set(heaviest) == {at_this_size(dict(one)) for one in HEAVIEST}


def test_bytes_are_inputs_outputs_and_weights_and_frozen_layers_have_no_backward_pass() -> None:
    layers = counted("fasterrcnn_tiny")
    first, second = (at for at, size in enumerate(layers.size) if size.startswith(("conv-3-8-4x4", "conv-8-8-2x2")))
    pixels = 2 * HEIGHT * WIDTH
    outputs = (8 * pixels // 16, 8 * pixels // 64)

    assert layers.forward_bytes[first] == 4 * (3 * pixels + outputs[0] + 8 * 3 * 16)
    assert layers.backward_flops[first] == layers.forward_flops[first] == 2 * outputs[0] * 3 * 16
    assert layers.backward_flops[second] == 2 * layers.forward_flops[second]
    assert layers.kind[-1] == "SGD"
    assert layers.backward_bytes[-1] == 5 * 4 * 5427
