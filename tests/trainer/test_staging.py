"""Batches on their way to the device: bit for bit the host's floats, begun ahead where there is a stream for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import functional

from tests.trainer.small import small_settings
from trainer.data.dataset import BadSample, Sample, collate
from trainer.data.loader import build_loaders
from trainer.devices import load_backend
from trainer.loop import staging
from trainer.loop.staging import Staged, Staging, other_floats, to_device

HOST = torch.device("cpu")
NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", "virtual", pytest.param("cuda", marks=NEEDS_CUDA)]


def sample(pixels: np.ndarray, mirrored: bool = False, boxes: int = 0) -> Sample:
    return Sample(pixels, mirrored, np.ones((boxes, 4), np.float32), np.ones(boxes, np.int64), 1)


def as_torchvision_does(pixels: np.ndarray, mirrored: bool) -> Any:
    floats = functional.to_tensor(pixels)
    return functional.hflip(floats) if mirrored else floats


@given(
    sizes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40), st.booleans()), min_size=1, max_size=4),
    seed=st.integers(0, 2**32 - 1),
)
def test_images_of_any_size_become_the_hosts_floats_bit_for_bit(sizes: list[Any], seed: int) -> None:
    rng = np.random.RandomState(seed)
    pictures = [(rng.randint(0, 256, (h, w, 3)).astype(np.uint8), mirrored) for h, w, mirrored in sizes]

    images, _ = to_device(collate([sample(*picture) for picture in pictures]), HOST)

    for image, (pixels, mirrored) in zip(images, pictures):
        assert torch.equal(image, as_torchvision_does(pixels, mirrored))
        assert image.is_contiguous()
        assert image.dtype == torch.float32


def every_byte(mirrored: bool) -> tuple[np.ndarray, Any]:
    pixels = np.arange(256 * 3, dtype=np.int64).reshape(16, 16, 3).astype(np.uint8)
    return pixels, as_torchvision_does(pixels, mirrored)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("name", DEVICES)
def test_every_byte_becomes_the_hosts_float_on_every_device(name: str, mirrored: bool) -> None:
    backend = load_backend(name)
    threads = torch.get_num_threads()
    backend.open(0, 1)
    torch.set_num_threads(threads)
    pixels, expected = every_byte(mirrored)

    (image,), _ = to_device(collate([sample(pixels, mirrored)]), backend.device)

    assert torch.equal(image.cpu(), expected)
    assert image.is_contiguous()


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_way_of_other_devices_gives_the_same_bits_too(mirrored: bool, monkeypatch: Any) -> None:
    pixels, expected = every_byte(mirrored)
    planes = torch.from_numpy(pixels).permute(2, 0, 1)

    assert torch.equal(staging._on_device(planes, mirrored), expected)


@pytest.mark.parametrize("name", DEVICES)
def test_devices_are_found_to_make_the_hosts_floats(name: str) -> None:
    backend = load_backend(name)
    threads = torch.get_num_threads()
    backend.open(0, 1)
    torch.set_num_threads(threads)

    assert other_floats(backend.device) == ""


def test_the_way_of_devices_is_found_to_make_the_hosts_floats(monkeypatch: Any) -> None:
    monkeypatch.setattr(staging, "_floats", staging._on_device)

    assert other_floats(HOST) == ""


def fake_reciprocal(image: Any, mirrored: bool) -> Any:
    return (image.flip(-1) if mirrored else image).to(torch.float32) * (torch.tensor(1.0) / 255)


def fake_upright(image: Any, mirrored: bool) -> Any:
    return image.to(torch.float32) / 255


def fake_without_flip(image: Any, mirrored: bool) -> Any:
    raise NotImplementedError("Could not run 'aten::flip' with arguments from the 'XPU' backend.\nMore follows.")


@pytest.mark.parametrize(
    ("floats", "says"),
    [
        (fake_reciprocal, "this device made other numbers of bytes than the host does"),
        (fake_upright, "this device made other numbers of bytes than the host does"),
        (
            fake_without_flip,
            "this device could not make numbers of bytes: NotImplementedError: Could not run 'aten::flip' with "
            "arguments from the 'XPU' backend.",
        ),
    ],
)
def test_a_device_that_makes_other_floats_or_none_is_told(floats: Any, says: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("trainer.loop.staging._floats", floats)

    assert other_floats(HOST) == says


def test_a_reciprocal_would_give_other_bits() -> None:
    """Why no device may be handed the plain number 255, for which torch's CUDA kernel multiplies by its reciprocal."""
    values = torch.arange(256, dtype=torch.float32)

    different = (values * (torch.tensor(1.0) / 255) != values / 255).sum()

    assert different > 100


