"""What a run is told: one frozen set of settings, checked where it is built, and its form as command-line flags."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Sequence

from trainer.errors import SettingsError
from trainer.optimizations import NAMES
from trainer.telemetry import SMI_NAMES

PROTOCOLS = ("full", "epoch", "steady")
PRECISIONS = ("fp32", "amp", "fp16", "bf16")
MODELS = ("fasterrcnn_resnet50_fpn", "fasterrcnn_resnet18_fpn_small", "fasterrcnn_tiny")


@dataclass(frozen=True)
class Settings:
    """The defaults are the benchmark's recipe: Faster R-CNN, ResNet-50 + FPN, COCO 2017.

    `batch_size` and `learning_rate` are per card and per run, as vendors' tables list them. `steps` counts optimizer
    steps per rank after the warm-up and belongs to the steady protocol alone, which keeps no checkpoints and begins
    every attempt anew. Raises SettingsError for values that contradict each other or lie out of range.
    """

    run_dir: Path
    data: Path
    device: str = "cpu"
    scenario: Path | None = None  # what a simulated device is to do
    cell: str = ""
    protocol: str = "full"
    backbone: Path | None = None
    backbone_sha256: str = "0676ba61"  # the first digits: torchvision's ResNet-50 of 2021, the benchmark's
    # model and optimizer
    model: str = "fasterrcnn_resnet50_fpn"
    num_classes: int = 91
    pretrained_backbone: bool = True
    precision: str = "fp32"
    tf32: bool = False
    batch_size: int = 16
    learning_rate: float = 0.16
    momentum: float = 0.9
    weight_decay: float = 1e-4
    lr_milestones: tuple[int, ...] = (16, 22)
    lr_gamma: float = 0.1
    warmup_steps: int = 1000
    warmup_factor: float = 0.001
    gradient_clip: float = 0.0
    # how long
    epochs: int = 26
    target_map: float = 0.36
    steps: int | None = None
    steady_warmup: int = 20
    # how it goes on after it broke off
    attempt: int = 0  # which launch of the run this is; from 1 on it goes on from a checkpoint, if there is one
    checkpoint_steps: int = 0  # one after every so many steps of an epoch, beside the one after its last; 0: none
    # data
    horizontal_flip: float = 0.5
    aspect_ratio_groups: int = 3
    workers: int = 4
    seed: int = 0
    # how gradients are exchanged
    bucket_mb: int | None = None  # MiB of gradients that are exchanged at once; None leaves it to torch
    # how it is watched
    host_clock: bool = False  # the published p_core was read by a host clock; see StepLoop
    window: int = 20
    sample_interval_s: float = 1.0
    smi: str = ""  # the management tool that the device's table names
    without: tuple[str, ...] = ()  # optimizations that are switched off, by name

    def __post_init__(self) -> None:
        _one_of("protocol", self.protocol, PROTOCOLS)
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("model", self.model, MODELS)
        _one_of("smi", self.smi, ("", *SMI_NAMES))
        for name in self.without:
            _one_of("without", name, NAMES)
        for name in ("batch_size", "epochs", "window", "aspect_ratio_groups"):
            _at_least(name, getattr(self, name), 1)
        if self.bucket_mb is not None:
            _at_least("bucket_mb", self.bucket_mb, 1)
        for name in ("workers", "warmup_steps", "steady_warmup", "gradient_clip", "momentum", "weight_decay"):
            _at_least(name, getattr(self, name), 0)
        for name in ("attempt", "checkpoint_steps"):
            _at_least(name, getattr(self, name), 0)
        _at_least("num_classes", self.num_classes, 2)
        if not 0 < self.learning_rate < 10:
            raise SettingsError(f"learning_rate is {self.learning_rate}; it must lie between 0 and 10")
        if not 0 <= self.horizontal_flip <= 1:
            raise SettingsError(f"horizontal_flip is {self.horizontal_flip}; a probability lies between 0 and 1")
        if not self.sample_interval_s > 0:
            raise SettingsError(f"sample_interval_s is {self.sample_interval_s}; it must be more than 0")
        if (self.protocol == "steady") != (self.steps is not None):
            raise SettingsError(
                f"protocol {self.protocol} with steps {self.steps}: steps is the length of the steady protocol; "
                "give both or neither"
            )
        if self.steps is not None:
            _at_least("steps", self.steps, 1)
        if self.pretrained_backbone and self.backbone is None:
            raise SettingsError(
                "the recipe starts from ImageNet weights and no file was given; pass --backbone FILE "
                "(resnet50-0676ba61.pth from torchvision)"
            )

    def uses(self, optimization: str) -> bool:
        """Whether the optimization of that name is wanted. Raises SettingsError for a name that no optimization has."""
        _one_of("optimization", optimization, NAMES)
        return optimization not in self.without


def to_flags(settings: Settings) -> list[str]:
    """Return the command-line flags from which `parse` builds the same settings; defaults are left out."""
    flags: list[str] = []
    for field in fields(Settings):
        value = getattr(settings, field.name)
        if value == field.default:
            continue
        text = ",".join(str(part) for part in value) if isinstance(value, tuple) else str(value)
        flags.append(f"--{field.name.replace('_', '-')}={text}")
    return flags


def parse(argv: Sequence[str]) -> Settings:
    """Build settings from flags such as `--batch-size=16`; argparse ends the program on an unknown flag."""
    parser = argparse.ArgumentParser(
        prog="python -m trainer", description="Train Faster R-CNN on one rank; run it under torchrun."
    )
    for field in fields(Settings):
        flag = "--" + field.name.replace("_", "-")
        required = field.name in ("run_dir", "data")
        parser.add_argument(flag, type=_PARSERS[str(field.type)], required=required, default=argparse.SUPPRESS)
    values: dict[str, Any] = vars(parser.parse_args(list(argv)))
    return Settings(**values)


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise SettingsError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise SettingsError(f"{name} is {value}; it must be at least {least}")


def _boolean(text: str) -> bool:
    if text not in ("True", "False"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return text == "True"


def _words(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)


# Annotations are strings here (postponed evaluation), so the table is keyed by their text.
_PARSERS: dict[str, Any] = {
    "Path": Path,
    "Path | None": Path,
    "str": str,
    "int": int,
    "int | None": int,
    "float": float,
    "bool": _boolean,
    "tuple[int, ...]": _integers,
    "tuple[str, ...]": _words,
}
