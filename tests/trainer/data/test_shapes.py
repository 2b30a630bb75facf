"""The generated data set: the same bytes everywhere, sound COCO, complete or made again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as run_lengths

from trainer.data import shapes
from trainer.data.coco import load_index
from trainer.data.shapes import CATEGORIES, SIZES, draw
from trainer.errors import DataError

REPOSITORY = Path(__file__).resolve().parents[3]


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def annotations_of(root: Path, split: str) -> dict[str, Any]:
    return json.loads((root / "annotations" / f"instances_{split}.json").read_text())


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shapes") / "data"
    shapes.generate(root, seed=3, train_images=40, val_images=16)
    return root


def test_the_same_arguments_give_the_same_bytes(small: Path, tmp_path: Path) -> None:
    shapes.generate(tmp_path / "elsewhere", seed=3, train_images=40, val_images=16)

    assert digests(tmp_path / "elsewhere") == digests(small)
    assert len(digests(small)) == 40 + 16 + 2


def test_the_bytes_depend_on_neither_time_locale_nor_hash_seed(small: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from trainer.data.shapes import generate;"
        "generate(Path(sys.argv[1]), seed=3, train_images=40, val_images=16); assert 'torch' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77", "LC_ALL": "C", "TZ": "Asia/Tokyo"}
    environment["PYTHONPATH"] = str(REPOSITORY)

    subprocess.run([sys.executable, "-c", code, str(tmp_path / "d")], env=environment, check=True, timeout=60)

    assert digests(tmp_path / "d") == digests(small)


def test_another_seed_gives_other_pictures_and_boxes(small: Path, tmp_path: Path) -> None:
    shapes.generate(tmp_path / "d", seed=4, train_images=40, val_images=16)

    ours, theirs = digests(small), digests(tmp_path / "d")
    assert [name for name in ours if ours[name] == theirs.get(name)] == []


def test_no_picture_is_in_both_splits(small: Path) -> None:
    found = digests(small)

    assert len(set(found.values())) == len(found)
    train, val = (annotations_of(small, split) for split in ("train2017", "val2017"))
    assert not {i["id"] for i in train["images"]} & {i["id"] for i in val["images"]}


@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_a_few_images_are_greyscale_crowded_or_empty(small: Path, split: str) -> None:
    content = annotations_of(small, split)

    modes = [Image.open(small / split / entry["file_name"]).mode for entry in content["images"]]
    boxed = {entry["image_id"] for entry in content["annotations"]}
    crowded = {entry["image_id"] for entry in content["annotations"] if entry["iscrowd"]}
    assert modes.count("L") == 1
    assert modes.count("RGB") == len(modes) - 1
    assert len(crowded) == 1
    assert len(content["images"]) - len(boxed) == 1


@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_annotations_have_cocos_form_and_tell_the_truth(small: Path, split: str) -> None:
    content = annotations_of(small, split)

    assert list(content) == ["info", "licenses", "images", "annotations", "categories"]
    assert [(c["id"], c["name"]) for c in content["categories"]] == [(1, "circle"), (2, "square"), (3, "triangle")]
    sizes = {}
    for entry in content["images"]:
        assert entry["file_name"] == f"{entry['id']:012d}.jpg"
        with Image.open(small / split / entry["file_name"]) as picture:
            assert picture.format == "JPEG"
            assert picture.size == (entry["width"], entry["height"])
        sizes[entry["id"]] = picture.size
    for entry in content["annotations"]:
        x, y, width, height = entry["bbox"]
        image_width, image_height = sizes[entry["image_id"]]
        assert x >= 0
        assert y >= 0
        assert x + width <= image_width
        assert y + height <= image_height
        form = entry["segmentation"]
        if entry["iscrowd"]:
            form = run_lengths.frPyObjects(form, image_height, image_width)
            assert run_lengths.toBbox(form).tolist() == entry["bbox"]
            assert run_lengths.area(form) == entry["area"]
        else:
            form = run_lengths.merge(run_lengths.frPyObjects(form, image_height, image_width))
            assert run_lengths.toBbox(form).tolist() == pytest.approx(entry["bbox"], abs=1.5)
            assert float(run_lengths.area(form)) == pytest.approx(entry["area"], rel=0.12)


def test_images_have_several_aspect_ratios_with_a_longest_side_of_128(small: Path) -> None:
    content = annotations_of(small, "train2017")

    sizes = {(entry["width"], entry["height"]) for entry in content["images"]}
    assert {max(size) for size in sizes} == {128}
    assert min(min(size) for size in sizes) >= 96
    assert {np.sign(width - height) for width, height in sizes} == {-1, 0, 1}


@pytest.mark.parametrize(("split", "training"), [("train2017", True), ("val2017", False)])
def test_the_loader_accepts_what_was_generated(small: Path, split: str, training: bool) -> None:
    index = load_index(small, split, num_classes=shapes.NUM_CLASSES, training=training)

    assert len(index) == {"train2017": 39, "val2017": 16}[split]
    assert index.counts["boxes_dropped"]["crowd"] == 1
    assert index.counts["boxes_clipped"] == 0


@pytest.mark.parametrize(("train", "val", "seed"), [(0, 4, 0), (4, 0, 0), (4, 4, -1)])
def test_counts_and_seeds_out_of_range_are_refused(tmp_path: Path, train: int, val: int, seed: int) -> None:
    with pytest.raises(DataError, match=f"seed={seed}, train_images={train}, val_images={val}"):
        shapes.generate(tmp_path / "d", seed=seed, train_images=train, val_images=val)

    assert not (tmp_path / "d").exists()


def test_generating_over_a_data_set_is_refused(small: Path) -> None:
    before = digests(small)

    with pytest.raises(DataError, match="exists already"):
        shapes.generate(small, seed=9, train_images=2, val_images=2)

    assert digests(small) == before


def test_ensure_generates_once_and_names_the_folder_for_its_content(tmp_path: Path) -> None:
    first = shapes.ensure(tmp_path / "new", seed=0, train_images=4, val_images=2)
    stamps = {path: path.stat().st_mtime_ns for path in first.rglob("*")}

    again = shapes.ensure(tmp_path / "new", seed=0, train_images=4, val_images=2)

    assert first == again == tmp_path / "new" / f"shapes-v{shapes.VERSION}-s0-t4-v2"
    assert {path: path.stat().st_mtime_ns for path in again.rglob("*")} == stamps
    other = shapes.ensure(tmp_path / "new", seed=1, train_images=4, val_images=2)
    assert other != first


def test_what_an_interrupted_generation_left_is_never_taken_for_a_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json = shapes._write_json

    def interrupted(path: Path, content: dict[str, Any]) -> None:
        if "val2017" in path.name:
            raise KeyboardInterrupt
        write_json(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(shapes, "_write_json", interrupted)
        with pytest.raises(KeyboardInterrupt):
            shapes.ensure(tmp_path, seed=0, train_images=4, val_images=2)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []

    folder = shapes.ensure(tmp_path, seed=0, train_images=4, val_images=2)

    assert len(load_index(folder, "val2017", num_classes=4, training=False)) == 2
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".partial")] == []


def delete_a_picture(folder: Path) -> None:
    next((folder / "val2017").iterdir()).unlink()


def cut_a_picture(folder: Path) -> None:
    os.truncate(next((folder / "train2017").iterdir()), 100)


def empty_the_annotations(folder: Path) -> None:
    (folder / "annotations" / "instances_train2017.json").write_bytes(b"")


def delete_the_list_of_files(folder: Path) -> None:
    (folder / "complete.json").unlink()


def cut_the_list_of_files(folder: Path) -> None:
    os.truncate(folder / "complete.json", 20)


def replace_by_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("not a folder")


@pytest.mark.parametrize(
    "damage",
    [
        delete_a_picture,
        cut_a_picture,
        empty_the_annotations,
        delete_the_list_of_files,
        cut_the_list_of_files,
        replace_by_a_file,
    ],
)
def test_a_damaged_data_set_is_made_anew(tmp_path: Path, damage: Any) -> None:
    folder = shapes.ensure(tmp_path, seed=0, train_images=4, val_images=2)
    whole = digests(folder)
    damage(folder)

    shapes.ensure(tmp_path, seed=0, train_images=4, val_images=2)

    assert digests(folder) == whole


def test_what_an_earlier_state_of_the_code_drew_is_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shapes, "_code_digest", lambda: "earlier")
        folder = shapes.ensure(tmp_path, seed=0, train_images=4, val_images=2)
        before = (folder / "complete.json").stat().st_mtime_ns
        shapes.ensure(tmp_path, seed=0, train_images=4, val_images=2)
        assert (folder / "complete.json").stat().st_mtime_ns == before

    shapes.ensure(tmp_path, seed=0, train_images=4, val_images=2)

    assert (folder / "complete.json").stat().st_mtime_ns != before
    assert json.loads((folder / "complete.json").read_text())["drawn_by"] != "earlier"


def test_two_processes_at_once_make_one_data_set(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from trainer.data import shapes; real = shapes.generate\n"
        "def told(*args, **kwargs):\n    print('generating', flush=True); real(*args, **kwargs)\n"
        "shapes.generate = told\n"
        "print(shapes.ensure(Path(sys.argv[1]), seed=0, train_images=48, val_images=16))"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", code, str(tmp_path)]

    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, universal_newlines=True) for _ in range(2)
    ]
    said = [process.communicate(timeout=120)[0].splitlines() for process in running]

    folder = tmp_path / f"shapes-v{shapes.VERSION}-s0-t48-v16"
    assert [process.returncode for process in running] == [0, 0]
    assert [lines[-1] for lines in said] == [str(folder)] * 2
    assert sum(lines.count("generating") for lines in said) == 1
    assert len(load_index(folder, "train2017", num_classes=4, training=False)) == 48


def test_a_place_that_cannot_be_written_is_a_named_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(DataError, match=r"cannot write the generated data set .*writable"):
        shapes.ensure(tmp_path / "file", seed=0, train_images=4, val_images=2)


def test_a_lock_that_is_never_released_is_a_named_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "_LOCK_TIMEOUT_S", 0.1)
    lock = tmp_path / f".shapes-v{shapes.VERSION}-s0-t4-v2.lock"

    with FileLock(str(lock)), pytest.raises(DataError, match="another process that is generating"):
        shapes.ensure(tmp_path, seed=0, train_images=4, val_images=2)


SEEDS = st.integers(0, 2**32 - 1)


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@given(seed=SEEDS, shapes=st.integers(1, 3), crowd=st.booleans())
@settings(deadline=None, max_examples=60)
def test_boxes_are_tight_apart_and_inside_the_picture(seed: int, shapes: int, crowd: bool) -> None:
    pixels, drawn = draw(generator(seed), shapes=shapes, crowd=crowd)

    height, width = pixels.shape[:2]
    assert (width, height) in SIZES
    assert max(width, height) == 128
    assert 1 <= len(drawn) <= shapes + crowd
    assert sum(thing.polygon is None for thing in drawn) == crowd
    for thing in drawn:
        x, y, w, h = thing.box
        inside = thing.mask[y : y + h, x : x + w]
        assert inside.sum() == thing.mask.sum()
        assert inside[0].any()
        assert inside[-1].any()
        assert inside[:, 0].any()
        assert inside[:, -1].any()
        assert 1 <= thing.category <= len(CATEGORIES)
        if thing.polygon is not None:
            assert w == h
            assert 24 <= w <= 68
    assert np.sum([thing.mask for thing in drawn], axis=0).max() == 1


@given(seed=SEEDS)
@settings(deadline=None, max_examples=60)
def test_shapes_stand_out_from_the_background_in_colour_and_in_greyscale(seed: int) -> None:
    pixels, drawn = draw(generator(seed), shapes=2)

    background = pixels[~np.any([thing.mask for thing in drawn], axis=0)]
    grey = np.array([0.299, 0.587, 0.114])
    for thing in drawn:
        difference = pixels[thing.mask].mean(axis=0) - background.mean(axis=0)
        assert np.abs(difference).max() > 80
        assert difference @ grey > 8
    assert background.std(axis=0).min() > 3


@pytest.mark.parametrize(("category", "share"), [("circle", 0.785), ("square", 1.0), ("triangle", 0.5)])
def test_each_category_fills_its_own_share_of_its_box(category: str, share: float) -> None:
    pictures = [draw(generator(seed), shapes=3)[1] for seed in range(40)]

    number = 1 + CATEGORIES.index(category)
    filled = [t.mask.sum() / (t.box[2] * t.box[3]) for things in pictures for t in things if t.category == number]
    assert len(filled) > 5
    assert filled == pytest.approx([share] * len(filled), abs=0.06)


def test_a_picture_without_shapes_is_background_only() -> None:
    pixels, drawn = draw(generator(1), shapes=0)

    assert drawn == ()
    assert pixels.dtype == np.uint8


def test_larger_pictures_are_the_same_ones_with_larger_boxes(small: Path, tmp_path: Path) -> None:
    root = shapes.ensure(tmp_path, seed=3, train_images=40, val_images=16, scale=5)

    own, larger = annotations_of(small, "val2017"), annotations_of(root, "val2017")
    assert root.name.endswith("-x5")
    assert {(one["width"], one["height"]) for one in larger["images"]} <= {(5 * w, 5 * h) for w, h in SIZES}
    for before, after in zip(own["annotations"], larger["annotations"]):
        assert after["bbox"] == [5 * value for value in before["bbox"]]
        assert after["area"] == 25 * before["area"]
    first = larger["images"][0]
    with Image.open(root / "val2017" / first["file_name"]) as picture:
        assert picture.size == (first["width"], first["height"])
    assert len(load_index(root, "train2017", num_classes=4, training=True)) > 0
