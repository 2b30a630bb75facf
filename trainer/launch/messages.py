"""What a session and the agents on its hosts say to each other: JSON objects, a line each, over stdin and stdout.

The session's lines: the order first, then `go`, a heartbeat every second, and at the end `stop` or `done`. The agents'
carry the order's token, so that whatever else a login shell or a container prints is not taken for a message.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, Mapping

BEAT_S = 1.0
SILENCE_S = 30.0
"""An agent that has heard nothing for so long ends its ranks: the session or the network to it is gone."""

LINE_BYTES = 32_768
SRUN_LINE_BYTES = 1024
"""The longest line, its end included, that srun does not mix with another task's (Slurm 22.05, measured)."""

_PART_TEXT = 300  # characters of a message in one of its parts: quoting makes two of some


@dataclass(frozen=True)
class Order:
    """What the agents of a run are told; the same for all hosts.

    `flags` are the trainer's. `cards` are those that the run has to use, None for any that is free of `card_count`
    (None: as many as ranks). `shapes` is the generated data set to make where it is missing: its folder and its
    parameters. `files` are small texts that ranks read from the run's folder. `simulated_hosts`: several agents are on
    one host and stand for several.
    """

    token: str
    run_dir: str
    source: str
    flags: list[str]
    backend: str
    nodes: int
    ranks_per_node: int
    data: str
    backbone: str | None = None
    cards: list[str] | None = None
    card_count: int | None = None
    shapes: Mapping[str, Any] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    leases: str | None = None
    lease_wait_s: float = 10.0
    silence_s: float = SILENCE_S
    simulated_hosts: bool = False
    line_bytes: int = LINE_BYTES
    holder: Mapping[str, str] = field(default_factory=dict)

    def line(self) -> str:
        """The order as a line."""
        return line({"order": asdict(self)})

    @classmethod
    def of(cls, record: Any) -> Order:
        """The order in a message. Raises ValueError for one of another version of this program."""
        known = {one.name for one in fields(cls)}
        needed = {one.name for one in fields(cls) if one.default is MISSING and one.default_factory is MISSING}
        if not isinstance(record, dict) or not needed <= set(record) <= known:
            raise ValueError("an order that this version does not know: the hosts have different versions of the suite")
        return cls(**record)


@dataclass(frozen=True)
class Hello:
    """How a host introduced itself; `problems` say what is missing there, `addresses` are [address, prefix length]."""

    node: int
    host: str
    utc_s: float
    pid: int
    source: str
    shared: bool
    port: int
    cards: list[str]
    addresses: list[list[Any]]
    problems: list[str]

    @classmethod
    def of(cls, node: int, record: Mapping[str, Any]) -> Hello:
        """The hello in a message. Raises TypeError for one of another version of this program."""
        return cls(node=node, **record)


def line(message: Mapping[str, Any]) -> str:
    """One message as a line."""
    return json.dumps(message, separators=(",", ":")) + "\n"


def lines(message: Mapping[str, Any], envelope: Mapping[str, Any], longest: int) -> list[str]:
    """The message as one line with `envelope` in it, or as several parts, where it is longer than `longest` bytes."""
    whole = line({**envelope, **message})
    if len(whole) <= longest:
        return [whole]
    text = line(message)
    parts = [text[at : at + _PART_TEXT] for at in range(0, len(text), _PART_TEXT)]
    return [line({**envelope, "part": [number, len(parts)], "of": part}) for number, part in enumerate(parts)]


class Assembler:
    """Puts messages together again whose parts come in order, those of different hosts between one another."""

    def __init__(self) -> None:
        self._open: dict[Any, str] = {}

    def take(self, record: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The whole message that a record is, or is the last part of; None while parts are missing."""
        if "part" not in record:
            return record
        node, place, text = record.get("node"), record["part"], record.get("of")
        if type(node) is not int or not isinstance(text, str) or not isinstance(place, list) or len(place) != 2:
            return None
        self._open[node] = text if place[0] == 0 else self._open.get(node, "") + text
        if place[0] != place[1] - 1:
            return None
        message = parse(self._open.pop(node))
        return None if message is None else {**message, "node": node}


def parse(text: bytes | str) -> dict[str, Any] | None:
    """The message of a line, None where it is none."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None
