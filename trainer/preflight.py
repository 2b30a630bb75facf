"""Checks for missing software and data before any process is started, without importing torch."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Mapping

from trainer.data.json_stream import read_json
from trainer.devices import load_backend
from trainer.errors import DataError, DeviceError
from trainer.settings import Settings

_MOST_CLASSES = 10_000  # a model of more takes gigabytes for its last layer

_ALWAYS = {
    "torch": "install the vendor's build, or `pip install torch torchvision`",
    "torchvision": "install the version that goes with your torch (0.13.1 with 1.12.1)",
    "pycocotools": "`pip install pycocotools`",
}


def missing_modules(backend_name: str) -> list[str]:
    """Return a sentence, with what to do, for every Python module that the backend needs and that is not installed.

    The vendor's framework comes first. Raises DeviceError for an unknown backend.

    >>> missing_modules("cpu")
    []
    """
    needed: Mapping[str, str] = {**load_backend(backend_name).requires, **_ALWAYS}
    return [f"{name} is missing: {remedy}" for name, remedy in needed.items() if importlib.util.find_spec(name) is None]


def planted(settings: Settings, world_size: int) -> Mapping[str, Any] | None:
    """Return what a simulated device is to do in a run, None for a real one. Raises DeviceError."""
    backend = load_backend(settings.device)
    backend.configure(settings.scenario, rank=0, world_size=world_size)
    return backend.planted()


def scenario_problems(backend_name: str, scenario: Path, world_size: int) -> list[str]:
    """Return what is wrong with the scenario of a simulated device. Raises DeviceError for an unknown backend."""
    backend = load_backend(backend_name)
    try:
        backend.configure(scenario, rank=0, world_size=world_size)
    except DeviceError as error:
        return [str(error)]
    return []


def data_problems(data: Path) -> list[str]:
    """Return a sentence for every missing part of a COCO 2017 folder."""
    if not data.is_dir():
        return [f"{data}: no such folder; --data names the folder that holds annotations/, train2017/ and val2017/"]
    parts = [data / "train2017", data / "val2017"]
    parts += [data / "annotations" / f"instances_{split}2017.json" for split in ("train", "val")]
    return [
        f"{part}: not there; --data names a COCO 2017 folder with annotations/, train2017/ and val2017/"
        for part in parts
        if not part.exists()
    ]


def classes_of(data: Path) -> int:
    """Return how many classes a model of this data set has: the largest number of its categories, and the background.

    Raises DataError if the annotations to train on cannot be read, or number no category.
    """
    file = data / "annotations" / "instances_train2017.json"
    content = read_json(file, only=("categories",))
    listed = content.get("categories") if isinstance(content, dict) else None
    numbers = [one.get("id") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    known = [number for number in numbers if type(number) is int and 0 < number < _MOST_CLASSES]
    if not known or len(known) < len(numbers):
        raise DataError(
            f"{file}: its categories are not numbered from 1 to {_MOST_CLASSES - 1}, so that no model can be made for "
            "it; use COCO's instances_*.json"
        )
    return max(known) + 1


def backbone_problems(backbone: Path) -> list[str]:
    """Return a sentence if the backbone's file is missing; the ranks check its hash."""
    if not backbone.is_file():
        return [f"{backbone}: no such file; --backbone names torchvision's resnet50-0676ba61.pth"]
    return []
