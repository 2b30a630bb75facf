"""Gives each rank the indexes of both splits: read once a host, by its local rank 0, and mapped by the others."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass
from typing import Any

from trainer.data.coco import CocoIndex, load_index
from trainer.data.index_cache import BUILT, CACHE, MEMORY, EntryError, Key, Obtained, load, obtain
from trainer.errors import DataError
from trainer.ranks import HostGroup
from trainer.settings import Settings

TRAIN, VAL = "train2017", "val2017"

_SPLITS = ((TRAIN, True), (VAL, False))
_NAME = "cached_index"
_OFF = "switched off"


@dataclass(frozen=True)
class Indexes:
    """The indexes of both splits, where they came from (CACHE, BUILT or MEMORY), why, and how long it took."""

    train: CocoIndex
    val: CocoIndex
    source: str
    why: str
    seconds: float

    def facts(self) -> dict[str, Any]:
        """For the evidence: all but the indexes themselves."""
        return {"source": self.source, "seconds": self.seconds, "why": self.why}

    def not_here(self) -> dict[str, str]:
        """Why the optimization of that name could not be had, where it was wanted."""
        return {_NAME: self.why} if self.source == MEMORY and self.why != _OFF else {}


def read_indexes(settings: Settings, group: HostGroup) -> Indexes:
    """Return the indexes; every rank of the group has to call this.

    Raises DataError, on every rank, for what local rank 0 of any host has found to be wrong with the data. What a rank
    finds that parses the files for itself, it raises alone.
    """
    begun_s = time.perf_counter()
    if not settings.uses(_NAME):
        train, val = (_parsed(settings, split, training) for split, training in _SPLITS)
        return Indexes(train, val, MEMORY, _OFF, time.perf_counter() - begun_s)
    found = _led(settings, group) if group.ranks.local_rank == 0 else _followed(settings, group)
    source = next(one for one in (MEMORY, BUILT, CACHE) if one in [part.source for part in found])
    why = "; ".join(sorted({part.why for part in found if part.why}))
    if why:
        print(f"trainer: index: {why}", file=sys.stderr, flush=True)
    return Indexes(found[0].index, found[1].index, source, why, time.perf_counter() - begun_s)


def _led(settings: Settings, group: HostGroup) -> list[Obtained]:
    """Find or build the entries of this host, and tell its other ranks."""
    try:
        found = [
            obtain(settings.data, split, num_classes=settings.num_classes, training=training)
            for split, training in _SPLITS
        ]
    except Exception as error:
        # The others wait for this rank, and what it has found is what they have to say as well.
        said = (
            str(error) if isinstance(error, DataError) else f"the index was not made: {type(error).__name__}: {error}"
        )
        with contextlib.suppress(Exception):
            group.all_gather_json({"node": group.ranks.node, "failed": said})
        raise
    told = [[part.key.annotations_sha256, part.why if part.source == MEMORY else None] for part in found]
    _heard(group, {"node": group.ranks.node, "entries": told})
    return found


def _followed(settings: Settings, group: HostGroup) -> list[Obtained]:
    """Map the entries that local rank 0 of this host tells of; what is in no entry this rank parses for itself."""
    found = []
    for (split, training), (digest, why) in zip(_SPLITS, _heard(group, None)["entries"]):
        key, entry = Key(digest, training, settings.num_classes), None
        if why is None:
            try:
                entry, why = load(key, split, check=False), f"the entry of {split} was removed meanwhile"
            except EntryError as error:
                why = str(error)
        if entry is not None:
            found.append(Obtained(entry.index, key, CACHE))
        else:
            found.append(Obtained(_parsed(settings, split, training), key, MEMORY, why))
    return found


def _heard(group: HostGroup, told: dict[str, Any] | None) -> dict[str, Any]:
    """Return what local rank 0 of this host has told. Raises DataError where that of any host has failed."""
    answers = group.all_gather_json(told)
    leaders = [(rank, answer) for rank, answer in enumerate(answers) if answer is not None]
    # This host's own reason first: it is the one that this rank can see for itself.
    for rank, answer in sorted(leaders, key=lambda leader: leader[1]["node"] != group.ranks.node):
        if "failed" in answer:
            here = answer["node"] == group.ranks.node
            raise DataError(answer["failed"] if here else f"on the host of rank {rank}: {answer['failed']}")
    mine: dict[str, Any] = next(answer for _, answer in leaders if answer["node"] == group.ranks.node)
    return mine


def _parsed(settings: Settings, split: str, training: bool) -> CocoIndex:
    return load_index(settings.data, split, num_classes=settings.num_classes, training=training)
