"""Samples: the pixels and boxes of an image, mirrored when told to, and a message where the file cannot be used."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainer.data.sample import good, write, write_jpeg
from trainer.data import shapes
from trainer.data.coco import load_index
from trainer.data.dataset import BadSample, Batch, CocoBoxes, Sample, collate, pixels_of, require_batch
from trainer.data.sampler import Item
from trainer.errors import DataError
from trainer.loop.staging import to_device


@pytest.fixture
def boxes(tmp_path: Path) -> CocoBoxes:
    """Images 3 (48x64), 7 and 12 (64x48), at positions 0 to 2."""
    write(tmp_path, good())
    return CocoBoxes(load_index(tmp_path, "train2017", num_classes=4, training=False), tmp_path / "train2017")


def sample_of(dataset: CocoBoxes, position: int, flip: bool = False) -> Sample:
    sample = dataset[Item(position, flip)]
    assert isinstance(sample, Sample)
    return sample


def image_of(dataset: CocoBoxes, position: int, flip: bool = False) -> Any:
    """Return the image as the model is to see it, uint8 [3, height, width]."""
    (image,) = collate([sample_of(dataset, position, flip)]).images
    return image


def complaint_of(dataset: CocoBoxes, position: int) -> str:
    sample = dataset[Item(position, False)]
    assert isinstance(sample, BadSample)
    return sample.message


def test_a_sample_is_the_decoded_image_in_bytes_with_its_boxes(boxes: CocoBoxes, tmp_path: Path) -> None:
    sample = sample_of(boxes, 1)

    decoded = np.asarray(Image.open(tmp_path / "train2017" / "000000000007.jpg"))
    assert sample.pixels.dtype == np.uint8
    assert np.array_equal(sample.pixels, decoded)
    assert sample.boxes.dtype == np.float32
    assert sample.boxes.tolist() == [[4, 5, 24, 15], [30, 20, 38, 29]]
    assert sample.labels.dtype == np.int64
    assert sample.labels.tolist() == [1, 2]
    assert (sample.image_id, sample.mirrored) == (7, False)
    assert type(sample.image_id) is int


def test_a_flip_mirrors_the_image_and_its_boxes_and_nothing_else(boxes: CocoBoxes) -> None:
    straight, mirrored = sample_of(boxes, 1), sample_of(boxes, 1, flip=True)

    assert torch.equal(image_of(boxes, 1, flip=True), image_of(boxes, 1).flip(2))
    assert mirrored.boxes.tolist() == [[40, 5, 60, 15], [26, 20, 34, 29]]
    assert mirrored.labels.tolist() == [1, 2]
    assert sample_of(boxes, 1).boxes.tolist() == straight.boxes.tolist()


def test_flipped_boxes_still_frame_the_shapes(tmp_path: Path) -> None:
    root = shapes.ensure(tmp_path, seed=0, train_images=12, val_images=1)
    index = load_index(root, "train2017", num_classes=4, training=True)
    dataset = CocoBoxes(index, root / "train2017")

    for position in range(len(index)):
        straight, mirrored = (collate([sample_of(dataset, position, flip)]) for flip in (False, True))
        for ours, theirs in zip(straight.boxes.int().tolist(), mirrored.boxes.int().tolist()):
            left, top, right, bottom = ours
            framed = straight.images[0][:, top:bottom, left:right]
            left, top, right, bottom = theirs
            assert torch.equal(mirrored.images[0][:, top:bottom, left:right], framed.flip(2))


def test_the_sample_equals_torchvisions_own_flip(boxes: CocoBoxes) -> None:
    transforms = pytest.importorskip("torchvision.transforms.functional")

    assert torch.equal(image_of(boxes, 0, flip=True), transforms.hflip(image_of(boxes, 0)))


def test_an_image_without_boxes_has_empty_targets_of_the_right_shape(boxes: CocoBoxes) -> None:
    for flip in (False, True):
        batch = collate([sample_of(boxes, 1, flip), sample_of(boxes, 2, flip)])

        assert [target["boxes"].shape for target in batch.targets] == [(2, 4), (0, 4)]
        assert [target["labels"].shape for target in batch.targets] == [(2,), (0,)]
        _, targets = to_device(collate([sample_of(boxes, 2, flip)]), torch.device("cpu"))
        assert targets[0]["boxes"].shape == (0, 4)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_images_in_other_colours_become_rgb(boxes: CocoBoxes, tmp_path: Path, mode: str) -> None:
    file = tmp_path / "train2017" / "000000000007.jpg"
    Image.open(file).convert(mode).save(file, "JPEG")

    image = image_of(boxes, 1)

    assert image.shape == (3, 48, 64)
    if mode == "L":
        assert torch.equal(image[0], image[1])


def absent(file: Path) -> None:
    file.unlink()


def empty(file: Path) -> None:
    file.write_bytes(b"")


def truncated(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def header_only(file: Path) -> None:
    os.truncate(file, 30)


def another_kind(file: Path) -> None:
    file.write_text("<html>404</html>")


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def a_bomb(file: Path) -> None:
    # A header that claims 65,000 x 65,000 pixels.
    content = bytearray(file.read_bytes())
    start = content.index(b"\xff\xc0") + 5
    content[start : start + 4] = b"\xfd\xe8\xfd\xe8"
    file.write_bytes(bytes(content))


def unfinished(file: Path) -> None:
    size = file.stat().st_size
    truncated(file)
    os.truncate(file, size)  # the rest is zeros, as where the room was reserved before the transfer


@pytest.mark.parametrize("damage", [absent, empty, truncated, unfinished, header_only, another_kind, a_folder, a_bomb])
def test_a_file_that_cannot_be_read_is_named_with_its_image(boxes: CocoBoxes, tmp_path: Path, damage: Any) -> None:
    file = tmp_path / "train2017" / "000000000007.jpg"
    damage(file)

    message = complaint_of(boxes, 1)

    assert message.startswith(f"{file}: image 7 cannot be read: ")
    assert message.endswith("fetch the file again")


def test_zeros_behind_the_end_of_a_jpeg_are_no_damage(boxes: CocoBoxes, tmp_path: Path) -> None:
    file = tmp_path / "train2017" / "000000000007.jpg"
    before = boxes[Item(1, flip=False)]
    os.truncate(file, file.stat().st_size + 4096)

    assert np.array_equal(boxes[Item(1, flip=False)].pixels, before.pixels)


def test_a_file_is_decoded_before_numpy_asks_for_its_pixels(tmp_path: Path) -> None:
    """Older versions of numpy take an image that cannot be decoded, when they ask for its pixels, for an object."""
    file = tmp_path / "damaged.jpg"
    write_jpeg(file, 64, 48)
    truncated(file)

    with Image.open(file) as picture:
        picture.__class__ = type("Unasked", (type(picture),), {"__array_interface__": None})
        with pytest.raises(OSError, match="truncated"):
            pixels_of(picture)


def test_an_image_of_another_size_than_annotated_is_named_with_both_sizes(boxes: CocoBoxes, tmp_path: Path) -> None:
    file = tmp_path / "train2017" / "000000000007.jpg"
    write_jpeg(file, 48, 64)

    assert complaint_of(boxes, 1).startswith(f"{file}: image 7 is 48x64 pixels, its annotation says 64x48; fetch")


def test_a_picture_that_is_to_be_shown_turned_is_named_as_such(boxes: CocoBoxes, tmp_path: Path) -> None:
    file = tmp_path / "train2017" / "000000000007.jpg"
    for orientation in (5, 6, 7, 8):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.new("RGB", (48, 64)).save(file, "JPEG", exif=exif)

        message = complaint_of(boxes, 1)

        assert message.startswith(f"{file}: image 7 is 48x64 pixels, its annotation says 64x48: its EXIF orientation")
        assert "turn its pixels" in message


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_an_orientation_that_agrees_with_the_annotation_is_ignored_as_torchvision_does(
    boxes: CocoBoxes, tmp_path: Path, orientation: int
) -> None:
    file = tmp_path / "train2017" / "000000000007.jpg"
    plain = np.asarray(Image.open(file))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(plain).save(file, "PNG", exif=exif)

    assert np.array_equal(sample_of(boxes, 1).pixels, plain)


def test_images_with_an_exif_orientation_other_than_1_are_counted(boxes: CocoBoxes, tmp_path: Path) -> None:
    folder = tmp_path / "train2017"
    for name, orientation, format in (("000000000007.jpg", 3, "JPEG"), ("000000000012.jpg", 1, "PNG")):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.open(folder / name).convert("RGB").save(folder / name, format, exif=exif)

    samples = [sample_of(boxes, position) for position in range(3)]

    assert [sample.oriented for sample in samples] == [False, True, False]
    assert collate(samples).oriented == 1
    assert collate(samples[:1]).oriented == 0


DEEP = [
    (np.full((48, 64), 40_000, dtype=np.uint16), "PNG"),
    (np.full((48, 64), 40_000, dtype=np.uint16), "TIFF"),
    (np.full((48, 64), 70_000, dtype=np.int32), "TIFF"),
    (np.full((48, 64), 0.5, dtype=np.float32), "TIFF"),
]


@pytest.mark.parametrize(("pixels", "form"), DEEP)
def test_pixels_of_more_than_8_bits_are_refused_not_cut_off(
    boxes: CocoBoxes, tmp_path: Path, pixels: np.ndarray, form: str
) -> None:
    file = tmp_path / "train2017" / "000000000007.jpg"
    Image.fromarray(pixels).save(file, form)

    message = complaint_of(boxes, 1)

    assert message.startswith(f"{file}: image 7 has ")
    assert "would cut off; convert it to 8 bits" in message


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_other_modes_of_8_bits_become_what_torchvision_makes_of_them(
    boxes: CocoBoxes, tmp_path: Path, mode: str
) -> None:
    file = tmp_path / "train2017" / "000000000007.jpg"
    Image.open(file).convert(mode).save(file, "PNG")

    assert np.array_equal(sample_of(boxes, 1).pixels, np.asarray(Image.open(file).convert("RGB")))


def test_a_fifo_in_place_of_a_picture_does_not_hang(boxes: CocoBoxes, tmp_path: Path) -> None:
    file = tmp_path / "train2017" / "000000000007.jpg"
    file.unlink()
    os.mkfifo(file)

    assert complaint_of(boxes, 1).startswith(
        f"{file}: image 7 cannot be read: OSError: it is not a plain file, but a FIFO"
    )


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"\xcd\xbc\xff.jpg", "\u56fe.jpg".encode()])
def test_a_picture_whose_name_is_not_utf_8_is_read(tmp_path: Path, name: bytes) -> None:
    content = good()
    content["images"][0]["file_name"] = os.fsdecode(name)
    write(tmp_path, content)
    index = load_index(tmp_path, "train2017", num_classes=4, training=False)
    dataset = CocoBoxes(index, tmp_path / "train2017")

    assert sample_of(dataset, 1).pixels.shape == (48, 64, 3)
    os.truncate(os.fsencode(tmp_path / "train2017") + b"/" + name, 30)
    with pytest.raises(DataError) as caught:
        require_batch(BadSample(complaint_of(dataset, 1)))
    assert name.decode("utf-8", "backslashreplace") in str(caught.value).encode("utf-8").decode()


def test_running_out_of_memory_is_not_blamed_on_the_file(boxes: CocoBoxes, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake_open(file: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "open", fake_open)

    with pytest.raises(MemoryError):
        boxes[Item(0, False)]


def test_workers_are_not_sent_the_ground_truth(boxes: CocoBoxes) -> None:
    assert b"GroundTruth" not in pickle.dumps(boxes)
    assert len(pickle.loads(pickle.dumps(boxes))) == 3


def test_collate_keeps_images_of_various_sizes_apart(boxes: CocoBoxes) -> None:
    batch = collate([sample_of(boxes, 0), sample_of(boxes, 1)])

    assert isinstance(batch, Batch)
    assert [tuple(image.shape) for image in batch.images] == [(3, 64, 48), (3, 48, 64)]
    assert [tuple(image.shape) for image in batch.decoded] == [(64, 48, 3), (48, 64, 3)]
    assert [target["image_id"] for target in batch.targets] == [3, 7]
    assert all(set(target) == {"boxes", "labels", "image_id"} for target in batch.targets)
    assert require_batch(batch) is batch


def test_the_first_bad_sample_takes_the_place_of_its_batch(boxes: CocoBoxes) -> None:
    batch = collate([sample_of(boxes, 0), BadSample("first"), BadSample("second")])

    assert batch == BadSample("first")
    with pytest.raises(DataError, match=r"^first$"):
        require_batch(batch)


def test_batches_and_bad_samples_survive_pinning(boxes: CocoBoxes, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils.data._utils.pin_memory import pin_memory

    pinned: list[Any] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self, *_: pinned.append(self) or self.clone())
    batch = collate([sample_of(boxes, 0, flip=True), sample_of(boxes, 1)])

    result = pin_memory(batch)

    assert isinstance(result, Batch)
    assert len(pinned) == 3
    assert [target["image_id"] for target in result.targets] == [3, 7]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(result.images, batch.images))
    assert pin_memory(BadSample("kept")) == BadSample("kept")
    assert isinstance(pin_memory(BadSample("kept")), BadSample)
