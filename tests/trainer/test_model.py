"""The models are torchvision's Faster R-CNN, and the benchmark's has the size that the benchmark states."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torchvision.models import resnet50
from torchvision.models.detection import FasterRCNN
from torchvision.ops.misc import FrozenBatchNorm2d

from trainer.model.networks import build_model, count_parameters
from trainer.settings import Settings
from verdict.checks.workload import DETECTORS


def settings(**changes: Any) -> Settings:
    return Settings(run_dir=Path("r"), data=Path("d"), **changes)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: Any) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("backbone") / "weights.pth"
    torch.save(resnet50(weights=None).state_dict(), str(path))
    return path


@pytest.fixture(scope="module")
def benchmark_model(backbone: Path) -> Any:
    digest = hashlib.sha256(backbone.read_bytes()).hexdigest()
    return build_model(settings(backbone=backbone, backbone_sha256=digest))


def test_the_benchmarks_model_has_41_755_286_parameters(benchmark_model: Any) -> None:
    assert count_parameters(benchmark_model) == (41_755_286, 41_532_886)


def test_the_benchmarks_body_has_frozen_norms_and_frozen_first_stages(benchmark_model: Any) -> None:
    body = benchmark_model.backbone.body

    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in benchmark_model.modules())
    assert isinstance(body.bn1, FrozenBatchNorm2d)
    trained = {name.split(".")[0] for name, parameter in body.named_parameters() if parameter.requires_grad}
    assert trained == {"layer2", "layer3", "layer4"}


def test_the_flops_of_a_training_step_are_those_that_judging_counts(benchmark_model: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(benchmark_model.transform, "min_size", (128,))
    flops = {"pixels": 0, "boxes": 0}
    pixels, rows = [], []

    def count(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        weight = module.weight
        # Forward, the weight's gradient, the input's gradient.
        products = 1 + weight.requires_grad + (weight.requires_grad and inputs[0].requires_grad)
        places = output.numel() // weight.shape[0]
        part = "boxes" if isinstance(module, torch.nn.Linear) else "pixels"
        flops[part] += 2 * products * places * weight.numel()

    hooks = [
        module.register_forward_hook(count)
        for module in benchmark_model.modules()
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear))
    ]
    hooks.append(benchmark_model.transform.register_forward_hook(lambda *a: pixels.append(a[2][0].tensors.shape)))
    hooks.append(benchmark_model.roi_heads.box_head.register_forward_hook(lambda *a: rows.append(len(a[2]))))
    target = {"boxes": torch.tensor([[10.0, 10.0, 90.0, 90.0]]), "labels": torch.tensor([1])}

    benchmark_model.train()([torch.rand(3, 128, 128)], [target])
    for hook in hooks:
        hook.remove()

    ((images, _, height, width),) = pixels
    detector = DETECTORS["fasterrcnn_resnet50_fpn"]
    assert flops["pixels"] == pytest.approx(detector.pixel_flops * images * height * width, rel=1e-3)
    assert flops["boxes"] == detector.box_flops * rows[0]


def test_the_benchmarks_model_is_the_one_that_torchvision_builds(
    benchmark_model: Any, backbone: Path, monkeypatch: Any
) -> None:
    # torchvision builds this body when it downloads the weights itself; here it is handed the same file instead.
    weights = torchvision.models.ResNet50_Weights.IMAGENET1K_V1
    state = torch.load(str(backbone))
    monkeypatch.setattr(type(weights), "get_state_dict", lambda self, *_, **__: state)
    theirs = torchvision.models.detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=weights)

    ours, reference = benchmark_model.state_dict(), theirs.state_dict()

    assert {name: tensor.shape for name, tensor in ours.items()} == {n: t.shape for n, t in reference.items()}
    assert all(torch.equal(ours[name], reference[name]) for name in ours if name.startswith("backbone.body."))
    assert {n: p.requires_grad for n, p in benchmark_model.named_parameters()} == {
        n: p.requires_grad for n, p in theirs.named_parameters()
    }
    assert repr(benchmark_model.transform) == repr(theirs.transform)


@pytest.fixture(scope="module")
def seeded_model() -> Any:
    torch.manual_seed(0)
    return build_model(settings(protocol="smoke", steps=20))


def test_without_weights_a_smoke_run_has_the_benchmarks_network(seeded_model: Any, benchmark_model: Any) -> None:
    assert count_parameters(seeded_model) == (41_755_286, 41_532_886)
    trained = {name: p.requires_grad for name, p in seeded_model.named_parameters()}
    assert trained == {name: p.requires_grad for name, p in benchmark_model.named_parameters()}
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in seeded_model.modules())


def test_a_smoke_run_may_resize_to_other_sides() -> None:
    model = build_model(settings(protocol="smoke", steps=20, sides=(128, 171)))

    assert (model.transform.min_size, model.transform.max_size) == ((128,), 171)
    assert count_parameters(model) == (41_755_286, 41_532_886)


def test_activations_of_random_weights_do_not_grow_from_stage_to_stage(seeded_model: Any) -> None:
    stages = seeded_model.backbone.body(torch.randn(1, 3, 128, 128))

    first, *_, last = (float(stage.detach().std()) for stage in stages.values())
    assert last < 10 * first


def test_the_small_model_is_a_faster_rcnn_of_other_sizes() -> None:
    model = build_model(settings(model="fasterrcnn_resnet18_fpn_small", pretrained_backbone=False, num_classes=4))

    assert isinstance(model, FasterRCNN)
    assert model.backbone.out_channels == 64
    assert model.roi_heads.box_predictor.cls_score.out_features == 4


def test_the_tiny_model_is_a_faster_rcnn_with_every_part() -> None:
    model = build_model(settings(model="fasterrcnn_tiny", pretrained_backbone=False, num_classes=4))

    assert isinstance(model, FasterRCNN)
    assert count_parameters(model)[0] < 10_000
    assert model.roi_heads.box_predictor.cls_score.out_features == 4
    losses = model(
        [torch.rand(3, 40, 32)], [{"boxes": torch.tensor([[4.0, 4.0, 24.0, 24.0]]), "labels": torch.tensor([1])}]
    )
    assert set(losses) == {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_the_same_seed_gives_the_same_weights() -> None:
    def weights() -> Any:
        torch.manual_seed(0)
        return build_model(settings(model="fasterrcnn_resnet18_fpn_small", pretrained_backbone=False)).state_dict()

    first, second = weights(), weights()

    assert all(torch.equal(first[name], second[name]) for name in first)