@pytest.mark.parametrize("without", [(), ("bytes_on_device",), ("boxes_only",), ("boxes_only", "bytes_on_device")])
def test_a_loaders_batches_come_out_as_the_files_have_them(
    shapes: Path, tmp_path: Path, without: tuple[str, ...]
) -> None:
    settings = small_settings(shapes, tmp_path, without=without, batch_size=8)
    loaders = build_loaders(settings, rank=0, world_size=1, pin_memory=False)
    names = {path.name for path in (shapes / "train2017").iterdir()}

    assert {image.is_contiguous() for batch in loaders.train for image in to_device(batch, HOST)[0]} == {True}
    for items, batch in zip(loaders.train_plan, loaders.train):
        images, targets = to_device(batch, HOST, everything=True)
        for item, image, target, asked in zip(items, images, targets, batch.targets):
            name = f"{int(asked['image_id']):012d}.jpg"
            assert name in names
            picture = Image.open(shapes / "train2017" / name).convert("RGB")
            assert torch.equal(image, as_torchvision_does(np.array(picture), item.flip))
            assert ("masks" in target) is ("boxes_only" in without)


def test_without_masks_asked_for_none_are_copied(shapes: Path, tmp_path: Path) -> None:
    settings = small_settings(shapes, tmp_path, without=("boxes_only",))
    batch = next(iter(build_loaders(settings, rank=0, world_size=1, pin_memory=False).val))

    _, targets = to_device(batch, HOST)

    assert "masks" in batch.targets[0]
    assert set(targets[0]) == {"boxes", "labels"}


class FakeCopyStream:
    """A stream beside the computing, as trainer.devices.base has it; records its calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.used: list[Any] = []

    def run(self, work: Any) -> Any:
        self.calls.append("run")
        return work(), "event"

    def join(self, event: Any, used: Any) -> None:
        self.calls.append(f"join {event}")
        self.used = list(used)


def fake_device(stream: Any) -> Any:
    backend = load_backend("cpu")
    backend.open(0, 1)
    backend.copies_beside = True
    backend.copy_stream = lambda: stream  # type: ignore[method-assign]
    return backend


def test_a_batch_begun_ahead_is_joined_when_it_is_taken(tmp_path: Path) -> None:
    stream = FakeCopyStream()
    staging = Staging(small_settings(tmp_path, tmp_path, workers=1), fake_device(stream))
    pixels, expected = every_byte(True)

    staged = staging.ahead(collate([sample(pixels, True, boxes=2)]))
    begun = list(stream.calls)
    (image,), (target,) = staging.take(staged)

    assert isinstance(staged, Staged)
    assert begun == ["run"]
    assert stream.calls == ["run", "join event"]
    assert torch.equal(image, expected)
    assert target["boxes"].shape == (2, 4)
    assert {id(tensor) for tensor in stream.used} == {id(image), id(target["boxes"]), id(target["labels"])}


def test_a_bad_sample_is_not_copied_anywhere(tmp_path: Path) -> None:
    stream = FakeCopyStream()
    staging = Staging(small_settings(tmp_path, tmp_path, workers=1), fake_device(stream))

    assert staging.ahead(BadSample("why")) == BadSample("why")
    assert stream.calls == []


@pytest.mark.parametrize(
    "changes", [{"workers": 0}, {"without": ("overlapped_copies",)}, {"without": ("batches_ahead",)}]
)
def test_where_nothing_can_overlap_a_batch_is_copied_when_it_is_taken(tmp_path: Path, changes: dict[str, Any]) -> None:
    stream = FakeCopyStream()
    settings = small_settings(tmp_path, tmp_path, **{"workers": 1, **changes})
    staging = Staging(settings, fake_device(stream))
    batch = collate([sample(every_byte(False)[0])])

    assert staging.ahead(batch) is batch
    (image,), _ = staging.take(batch)

    assert torch.equal(image, every_byte(False)[1])
    assert stream.calls == []


@pytest.mark.parametrize("wanted", [True, False])
def test_copies_block_and_come_from_pageable_memory_only_without_overlapping(
    shapes: Path, tmp_path: Path, wanted: bool, monkeypatch: Any
) -> None:
    settings = small_settings(shapes, tmp_path, without=() if wanted else ("overlapped_copies",))
    loaders = build_loaders(settings, rank=0, world_size=1, pin_memory=True)
    assert loaders.train.pin_memory is loaders.val.pin_memory is wanted
    backend = load_backend("cpu")
    backend.open(0, 1)
    backend.pin_memory = True  # type: ignore[misc]
    batch = collate([sample(every_byte(False)[0])])
    asked: list[bool] = []
    original = torch.Tensor.to

    def noting(self: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(options.get("non_blocking", False))
        return original(self, *arguments, **options)

    monkeypatch.setattr(torch.Tensor, "to", noting)

    Staging(settings, backend).take(batch)

    assert asked == [wanted] * 3
