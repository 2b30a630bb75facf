"""Scenario files of the virtual device: its behaviour and planted faults, read strictly from TOML.

A key is declared once: one beside the [[fault]] tables as a field of `Scenario`, one of a fault in `FAULTS`.
"""

from __future__ import annotations

import difflib
import math
import sys
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Callable, Mapping

from evidence.events.links import COLLECTIVES, SEND_RECV
from trainer.errors import DeviceError

if sys.version_info >= (3, 11):  # pragma: no cover - one of the two on each Python
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib

VIRTUAL_HOST = "VIRTUAL_HOST"
"""Environment variable: the name of the host that ranks on this one simulate."""
_REQUIRED = object()


@dataclass(frozen=True)
class Key:
    """A key of the file: the check of its value, in code and in words, its default, and its conversion."""

    accepts: Callable[[Any], bool]
    expected: str
    default: Any = _REQUIRED
    convert: Callable[[Any], Any] = lambda found: found


def _number(low: float, high: float = math.inf, *, above: bool = False, default: Any = _REQUIRED) -> Key:
    def accepts(found: Any) -> bool:
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
            return False
        return (found > low if above else found >= low) and found <= high

    words = f"a number {'>' if above else '>='} {low:g}" + ("" if high == math.inf else f" and <= {high:g}")
    return Key(accepts, words, default, float)


def _whole(low: int, default: Any = _REQUIRED) -> Key:
    return Key(lambda found: type(found) is int and found >= low, f"a whole number >= {low}", default)


def _text(default: Any = _REQUIRED) -> Key:
    return Key(lambda found: isinstance(found, str) and found.strip() != "", "a text that is not blank", default)


def _choice(*words: str, default: Any = _REQUIRED) -> Key:
    return Key(lambda found: found in words, f"one of {', '.join(words)}", default)


def _are_numbers(found: Any) -> bool:
    each_once = isinstance(found, list) and len({repr(number) for number in found}) == len(found)
    return each_once and all(type(number) is int and number >= 0 for number in found)


def _is_pair(found: Any) -> bool:
    return _are_numbers(found) and len(found) == 2


@dataclass(frozen=True)
class Fault:
    """A planted fault: `values` has every key of its kind in FAULTS.

    Without `ranks` it is on all, likewise `cards` and `hosts`.
    """

    kind: str
    values: Mapping[str, Any] = field(hash=False)

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def on(self, rank: int, index: int) -> bool:
        """Whether it is planted on this rank, whose device has this index in its host."""
        ranks, indexes = self.values["ranks"], self.values["cards"]
        return (not ranks or rank in ranks) and (not indexes or index in indexes)


def _key(key: Key) -> Any:
    return field(default=key.default, metadata={"key": key})


@dataclass(frozen=True)
class Scenario:
    """A simulated device; the defaults are those of an empty file.

    A step takes `image_ms` for each image of a device's batch, of which `forward_share` is the forward pass. Its noise
    is Gaussian, AR(1), with the relative standard deviation `noise` and the coefficient `autocorrelation`. Training has
    `memory_gib` in use. An image takes `decode_ms` to decode, `copy_ms` to copy and `evaluate_ms` in evaluation;
    queueing a step takes the host `launch_ms`. An exchange of the links probe takes `link_us`, or `network_us` between
    hosts, and its bytes at `link_gb_per_s`, or `network_gb_per_s`, with the relative noise `link_noise`. Other probes
    find matrix products of `gemm_tflops`, convolutions of `convolution_tflops`, memory of `memory_gb_per_s` and copies
    of `copy_gb_per_s`; no step depends on them. On a real clock `decode_ms` is added to the real time of decoding, and
    copies, evaluation and launches take their real time.
    """

    seed: int = _key(_whole(0, default=0))
    name: str = _key(_text(default="Virtual accelerator"))
    clock: str = _key(_choice("simulated", "real", default="simulated"))
    timing: str = _key(_choice("events", "windows", default="events"))
    image_ms: float = _key(_number(0.1, 60_000, default=50.0))
    noise: float = _key(_number(0, 0.3, default=0.01))
    autocorrelation: float = _key(_number(0, 0.99, default=0.3))
    forward_share: float = _key(_number(0.01, 0.99, default=0.4))
    memory_gib: float = _key(_number(0, default=20.0))
    capacity_gib: float = _key(_number(0, above=True, default=32.0))
    decode_ms: float = _key(_number(0, 60_000, default=0.0))
    copy_ms: float = _key(_number(0, 60_000, default=0.1))
    evaluate_ms: float = _key(_number(0, 60_000, default=20.0))
    launch_ms: float = _key(_number(0, 60_000, default=4.0))
    link_us: float = _key(_number(0, 1e6, default=20.0))
    link_gb_per_s: float = _key(_number(0, 1e5, above=True, default=100.0))
    network_us: float = _key(_number(0, 1e6, default=40.0))
    network_gb_per_s: float = _key(_number(0, 1e5, above=True, default=25.0))
    link_noise: float = _key(_number(0, 0.3, default=0.005))
    gemm_tflops: float = _key(_number(0, above=True, default=20.0))
    convolution_tflops: float = _key(_number(0, above=True, default=15.0))
    memory_gb_per_s: float = _key(_number(0, above=True, default=1500.0))
    copy_gb_per_s: float = _key(_number(0, above=True, default=25.0))
    faults: tuple[Fault, ...] = ()

    def of_kind(self, kind: str, rank: int, index: int) -> list[Fault]:
        """The faults of a kind on a rank, whose device has this index in its host."""
        return [fault for fault in self.faults if fault.kind == kind and fault.on(rank, index)]

    def on_host(self, name: str) -> Scenario:
        """The scenario with the faults that are planted on this host."""
        return replace(self, faults=tuple(one for one in self.faults if not one["hosts"] or name in one["hosts"]))

    def facts(self) -> dict[str, Any]:
        """All of it as JSON can hold it; infinite numbers and NaN are strings."""
        plain = {key: getattr(self, key) for key in SCENARIO}
        faults = [{"kind": fault.kind, **dict(fault.values)} for fault in self.faults]
        return {**plain, "faults": [{key: _in_json(value) for key, value in fault.items()} for fault in faults]}


