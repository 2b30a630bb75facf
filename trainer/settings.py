"""The settings of a run: one field an option, from which flag, parser, check, help, record and docs table are derived.

To add an option, add a field to `Settings` with `_option(default, help, ...)` and use `settings.<field>` where it acts.
With `user=True` it is also an option of pytest (see `pytest_options`); with `recorded=True` it is in the rank's `start`
event. `python -m trainer.docs` renews the table in docs/settings.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import re
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

from evidence.run_file import BY_STEPS, PRECISIONS, PROTOCOLS, UNJUDGED
from trainer.errors import SettingsError
from trainer.optimizations import NAMES
from trainer.telemetry import SMI_NAMES

SIDES = {"fasterrcnn_resnet50_fpn": (800, 1333), "fasterrcnn_resnet18_fpn_small": (96, 96), "fasterrcnn_tiny": (32, 32)}
"""Pixels to which each model resizes the shorter side of a picture, and the most that the longer side may have then."""
MODELS = tuple(SIDES)


def _boolean(text: str) -> bool:
    if text not in ("True", "False"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return text == "True"


Option = dataclasses.Field

_PARSERS: Mapping[str, Callable[[str], Any]] = {"Path": Path, "str": str, "int": int, "float": float, "bool": _boolean}
_PRINTED = {"int": "a whole number", "float": "a number", "bool": "True or False"}
_BOUNDS: Mapping[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "least": ("at least", lambda value, bound: value >= bound),
    "above": ("more than", lambda value, bound: value > bound),
    "most": ("at most", lambda value, bound: value <= bound),
    "below": ("less than", lambda value, bound: value < bound),
}


NOT_ASKED, QUICK, FULL = "none", "quick", "full"
"""How much `numerics` and `links` ask: the first leaves a probe out."""


def _option(default: Any = MISSING, help: str = "", **declared: Any) -> Any:
    """Return a dataclass field. `declared`: choices, bounds of _BOUNDS; user and metavar; recorded; its own flag."""
    return dataclasses.field(default=default, metadata={"help": help, **declared})


@dataclass(frozen=True)
class Settings:
    """What a run trains, on what and how; checked when it is built. The defaults are the benchmark's recipe.

    `batch_size` is per device, `learning_rate` per run, as vendors' tables list them. Raises SettingsError for values
    that contradict each other or lie out of range.

    >>> settings = Settings(Path("run"), Path("coco"), pretrained_backbone=False, batch_size=8)
    >>> parse(to_flags(settings)) == settings
    True
    """

    run_dir: Path = _option(help="folder of the run's evidence")
    data: Path = _option(help="COCO 2017's root: annotations/, train2017/, val2017/")
    device: str = _option("cpu", "backend: a module of trainer/devices")
    scenario: Path | None = _option(None, "TOML file of what a simulated device is to do (docs/virtual.md)")
    cell: str = _option("", "id of the row of the vendor's table", recorded=True)
    protocol: str = _option("full", "what is trained and evaluated", choices=PROTOCOLS, recorded=True)
    backbone: Path | None = _option(None, "torchvision's resnet50-0676ba61.pth")
    backbone_sha256: str = _option("0676ba61", "first digits of the backbone's SHA-256")
    # model and optimizer
    model: str = _option("fasterrcnn_resnet50_fpn", "network", choices=MODELS, recorded=True)
    sides: tuple[int, ...] = _option(
        (), "pixels of the shorter and longer side to resize pictures to; default: the model's own", recorded=True
    )
    num_classes: int = _option(91, "classes, background included", least=2)
    pretrained_backbone: bool = _option(
        True, "start from the ImageNet weights of --backbone; a smoke run without them from seeded ones"
    )
    precision: str = _option("fp32", "of the forward pass", choices=PRECISIONS, recorded=True)
    tf32: bool = _option(False, "allow TF32 in fp32 products and convolutions", recorded=True)
    deterministic: bool = _option(False, "cuDNN's deterministic algorithms only", recorded=True)
    cudnn_benchmark: bool = _option(False, "cuDNN measures its algorithms and takes the fastest", recorded=True)
    lowered: tuple[str, ...] = _option((), "variables of the recipe that lower precision, as NAME=VALUE")
    batch_size: int = _option(16, "images a step and device", least=1, recorded=True)
    learning_rate: float = _option(0.16, "of the whole run, after the warm-up", above=0, below=10, recorded=True)
    momentum: float = _option(0.9, "of SGD", least=0)
    weight_decay: float = _option(1e-4, "of SGD", least=0)
    lr_milestones: tuple[int, ...] = _option((16, 22), "epochs from which the rate is lower by lr_gamma")
    lr_gamma: float = _option(0.1, "factor of the rate at each milestone")
    warmup_steps: int = _option(1000, "steps of the first epoch in which the rate rises", least=0)
    warmup_factor: float = _option(0.001, "share of the rate in the first of them")
    gradient_clip: float = _option(0.0, "largest gradient norm; 0: not clipped", least=0)
    # how long
    epochs: int = _option(26, "most epochs of the full protocol", least=1)
    target_map: float = _option(0.36, "mAP at which the full protocol ends")
    steps: int | None = _option(
        None,
        "steady protocol: N steps after warm-up; measures p_core, p_train and mem only",
        least=1,
        metavar="N",
        user=True,
    )
    steady_warmup: int = _option(20, "least steps before those that the steady protocol measures", least=0)
    # resuming
    attempt: int = _option(0, "number of this launch; from 1 on it resumes from a checkpoint", least=0, recorded=True)
    checkpoint_steps: int = _option(
        0,
        "write a checkpoint every N steps too, not only after each epoch; default: 0, only after each epoch",
        least=0,
        metavar="N",
        user=True,
    )
    # data
    horizontal_flip: float = _option(0.5, "probability that an image is mirrored", least=0, most=1)
    aspect_ratio_groups: int = _option(3, "k of torchvision's grouping by aspect ratio", least=1)
    workers: int = _option(4, "loader workers a rank", least=0)
    seed: int = _option(0, "of weights, order and proposals", recorded=True)
    # gradient exchange
    bucket_mb: int | None = _option(
        None,
        "exchange gradients in buckets of N MiB (DDP's bucket_cap_mb); default: torch's own choice",
        least=1,
        metavar="N",
        user=True,
        recorded=True,
    )
    # measuring
    host_clock: bool = _option(
        False, "read the loss after each step, as a p_core timed by the host needs it", recorded=True
    )
    numerics: str = _option(
        NOT_ASKED,
        "how much the numerics probes ask before training; from pytest: quick, full where epochs are trained",
        choices=(NOT_ASKED, QUICK, FULL),
        metavar="HOW",
        user=True,
    )
    links: str = _option(
        NOT_ASKED,
        "how much the probes of links, copies, memory and peaks ask before training",
        choices=(NOT_ASKED, QUICK, FULL),
        metavar="HOW",
        user=True,
    )
    window: int = _option(20, "steps that one window event covers", least=1)
    sample_interval_s: float = _option(
        1.0,
        "seconds between two samples of telemetry, for a tool whose start disturbs; default: 1",
        above=0,
        most=10,
        metavar="S",
        user=True,
        recorded=True,
        flag="--sample-interval",
    )
    smi: str = _option("", "management tool that the device's table names", choices=("", *SMI_NAMES))
    without: tuple[str, ...] = _option(
        (), "switch one optimization off, repeatable", choices=NAMES, metavar="NAME", user=True, recorded=True
    )

    def __post_init__(self) -> None:
        for option in OPTIONS:
            check(option, getattr(self, option.name))
        if self.precision == "tf32" and not self.tf32:
            raise SettingsError("precision is 'tf32' and tf32 is False; write --precision=fp32, or add --tf32=True")
        if (self.protocol in BY_STEPS) != (self.steps is not None):
            raise SettingsError(
                f"protocol {self.protocol} with steps {self.steps}: steps is the length of the protocols "
                f"{' and '.join(BY_STEPS)}; give both or neither"
            )
        if self.sides and len(self.sides) != 2:
            raise SettingsError(f"sides is {self.sides}; it must be two numbers of pixels, or none")
        if self.pretrained_backbone and self.backbone is None and self.protocol not in UNJUDGED:
            raise SettingsError(
                "the recipe starts from ImageNet weights and no file was given; pass --backbone FILE "
                "(resnet50-0676ba61.pth from torchvision)"
            )

    def uses(self, optimization: str) -> bool:
        """Return whether the optimization of that name is wanted. Raises SettingsError for an unknown name."""
        if optimization not in NAMES:
            raise SettingsError(f"optimization is {optimization!r}; it must be one of {', '.join(NAMES)}")
        return optimization not in self.without

    @property
    def resized(self) -> tuple[int, int]:
        """Pixels to which the shorter side of a picture is resized, and the most of the longer side."""
        return (self.sides[0], self.sides[1]) if self.sides else SIDES[self.model]

    def recorded(self) -> dict[str, Any]:
        """Return the settings that are fields of a rank's `start` event."""
        return {option.name: getattr(self, option.name) for option in OPTIONS if option.metadata.get("recorded")}


