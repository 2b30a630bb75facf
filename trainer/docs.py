"""Generates tables of docs/ from the declarations in trainer/: `python -m trainer.docs` rewrites them in place.

A table stands between the lines `<!-- trainer.docs NAME -->` and `<!-- end -->` of its page.
"""

from __future__ import annotations

import re
from dataclasses import MISSING
from pathlib import Path
from typing import Callable, Iterable, Mapping, Sequence

import trainer.devices
from evidence.telemetry import READINGS
from evidence.variables.declared import FAMILIES, LOWERING
from trainer.optimizations import OF_THE_ROW, SWITCHED
from trainer.settings import OPTIONS, Option, flag_of, is_repeated, values_of
from trainer.telemetry.base import SOURCES

PAGES = Path(__file__).resolve().parents[1] / "docs"


def options() -> list[str]:
    """Return the table of the trainer's options."""
    rows = [
        (f"`{flag_of(one)}`", _default(one), values_of(one), one.metadata["help"], "yes" * ("user" in one.metadata))
        for one in OPTIONS
    ]
    return _table(("flag", "default", "values", "meaning", "option of pytest"), rows)


def samplers() -> list[str]:
    """Return the table of the sources of telemetry; those of the backends are declared by importing these."""
    trainer.devices.backend_names()
    found = sorted(SOURCES.values(), key=lambda one: one.name)
    rows = [(f"`{one.name}`", one.asked_by, _names(m.name for m in one.metrics), one.known_from) for one in found]
    return _table(("source", "asked by", "reads", "known from"), rows)


def optimizations() -> list[str]:
    """Return the table of the optimization ledger."""
    rows = [
        (f"`{one.name}`", one.allowed, one.what, one.published, f"`{one.proof}`" if one.proof else _NO_PROOF)
        for one in (*SWITCHED, *OF_THE_ROW)
    ]
    return _table(("name", "allowed", "what is done", "in the published runs", "proof"), rows)


def readings() -> list[str]:
    """Return the table of what samplers read."""
    ranges = {one.name: f"{one.low:g} to {one.high:g}" if one.low < one.high else "-" for one in READINGS.values()}
    rows = [(f"`{name}`", one.unit, ranges[name], one.over_time, one.over_devices) for name, one in READINGS.items()]
    return _table(("reading", "unit", "range", "over time", "over devices"), rows)


def variables() -> list[str]:
    """Return the table of the families of environment variables."""
    return _table(("variables", "change", "what"), [(f"`{one.pattern}`", one.changes, one.meaning) for one in FAMILIES])


def lowering() -> list[str]:
    """Return the table of the variables that lower precision."""
    rows = [
        (f"`{one.pattern}`", ", ".join(f"`{value}`" for value in one.harmless if value), one.what, one.source)
        for one in LOWERING
    ]
    return _table(("variable", "harmless values, beside unset and empty", "otherwise", "source"), rows)


TABLES: Mapping[str, tuple[str, Callable[[], list[str]]]] = {
    "options": ("settings.md", options),
    "samplers": ("telemetry.md", samplers),
    "readings": ("telemetry.md", readings),
    "optimizations": ("performance.md", optimizations),
    "variables": ("variables.md", variables),
    "lowering": ("variables.md", lowering),
}
"""By name: the page, and the function that returns the table's lines."""

_NO_PROOF = "none: results differ"


def renewed(name: str) -> tuple[Path, str, str]:
    """Return a table's page, its text, and its text with the table renewed. Raises ValueError without markers."""
    page, lines = PAGES / TABLES[name][0], TABLES[name][1]()
    text = page.read_text(encoding="utf-8")
    head, tail = f"<!-- trainer.docs {name} -->\n", "<!-- end -->\n"
    found = re.search(re.escape(head) + ".*?" + re.escape(tail), text, re.DOTALL)
    if found is None:
        raise ValueError(f"{page}: has no lines {head.strip()} and {tail.strip()}")
    return page, text, text.replace(found.group(), head + "\n".join(lines) + "\n" + tail)


def _default(option: Option) -> str:
    if option.default is MISSING:
        return "required"
    value = ",".join(map(str, option.default)) if is_repeated(option) else option.default
    return f"`{value}`" if value not in ("", None) else "-"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


if __name__ == "__main__":
    for table in TABLES:
        path, _, new = renewed(table)
        path.write_text(new, encoding="utf-8")
