"""A file that is read piece by piece has the content that json.loads finds in it, wherever the pieces end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.trainer.data.sample import box, good
from trainer.data import json_stream
from trainer.data.json_stream import read_json
from trainer.errors import DataError

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
POLYGONS = st.lists(st.lists(st.integers(-9, 999) | st.floats(0, 999), max_size=9), max_size=3)
RUNS = st.fixed_dictionaries({"counts": st.lists(st.integers(0, 99), max_size=5) | st.text(max_size=9), "size": ANY})
ENTRY = st.dictionaries(st.sampled_from(["id", "bbox", "text", 'a"segmentation', "}", "]]"]), ANY, max_size=4)
ANNOTATION = st.builds(
    lambda entry, outline, first: {"segmentation": outline, **entry} if first else {**entry, "segmentation": outline},
    ENTRY,
    POLYGONS | RUNS | st.none() | st.text(max_size=9),
    st.booleans(),
)
CONTENT = st.fixed_dictionaries(
    {},
    optional={
        "info": ANY,
        "images": st.lists(ENTRY | ANY, max_size=4) | ANY,
        "annotations": st.lists(ANNOTATION | ENTRY | ANY, max_size=5),
        "categories": st.lists(ENTRY, max_size=3),
        "segmentation": st.just("segmentation"),
    },
)


@given(
    content=CONTENT | ANY,
    piece=st.sampled_from([1, 2, 3, 7, 16, 64, 10**6]),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 0, 2]),
    keep=st.booleans(),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_content_is_what_json_finds(
    tmp_path: Path, monkeypatch: Any, content: Any, piece: int, ascii_only: bool, indent: int | None, keep: bool
) -> None:
    text = json.dumps(content, ensure_ascii=ascii_only, indent=indent)
    file = tmp_path / "content.json"
    file.write_bytes(text.encode("utf-8", "replace"))
    monkeypatch.setattr(json_stream, "_PIECE", piece)
    expected = json.loads(file.read_bytes())
    if not keep and isinstance(expected, dict) and isinstance(expected.get("annotations"), list):
        for one in expected["annotations"]:
            if isinstance(one, dict):
                one.pop("segmentation", None)
    hides_outlines_elsewhere = not keep and text.count('"segmentation":') != 0

    found = read_json(file, keep_segmentations=keep)

    # A polygon that is no annotation's is cut out too; nobody reads it.
    assert found == expected or (hides_outlines_elsewhere and _without_outlines(found) == _without_outlines(expected))


def _without_outlines(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_outlines(one) for one in value]
    if isinstance(value, dict):
        return {key: _without_outlines(one) for key, one in value.items() if key != "segmentation"}
    return value


@given(cut=st.integers(0, 2000), piece=st.sampled_from([1, 5, 64, 10**6]), keep=st.booleans())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_that_ends_anywhere_is_refused(
    tmp_path: Path, monkeypatch: Any, cut: int, piece: int, keep: bool
) -> None:
    text = json.dumps(good()).encode()
    file = tmp_path / "cut.json"
    file.write_bytes(text[: cut % (len(text) - 1)])
    monkeypatch.setattr(json_stream, "_PIECE", piece)

    with pytest.raises(DataError, match=r"cut\.json: (not valid JSON: .*(cut off|correct it there)|is empty)"):
        read_json(file, keep_segmentations=keep)


@pytest.mark.parametrize(
    "wrong",
    [
        '{"annotations": [{"id": 1},]}',
        '{"annotations": [,{"id": 1}]}',
        '{"annotations": [{"id": 1} {"id": 2}]}',
        '{"annotations": [{"id": 1}}',
        '{"annotations": [{"id": 1}]]',
        '{"annotations": [{"id": 1}]} x',
        '{"annotations" [{"id": 1}]}',
        '{"annotations": [{"id": 1}], }',
        "{annotations: []}",
        '{"annotations": [{"segmentation": [1, 2, "id": 1}]}',
    ],
)
@pytest.mark.parametrize("piece", [1, 8, 10**6])
def test_what_is_no_json_is_refused_with_its_place(tmp_path: Path, monkeypatch: Any, wrong: str, piece: int) -> None:
    file = tmp_path / "wrong.json"
    file.write_text(wrong)
    monkeypatch.setattr(json_stream, "_PIECE", piece)

    with pytest.raises(DataError, match=r"wrong\.json: not valid JSON: .* at line 1, column \d+"):
        read_json(file)


def test_one_emoji_takes_no_more_memory(tmp_path: Path) -> None:
    """A Python text has four bytes for each of its characters if it has one emoji."""
    import tracemalloc

    peaks = []
    for title in ("plain", "\U0001f600", "caf\u00e9"):
        file = tmp_path / "content.json"
        entries = [box(number, 7) for number in range(20_000)]
        content = {**good(), "info": {"title": title}, "annotations": entries, "licenses": []}
        file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        tracemalloc.start()
        json_stream._PIECE, before = 2**16, json_stream._PIECE
        try:
            read_json(file)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            json_stream._PIECE = before
            tracemalloc.stop()

    assert max(peaks) < 1.1 * min(peaks)
