"""Annotation files that cannot be trusted are refused by name and id, with what to do."""

from __future__ import annotations

import contextlib
import gzip
import json
import math
import os
from pathlib import Path
from typing import Any, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer.data.sample import box, good, image, write
from trainer.data import annotations, json_stream
from trainer.data.annotations import read_annotations
from trainer.errors import DataError


def refusal(root: Path, num_classes: int = 4) -> str:
    with pytest.raises(DataError) as caught:
        read_annotations(root, "train2017", num_classes=num_classes)
    return str(caught.value)


def test_a_good_file_is_read_whole_but_for_its_segmentations(tmp_path: Path) -> None:
    write(tmp_path, good())

    content = read_annotations(tmp_path, "train2017", num_classes=4)

    expected = good()
    for entry in expected["annotations"]:
        del entry["segmentation"]
    assert content == expected


def test_a_missing_data_folder_is_named(tmp_path: Path) -> None:
    message = refusal(tmp_path / "nowhere")

    assert str(tmp_path / "nowhere") in message
    assert "does not exist" in message


def test_a_missing_split_folder_is_named(tmp_path: Path) -> None:
    message = refusal(tmp_path)

    assert f"{tmp_path} has no train2017/; unpack the images" in message


def test_a_missing_annotation_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, good()).unlink()

    assert "instances_train2017.json does not exist; unpack COCO's annotations" in refusal(tmp_path)


