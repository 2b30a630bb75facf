"""The ranks of a host share one index, and whatever local rank 0 finds wrong with the data every rank says."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.forked import run_two_ranks
from tests.trainer.data.test_index_cache import content_of
from tests.trainer.small import small_settings
from trainer.data import index_cache, indexes
from trainer.data.coco import load_index
from trainer.data.index_cache import TRAIN, VAL
from trainer.data.indexes import read_indexes
from trainer.data.loader import build_loaders
from trainer.devices import load_backend
from trainer.errors import DataError
from trainer.ranks import HostGroup, Ranks
from trainer.settings import Settings


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; the folder of its entries."""
    monkeypatch.setenv("CONFORMANCE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "indexes"


def report(settings: Settings, group: HostGroup) -> dict[str, Any]:
    """What a rank makes of its data: facts and a digest of both indexes, or the error that it ends with."""
    try:
        found = read_indexes(settings, group)
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}
    same = [
        content_of(index) == content_of(load_index(settings.data, split, num_classes=4, training=split == TRAIN))
        for index, split in ((found.train, TRAIN), (found.val, VAL))
    ]
    files = [settings.data / "annotations" / f"instances_{split}.json" for split in (TRAIN, VAL)]
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return {
        "source": found.source,
        "why": found.why,
        "same": [*same, list(found.annotations_sha256) == digests],
        "unavailable": found.unavailable(),
    }


def fake_memory_error(*_: Any, **__: Any) -> None:
    raise MemoryError("no room")


def rank_of(rank: int, port: int, folder: str, hosts: int) -> None:
    """One rank of two, on one host or two: reads the data of each case in turn and writes down what it found."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    root = Path(folder)
    ranks = Ranks(rank, 0, 2, 1, rank) if hosts == 2 else Ranks(rank, rank, 2, 2, 0)
    group = HostGroup(ranks)
    group.join(load_backend("cpu"))
    settings = small_settings(root / "data", root)
    found = {}

    def case(name: str, settings: Settings = settings, cache: str = "cache") -> None:
        # A cache of its own for each of two hosts, as they would have.
        os.environ["CONFORMANCE_CACHE"] = str(root / f"{cache}-{ranks.node}")
        group.barrier()
        found[name] = report(settings, group)

    digest_of = index_cache.digest_of
    if ranks.local_rank:  # a file of hundreds of MB is hashed once a host
        index_cache.digest_of = indexes.digest_of = fake_memory_error  # type: ignore[assignment]
    case("first")
    case("second")
    case("switched off", small_settings(root / "data", root, without=("cached_index",)))
    index_cache.digest_of = indexes.digest_of = digest_of
    case("nowhere to write", cache="file/cache")
    case("missing", small_settings(root / "missing", root))
    case("missing on the second host", small_settings(root / f"only-{ranks.node}", root))
    if rank == 0:
        index_cache.read_annotations = fake_memory_error  # type: ignore[assignment]
    case("out of memory", cache="another")
    load = index_cache.load
    indexes.load = lambda key, split: None
    case("an entry that is gone")
    indexes.load = load
    case("last")
    group.leave()
    (root / f"found-{rank}.json").write_text(json.dumps(found))


def of_two_ranks(shapes: Path, root: Path, hosts: int) -> tuple[dict[str, Any], dict[str, Any]]:
    shutil.copytree(str(shapes), str(root / "data"))
    (root / "only-0").symlink_to(root / "data")
    (root / "file").write_text("")
    (root / "file-0").write_text("")
    run_two_ranks("tests.trainer.test_indexes:rank_of", str(root), hosts, folder=root)
    zero, one = (json.loads((root / f"found-{rank}.json").read_text()) for rank in (0, 1))
    return zero, one


def test_two_ranks_of_a_host_share_what_local_rank_0_has_found(shapes: Path, tmp_path: Path) -> None:
    zero, one = of_two_ranks(shapes, tmp_path, hosts=1)

    sound = {"why": "", "same": [True] * 3, "unavailable": {}}
    assert (zero["first"], one["first"]) == ({"source": "built", **sound}, {"source": "cache", **sound})
    assert zero["second"] == one["second"] == zero["last"] == one["last"] == {"source": "cache", **sound}
    assert zero["switched off"] == one["switched off"]
    assert zero["switched off"] == {**sound, "source": "memory", "why": "switched off"}
    assert zero["nowhere to write"] == one["nowhere to write"]
    assert zero["nowhere to write"]["source"] == "memory"
    assert zero["nowhere to write"]["same"] == [True] * 3
    assert "file/cache-0" in zero["nowhere to write"]["why"]
    assert zero["nowhere to write"]["unavailable"] == {"cached_index": zero["nowhere to write"]["why"]}
    assert zero["missing"] == one["missing"]
    assert zero["missing"]["message"].startswith(f"data folder {tmp_path}/missing does not exist")
    assert zero["out of memory"] == {"error": "MemoryError", "message": "no room"}
    assert one["out of memory"] == {"error": "DataError", "message": "the index was not made: MemoryError: no room"}
    gone = one["an entry that is gone"]
    assert (gone["source"], gone["same"]) == ("memory", [True] * 3)
    assert gone["why"] == "the entry of train2017 was removed meanwhile; the entry of val2017 was removed meanwhile"


def test_each_host_has_an_index_and_all_end_when_one_has_no_data(shapes: Path, tmp_path: Path) -> None:
    zero, one = of_two_ranks(shapes, tmp_path, hosts=2)

    assert zero["first"]["source"] == one["first"]["source"] == "built"
    assert len(list((tmp_path / "cache-0" / "indexes").iterdir())) == 2
    assert len(list((tmp_path / "cache-1" / "indexes").iterdir())) == 2
    wrong = f"data folder {tmp_path}/only-1 does not exist; it should be COCO's root, with train2017/ and annotations/"
    assert one["missing on the second host"] == {"error": "DataError", "message": wrong}
    assert zero["missing on the second host"] == {
        "error": "DataError",
        "message": f"on the host of rank 1: {wrong}",
    }
    # Where both know a reason of their own, each tells that one.
    assert zero["missing"] == one["missing"]
    assert zero["missing"]["message"].startswith("data folder")


def test_the_loaders_are_the_same_from_either_index(shapes: Path, tmp_path: Path, cache: Path) -> None:
    def batches(**changes: Any) -> tuple[list[Any], Any]:
        loaders = build_loaders(small_settings(shapes, tmp_path, **changes), rank=0, world_size=1, pin_memory=False)
        read = [batch for loader in (loaders.train, loaders.val) for batch in loader]
        return [(batch.pixels.tolist(), batch.boxes.tolist(), batch.table.tolist()) for batch in read], loaders

    parsed, loaders = batches(without=("cached_index",))
    built, _ = batches()
    cached, of_cache = batches()

    assert parsed == built == cached
    assert (loaders.data_set.index["source"], of_cache.data_set.index["source"]) == ("memory", "cache")
    assert replace(loaders.data_set, index={}) == replace(of_cache.data_set, index={})
    assert (loaders.unavailable, of_cache.unavailable) == ({}, {})


def test_why_an_index_is_not_from_the_cache_is_said(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CONFORMANCE_CACHE", str(tmp_path / "file"))

    found = read_indexes(small_settings(shapes, tmp_path), HostGroup(Ranks()))

    assert capsys.readouterr().err == f"trainer: index: {found.why}\n"
    assert str(tmp_path / "file") in found.why


def test_a_rank_alone_raises_its_own_error(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_indexes(small_settings(tmp_path / "nowhere", tmp_path), HostGroup(Ranks()))
