"""The models of the suite, all put together from torchvision's own Faster R-CNN classes."""

from __future__ import annotations

import torch
from torchvision.models import resnet18
from torchvision.models.detection import FasterRCNN, fasterrcnn_resnet50_fpn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN, resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.resnet import Bottleneck
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.misc import FrozenBatchNorm2d

from trainer.model.weights import load_backbone
from trainer.settings import Settings

# The small model: anchors' sides in pixels. Chosen so that two CPU cores train it in less than a minute.
_SMALL_CHANNELS = 64
_SMALL_ANCHORS = (12, 24, 36, 48, 72)
_SMALL_HEAD = 256
_POOLED_CELLS = 7 * 7

# The tiny model, for simulated devices: every part is there, and a step costs little more than calling them all.
_TINY_CHANNELS = 8
_TINY_ANCHORS = (8, 12, 16)
_TINY_HEAD = 32
_TINY_POOLED = 3


def build_model(settings: Settings) -> torch.nn.Module:
    """Return the model of `settings` on the host, in training mode, with the pretrained backbone if it is wanted.

    Seed torch before: the other weights are drawn from its generator. Raises WeightsError.
    """
    if settings.model == "fasterrcnn_resnet50_fpn":
        return _resnet50(settings)
    if settings.model == "fasterrcnn_tiny":
        return _tiny(settings)
    return _resnet18_small(settings)


def count_parameters(model: torch.nn.Module) -> tuple[int, int]:
    """Return the number of parameters, frozen ones included, and the number of those that are trained."""
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(count for count, _ in counts), sum(count for count, trained in counts if trained)


def _resnet50(settings: Settings) -> torch.nn.Module:
    if not settings.pretrained_backbone:
        return fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=settings.num_classes)
    # As fasterrcnn_resnet50_fpn with downloaded weights: frozen batch norm, stem and first stage frozen. Called without
    # weights, that function would train all layers.
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=3
    )
    if settings.backbone is None:  # of a smoke run; Settings refuses it elsewhere
        _steady_activations(backbone.body)
    else:
        load_backbone(backbone.body, settings.backbone, settings.backbone_sha256)
    min_size, max_size = settings.resized
    return FasterRCNN(backbone, num_classes=settings.num_classes, min_size=min_size, max_size=max_size)


def _steady_activations(body: torch.nn.Module) -> None:
    """Scale the residual branches of a body of random weights by 1 / sqrt(blocks).

    Frozen batch norm normalises nothing: each block would double the variance of what it passes on (Zhang et al.,
    Fixup initialization, 2019), and the losses would overflow within a few steps.
    """
    blocks = [module for module in body.modules() if isinstance(module, Bottleneck)]
    for block in blocks:
        block.bn3.weight.fill_(len(blocks) ** -0.5)


def _resnet18_small(settings: Settings) -> torch.nn.Module:
    body = resnet18(weights=None)
    stages = {f"layer{stage}": str(stage - 1) for stage in range(1, 5)}
    backbone = BackboneWithFPN(body, stages, [64, 128, 256, 512], _SMALL_CHANNELS)
    anchors = AnchorGenerator(tuple((side,) for side in _SMALL_ANCHORS), ((0.5, 1.0, 2.0),) * len(_SMALL_ANCHORS))
    return FasterRCNN(
        backbone,
        min_size=settings.resized[0],
        max_size=settings.resized[1],
        rpn_anchor_generator=anchors,
        rpn_pre_nms_top_n_train=300,
        rpn_pre_nms_top_n_test=300,
        rpn_post_nms_top_n_train=300,
        rpn_post_nms_top_n_test=100,
        rpn_batch_size_per_image=64,
        box_batch_size_per_image=32,
        box_head=TwoMLPHead(_SMALL_CHANNELS * _POOLED_CELLS, _SMALL_HEAD),
        box_predictor=FastRCNNPredictor(_SMALL_HEAD, settings.num_classes),
    )


def _tiny(settings: Settings) -> torch.nn.Module:
    body = torch.nn.Sequential(
        torch.nn.Conv2d(3, _TINY_CHANNELS, 4, stride=4),
        torch.nn.ReLU(),
        torch.nn.Conv2d(_TINY_CHANNELS, _TINY_CHANNELS, 2, stride=2),
        torch.nn.ReLU(),
    )
    body.out_channels = _TINY_CHANNELS
    return FasterRCNN(
        body,
        min_size=settings.resized[0],
        max_size=settings.resized[1],
        rpn_anchor_generator=AnchorGenerator((_TINY_ANCHORS,), ((1.0,),)),
        rpn_pre_nms_top_n_train=20,
        rpn_pre_nms_top_n_test=20,
        rpn_post_nms_top_n_train=10,
        rpn_post_nms_top_n_test=10,
        rpn_batch_size_per_image=16,
        box_batch_size_per_image=8,
        box_detections_per_img=10,
        box_roi_pool=MultiScaleRoIAlign(["0"], _TINY_POOLED, 1),
        box_head=TwoMLPHead(_TINY_CHANNELS * _TINY_POOLED * _TINY_POOLED, _TINY_HEAD),
        box_predictor=FastRCNNPredictor(_TINY_HEAD, settings.num_classes),
    )