def test_a_cut_off_file_is_named_with_the_place_where_it_ends(tmp_path: Path) -> None:
    file = write(tmp_path, good())
    file.write_text(json.dumps(good(), indent=1)[:200])

    message = refusal(tmp_path)

    assert str(file) in message
    assert "not valid JSON" in message
    assert f"at line {file.read_text().count(chr(10)) + 1}, column" in message
    assert "fetch it again" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty; fetch it again"),
        (b" \n", "is empty"),
        (b"<html>", "is an HTML page"),
        (b"\n\n<!DOCTYPE html><title>Sign in</title>", "is an HTML page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is an XML document"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a pointer of git-lfs, not the file"),
        ("{}".encode("utf-16"), "is UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8"),
        ("{}".encode("utf-16-le"), "is UTF-16 text; convert it: iconv -f UTF-16LE -t UTF-8"),
        ("{}".encode("utf-16-be"), "is UTF-16 text; convert it: iconv -f UTF-16BE -t UTF-8"),
        ("{}".encode("utf-32"), "is UTF-32 text"),
        (b"PK\x03\x04rest", "is a zip archive; unpack it"),
        (b"BZh91AY", "is a bzip2 archive"),
        (b"\xfd7zXZ\0rest", "is an xz archive"),
        (b"annotations/".ljust(257, b"\0") + b"ustar\0", "is a tar archive"),
        (bytes(4096), "begins with 512 zero bytes: its transfer was not finished"),
        (b"\x1f\x8b\x08\x00\xff", "is compressed by gzip, and cut off or damaged"),
        (b"\x1f\x8brest", "is compressed by gzip, and cut off or damaged"),
        (gzip.compress(b"<html>", mtime=0), "is an HTML page"),
        (gzip.compress(b"{}" * 999, mtime=0)[:-9], "is compressed by gzip, and cut off or damaged"),
        (b'{"images": [{"file_name": "caf\xe9.jpg"}]}', "not JSON: byte 30 is not UTF-8 text: b'\\xe9'; save"),
        (b'{"images": []}\n{"images": []}', "Extra data at line 2, column 1 (of 29 characters); it holds more"),
        (b'{"images": [1,]}', "; correct it there, or fetch it again"),
        (b"{'images': []}", "property name enclosed in double quotes at line 1, column 2"),
        (b'{"images": [' + b"1" * 9999, "fetch it again"),
        (b'[{"image_id": 1, "bbox": [], "score": 0.5}]', "it is a file of detections; use COCO's instances"),
        (b'{"images": [], "info": {}}', "it is a list of pictures without boxes; use COCO's instances"),
        (b"[" * 200000, "not an annotation file"),
        (b"[]", "found a list, expected an object"),
        (b"null", "found null"),
        (b'"text"', "found a text"),
        (b"12", "found a number"),
        (b'{"images": [], "annotations": []}', "has no 'categories', found ['annotations', 'images']"),
        (b'{"images": {}, "annotations": [], "categories": []}', "'images' is an object, expected a list"),
        (b'{"images": [], "annotations": true, "categories": []}', "'annotations' is a truth value"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    file = write(tmp_path, good())
    file.write_bytes(content)

    message = refusal(tmp_path)

    assert str(file) in message
    assert words in message


def test_an_annotation_file_that_cannot_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, good())

    def fake_open(file: Path, *_: Any) -> None:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(json_stream, "open", fake_open, raising=False)

    assert "instances_train2017.json: cannot be read: [Errno 13]" in refusal(tmp_path)


Change = Callable[[Any], Any]


def images_become(*entries: Any) -> Change:
    return lambda content: content.update(images=list(entries))


def image_has(**changes: Any) -> Change:
    return lambda content: content["images"][1].update(changes)


def annotation_has(**changes: Any) -> Change:
    return lambda content: content["annotations"][1].update(changes)


def lacks(part: str, key: str) -> Change:
    return lambda content: content[part][0].pop(key)


def gains(part: str, entry: Any) -> Change:
    return lambda content: content[part].append(entry)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (images_become(), "lists no images; an empty data set"),
        (images_become(3), "images[0] is a number, expected an object with id, file_name"),
        (gains("images", image(7)), "image 7 is listed twice, again at images[3]"),
        (lacks("images", "width"), "images[0] (id 7) has no 'width'"),
        (image_has(id="3"), "images[1] has id '3', expected a whole number"),
        (image_has(id=True), "images[1] has id True"),
        (image_has(id=2**70), f"images[1] has id {2**70}"),
        (image_has(width=0), "image 3 (000000000003.jpg) has width 0, expected a positive whole number"),
        (image_has(height=-5), "has height -5"),
        (image_has(height=64.0), "has height 64.0"),
        (image_has(width=True), "has width True"),
        (image_has(width=None), "has width None"),
        (image_has(file_name="../x.jpg"), "image 3 has file_name '../x.jpg', expected the name of a file in"),
        (image_has(file_name="/etc/x.jpg"), "image 3 has file_name"),
        (image_has(file_name="a\\x.jpg"), "a name with a path in it is refused"),
        (image_has(file_name=".."), "image 3 has file_name '..'"),
        (image_has(file_name="a\0.jpg"), "image 3 has file_name 'a\\x00.jpg'"),
        (image_has(file_name=""), "image 3 has file_name ''"),
        (image_has(file_name=None), "image 3 has file_name None"),
        (lacks("categories", "id"), "categories[0] (id None) has no 'id'"),
        (gains("categories", {"id": 2}), "category 2 is listed twice"),
        (
            gains("categories", {"id": 4, "name": "four"}),
            "category 4 ('four') is not one of 1..3, the classes of a mod",
        ),
        (gains("categories", {"id": 0, "name": "none"}), "category 0 ('none') is not one of 1..3"),
        (gains("categories", {"id": -1}), "categories[3] has id -1"),
        (gains("categories", "x"), "categories[3] is a text, expected an object with id"),
        (gains("annotations", []), "annotations[4] is a list, expected an object with id, image_id, category_id"),
        (gains("annotations", box(2, 7)), "annotation 2 is listed twice, again at annotations[4]"),
        (lacks("annotations", "bbox"), "annotations[0] (id 1 of image 7) has no 'bbox', found ['area'"),
        (lacks("annotations", "area"), "annotations[0] (id 1 of image 7) has no 'area'"),
        (lacks("annotations", "iscrowd"), "annotations[0] (id 1 of image 7) has no 'iscrowd'"),
        (annotation_has(id=None), "annotations[1] has id None"),
        (annotation_has(id=2**63), f"annotations[1] has id {2**63}, expected a whole number from 0 to 2**63 - 1"),
        (image_has(id=2**63), f"images[1] has id {2**63}, expected a whole number from 0 to 2**63 - 1"),
        (gains("annotations", {"id": 9, "image_id": 7, "segments_info": []}), "it is a file of panoptic segments"),
        (
            gains("annotations", {"id": 9, "image_id": 7, "caption": "a dog"}),
            "(id 9 of image 7) has no 'bbox': it is a file of ca",
        ),
        (annotation_has(image_id=99), "annotation 2 is of image 99, which 'images' does not list"),
        (annotation_has(image_id=[3]), "annotation 2 has image_id [3]"),
        (annotation_has(category_id=9), "annotation 2 of image 3 has category 9, which 'categories' does not list"),
        (annotation_has(category_id=1.0), "annotation 2 of image 3 has category_id 1.0"),
        (annotation_has(iscrowd=2), "annotation 2 of image 3 has iscrowd 2, expected 0 or 1"),
        (annotation_has(area=-1), "annotation 2 of image 3 has area -1, expected a number"),
        (annotation_has(area=math.nan), "annotation 2 of image 3 has area nan"),
        (annotation_has(bbox=[1, 2, 3]), "annotation 2 of image 3 has bbox [1, 2, 3], expected four finite numbers"),
        (annotation_has(bbox=None), "annotation 2 of image 3 has bbox None"),
        (annotation_has(bbox=[1, 2, 3, "4"]), "annotation 2 of image 3 has bbox"),
        (annotation_has(bbox=[1, 2, 3, True]), "annotation 2 of image 3 has bbox"),
        (annotation_has(bbox=[1, 2, math.nan, 4]), "annotation 2 of image 3 has bbox"),
        (annotation_has(bbox=[1, 2, math.inf, 4]), "annotation 2 of image 3 has bbox"),
        (annotation_has(bbox=[1, 2, 10**400, 4]), "annotation 2 of image 3 has bbox"),
        (annotation_has(bbox=[-1e300, 2, 2e300, 4]), "with a number beyond any picture"),
        (annotation_has(bbox=[5, 5, -3, 4]), "has bbox [5, 5, -3, 4] of negative width or height"),
        (annotation_has(bbox=[5, 5, 3, -0.5]), "annotation 2 of image 3 has bbox"),
        (annotation_has(bbox=[48, 0, 5, 5]), "bbox [48, 0, 5, 5], wholly outside its picture of 48x64 pixels"),
        (annotation_has(bbox=[0, 64.5, 5, 5]), "annotation 2 of image 3 has bbox"),
        (annotation_has(bbox=[-9, 0, 9, 5]), "annotation 2 of image 3 has bbox"),
        (annotation_has(bbox=[0, -9, 5, 8]), "annotation 2 of image 3 has bbox"),
    ],
)
def test_content_that_cannot_be_trusted_is_refused(tmp_path: Path, change: Change, words: str) -> None:
    content = good()
    change(content)
    file = write(tmp_path, content)

    message = refusal(tmp_path)

    assert message.startswith(f"{file}: ")
    assert words in message


