"""A short run of the fuzzer of annotation files, and proof that it sees what may not be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.data import fuzz
from tests.trainer.data.sample import box, good, write
from trainer.data import annotations, coco


def test_a_few_hundred_odd_files_are_read_right_or_refused(capsys: Any) -> None:
    assert fuzz.main(["--files", "300", "--seed", "7"]) == 0
    assert capsys.readouterr().out.startswith("300 files, no fault: ")


def raw_of(root: Path, content: Any) -> bytes:
    write(root, content)
    return json.dumps(content).encode()


def test_the_fuzzer_sees_content_that_is_not_the_files(tmp_path: Path, monkeypatch: Any) -> None:
    right = annotations.read_json
    monkeypatch.setattr(annotations, "read_json", lambda file, **_: {**right(file), "info": 1})

    with pytest.raises(AssertionError, match="content differs"):
        fuzz.try_one(raw_of(tmp_path, good()), tmp_path, 64)


def test_the_fuzzer_sees_an_annotation_that_only_one_way_of_checking_accepts(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(annotations, "_are_sound", lambda *_: True)
    content = good()
    content["annotations"][0]["iscrowd"] = 2

    with pytest.raises(AssertionError, match="whole columns"):
        fuzz.try_one(raw_of(tmp_path, content), tmp_path, 64)


def test_the_fuzzer_sees_a_box_that_mirroring_flattens(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(coco, "are_flat", lambda corners, sizes: (corners[:, 2:] <= corners[:, :2]).any(axis=1))
    content = good()
    content["annotations"].append(box(9, 7, (0.0, 20.0, 1e-6, 30.0)))

    with pytest.raises(AssertionError):
        fuzz.try_one(raw_of(tmp_path, content), tmp_path, 64)
