"""Samples of devices and hosts in `telemetry.jsonl`, and in the other hosts' files like it."""

from __future__ import annotations

import math
import os
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterable, Mapping, Tuple

from evidence.codec import FieldError, decode_fields, dumps, number, text, whole
from evidence.files import Problems, read_objects

if TYPE_CHECKING:
    import numpy as np

DeviceKey = Tuple[str, int]
"""(host, index of the device in that host)."""


@dataclass(frozen=True)
class Reading:
    """A quantity that samplers read of a device or host.

    `over_time` and `over_cards` are how the samples of a training become one number, and those of several devices:
    "max", "mean" (over time weighted by the time that each sample stands for), "last", or "any" for texts, of which
    each is named. A number outside of `low` to `high` was read from the wrong place.

    """

    name: str
    unit: str
    over_time: str
    over_devices: str
    low: float = 0.0
    high: float = 0.0


DEVICE_READINGS: Mapping[str, Reading] = {
    reading.name: reading
    for reading in (
        Reading("memory_used_gib", "GiB", "max", "max", 0, 4096),
        Reading("memory_total_gib", "GiB", "last", "max", 0, 4096),
        Reading("power_w", "W", "mean", "mean", 0, 10_000),
        Reading("temperature_c", "C", "max", "max", -50, 150),
        Reading("use_percent", "%", "mean", "mean", 0, 100),
        Reading("core_clock_mhz", "MHz", "mean", "mean", 0, 20_000),
        Reading("memory_clock_mhz", "MHz", "mean", "mean", 0, 20_000),
        Reading("throttle", "reason", "any", "any"),
        Reading("clock_reasons", "reason", "any", "any"),
    )
}
HOST_READINGS: Mapping[str, Reading] = {
    reading.name: reading
    for reading in (
        Reading("host_memory_used_gib", "GiB", "max", "max", 0, 2**20),
        Reading("host_memory_total_gib", "GiB", "last", "max", 0, 2**20),
        Reading("host_cpu_percent", "%", "mean", "mean", 0, 100),
        Reading("host_load_1m", "processes", "mean", "mean", 0, 1e6),
        Reading("host_temperature_c", "C", "max", "max", -50, 150),
    )
}
READINGS: Mapping[str, Reading] = {**DEVICE_READINGS, **HOST_READINGS}
_COLUMNS = tuple(one.name for one in DEVICE_READINGS.values() if one.unit not in ("GiB", "reason"))


@dataclass(frozen=True, eq=False)
class DeviceSamples:
    """What one rank saw of one device through one tool: `t_ns` by that rank's clock, int64; `used_gib`, float64.

    `used_gib` is in the same order and NaN where a sample has no memory. `total_gib` is the largest total that was
    reported, None if none was; `sources` has the tool that was asked. `throttled` has (t_ns, reason) of the samples
    in which the device said that it had been slowed down. `readings` has the other columns of CARD_READINGS of which
    there is any number: float64, one entry a sample, NaN where a sample has none.
    """

    card: DeviceKey
    rank: int
    sources: tuple[str, ...]
    t_ns: np.ndarray
    used_gib: np.ndarray
    total_gib: float | None
    throttled: tuple[tuple[int, str], ...] = ()
    readings: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class HostSamples:
    """What one rank saw of its host: `t_ns` by that rank's clock, int64, and the columns of HOST_READINGS."""

    host: str
    rank: int
    sources: tuple[str, ...]
    t_ns: np.ndarray
    readings: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Telemetry:
    """All samples, by device, sampling rank and tool, the samplers' own complaints, and the samples of hosts."""

    cards: tuple[DeviceSamples, ...]
    errors: tuple[str, ...]
    hosts: tuple[HostSamples, ...] = ()


_SAMPLE = {"t_ns": whole, "host": text, "rank": whole, "source": text}
_OF_DEVICE = {
    "card": whole,
    "memory_used_gib": number,
    "memory_total_gib": number,
    "throttle": text,
    **dict.fromkeys(_COLUMNS, number),
}
_OF_HOST = dict.fromkeys(HOST_READINGS, number)


