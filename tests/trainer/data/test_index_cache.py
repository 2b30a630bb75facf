"""An index from the cache is the one that was built; what is not whole there is built again, and never unpickled."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.labs.disks import requirements, small_disk
from tests.trainer.data.large import large_index
from tests.trainer.data.sample import box, good, image, write
from trainer.data import index_cache
from trainer.data.coco import CocoIndex, load_index
from trainer.data.index_cache import BUILT, CACHE, MEMORY, Entry, EntryError, Key, Obtained, load, obtain, store
from trainer.errors import DataError

REPOSITORY = Path(__file__).parents[3]


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
    (entry,) = cache.glob("index-*")
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


def test_arrays_are_mapped_and_cannot_be_changed(data: Path) -> None:
    for index in (obtained(data, training=False).index, obtained(data, training=False).index):
        arrays = [
            part for part in (*vars(index).values(), *vars(index.ground_truth).values()) if hasattr(part, "dtype")
        ]

        assert len(arrays) == 17
        assert not any(array.flags.writeable for array in arrays)
        assert not any(array.flags.owndata for array in arrays)
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


def test_code_that_has_changed_has_entries_of_its_own(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    obtained(data)
    monkeypatch.setattr(index_cache, "_CODE_SHA256", "another")

    assert obtained(data).source == BUILT


def test_code_that_cannot_be_told_from_other_versions_uses_no_entry(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    obtained(data)
    monkeypatch.setattr(index_cache, "_CODE_SHA256", "")

    again = obtained(data)

    assert again.source == MEMORY
    assert "the modules that make an index cannot be read" in again.why


def seal(entry: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Changes the header of an entry, with a digest that is right again."""
    raw = entry.read_bytes()
    end = 80 + int(raw[64:80])
    header = json.loads(raw[80:end])
    change(header)
    text = json.dumps(header).encode()
    rest = b"%016d" % len(text) + text + raw[end:]
    entry.write_bytes(hashlib.sha256(rest).hexdigest().encode() + rest)


def flip_a_bit(path: Path, place: int = -70) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a bit of an array": (flip_a_bit, "its SHA-256 is another one"),
    "a bit of the header": (lambda entry: flip_a_bit(entry, 100), "its SHA-256 is another one"),
    "a bit of the digest": (lambda entry: flip_a_bit(entry, 3), "its SHA-256 is another one"),
    "cut off in an array": (lambda entry: os.truncate(str(entry), 2000), "its SHA-256 is another one"),
    "cut off in the digest": (lambda entry: os.truncate(str(entry), 40), "its SHA-256 is another one"),
    "empty": (lambda entry: os.truncate(str(entry), 0), "cannot mmap an empty file"),
    "something else": (lambda entry: entry.write_text("[1]"), "its SHA-256 is another one"),
    "an array too few": (lambda entry: seal(entry, lambda header: header["arrays"].pop("boxes")), "TypeError"),
    "no ids of the images listed": (
        lambda entry: seal(entry, lambda header: header["arrays"].pop("listed_ids")),
        "KeyError: 'listed_ids'",
    ),
    "the header of another entry": (
        lambda entry: seal(entry, lambda header: header["of"].update(num_classes=5)),
        "it is of another index",
    ),
    "an array of objects": (
        lambda entry: seal(entry, lambda header: header["arrays"]["labels"].__setitem__(0, "|O")),
        "is damaged",
    ),
    "an array beyond the end": (
        lambda entry: seal(entry, lambda header: header["arrays"]["labels"].__setitem__(2, 10**9)),
        "is damaged: ValueError",
    ),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGE.values(), ids=DAMAGE)
def test_an_entry_that_is_not_whole_is_built_again(data: Path, cache: Path, damage: Any, said: str) -> None:
    obtained(data)
    damage(entry_of(cache))

    again = obtained(data)

    assert again.source == BUILT
    assert said in again.why
    assert str(entry_of(cache)) in again.why
    assert content_of(again.index) == content_of(load_index(data, "train2017", num_classes=4, training=True))
    assert obtained(data).source == CACHE
    assert [path.name for path in cache.iterdir()] == [entry_of(cache).name]


def test_another_users_entry_is_not_used(data: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    obtained(data)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)

    again = obtained(data)

    assert again.source == MEMORY
    assert f"belongs to user {os.getuid()}, expected {os.getuid() + 1}" in again.why
    assert again.index.labels.tolist() == [3, 1, 2]


