"""Checks for missing software, devices and data before any rank is started, without importing torch."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Mapping, Sequence

from evidence.events.setup import HOST_BACKENDS
from trainer.data.json_stream import read_json
from trainer.devices import load_backend
from trainer.errors import DataError, DeviceError, WeightsError
from trainer.model.backbone_file import check_backbone
from trainer.settings import Settings
from trainer.telemetry.base import finish

_MOST_CLASSES = 10_000  # a model of more takes gigabytes for its last layer
_IMPORT_S = 120.0
_REFUSED = "preflight: "

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


def framework_problems(backend_name: str) -> list[str]:
    """Return why the framework, or torchvision beside it, cannot be imported or lacks a part; [] without a device.

    It is imported in a process of its own, which takes seconds. Raises DeviceError for an unknown backend.
    """
    if backend_name in HOST_BACKENDS or load_backend(backend_name).simulated:
        return []
    program = (
        "import sys; from trainer.devices import load_backend; from trainer.errors import DeviceError\n"
        "def refuse(text): sys.exit(sys.argv[3] + ' '.join(text.split()))\n"
        "backend = load_backend(sys.argv[1])\n"
        "try: backend.set_environment(); backend.import_framework()\n"
        "except DeviceError as error: refuse(str(error))\n"
        "import torch\n"
        "try: from torchvision.ops import nms; nms(torch.zeros(1, 4), torch.zeros(1), 0.5)\n"
        "except Exception as error: refuse(f'torchvision does not work beside torch {torch.__version__} '\n"
        "    f'({type(error).__name__}: {error}); ' + sys.argv[2])"
    )
    places = [str(Path(__file__).resolve().parents[1]), *filter(None, sys.path)]
    command = [sys.executable, "-c", program, backend_name, _ALWAYS["torchvision"], _REFUSED]
    try:
        code, _, text = finish(command, _IMPORT_S, {**os.environ, "PYTHONPATH": os.pathsep.join(places)})
    except subprocess.TimeoutExpired:
        return [f"the framework of {backend_name} was not imported within {_IMPORT_S:.0f} s; try it by hand"]
    if code == 0:
        return []
    said = text.strip().splitlines()
    # A framework may print more when the process ends.
    reasons = [line[len(_REFUSED) :] for line in said if line.startswith(_REFUSED)] or said[-1:]
    return reasons or [f"importing the framework of {backend_name} ended with code {code}; try it by hand"]


def device_problems(backend_name: str, smi: str, needed: int, indices: Sequence[int] = ()) -> list[str]:
    """Return why this host does not have the devices of a run: `needed` of them, or those of `indices`.

    They are counted by the vendor's tool (`smi`, if the device's table names one) and by the variable that chooses
    devices. Raises DeviceError for an unknown backend.
    """
    backend = load_backend(backend_name)
    try:
        names, listed = backend.named_devices(), backend.listed_devices(smi)
    except DeviceError as error:
        return [str(error)]
    variable = next((one for one in backend.visible_variables if os.environ.get(one)), backend.visible_devices)
    found = listed if not names else names if listed is None else _usable(names, listed)
    if found is not None and len(found) < needed:
        shown = f" ({', '.join(map(str, listed))})" if listed and listed != list(range(len(listed))) else ""
        what = f"the vendor's tool lists {len(found)} devices{shown}"
        if names:
            those = f", of those that the vendor's tool lists{shown}," if listed else ""
            what = f"{variable}={','.join(names)} names{those} {len(found)} devices"
        return [f"{what} on this host, expected at least {needed}; choose another --topo or {variable}"]
    beyond = [index for index in indices if listed is not None and index not in listed and index >= len(listed)]
    return [
        f"device {index} is asked for, and the vendor's tool lists {len(listed or ())} on this host, from 0 on; set "
        f"{variable}"
        for index in beyond[:1]
    ]


def _usable(names: Sequence[str], listed: Sequence[int]) -> list[str]:
    """Return the names of devices that are listed: by index or, if none is one, by position, as in a container."""
    numbers = {name: int(name) for name in names if name.isascii() and name.isdigit()}
    allowed = set(listed) if set(numbers.values()) & set(listed) else set(range(len(listed)))
    return [name for name in names if name not in numbers or numbers[name] in allowed]


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
    content = read_json(file)
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
    """Return a sentence if the backbone's file is missing or another one: a rank loads it after its probes."""
    try:
        check_backbone(backbone, Settings.backbone_sha256)
    except WeightsError as error:
        return [str(error)]
    return []
