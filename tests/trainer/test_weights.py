"""Backbone weights: the right file or an error, and never a pickle that runs."""

from __future__ import annotations

import hashlib
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import resnet50

from trainer.errors import WeightsError
from trainer.model.weights import _restricted_pickle, load_backbone, read_state_dict


def digits_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


def saved(folder: Path, what: Any, **options: Any) -> Path:
    path = folder / "weights.pth"
    torch.save(what, str(path), **options)
    return path


class Harmful:
    """A pickle of this leaves a file behind when it is loaded by an ordinary unpickler."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.trace),)


@pytest.fixture(scope="module")
def body() -> Any:
    torch.manual_seed(7)
    network = resnet50(weights=None)
    del network.fc  # as in a detector
    return network


@pytest.mark.parametrize("new_format", [True, False])
def test_a_published_file_ends_up_in_the_backbone_to_the_bit(tmp_path: Path, body: Any, new_format: bool) -> None:
    path = saved(tmp_path, body.state_dict(), _use_new_zipfile_serialization=new_format)
    torch.manual_seed(8)
    target = resnet50(weights=None)
    del target.fc

    load_backbone(target, path, digits_of(path))

    for name, tensor in target.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, body.state_dict()[name]), name


def test_a_file_that_is_not_the_benchmarks_is_refused(tmp_path: Path, body: Any) -> None:
    path = saved(tmp_path, body.state_dict()).rename(tmp_path / "resnet50-0676ba61.pth")

    with pytest.raises(WeightsError, match=r"resnet50-0676ba61\.pth: its SHA-256 begins with .*, expected 0676ba61"):
        load_backbone(body, path, "0676ba61")


def test_a_missing_file_is_named(tmp_path: Path, body: Any) -> None:
    with pytest.raises(WeightsError, match=r"resnet50-0676ba61\.pth: no such file.*--backbone"):
        load_backbone(body, tmp_path / "resnet50-0676ba61.pth", "0676ba61")


def test_weights_of_another_network_are_refused_with_the_first_difference(tmp_path: Path, body: Any) -> None:
    other = {name: tensor for name, tensor in body.state_dict().items() if name != "layer4.2.bn3.weight"}
    other["conv1.weight"] = torch.zeros(64, 3, 3, 3)
    path = saved(tmp_path, other)

    with pytest.raises(WeightsError, match=r"2 of \d+ tensors .* 'conv1.weight': found \(64, 3, 3, 3\)"):
        load_backbone(body, path, digits_of(path))


@pytest.mark.parametrize("new_format", [True, False])
def test_a_harmful_pickle_is_refused_and_not_executed(tmp_path: Path, new_format: bool) -> None:
    trace = tmp_path / "executed"
    path = saved(tmp_path, {"conv1.weight": Harmful(trace)}, _use_new_zipfile_serialization=new_format)

    with pytest.raises(WeightsError, match="not a state_dict of tensors"):
        read_state_dict(path)

    assert not trace.exists()


def test_the_unpickler_for_torch_without_weights_only_executes_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    harmful = tmp_path / "plain.pkl"
    harmful.write_bytes(pickle.dumps(Harmful(trace)))

    with harmful.open("rb") as file, pytest.raises(pickle.UnpicklingError, match="mkdir"):
        _restricted_pickle().load(file)

    assert not trace.exists()


def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "program.pth"
    with zipfile.ZipFile(str(path), "w") as archive:
        archive.writestr("program/constants.pkl", b"")

    with pytest.raises(WeightsError, match="TorchScript"):
        read_state_dict(path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x02]q\x00."])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)

    with pytest.raises(WeightsError, match=r"weights\.pth"):
        read_state_dict(path)


@pytest.mark.parametrize("content", [[torch.zeros(1)], {3: torch.zeros(1)}, {"state_dict": {"a": torch.zeros(1)}}])
def test_what_holds_tensors_otherwise_is_no_state_dict(tmp_path: Path, content: Any) -> None:
    with pytest.raises(WeightsError, match=f"holds a {type(content).__name__}, expected a state_dict"):
        read_state_dict(saved(tmp_path, content))