SCENARIO: Mapping[str, Key] = {one.name: one.metadata["key"] for one in fields(Scenario) if "key" in one.metadata}
"""The keys of a file beside its [[fault]] tables."""

_RANKS = Key(_are_numbers, "an array of different ranks, counted from 0; empty means all", (), tuple)
_DEVICES = Key(_are_numbers, "an array of different devices of a host, counted from 0; empty means all", (), tuple)
_HOSTS = Key(
    lambda found: isinstance(found, list) and all(isinstance(name, str) for name in found),
    "an array of names of hosts; empty means all",
    (),
    tuple,
)
_FLAG = Key(lambda found: isinstance(found, bool), "true or false", False)
_NAME = Key(lambda found: isinstance(found, str), "a name of the catalogue; empty means all", "")
_FACTOR = _number(0, 1000, above=True)
_PART = _choice("copies", "memory", "gemm", "convolution")
_STEP = _whole(0)
_FROM_STEP = _whole(0, default=0)

FAULTS: Mapping[str, Mapping[str, Key]] = {
    kind: {**keys, "ranks": _RANKS, "cards": _DEVICES, "hosts": _HOSTS}
    for kind, keys in {
        "slow": {"factor": _FACTOR, "from_step": _FROM_STEP},
        "stall": {"share": _number(0, 1), "factor": _FACTOR},
        "warmup": {"steps": _whole(1), "factor": _FACTOR, "decay": _FLAG},
        "throttle": {"from_step": _FROM_STEP, "factor": _number(1, 1000, default=1.0), "reason": _text("thermal")},
        "blind_synchronise": {"from_step": _FROM_STEP, "only_training": _FLAG},
        "wrong_clock": {"rate": _number(0.01, 100)},
        "fast_timer": {"factor": _number(1, 1000, above=True)},
        "loss": {
            "value": Key(lambda found: type(found) in (int, float), "a number; nan and inf are some", convert=float),
            "from_step": _FROM_STEP,
        },
        "idle_optimizer": {"from_step": _FROM_STEP},
        "no_backward": {"from_step": _whole(0, default=2)},
        "same_batch": {},
        "no_exchange": {},
        "die": {"step": _STEP},
        "hang": {"step": _STEP},
        "out_of_memory": {"step": _STEP},
        "memory_creep": {"gib_per_step": _number(0, default=0.0), "gib_per_s": _number(0, default=0.0)},
        "card": {
            "name": _text(default=None),
            "capacity_gib": _number(0, above=True, default=None),
            "index": _whole(0, default=None),
        },
        "ecc_errors": {"count": _whole(1, default=1), "corrected": _FLAG, "from_step": _FROM_STEP},
        "retired_pages": {"count": _whole(1, default=1), "from_step": _FROM_STEP},
        "pcie_width": {"lanes": _whole(1), "from_step": _FROM_STEP},
        "pcie_generation": {"generation": _whole(1), "from_step": _FROM_STEP},
        "xid": {"number": _whole(1), "from_step": _FROM_STEP},
        "numerics": {
            "error": _choice(
                *("tf32", "bf16", "int16", "bit", "element", "lane", "tail", "nan", "flush", "ties"),
                *("unordered", "drift"),
            ),
            "operator": _NAME,
            "direction": _NAME,
            "layer": Key(lambda found: isinstance(found, str), "a part of a parameter's name; empty means none", ""),
            "bit": Key(lambda found: type(found) is int and 0 <= found < 32, "a whole number from 0 to 31", 12),
            "rate": _number(0, 1, default=1.0),
        },
        "links": {
            "error": _choice("drop", "swap", "bit", "stale", "fp16", "slow", "late", "hang"),
            "collective": Key(
                lambda found: found in ("", *COLLECTIVES, SEND_RECV), "a collective; empty means all", ""
            ),
            "least_bytes": _whole(0, default=0),
            "pair": Key(_is_pair, "an array of two different ranks", (), tuple),
            "factor": _number(1, 1000, default=3.0),
            "ms": _number(0, 60_000, default=1.0),
            "bit": Key(lambda found: type(found) is int and 0 <= found < 32, "a whole number from 0 to 31", 0),
        },
        "slow_part": {"part": _PART, "factor": _FACTOR},
        "wrong_part": {"part": _PART},
        "overheat": {"after_s": _number(0), "factor": _number(1, 1000), "reason": _text("thermal")},
        "no_samples": {"how": _choice("missing", "failing", default="missing"), "from_step": _FROM_STEP},
    }.items()
}
"""The keys of a [[fault]] table by its kind; steps are counted from 0 at the first step of all, warm-up included."""


