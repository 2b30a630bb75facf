"""The indexes of both splits for every rank: made once a host by local rank 0, read by the other ranks."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass
from typing import Any

from evidence.events.setup import SWITCHED_OFF
from trainer.cache import CacheError
from trainer.data.annotations import find_annotations
from trainer.data.coco import CocoIndex, load_index
from trainer.data.index_cache import BUILT, CACHE, MEMORY, TRAIN, VAL, Key, Obtained, digest_of, load, obtain
from trainer.errors import DataError
from trainer.ranks import HostGroup
from trainer.settings import Settings

_SPLITS = ((TRAIN, True), (VAL, False))
_OPTIMIZATION = "cached_index"


@dataclass(frozen=True)
class Indexes:
    """The indexes of both splits, their source (CACHE, BUILT or MEMORY), why not the cache, and the time taken.

    `annotations_sha256` are the digests of the annotation files of train and val, taken once on each host.
    """

    train: CocoIndex
    val: CocoIndex
    annotations_sha256: tuple[str, str]
    source: str
    why: str
    seconds: float

    def facts(self) -> dict[str, Any]:
        """For the evidence: all but the indexes themselves."""
        return {"source": self.source, "seconds": self.seconds, "why": self.why}

    def unavailable(self) -> dict[str, str]:
        """Why the optimization `cached_index` was wanted and could not be had, by name."""
        return {_OPTIMIZATION: self.why} if self.source == MEMORY and self.why != SWITCHED_OFF else {}


def read_indexes(settings: Settings, group: HostGroup) -> Indexes:
    """Return the indexes of both splits; a collective call.

    Raises DataError on every rank if local rank 0 of any host finds the data wrong; errors of a rank that has to parse
    the files itself are raised on that rank alone.
    """
    begun_s = time.perf_counter()
    if not settings.uses(_OPTIMIZATION):
        digests = _digests(settings, group)
        train, val = (_parsed(settings, split, training) for split, training in _SPLITS)
        return Indexes(train, val, digests, MEMORY, SWITCHED_OFF, time.perf_counter() - begun_s)
    found = _lead(settings, group) if group.ranks.local_rank == 0 else _follow(settings, group)
    source = next(one for one in (MEMORY, BUILT, CACHE) if one in [part.source for part in found])
    why = "; ".join(sorted({part.why for part in found if part.why}))
    if why:
        print(f"trainer: index: {why}", file=sys.stderr, flush=True)
    digests = found[0].key.annotations_sha256, found[1].key.annotations_sha256
    return Indexes(found[0].index, found[1].index, digests, source, why, time.perf_counter() - begun_s)


def _digests(settings: Settings, group: HostGroup) -> tuple[str, str]:
    """Return the digests of this host's annotation files, which its local rank 0 takes; a collective call."""
    message = None
    if group.ranks.local_rank == 0:
        try:
            taken = [digest_of(find_annotations(settings.data, split)) for split, _ in _SPLITS]
            message = {"node": group.ranks.node, "digests": taken}
        except DataError as error:
            message = {"node": group.ranks.node, "failed": str(error)}
    train, val = _exchange(group, message)["digests"]
    return train, val


def _lead(settings: Settings, group: HostGroup) -> list[Obtained]:
    """Find or build the entries of this host, and send their keys to its other ranks."""
    try:
        found = [
            obtain(settings.data, split, num_classes=settings.num_classes, training=training)
            for split, training in _SPLITS
        ]
    except Exception as error:
        # The other ranks wait for this one, and raise its error too.
        kind = "" if isinstance(error, DataError) else f"the index was not made: {type(error).__name__}: "
        with contextlib.suppress(Exception):
            group.all_gather_json({"node": group.ranks.node, "failed": f"{kind}{error}"})
        raise
    keys = [[part.key.annotations_sha256, part.why if part.source == MEMORY else None] for part in found]
    _exchange(group, {"node": group.ranks.node, "entries": keys})
    return found


def _follow(settings: Settings, group: HostGroup) -> list[Obtained]:
    """Read the entries that local rank 0 of this host has sent; parse the files for those that cannot be read."""
    found = []
    for (split, training), (digest, why) in zip(_SPLITS, _exchange(group, None)["entries"]):
        key, entry = Key(digest, training, settings.num_classes), None
        if why is None:
            try:
                entry, why = load(key, split), f"the entry of {split} was removed meanwhile"
            except CacheError as error:
                why = str(error)
        if entry is not None:
            found.append(Obtained(entry.index, key, CACHE))
        else:
            found.append(Obtained(_parsed(settings, split, training), key, MEMORY, why))
    return found


def _exchange(group: HostGroup, message: dict[str, Any] | None) -> dict[str, Any]:
    """Return the message of local rank 0 of this host. Raises DataError if that of any host has failed."""
    answers = group.all_gather_json(message)
    leaders = [(rank, answer) for rank, answer in enumerate(answers) if answer is not None]
    # This host's own reason first.
    for rank, answer in sorted(leaders, key=lambda leader: leader[1]["node"] != group.ranks.node):
        if "failed" in answer:
            here = answer["node"] == group.ranks.node
            raise DataError(answer["failed"] if here else f"on the host of rank {rank}: {answer['failed']}")
    mine: dict[str, Any] = next(answer for _, answer in leaders if answer["node"] == group.ranks.node)
    return mine


def _parsed(settings: Settings, split: str, training: bool) -> CocoIndex:
    return load_index(settings.data, split, num_classes=settings.num_classes, training=training)