OPTIONS = dataclasses.fields(Settings)
"""Every option of the trainer; see the metadata of `_option`."""


def flag_of(option: Option) -> str:
    """Return the flag of an option, as in --batch-size."""
    return str(option.metadata.get("flag", "--" + option.name.replace("_", "-")))


def is_repeated(option: Option) -> bool:
    """Return whether an option's value is a tuple, whose items are parsed and checked one by one."""
    return "tuple" in str(option.type)


def values_of(option: Option) -> str:
    """Return the values that an option takes, in words; "" if any of its type."""
    if "choices" in option.metadata:
        return f"one of {', '.join(filter(None, option.metadata['choices']))}"
    return " and ".join(
        f"{word} {option.metadata[key]:g}" for key, (word, _) in _BOUNDS.items() if key in option.metadata
    )


def check(option: Option, value: Any) -> None:
    """Raise SettingsError unless a value has the declared choices and bounds; None is not checked."""
    declared = option.metadata
    for one in value if is_repeated(option) else (value,) if value is not None else ():
        within = all(holds(one, declared[key]) for key, (_, holds) in _BOUNDS.items() if key in declared)
        if not (within and one in declared.get("choices", (one,))):
            raise SettingsError(f"{option.name} is {one!r}; it must be {values_of(option)}")


