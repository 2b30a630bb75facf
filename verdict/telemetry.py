"""Samples of the cards' memory, read from telemetry.jsonl and the other hosts' files like it."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterable, Tuple

from verdict.fields import FieldError, decode, number, text, whole
from verdict.jsonlines import Problems, read_objects

if TYPE_CHECKING:
    import numpy as np

Card = Tuple[str, int]
"""(host, index of the card in that host)."""


@dataclass(frozen=True, eq=False)
class CardSamples:
    """What one rank saw of one card: `t_ns` by that rank's clock, int64; `used_gib`, float64, in the same order.

    `total_gib` is the largest total that was reported, None where none was; `sources` the tools that were asked.
    `throttled` has (t_ns, reason) of the samples in which the card said that it had been slowed down.
    """

    card: Card
    rank: int
    sources: tuple[str, ...]
    t_ns: np.ndarray
    used_gib: np.ndarray
    total_gib: float | None
    throttled: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, eq=False)
class Telemetry:
    """All samples, by card and sampling rank, and the samplers' own complaints."""

    cards: tuple[CardSamples, ...]
    errors: tuple[str, ...]


_SAMPLE = {
    "t_ns": whole,
    "host": text,
    "rank": whole,
    "source": text,
    "card": whole,
    "memory_used_gib": number,
}


def read_telemetry(files: Iterable[tuple[Path, Problems]]) -> Telemetry:
    """Read the files together; lines that report a sampler's error are no damage and are kept apart."""
    columns: dict[tuple[str, int, int], dict[str, Any]] = {}
    errors: list[str] = []
    for problems, line, record in ((log, *found) for path, log in files for found in read_objects(path, log)):
        try:
            if "error" in record:
                errors.append(f"{record.get('source', 'sampler')}: {record['error']}")
                continue
            sample = decode(record, _SAMPLE, {"memory_total_gib": number, "throttle": text})
        except FieldError as error:
            problems.add(str(error), line)
            continue
        key = sample["host"], sample["card"], sample["rank"]
        column = columns.setdefault(key, _empty_column())
        column["t_ns"].append(sample["t_ns"])
        column["used"].append(sample["memory_used_gib"])
        column["sources"][sample["source"]] = True
        if sample["throttle"]:
            column["throttled"].append((sample["t_ns"], sample["throttle"]))
        if sample["memory_total_gib"] is not None:
            column["totals"].add(sample["memory_total_gib"])
    return Telemetry(tuple(_samples(*item) for item in sorted(columns.items())), tuple(errors))


def _empty_column() -> dict[str, Any]:
    return {"t_ns": array("q"), "used": array("d"), "totals": set(), "sources": {}, "throttled": []}


def _samples(key: tuple[str, int, int], column: dict[str, Any]) -> CardSamples:
    import numpy as np  # here, so that collecting tests does not pay for it

    host, card, rank = key
    return CardSamples(
        card=(host, card),
        rank=rank,
        sources=tuple(column["sources"]),
        t_ns=np.array(column["t_ns"], dtype=np.int64),
        used_gib=np.array(column["used"], dtype=np.float64),
        total_gib=max(column["totals"], default=None),
        throttled=tuple(column["throttled"]),
    )