@pytest.mark.parametrize("bbox", [[5, 5, 0, 4], [48, 64, 0, 0], [200, 0, 3, 0]])
def test_boxes_of_zero_size_are_let_through_to_be_counted(tmp_path: Path, bbox: list[int]) -> None:
    content = good()
    content["annotations"][1]["bbox"] = bbox
    write(tmp_path, content)

    assert read_annotations(tmp_path, "train2017", num_classes=4)["annotations"][1]["bbox"] == bbox


@pytest.mark.parametrize("beginning", [b"\xef\xbb\xbf", b"\xef\xbb\xbf \r\n", b"\n\n"])
@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_byte_order_mark_and_gzip_are_read(
    tmp_path: Path, beginning: bytes, packed: Callable[[bytes], bytes]
) -> None:
    file = write(tmp_path, good())
    expected = read_annotations(tmp_path, "train2017", num_classes=4)
    file.write_bytes(packed(beginning + file.read_bytes()))

    assert read_annotations(tmp_path, "train2017", num_classes=4) == expected


def test_a_packed_file_beside_where_it_should_be_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, good())
    file.rename(f"{file}.gz")

    assert "does not exist; instances_train2017.json.gz is there: unpack it" in refusal(tmp_path)


def test_an_annotation_file_that_is_a_fifo_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, good())
    file.unlink()
    os.mkfifo(file)

    assert f"{file} is not a plain file" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("listed", "there", "words"),
    [
        ("caf\u00e9.jpg", b"caf\xe9.jpg", "caf\\xe9.jpg is there, the same name in latin-1 (convmv -f latin-1"),
        (
            "\u56fe\u72471.jpg",
            "\u56fe\u72471.jpg".encode("gbk"),
            "\\xcd\\xbc\\xc6\\xac1.jpg is there, the same name in gbk",
        ),
        ("\u00fc.jpg", "\u00fc.jpg".encode("cp437"), "\\x81.jpg is there, the same name in cp437"),
        ("caf\u00e9.jpg", "cafe\u0301.jpg".encode(), "is there, a name in another Unicode normal form; "),
        ("\ud800.jpg", b"a.jpg", "\\ud800.jpg (id 3)"),
        ("a.JPG", b"a.jpg", "'a.jpg' is there, a name in another case; "),
        ("caf\udce8.jpg", b"caf\xe9.jpg", "caf\\xe8.jpg (id 3); 1 names there are not UTF-8, such as caf\\xe9.jpg; "),
    ],
)
def test_a_file_whose_name_has_other_bytes_is_pointed_at(tmp_path: Path, listed: str, there: bytes, words: str) -> None:
    content = good()
    content["images"][1]["file_name"] = listed
    write(tmp_path, content)
    folder = os.fsencode(tmp_path / "train2017")
    with contextlib.suppress(FileNotFoundError, UnicodeEncodeError):
        os.unlink(folder + b"/" + os.fsencode(listed))
    with open(folder + b"/" + there, "wb"):
        pass

    message = refusal(tmp_path)

    assert "1 of 3 images listed are not in" in message
    assert words in message
    message.encode("utf-8")  # it can be written to any file


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"\xcd\xbc.jpg", b"\xff\xfe.jpg"])
def test_a_name_that_is_not_utf_8_is_read_where_the_annotations_have_its_bytes(tmp_path: Path, name: bytes) -> None:
    content = good()
    content["images"][1]["file_name"] = os.fsdecode(name)  # as json.dump writes what os.listdir gives
    write(tmp_path, content)

    assert read_annotations(tmp_path, "train2017", num_classes=4)["images"][1]["file_name"] == os.fsdecode(name)


