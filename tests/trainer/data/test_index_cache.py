"""An index from the cache is the one that was built; what cannot be used there is built again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.trainer.data.sample import box, good, image, write
from trainer.data import index_cache
from trainer.data.coco import CocoIndex, load_index
from trainer.data.index_cache import BUILT, CACHE, MEMORY, Obtained, obtain
from trainer.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; the folder of its entries."""
    monkeypatch.setenv("CONFORMANCE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "indexes"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write(tmp_path / "data", good())
    return tmp_path / "data"


def obtained(data: Path, *, training: bool = True, num_classes: int = 4) -> Obtained:
    return obtain(data, "train2017", num_classes=num_classes, training=training)


def content_of(index: CocoIndex) -> dict[str, Any]:
    """Everything that an index holds, to be compared: bytes and types of its arrays."""
    parts = {**vars(index), **(vars(index.ground_truth) if index.ground_truth else {})}
    return {
        name: (str(part.dtype), part.shape, part.tobytes()) if isinstance(part, np.ndarray) else part
        for name, part in parts.items()
        if name != "ground_truth"
    }


def entry_of(cache: Path) -> Path:
    (entry,) = cache.glob("entry-*")
    return entry


@pytest.mark.parametrize("training", [True, False])
def test_the_second_index_comes_from_the_cache_and_is_the_same(data: Path, cache: Path, training: bool) -> None:
    first, second = obtained(data, training=training), obtained(data, training=training)

    assert (first.source, first.why, second.source, second.why) == (BUILT, "", CACHE, "")
    plain = content_of(load_index(data, "train2017", num_classes=4, training=training))
    assert content_of(first.index) == content_of(second.index) == plain
    assert (second.index.ground_truth is None) == training


@st.composite
def contents(draw: Any) -> dict[str, Any]:
    """A sound annotation file: images in any order, with boxes of any kind, one of which can be trained on."""
    ids = draw(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4, unique=True))
    side = st.floats(0, 60, allow_nan=False)
    annotations = [
        box(
            2 + place,
            draw(st.sampled_from(ids)),
            [draw(st.floats(0, 40)), draw(st.floats(0, 40)), draw(side), draw(side)],
            category_id=draw(st.integers(1, 3)),
            iscrowd=draw(st.integers(0, 1)),
        )
        for place in range(draw(st.integers(0, 6)))
    ]
    images = [
        image(image_id, file_name=f"{draw(st.text('aä😀', max_size=3))}{place}.jpg")
        for place, image_id in enumerate(ids)
    ]
    return {**good(), "images": images, "annotations": [box(1, ids[0]), *annotations]}


@given(content=contents(), training=st.booleans())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_file_says_the_cache_gives_the_same_index(
    tmp_path: Path, content: dict[str, Any], training: bool
) -> None:
    write(tmp_path / "data", content)

    first, second = obtained(tmp_path / "data", training=training), obtained(tmp_path / "data", training=training)

    assert second.source == CACHE
    plain = content_of(load_index(tmp_path / "data", "train2017", num_classes=4, training=training))
    assert content_of(first.index) == content_of(second.index) == plain


def test_arrays_cannot_be_changed(data: Path) -> None:
    for index in (obtained(data, training=False).index, obtained(data, training=False).index):
        arrays = [
            part for part in (*vars(index).values(), *vars(index.ground_truth).values()) if hasattr(part, "dtype")
        ]

        assert len(arrays) == 17
        assert not any(array.flags.writeable for array in arrays)
        with pytest.raises(ValueError, match="read-only"):
            index.boxes[0, 0] = 9


def test_another_file_another_kind_and_another_model_have_entries_of_their_own(data: Path, cache: Path) -> None:
    sources = [obtained(data).source, obtained(data, training=False).source, obtained(data, num_classes=5).source]
    changed = good()
    changed["annotations"][0]["bbox"][0] = 5.0
    write(data, changed)
    sources.append(obtained(data).source)

    assert sources == [BUILT] * 4
    assert len(list(cache.iterdir())) == 4
    assert 5.0 in obtained(data).index.boxes[:, 0]


def test_a_damaged_entry_is_built_again(data: Path, cache: Path) -> None:
    obtained(data)
    entry_of(cache).write_text("damaged")

    again = obtained(data)

    assert (again.source, again.why) == (BUILT, f"{entry_of(cache)}: is damaged: its SHA-256 is another one")
    assert content_of(again.index) == content_of(load_index(data, "train2017", num_classes=4, training=True))
    assert obtained(data).source == CACHE


def test_where_nothing_can_be_written_the_index_stays_in_memory(data: Path, cache: Path) -> None:
    cache.parent.write_text("a file in the way")

    found = obtained(data)

    assert found.source == MEMORY
    assert "set CONFORMANCE_CACHE to a folder that is writable" in found.why
    assert content_of(found.index) == content_of(load_index(data, "train2017", num_classes=4, training=True))


def test_images_that_are_gone_are_missed_although_the_index_is_cached(data: Path) -> None:
    obtained(data)
    (data / "train2017" / "000000000012.jpg").unlink()  # one that training has no use for

    with pytest.raises(DataError) as from_cache:
        obtained(data)

    with pytest.raises(DataError) as from_file:
        load_index(data, "train2017", num_classes=4, training=True)
    assert "1 of 3 images listed are not in" in str(from_cache.value)
    assert str(from_cache.value) == str(from_file.value)


def test_a_file_that_changes_while_it_is_read_is_refused(
    data: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake_read(*arguments: Any, **named: Any) -> Any:
        content = read(*arguments, **named)
        with open(data / "annotations" / "instances_train2017.json", "a", encoding="ascii") as file:
            file.write(" ")
        return content

    read = index_cache.read_annotations
    monkeypatch.setattr(index_cache, "read_annotations", fake_read)

    with pytest.raises(DataError, match=r"instances_train2017\.json: was changed while it was being read"):
        obtained(data)

    assert not cache.exists()


@pytest.mark.parametrize("missing", ["", "train2017", "annotations"])
def test_missing_data_are_told_as_without_a_cache(data: Path, missing: str) -> None:
    obtained(data)
    (data / missing).rename(data.parent / "away")

    with pytest.raises(DataError) as cached:
        obtained(data)

    with pytest.raises(DataError) as plain:
        load_index(data, "train2017", num_classes=4, training=True)
    assert str(cached.value) == str(plain.value)
