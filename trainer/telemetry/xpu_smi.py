"""Kunlunxin's `xpu_smi`: memory, power, use and temperature of every device, with its address, serial and model.

`xpu_smi -m` prints a line a device. Its columns are those of a listing of a P800; of older tools only power, memory and
use are known to be in the same ones. Plain `xpu_smi` prints versions and a table of the devices. What one device's line
does not have is reported and left out, and takes nothing from the other devices.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from evidence.telemetry import DEVICE_READINGS
from trainer.errors import DeviceError
from trainer.telemetry.base import MIB_PER_GIB, Samples, Smi, declare, device_readings, normal_pci, run_tool, smi_tool

TOOL = ("xpu_smi", "xpu-smi")
XPU_SMI = declare(
    "xpu_smi",
    device_readings("memory_used_gib", "memory_total_gib", "power_w", "use_percent", "temperature_c"),
    "local rank 0; temperature only if its column is certain",
    "listings of a P800 and of an R300; **never tried on a device here**",
)

# Columns of `xpu_smi -m`, counted from 0: 0 PCI address, 1 and 2 indexes, 3 serial, 4 temperature, 8 power, 9 to 14 six
# clocks, of which it is not known which is the cores', 15 and 16 L3, 17 memory used and 18 total (MiB), 19 use, 20
# firmware, then the model in quotes.
_INDEXES, _SERIAL, _POWER, _USED, _TOTAL, _USE = (1, 2), 3, 8, 17, 18, 19
_LEAST_COLUMNS, _READ_COLUMNS = 20, 21
# Older tools have the temperature in column 6, in which a P800 has 0.
_TEMPERATURES = (4, 6)
_COLDEST_C, _HOTTEST_C = 1.0, 130.0
_MOST_W = 2000.0  # more than any device draws; a K200's tool prints milliwatts, which are more than this
_MOST_MIB = DEVICE_READINGS["memory_total_gib"].high * MIB_PER_GIB
_WORDS = re.compile(r'"[^"]*"?|[^\s"]+')
_ABSENT = ("n/a", "na", "-", "--", "unknown", "[n/a]")


@dataclass(frozen=True)
class Row:
    """A device in the table of plain `xpu_smi`."""

    index: int
    pci: str
    model: str
    serial: str


@smi_tool(XPU_SMI)
def open_xpu_smi() -> Smi:
    """Return xpu_smi."""
    return Smi(XPU_SMI, XpuSmi().read, lambda: parse_xpu_driver(run_tool(TOOL)))


class XpuSmi:
    """Reads both listings, and remembers the table."""

    def __init__(self) -> None:
        self._rows: tuple[Row, ...] | None = None
        self._devices: int | None = None

    def read(self) -> Samples:
        """Return a record of every device. Raises DeviceError if the tool is missing, hangs, fails or lists none."""
        text = run_tool(TOOL, "-m")
        complaints: Samples = []
        if self._rows is None:
            try:
                self._rows = parse_xpu_table(run_tool(TOOL))
            except DeviceError as error:
                self._rows = ()
                complaints = [{"error": f"the table of devices was not read: {error}"}]
        return [*self.parse(text, self._rows), *complaints]

    def parse(self, text: str, rows: Sequence[Row] = ()) -> Samples:
        """Return the records of the output of `xpu_smi -m`, and complaints. Raises DeviceError if it lists no device.

        A record has `card`, the tool's index; `pci`, `serial` and `name` if either listing has them; and the readings.
        Lines have no address in some tools: then they are the rows of the table in the same order, or without a table
        counted from 0, and a line of another form makes the order, and so the whole listing, unreadable.
        """
        lines = [words for words in map(_WORDS.findall, text.splitlines()) if words]
        devices = [words for words in lines if normal_pci(words[0]) is not None]
        whole = [words for words in devices or lines if not _is_cut_off(words, devices or lines)]
        if devices and not whole:
            raise DeviceError(f"xpu_smi -m printed no whole line of a device: {text.strip()[:120]!r}")
        if devices:
            places, complaints = _places(whole, rows)
        else:
            self._check_order(lines, whole, rows)
            complaints = []
            places = [_named(row) for row in rows] or [{"card": number} for number in range(len(whole))]
        for words in lines:
            if not any(words is one for one in whole):
                shown = " ".join(words)[:120]
                complaints.append({"error": f"xpu_smi -m printed {shown!r}, which is not a whole line of a device"})
        records = [self._readings(words, place) for words, place in zip(whole, places)]
        return [*(one for of_device in records for one in of_device), *complaints]

    def _check_order(self, lines: Sequence[list[str]], whole: Sequence[list[str]], rows: Sequence[Row]) -> None:
        """Raise DeviceError unless lines without addresses are known to be the devices in their order."""
        if not lines:
            raise DeviceError("xpu_smi -m printed no device")
        for words in lines:
            if words not in whole or (_number(words[_TOTAL]) is None and not _is_absent(words[_TOTAL])):
                raise DeviceError(
                    f"xpu_smi -m printed {' '.join(words)[:120]!r}, which is not a whole line of a device"
                )
        self._devices = len(rows) or self._devices or len(lines)
        if len(lines) != self._devices:
            raise DeviceError(
                f"xpu_smi -m printed {len(lines)} lines without addresses for {self._devices} devices, so that it is "
                "not known whose they are"
            )

    def _readings(self, words: Sequence[str], place: dict[str, Any]) -> Samples:
        """Return a device's record, and a complaint with what its line does not have."""
        record, missing = dict(place), []
        used, total = _number(words[_USED]), _number(words[_TOTAL])
        if used is None or total is None:
            missing.append(f"memory is {words[_USED][:20]!r} of {words[_TOTAL][:20]!r} MiB")
        elif not 0 <= used <= total or not 0 < total <= _MOST_MIB:
            missing.append(f"memory is {used:g} of {total:g} MiB, which cannot be")
        else:
            record.update(memory_used_gib=used / MIB_PER_GIB, memory_total_gib=total / MIB_PER_GIB)
        celsius, why = _temperature(words)
        for name, what, word, low, high, unit in (
            ("power_w", "power", words[_POWER], 0.0, _MOST_W, "W (some tools print mW)"),
            ("use_percent", "use", words[_USE], 0.0, 100.0, "%"),
            ("temperature_c", "temperature", celsius, _COLDEST_C, _HOTTEST_C, "C"),
        ):
            value = _number(word)
            if value is not None and low <= value <= high:
                record[name] = value
            elif word:
                found = f"not within {low:g} and {high:g} {unit}" if value is not None else f"{word[:20]!r}"
                missing.append(f"{what} is {found}")
        if not celsius:
            missing.append(why)
        complaint = f"device {place['card']}: {', '.join(missing)}; not read"
        return [record, *([{"card": place["card"], "error": complaint}] if missing else [])]


