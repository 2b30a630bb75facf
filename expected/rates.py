"""Reads `[[link]]` and `[[peak]]` tables: what links and parts of a device do at most, or were measured to do.

[[link]]
of = "all-reduce"
between = "devices"
value = 467.87
unit = "GB/s"
kind = "measured"
factor = 2.0    # the document prints twice the bus bandwidth of nccl-tests
devices = 8
source = "FlagPerf base/, NVIDIA A100 40G"
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Sequence

from expected.toml_file import POSITIVE, Range, Table

MEASURED, SPECIFICATION = "measured", "specification"
KINDS = (MEASURED, SPECIFICATION)

ONE_WAY, BOTH_WAYS = "one way", "both ways"
DIRECTIONS = (ONE_WAY, BOTH_WAYS)
"""Both ways: the number is the sum of the two."""

DEVICES, HOSTS = "devices", "hosts"
BETWEEN = (DEVICES, HOSTS)
"""Devices of one host, or hosts."""

ALL_REDUCE, SEND_RECV = "all-reduce", "send-recv"
LINKS: Mapping[str, Sequence[str]] = {
    ALL_REDUCE: ("GB/s", "Gb/s"),
    SEND_RECV: ("GB/s", "Gb/s"),
    "host-to-device": ("GB/s",),
    "device-to-host": ("GB/s",),
}
"""What a [[link]] is of, with its units. All-reduce: the bus bandwidth of nccl-tests."""
GEMM = "gemm"
PEAKS: Mapping[str, Sequence[str]] = {
    GEMM: ("TFLOPS",),
    "memory-copy": ("GB/s",),
    "memory": ("GiB",),
}
"""What a [[peak]] is of, with its units. Memory copy: read and written bytes together."""

_KEYS = (
    *("of", "value", "unit", "kind", "source"),
    *("between", "direction", "factor", "pinned", "devices", "buffer_mib", "precision"),
)


@dataclass(frozen=True)
class Rate:
    """A published rate with its definition; `value` and `unit` are as printed, `rate` is in the suite's definition.

    `between` is "devices" or "hosts", "" for what is in one device. `factor` is the printed number over the one of the
    suite's definition. `devices` are those at work at once, `buffer_mib` the size that was moved, `pinned` the memory
    of the host, each None if it is not stated; `precision` is "" for a rate that has none.
    """

    of: str
    value: float
    unit: str
    kind: str
    source: str
    between: str = ""
    direction: str = ONE_WAY
    factor: float = 1.0
    pinned: bool | None = None
    devices: int | None = None
    buffer_mib: float | None = None
    precision: str = ""

    @property
    def rate(self) -> float:
        """The number in one direction and the suite's definition, in GB/s (also of Gb/s), TFLOPS or GiB.

        >>> Rate("send-recv", 515.0, "GB/s", "measured", "a report", "devices", "both ways").rate
        257.5
        """
        one_way = self.value / self.factor / (2 if self.direction == BOTH_WAYS else 1)
        return one_way / 8 if self.unit == "Gb/s" else one_way


def peak_rates(peaks: Mapping[str, float], source: str) -> tuple[Rate, ...]:
    """Return what [peak_tflops] states, by format, as specifications of matrix products."""
    return tuple(
        Rate(GEMM, value, "TFLOPS", SPECIFICATION, source, precision=precision) for precision, value in peaks.items()
    )


def find_rate(rates: Sequence[Rate], of: str, kind: str, **definition: object) -> Rate | None:
    """Return the first rate of that kind whose definition has these values; None without one."""
    for one in rates:
        if (one.of, one.kind) == (of, kind) and all(getattr(one, key) == value for key, value in definition.items()):
            return one
    return None


def read_rates(top: Table) -> tuple[Rate, ...]:
    """Return all [[link]] and [[peak]] rows of a file, in that order. Raises ExpectationError, also for one twice."""
    rates: dict[tuple[object, ...], Rate] = {}
    for key, known in (("link", LINKS), ("peak", PEAKS)):
        for table in top.blocks(key, _KEYS):
            rate = _read_rate(table, known)
            definition = (rate.of, rate.kind, rate.between, rate.pinned, rate.devices, rate.precision)
            if definition in rates:
                raise table.fault("", f"has the definition of another {rate.kind} row; remove one of the two")
            rates[definition] = rate
    return tuple(rates.values())


def _read_rate(table: Table, known: Mapping[str, Sequence[str]]) -> Rate:
    of = table.choice("of", tuple(known))
    if (of in (ALL_REDUCE, SEND_RECV)) != ("between" in table):
        wanted = "missing; expected" if "between" not in table else "belongs to all-reduce and send-recv, which are"
        raise table.fault("between", f"{wanted} one of {', '.join(BETWEEN)}")
    return Rate(
        of=of,
        value=table.number("value", POSITIVE),
        unit=table.choice("unit", known[of]),
        kind=table.choice("kind", KINDS),
        source=table.text("source"),
        between=table.choice("between", BETWEEN) if "between" in table else "",
        direction=table.choice("direction", DIRECTIONS) if "direction" in table else ONE_WAY,
        factor=table.number("factor", POSITIVE) if "factor" in table else 1.0,
        pinned=table.flag("pinned") if "pinned" in table else None,
        devices=table.integer("devices", Range(1)) if "devices" in table else None,
        buffer_mib=table.number("buffer_mib", POSITIVE, "MiB") if "buffer_mib" in table else None,
        precision=table.text("precision") if "precision" in table else "",
    )