def load_scenario(path: Path, *, world_size: int) -> Scenario:
    """Return the scenario of a file, for a run of `world_size` ranks.

    Raises DeviceError naming file and key if one is missing, unknown, out of range, or impossible in the run.
    """
    found = _parse(path)
    tables = found.pop("fault", [])
    scenario = Scenario(**_read(path.name, "", found, SCENARIO), faults=_read_faults(path.name, tables))
    if scenario.memory_gib > scenario.capacity_gib:
        raise _fault(path.name, "memory_gib", scenario.memory_gib, f"at most capacity_gib, {scenario.capacity_gib:g}")
    for number, fault in enumerate(scenario.faults, start=1):
        where = f"fault[{number}]"
        if any(rank >= world_size for rank in fault["ranks"]):
            raise _fault(path.name, f"{where}.ranks", fault["ranks"], f"ranks below {world_size}, the run's ranks")
        if fault.kind == "links" and (fault["error"] in ("swap", "slow")) != bool(fault["pair"]):
            raise _fault(path.name, f"{where}.pair", fault["pair"], "two ranks for swap and slow, and only for those")
        if fault.kind == "links" and any(rank >= world_size for rank in fault["pair"]):
            raise _fault(path.name, f"{where}.pair", fault["pair"], f"ranks below {world_size}, the run's ranks")
        if fault.kind == "fast_timer" and scenario.timing != "events":
            raise _fault(path.name, f"{where}.kind", fault.kind, 'timing = "events" beside it: there is no other timer')
        if fault.kind == "wrong_clock" and scenario.clock != "simulated":
            raise _fault(path.name, f"{where}.kind", fault.kind, 'clock = "simulated": the host\'s own is not altered')
        if fault.kind == "card" and fault["name"] is fault["capacity_gib"] is fault["index"] is None:
            raise _fault(path.name, where, dict(fault.values), "name, capacity_gib or index, to differ in")
        if fault.kind == "memory_creep" and (fault["gib_per_step"] > 0) == (fault["gib_per_s"] > 0):
            raise _fault(path.name, where, dict(fault.values), "gib_per_step or gib_per_s above 0, one of the two")
    return scenario


def _parse(path: Path) -> dict[str, Any]:
    try:
        return dict(tomllib.loads(path.read_bytes().decode("utf-8-sig")))
    except OSError as error:
        raise DeviceError(f"{path}: cannot be read: {error.strerror}; --scenario names a TOML file") from None
    except (ValueError, RecursionError) as error:
        raise DeviceError(f"{path}: is not valid TOML: {error}") from None


def _read_faults(file: str, tables: Any) -> tuple[Fault, ...]:
    if not isinstance(tables, list):
        raise _fault(file, "fault", tables, "[[fault]], with two brackets, for each")
    faults = []
    for number, found in enumerate(tables, start=1):
        where = f"fault[{number}]"
        if not isinstance(found, dict):
            raise _fault(file, where, found, "a table")
        kind = found.get("kind")
        if not isinstance(kind, str) or kind not in FAULTS:
            raise _fault(file, f"{where}.kind", kind, f"one of {', '.join(FAULTS)}")
        values = {key: value for key, value in found.items() if key != "kind"}
        faults.append(Fault(kind, _read(file, f"{where}.", values, FAULTS[kind])))
    return tuple(faults)


def _read(file: str, where: str, found: Mapping[str, Any], keys: Mapping[str, Key]) -> dict[str, Any]:
    """Return a value for every one of `keys`; `where` is the prefix of a key in messages."""
    for name in found:
        if name not in keys:
            near = difflib.get_close_matches(name.lower(), keys, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            allowed = ", ".join((*keys, "fault") if keys is SCENARIO else keys)
            raise DeviceError(f"{file}: {where}{name!r}: unknown key{hint} (allowed here: {allowed})")
    values: dict[str, Any] = {}
    for name, key in keys.items():
        if name not in found:
            if key.default is _REQUIRED:
                raise DeviceError(f"{file}: {where}{name}: missing; expected {key.expected}")
            values[name] = key.default
        elif not key.accepts(found[name]):
            raise _fault(file, f"{where}{name}", found[name], key.expected)
        else:
            values[name] = key.convert(found[name])
    return values


def _fault(file: str, key: str, found: Any, expected: str) -> DeviceError:
    text = repr(found)
    return DeviceError(f"{file}: {key}: found {text if len(text) <= 60 else text[:57] + '...'}, expected {expected}")


def _in_json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
