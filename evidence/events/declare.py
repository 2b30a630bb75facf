"""Registers a dataclass as an event: one kind of line in `rank-NNNN.jsonl`.

    @event("failure")
    @dataclass(frozen=True)
    class Failure: ...

    log.write(Failure("disk", "no space left on device"))
    # {"event":"failure","t_ns":1234,"kind":"disk","message":"no space left on device"}

Every line has `event`, the name of its kind, and `t_ns`, the rank's monotonic clock in ns. Times are ns of that clock.
"""

from __future__ import annotations

from typing import Callable, TypeVar

EVENTS: dict[str, type] = {}
"""The class of each event by its name."""

ONCE: set[str] = set()
"""The names of events that come at most once."""

_C = TypeVar("_C", bound=type)


def event(name: str, *, once: bool = False) -> Callable[[_C], _C]:
    """Register a dataclass as the event of that name."""

    def register(cls: _C) -> _C:
        EVENTS[name] = cls
        cls.event = name  # type: ignore[attr-defined]
        if once:
            ONCE.add(name)
        return cls

    return register