def parse_xpu_table(text: str) -> tuple[Row, ...]:
    """Return the devices in the table of plain `xpu_smi`, () without one.

    A row is | DevID | PCI Addr | Model | SN | ... |, whatever the language of its head.
    """
    rows = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        pci = normal_pci(cells[1]) if len(cells) >= 4 else None
        if pci is not None and cells[0].isascii() and cells[0].isdigit():
            rows.append(Row(int(cells[0]), pci, cells[2], cells[3]))
    return tuple(rows)


def parse_xpu_driver(text: str) -> str:
    """Return the version on the line `Driver Version` of plain `xpu_smi`. Raises DeviceError when there is none."""
    for line in text.splitlines():
        _, word, after = line.partition("Driver Version")
        tokens = after.replace("|", " ").replace(":", " ").split()
        if word and tokens and not _is_absent(tokens[0]):
            return tokens[0]
    raise DeviceError("xpu_smi printed no line with a 'Driver Version'")


def _temperature(words: Sequence[str]) -> tuple[str, str]:
    """Return the column that has the temperature, or "" and why it is not known.

    It is the only one that is a possible temperature, or a number that is in both.
    """
    first, second = (words[column] for column in _TEMPERATURES)
    if _is_warm(first) and _is_warm(second) and first != second:
        return "", "temperature is in column 5 or 7, which differ"
    return (second if _is_warm(second) else first), ""


def _named(row: Row) -> dict[str, Any]:
    return {**_without_absent({"pci": row.pci, "serial": row.serial, "name": row.model}), "card": row.index}


def _without_absent(found: Mapping[str, str]) -> dict[str, Any]:
    return {name: text for name, text in found.items() if text and not _is_absent(text)}


def _places(lines: Sequence[list[str]], rows: Sequence[Row]) -> tuple[list[dict[str, Any]], Samples]:
    """Return `card`, `pci`, `serial` and `name` of lines that begin with an address, and complaints.

    The index is the table's DevID, else that of both index columns if these agree, else the first of the two that
    numbers all devices differently, with a complaint. Raises DeviceError if neither does.
    """
    by_pci = {row.pci: row for row in rows}
    pcis = [normal_pci(words[0]) or "" for words in lines]
    complaints: Samples = []
    indexes = [by_pci[pci].index for pci in pcis if pci in by_pci]
    if not len(set(indexes)) == len(indexes) == len(lines):
        first, second = (_whole_numbers([words[column] for words in lines]) for column in _INDEXES)
        indexes = first or second
        if not indexes:
            raise DeviceError("xpu_smi -m numbers its devices neither in column 2 nor in 3")
        if first != second:
            taken = 2 if first else 3
            complaints.append({"error": f"columns 2 and 3 of xpu_smi -m differ; {taken} is taken for the index"})
    places = []
    for words, pci, index in zip(lines, pcis, indexes):
        quoted = [word.strip('"') for word in words if word.startswith('"')]
        known = _named(by_pci[pci]) if pci in by_pci else {}
        own = {"pci": pci, "serial": words[_SERIAL], "name": quoted[0] if quoted else ""}
        places.append({**known, **_without_absent(own), "card": index})
    return places, complaints


def _whole_numbers(words: Sequence[str]) -> list[int]:
    """Return the words as numbers if they are distinct ones; else []."""
    found = [int(word) if word.isascii() and word.isdigit() else -1 for word in words]
    return found if len(set(found)) == len(found) and min(found, default=-1) >= 0 else []


def _is_cut_off(words: Sequence[str], lines: Sequence[Sequence[str]]) -> bool:
    """Whether a line has fewer columns than are read of the others, or ends within the model's quotes."""
    columns = max(_LEAST_COLUMNS, min(_READ_COLUMNS, max(map(len, lines))))
    return len(words) < columns or any(word.startswith('"') and not word.endswith('"', 1) for word in words)


def _number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _is_absent(word: str) -> bool:
    return word.lower() in _ABSENT


def _is_warm(word: str) -> bool:
    value = _number(word)
    return value is not None and _COLDEST_C <= value <= _HOTTEST_C