def test_absent_images_are_counted_and_the_first_named(tmp_path: Path) -> None:
    content = good()
    content["images"] += [image(number) for number in range(100, 110)]
    write(tmp_path, content)
    for number in (7, 100, 101, 102, 103):
        (tmp_path / "train2017" / f"{number:012d}.jpg").unlink()

    message = refusal(tmp_path)

    assert "5 of 13 images listed are not in" in message
    assert "000000000007.jpg (id 7), 000000000100.jpg (id 100), 000000000101.jpg (id 101), ...;" in message


def test_links_to_a_folder_that_is_not_mounted_are_found_before_training(tmp_path: Path) -> None:
    write(tmp_path, good())
    for file in (tmp_path / "train2017").iterdir():
        file.unlink()
        file.symlink_to(f"/not/mounted/{file.name}")

    assert "is a link to /not/mounted/0000" in refusal(tmp_path)


def test_the_folder_is_listed_once_instead_of_asked_for_every_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = good()
    content["images"] += [image(number) for number in range(100, 300)]
    write(tmp_path, content)
    stats, listings, stat, scandir = [], [], os.stat, os.scandir
    monkeypatch.setattr(os, "stat", lambda *args, **kwargs: stats.append(args) or stat(*args, **kwargs))
    monkeypatch.setattr(annotations.os, "scandir", lambda path: listings.append(path) or scandir(path))

    read_annotations(tmp_path, "train2017", num_classes=4)

    assert listings == [tmp_path / "train2017"]
    assert len(stats) < 20


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(
    part=st.sampled_from(["images", "annotations", "categories"]),
    key=st.sampled_from(["id", "file_name", "width", "height", "image_id", "category_id", "bbox", "area", "iscrowd"]),
    value=JSON,
)
@settings(deadline=None, max_examples=150)
def test_any_value_in_any_place_is_accepted_or_refused_but_never_a_crash(
    tmp_path_factory: pytest.TempPathFactory, part: str, key: str, value: Any
) -> None:
    root = tmp_path_factory.getbasetemp() / "any-value"
    write(root, good())
    content = good()
    content[part][0][key] = value
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(content))

    try:
        outcome = str(len(read_annotations(root, "train2017", num_classes=4)["images"]))
    except DataError as error:
        outcome = str(error)

    assert outcome == "3" or "instances_train2017.json" in outcome
