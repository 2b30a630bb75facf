"""Sources of telemetry samples: their declaration, running a vendor's tool, matching its devices to those of the run.

To add a management tool, write a module here with an opener decorated by `smi_tool`; nothing else lists it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, List, Mapping, Sequence, TypeVar

from evidence.telemetry import DEVICE_READINGS, Reading
from trainer.errors import DeviceError

T = TypeVar("T")
Samples = List[Dict[str, Any]]
"""Records for telemetry.jsonl; one with the key `error` is a complaint."""

GIB = float(2**30)
MIB_PER_GIB = 1024.0

TOOL_FOLDERS = ("/opt/xre/bin", "/opt/mxdriver/bin", "/usr/local/corex/bin")
"""Where Kunlunxin, MetaX and Iluvatar install their tools; not every image has these folders on PATH."""

_PCI = re.compile(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([0-9a-f]{2})(?:\.([0-7]))?")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_STARTED_EACH_TIME_S = 5.0
_TIMEOUT_S = 10.0
_KILLED_S = 1.0
_SAID_LINES = 2
_SHOWN = 80  # characters of a command in a message


@dataclass(frozen=True)
class Source:
    """A source of samples and its row in docs/telemetry.md: the ranks that read it, and how its format is known."""

    name: str
    metrics: tuple[Reading, ...]
    asked_by: str
    known_from: str


SOURCES: dict[str, Source] = {}
"""Every declared source, by name."""


def declare(name: str, metrics: Sequence[Reading], asked_by: str, known_from: str) -> Source:
    """Return a new source, which is entered into SOURCES."""
    SOURCES[name] = Source(name, tuple(metrics), asked_by, known_from)
    return SOURCES[name]


@dataclass(frozen=True)
class Sampler:
    """`read` returns a source's samples or raises; it is called no more often than every `least_interval_s`."""

    source: Source
    read: Callable[[], Samples]
    least_interval_s: float = 0.0


@dataclass(frozen=True)
class DevicePlace:
    """A device that a rank of this host uses: its index in the host, and PCI address and UUID where they are known.

    Not `is_numbered`: the index is the local rank, as the device was chosen by its UUID.
    """

    index: int
    pci: str | None = None
    uuid: str | None = None
    is_numbered: bool = True


@dataclass(frozen=True)
class Smi:
    """A vendor's management tool.

    `read` returns a record for each device of the host: `card` (the tool's index), `pci`, `uuid` and `name` if it has
    them, metrics, and `complaints` (texts) about that device alone; or a record with `error`. `driver` returns the
    driver's version, `health` records like those of `read` with fields of the event `health`. All raise DeviceError.
    `is_started`: each reading starts a program.
    """

    source: Source
    read: Callable[[], Samples]
    driver: Callable[[], str]
    is_started: bool = True
    health: Callable[[], Samples] | None = None


SMI_TOOLS: dict[str, Callable[[], Smi]] = {}
"""Openers of the tools that a device's table may name under `smi`."""


def smi_tool(source: Source) -> Callable[[Callable[[], Smi]], Callable[[], Smi]]:
    """Register a function that returns the tool of a source, not asked anything yet.

    >>> @smi_tool(declare("some-smi", (), "local rank 0", "its documentation"))
    ... def open_some_smi() -> Smi: ...
    """

    def register(opener: Callable[[], Smi]) -> Callable[[], Smi]:
        SMI_TOOLS[source.name] = opener
        return opener

    return register


class AbsentError(DeviceError):
    """The tool is not installed, or not where it is looked for."""


class RefusedError(DeviceError):
    """The tool ran and refused, or ended with an exit code other than 0; `output` is its standard output."""

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


def run_tool(names: Sequence[str], *arguments: str, timeout_s: float = _TIMEOUT_S) -> str:
    """Return the standard output of the first of `names` that is on PATH, else in TOOL_FOLDERS.

    Raises AbsentError if none is there, DeviceError if it does not answer, both with what to do.
    """
    places = (None, os.pathsep.join(TOOL_FOLDERS))  # None is PATH
    found = next(filter(None, (shutil.which(name, path=place) for place in places for name in names)), None)
    if found is None:
        raise AbsentError(
            f"none of {', '.join(names)} is on PATH or in {', '.join(TOOL_FOLDERS)}; install the vendor's driver "
            "tools, or put their folder on PATH"
        )
    command = [found, *arguments]
    shown = " ".join(command)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."  # the reason behind it has to be seen
    try:
        code, out, err = finish(command, timeout_s)
    except subprocess.TimeoutExpired:
        raise DeviceError(
            f"{shown} did not answer within {timeout_s:g} s; try it by hand: it hangs where the driver does"
        ) from None
    except OSError as error:
        raise DeviceError(f"{shown} could not be started: {error}") from None
    if code != 0:
        # NVIDIA's tool prints errors on its standard output; a loader's warnings may be all that is on the other.
        said = [text for stream in (out, err) for text in stream.strip().splitlines()[-_SAID_LINES:] if text.strip()]
        raise RefusedError(f"{shown} ended with code {code}: {'; '.join(said)}", out)
    return out