@pytest.mark.parametrize("rights", [0o770, 0o707])
def test_a_folder_that_others_may_write_to_is_not_used(data: Path, cache: Path, rights: int) -> None:
    obtained(data)
    cache.chmod(rights)

    again = obtained(data)

    assert again.source == MEMORY
    assert f"{cache}: may be written to by others; take that right away: chmod go-w" in again.why
    cache.chmod(0o700)
    assert obtained(data).source == CACHE


@pytest.mark.parametrize("made", ["a broken link", "a link to another's", "an empty folder"])
def test_something_else_under_the_name_of_an_entry_is_put_aside(data: Path, cache: Path, made: str) -> None:
    obtained(data)
    entry = entry_of(cache)
    entry.rename(cache.parent / "moved")
    if made == "a broken link":
        entry.symlink_to("nowhere")
    elif made == "a link to another's":
        entry.symlink_to(cache.parent / "moved")
    else:
        entry.mkdir()

    sources = [obtained(data).source, obtained(data).source]

    assert sources == [BUILT, CACHE]
    assert [path.name for path in cache.iterdir()] == [entry.name]


@pytest.mark.parametrize("below", ["a file", "/proc"])
def test_where_nothing_can_be_written_the_index_stays_in_memory(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    (tmp_path / "a file").write_text("")
    folder = (tmp_path / below) / "cache"
    monkeypatch.setenv("CONFORMANCE_CACHE", str(folder))

    found = obtained(data)

    assert found.source == MEMORY
    assert re.search(rf"{re.escape(str(folder))}.*set CONFORMANCE_CACHE to a folder that is writable", found.why)
    assert content_of(found.index) == content_of(load_index(data, "train2017", num_classes=4, training=True))


@pytest.mark.skipif(bool(requirements()), reason=requirements())
def test_on_a_full_disk_the_index_stays_in_memory_and_nothing_is_left(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "disk", 16384) as disk:
        monkeypatch.setenv("CONFORMANCE_CACHE", str(disk))
        monkeypatch.setattr(index_cache, "_ALIGNMENT", 4096)  # so that the entry is larger than the disk

        found = obtained(data, training=False)

        assert found.source == MEMORY
        assert "No space left on device" in found.why
        assert list((disk / "indexes").iterdir()) == []


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


def test_the_cache_is_the_users_alone(data: Path, cache: Path) -> None:
    obtained(data)

    modes = [path.stat().st_mode & 0o777 for path in (cache.parent, cache, entry_of(cache))]
    assert modes == [0o700, 0o700, 0o600]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"CONFORMANCE_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/a/indexes"),
        ({"XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/accelerator-conformance/indexes"),
        ({"XDG_CACHE_HOME": "b", "HOME": "/c"}, "/c/.cache/accelerator-conformance/indexes"),
        ({"CONFORMANCE_CACHE": "", "HOME": "/c"}, "/c/.cache/accelerator-conformance/indexes"),
    ],
)
def test_where_the_cache_is(variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFORMANCE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, text in variables.items():
        monkeypatch.setenv(name, text)

    assert str(index_cache.cache_folder()) == expected


@pytest.mark.parametrize(
    "raised",  # by pathlib, before Python 3.10 and since
    [KeyError("getpwuid(): uid not found: 12345"), RuntimeError("Could not determine home directory.")],
)
def test_a_user_without_a_home_is_told_what_to_set(
    data: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception
) -> None:
    def fake_home() -> Path:
        raise raised

    monkeypatch.delenv("CONFORMANCE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", fake_home)

    found = obtained(data)

    assert found.source == MEMORY
    assert "no home folder" in found.why
    assert "set CONFORMANCE_CACHE" in found.why


def test_entries_that_nobody_has_used_for_long_are_removed(data: Path, cache: Path) -> None:
    obtained(data)
    obtained(data, training=False)
    (cache / "notes.txt").write_text("somebody's own")
    for path in cache.iterdir():
        os.utime(str(path), (0, 0))
    obtained(data, training=False)  # used again

    obtained(data, num_classes=5)

    left = {path.name for path in cache.iterdir()}
    kept = {
        Key(key.annotations_sha256, key.training, key.num_classes).name for key in keys(data, (False, 4), (True, 5))
    }
    assert left == {"notes.txt", *kept}


def keys(data: Path, *kinds: tuple[bool, int]) -> list[Key]:
    digest = index_cache.digest_of(data / "annotations" / "instances_train2017.json")
    return [Key(digest, training, num_classes) for training, num_classes in kinds]


def python(code: str, *arguments: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


KILLED = """
import os, sys, time
from pathlib import Path
from trainer.data.index_cache import obtain
def fake_replace(*_):
    print("written", flush=True)
    time.sleep(60)
os.replace = fake_replace
obtain(Path(sys.argv[1]), "train2017", num_classes=4, training=True)
"""


def test_what_a_killed_process_leaves_is_no_entry_and_is_removed_in_time(data: Path, cache: Path) -> None:
    writer = python(KILLED, data)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "written\n"
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    (left,) = cache.iterdir()

    found = obtained(data)

    assert (found.source, found.why) == (BUILT, "")
    assert not left.name.startswith("index-")
    assert left.exists()  # another may be at work in such a folder
    os.utime(str(left), (0, 0))
    obtained(data, num_classes=5)
    assert not left.exists()


RACING = """
import sys
from pathlib import Path
from trainer.data.index_cache import obtain
print("ready", flush=True)
sys.stdin.readline()
found = obtain(Path(sys.argv[1]), "train2017", num_classes=4, training=True)
print(found.source, found.why, found.index.boxes.tobytes().hex(), found.index.labels.tolist(), flush=True)
"""


@pytest.mark.parametrize("damaged", [False, True], ids=["an empty cache", "a damaged entry"])
def test_processes_that_build_at_once_leave_one_sound_entry(data: Path, cache: Path, damaged: bool) -> None:
    index = obtained(data).index
    wanted = f"{index.boxes.tobytes().hex()} {index.labels.tolist()}"
    if damaged:
        flip_a_bit(entry_of(cache))
    else:
        entry_of(cache).rename(cache.parent / "moved")
    racers = [python(RACING, data) for _ in range(3)]
    assert [racer.stdout.readline() for racer in racers if racer.stdout] == ["ready\n"] * 3
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()

    said = [racer.communicate(timeout=60)[0] for racer in racers]

    assert all(line.strip().endswith(wanted) for line in said)
    assert {line.split()[0] for line in said} <= {BUILT, CACHE}
    assert obtained(data).source == CACHE
    assert [path.name for path in cache.iterdir()] == [entry_of(cache).name]


HOLDING = """
import sys
from trainer.data.index_cache import Key, load
index = load(Key("0" * 64, False, 91), "val2017", check=False).index
touched = sum(int(part.view("u1").max()) for part in (index.boxes, index.labels, index.ground_truth.boxes))
print(touched > 0, flush=True)
sys.stdin.readline()
"""


def mapped(pid: int, folder: Path) -> dict[str, int]:
    """Sums of what /proc/PID/smaps says of the files mapped from the folder, in KiB, by its names."""
    sums: dict[str, int] = {"files": 0}
    ours = False
    for line in Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            ours = str(folder) in line
            sums["files"] += ours
        elif ours and value.endswith("kB"):
            sums[name] = sums.get(name, 0) + int(value.split()[0])
    return sums


def test_several_processes_hold_one_copy(cache: Path) -> None:
    index = large_index(40_000)
    store(Key("0" * 64, False, 91), Entry(index, index.image_ids, index.file_names))
    holders = [python(HOLDING) for _ in range(3)]
    assert [holder.stdout.readline() for holder in holders if holder.stdout] == ["True\n"] * 3

    sums = [mapped(holder.pid, cache) for holder in holders]

    for holder in holders:
        holder.communicate("\n", timeout=60)
    read_kib = (index.boxes.nbytes + index.labels.nbytes + index.ground_truth.boxes.nbytes) // 1024  # type: ignore[union-attr]
    assert min(one["files"] for one in sums) == 1
    assert min(one["Rss"] for one in sums) > read_kib > 10_000
    # One copy for all: their shares sum up to what one of them sees, and none has a page to itself.
    assert sum(one["Pss"] for one in sums) < 1.05 * max(one["Rss"] for one in sums)
    assert sum(one["Private_Clean"] + one["Private_Dirty"] for one in sums) < 0.01 * read_kib


def test_an_entry_can_be_mapped_by_those_who_need_not_check_it(data: Path, cache: Path) -> None:
    found = obtained(data)

    entry = load(found.key, "other", check=False)

    assert entry is not None
    assert (entry.index.split, entry.listed_ids.tolist()) == ("other", [7, 3, 12])
    os.truncate(str(entry_of(cache)), entry_of(cache).stat().st_size - 128)
    with pytest.raises(EntryError, match="is damaged: ValueError"):
        load(found.key, "other", check=False)
    assert load(Key("1" * 64, True, 4), "other", check=False) is None