def append_samples(path: Path, samples: Iterable[Mapping[str, Any]]) -> None:
    """Append samples, a line each, in one write: the processes of a host share the file without mixing their lines."""
    lines = "".join(dumps(sample) + "\n" for sample in samples)
    if lines:
        handle = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(handle, lines.encode("utf-8"))
        finally:
            os.close(handle)


def read_telemetry(files: Iterable[tuple[bytes, Problems]]) -> Telemetry:
    """Read the contents of the files together; lines that report a sampler's error are no damage and are kept apart."""
    reader = TelemetryReader()
    for content, problems in files:
        for line, record in read_objects(content, problems):
            reader.take(line, record, problems)
    return reader.so_far()


class TelemetryReader:
    """Takes the lines of all files of a run in any order; damage goes to the problems of the line's file."""

    def __init__(self) -> None:
        self._cards: dict[tuple[str, int, int, str], _Column] = {}
        self._hosts: dict[tuple[str, int, str], _Column] = {}
        self._errors: list[str] = []

    def take(self, line: int, record: dict[str, Any], problems: Problems) -> None:
        """Read one sample."""
        try:
            if "error" in record:
                self._errors.append(f"{record.get('source', 'sampler')}: {record['error']}")
                return
            if any(name in record for name in _OF_HOST):
                sample = decode_fields(record, _SAMPLE, _OF_HOST)
                of_host = sample["host"], sample["rank"], sample["source"]
                seen = self._hosts.setdefault(of_host, _Column(HOST_READINGS))
            else:
                sample = decode_fields(record, {**_SAMPLE, "card": whole}, _OF_DEVICE)
                if all(sample[name] is None for name in ("memory_used_gib", "throttle", *_COLUMNS)):
                    raise FieldError("'memory_used_gib' is missing, and so is every other reading")
                key = sample["host"], sample["card"], sample["rank"], sample["source"]
                seen = self._cards.setdefault(key, _Column(("memory_used_gib", *_COLUMNS)))
        except FieldError as error:
            problems.add(str(error), line)
            return
        seen.take(sample)

    def so_far(self) -> Telemetry:
        """Return everything that was read."""
        return Telemetry(
            tuple(_device_samples(*item) for item in sorted(self._cards.items(), key=_by_key)),
            tuple(self._errors),
            tuple(_host_samples(*item) for item in sorted(self._hosts.items(), key=_by_key)),
        )


def _by_key(item: tuple[Any, _Column]) -> Any:
    return item[0]


class _Column:
    """The samples of one device or host by one rank and tool, while they are read."""

    def __init__(self, names: Iterable[str]) -> None:
        self.t_ns = array("q")
        self.values = {name: array("d") for name in names}
        self.throttled: list[tuple[int, str]] = []
        self.totals: set[float] = set()

    def take(self, sample: dict[str, Any]) -> None:
        """Add one sample; what it does not have is NaN."""
        self.t_ns.append(sample["t_ns"])
        for name, values in self.values.items():
            value = sample[name]
            values.append(math.nan if value is None else value)
        if sample.get("throttle"):
            self.throttled.append((sample["t_ns"], sample["throttle"]))
        if sample.get("memory_total_gib") is not None:
            self.totals.add(sample["memory_total_gib"])

    def arrays(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the times, and the columns in which there is any number."""
        import numpy as np  # here, so that collecting tests does not pay for it

        columns = {name: np.array(values, dtype=np.float64) for name, values in self.values.items()}
        return np.array(self.t_ns, dtype=np.int64), {
            name: column for name, column in columns.items() if not np.isnan(column).all()
        }


def _device_samples(key: tuple[str, int, int, str], column: _Column) -> DeviceSamples:
    import numpy as np  # here, so that collecting tests does not pay for it

    host, card, rank, source = key
    t_ns, columns = column.arrays()
    used_gib = columns.pop("memory_used_gib", None)
    return DeviceSamples(
        card=(host, card),
        rank=rank,
        sources=(source,),
        t_ns=t_ns,
        used_gib=np.full(len(t_ns), np.nan) if used_gib is None else used_gib,
        total_gib=max(column.totals, default=None),
        throttled=tuple(column.throttled),
        readings=columns,
    )


def _host_samples(key: tuple[str, int, str], column: _Column) -> HostSamples:
    host, rank, source = key
    t_ns, columns = column.arrays()
    return HostSamples(host, rank, (source,), t_ns, columns)