def finish(
    command: Sequence[str], timeout_s: float, environment: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Return a program's exit code, standard output and standard error, both without colours.

    What it has started ends with it. A process in a driver that hangs may survive SIGKILL, and is not waited for.
    Raises OSError and TimeoutExpired.
    """
    pipe, none = subprocess.PIPE, subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment, stdin=none, stdout=pipe, stderr=pipe, start_new_session=True)
    try:
        out, err = process.communicate(timeout=timeout_s)
    except BaseException:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_KILLED_S)
        raise
    finally:
        for stream in filter(None, (process.stdout, process.stderr)):
            stream.close()
    said, failed = (_COLOUR.sub("", text.decode("utf-8-sig", "replace")) for text in (out, err))
    return process.returncode, said, failed


def within(patience_s: float, work: Callable[[], T]) -> T:
    """Run `work` with a time limit, which a hanging library is given. Raises what it raises, and TimeoutError."""
    found: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # raised again below
            failed.append(error)

    thread = threading.Thread(target=run, name="a tool", daemon=True)
    thread.start()
    thread.join(patience_s)
    if failed:
        raise failed[0]
    if not found:
        raise TimeoutError(f"the devices' tool did not answer within {patience_s:g} s")
    return found[0]


def device_sampler(smi: Smi, places: Sequence[DevicePlace]) -> Sampler:
    """Return a sampler of these devices of the host.

    A program is started every five seconds at most: starting one takes time from ranks on a host with busy cores.
    """

    def read() -> Samples:
        return matched(smi, smi.read(), places)

    return Sampler(smi.source, read, _STARTED_EACH_TIME_S if smi.is_started else 0.0)


def matched(smi: Smi, records: Sequence[Mapping[str, Any]], places: Sequence[DevicePlace]) -> Samples:
    """Return the tool's record of each place as a sample, and a complaint for each place without a record.

    What the tool could not read of other devices of the host is left out.
    """
    name, metrics = smi.source.name, smi.source.metrics
    listed = [record for record in records if "error" not in record]
    used = [record_of(listed, place)[0] for place in places]
    others = {record.get("card") for record in listed if not any(record is one for one in used)} - {None}
    samples: Samples = [dict(record) for record in records if "error" in record and record.get("card") not in others]
    for place in places:
        record, where = record_of(listed, place)
        if record is None:
            samples.append({"error": f"{name} lists no device {where}; it lists {_listed(listed)}"})
            continue
        kept, complaints = checked(record, metrics, f"{name}, device {place.index},")
        names = {metric.name for metric in metrics}
        readings = {key: value for key, value in kept.items() if key in names}
        samples += [{"error": complaint} for complaint in (*record.get("complaints", ()), *complaints)]
        if readings:
            samples.append({"source": name, "card": place.index, **readings})
    return samples


def record_of(listed: Sequence[Mapping[str, Any]], place: DevicePlace) -> tuple[Mapping[str, Any] | None, str]:
    """Return the tool's record of a place, None without one, and by what the place was looked up, in words.

    By UUID or else PCI address, if the place and any record have it: a tool lists devices in bus order, and a framework
    may use another one (CUDA_DEVICE_ORDER), or be given UUIDs. Else by index: on a host of equal devices all tools
    known here count in bus order; that is untested on vendors other than NVIDIA. A UUID may be shortened, as in
    CUDA_VISIBLE_DEVICES.
    """
    uuid, pci = place.uuid, normal_pci(place.pci)
    if uuid and any(record.get("uuid") for record in listed):
        named = [record for record in listed if str(record.get("uuid", "")).lower().startswith(uuid.lower())]
        if named or pci is None or uuid.startswith("MIG-"):
            return (named[0] if len(named) == 1 else None), uuid
    if pci is not None and any(normal_pci(record.get("pci")) for record in listed):
        return next((record for record in listed if normal_pci(record.get("pci")) == pci), None), f"at {pci}"
    if not place.is_numbered:
        return None, f"{uuid}"
    return next((record for record in listed if record.get("card") == place.index), None), f"{place.index}"


def normal_pci(text: Any) -> str | None:
    """Return a PCI address in the kernel's form, 0000:1b:00.0; None for anything else.

    NVIDIA's tools write the domain in eight digits, and some omit domain or function.
    """
    match = _PCI.fullmatch(text.strip().lower()) if isinstance(text, str) else None
    if match is None:
        return None
    domain, bus, device, function = match.groups()
    return f"{int(domain or '0', 16):04x}:{bus}:{device}.{function or '0'}"


def _listed(records: Sequence[Mapping[str, Any]]) -> str:
    names = [record.get("pci") or record.get("uuid") or record.get("card") for record in records]
    return ", ".join(map(str, names)) or "none"


def device_readings(*names: str) -> tuple[Reading, ...]:
    """Return the declarations of a tool's readings of a device. Raises KeyError for an unknown name."""
    return tuple(DEVICE_READINGS[name] for name in names)


def checked(record: Mapping[str, Any], metrics: Iterable[Reading], who: str) -> tuple[dict[str, Any], list[str]]:
    """Return a tool's record without impossible numbers, and a complaint for each of these."""
    kept, complaints = dict(record), []
    for metric in metrics:
        value = record.get(metric.name)
        if value is None:
            kept.pop(metric.name, None)
        elif metric.over_time != "any" and not metric.low <= value <= metric.high:
            del kept[metric.name]
            complaints.append(
                f"{who} gave {metric.name} {value:g} {metric.unit}, which cannot be; it is not taken "
                f"(expected {metric.low:g} to {metric.high:g})"
            )
    return kept, complaints