def pytest_options() -> dict[str, dict[str, Any]]:
    """Return the options that pytest passes through: by flag, the keyword arguments of `parser.addoption`.

    An option that is not given has the value None, a repeated one []; so the trainer's default holds.

    >>> pytest_options()["--bucket-mb"]["metavar"]
    'N'
    """
    declared = {}
    for option in OPTIONS:
        if option.metadata.get("user"):
            names: Sequence[str] = option.metadata.get("choices", ())
            arguments = {"dest": option.name, "metavar": option.metadata["metavar"], "help": option.metadata["help"]}
            arguments.update({"action": "append", "default": []} if is_repeated(option) else {"default": None})
            if names:
                arguments.update(choices=names, help=f"{arguments['help']}: {', '.join(names)}")
            else:
                arguments["type"] = functools.partial(_read, option)
            declared[flag_of(option)] = arguments
    return declared


def to_flags(settings: Settings) -> list[str]:
    """Return the command-line flags from which `parse` builds the same settings; defaults are left out."""
    flags: list[str] = []
    for option in OPTIONS:
        value = getattr(settings, option.name)
        if value != option.default:
            text = ",".join(map(str, value)) if is_repeated(option) else str(value)
            flags.append(f"{flag_of(option)}={text}")
    return flags


def parse(argv: Sequence[str]) -> Settings:
    """Build settings from flags such as `--batch-size=16`; argparse ends the program on an unknown flag."""
    parser = argparse.ArgumentParser(
        prog="python -m trainer", description="Train Faster R-CNN on one rank; run it under torchrun."
    )
    for option in OPTIONS:
        read, required = functools.partial(_parsed, option), option.default is dataclasses.MISSING
        help_ = option.metadata["help"].replace("%", "%%")
        parser.add_argument(
            flag_of(option), dest=option.name, type=read, required=required, default=argparse.SUPPRESS, help=help_
        )
    return Settings(**vars(parser.parse_args(list(argv))))


def _parsed(option: Option, text: str) -> Any:
    item = re.sub(r"tuple\[|, \.\.\.\]| \| None", "", str(option.type))  # annotations are strings here
    try:
        values = tuple(map(_PARSERS[item], filter(None, text.split(",")) if is_repeated(option) else [text]))
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected {_PRINTED.get(item, item)}") from None
    return values if is_repeated(option) else values[0]


def _read(option: Option, text: str) -> Any:
    value = _parsed(option, text)
    try:
        check(option, value)
    except SettingsError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return value
