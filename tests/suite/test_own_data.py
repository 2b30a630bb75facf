"""`--data DIR`: a data set of one's own in COCO's layout trains with its classes, and no number judges it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.suite.junit import Session, run_suite

CATEGORIES = {2: "bolt", 3: "nut", 7: "washer", 11: "rivet", 20: "pin"}
"""With gaps in their numbers."""
TRAIN, VAL = 40, 8


def write(root: Path) -> Path:
    """Write 48 pictures of odd sizes with an EXIF orientation, each with boxes of one category in one colour."""
    rng, exif = np.random.default_rng(7), Image.Exif()
    exif[0x0112] = 3  # orientation: upside down
    (root / "annotations").mkdir(parents=True)
    for split, count in (("train2017", TRAIN), ("val2017", VAL)):
        (root / split).mkdir()
        images, annotations = [], []
        for at in range(count):
            width, height = (int(side) for side in 2 * rng.integers(30, 110, 2) + 1)
            pixels = rng.integers(0, 80, (height, width, 3), dtype=np.uint8)
            category = sorted(CATEGORIES)[at % len(CATEGORIES)]
            for _ in range(1 + at % 3):
                left, top = (int(rng.integers(0, side // 2)) for side in (width, height))
                wide, high = (int(rng.integers(12, side // 2)) for side in (width, height))
                pixels[top : top + high, left : left + wide] = (200, 10 * category, 255 - 10 * category)
                box = {"bbox": [left, top, wide, high], "area": wide * high, "iscrowd": 0}
                number = {"id": 1000 * (split == "val2017") + len(annotations) + 1, "image_id": 3 * at + 5}
                annotations.append({**number, "category_id": category, **box})
            name = f"part {at}.jpg"
            Image.fromarray(pixels).save(root / split / name, exif=exif)
            images.append({"id": 3 * at + 5, "file_name": name, "width": width, "height": height})
        named = [{"id": number, "name": name} for number, name in CATEGORIES.items()]
        content = {"images": images, "annotations": annotations, "categories": named}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="module")
def session(tmp_path_factory: Any) -> Session:
    folder = Path(str(tmp_path_factory.mktemp("own")))
    words = ("-m", "virtual", "--topo", "1x1", "--steps", "4")
    return run_suite(folder, *words, f"--data={write(folder / 'data')}")


def test_it_trains_with_as_many_classes_as_its_largest_category_says(session: Session) -> None:
    (run,) = session.runs
    command = json.loads((run / "run.json").read_text())["command"]
    events = [json.loads(line) for line in (run / "rank-0000.jsonl").read_text().splitlines()]
    data, end = (next(one for one in events if one["event"] == name) for name in ("data", "train_end"))

    assert "--num-classes=21" in command
    assert (data["train"]["images"], data["train"]["categories"], data["val"]["images"]) == (TRAIN, 5, VAL)
    assert end["steps"] >= 4
    passes = [one for one in events if one["event"] == "pass"]
    assert [one["exif_oriented"] for one in passes] == [one["images"] for one in passes] != []


def test_no_number_of_the_generated_set_judges_it(session: Session) -> None:
    verdicts = {name: case.properties["verdict"] for name, case in session.by_metric.items()}

    assert verdicts == dict.fromkeys(("p_train", "p_core", "mem"), "recorded")
    assert {case.properties["expected"] for case in session.by_metric.values()} == {""}
    assert (session.counts["failures"], session.counts["errors"], session.code) == (0, 0, 0), session.output
