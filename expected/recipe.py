"""Reads a recipe out of a device file, and names what it has other than the benchmark."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Callable

from evidence.variables.declared import LOWERING, lowering
from expected.model import (
    Recipe,
)
from expected.toml_file import Range, Table, describe

_Reader = Callable[[Table, str], Any]


def _integer(low: int) -> _Reader:
    return lambda table, key: table.integer(key, Range(low))


def _number(allowed: Range) -> _Reader:
    return lambda table, key: table.number(key, allowed)


def _read_lowered(parent: Table, key: str) -> tuple[str, ...]:
    """Return a table of variables as NAME=VALUE. Raises ExpectationError for one that is not known to lower precision.

    A comma would end the value in the trainer's flags.
    """
    found = parent.value(key, 'a table of variables, as in { XDNN_CONV_GEMM_DTYPE = "int16" }')
    table = parent.inner(key, found, tuple(found) if isinstance(found, dict) else ("NAME",))
    pairs = {name: table.text(name) for name in table.given()}
    for name, value in pairs.items():
        if lowering(name, value) is None or "," in value:
            raise table.fault(
                name,
                f"found {describe(value)}, which is not known to lower precision; known are "
                f"{', '.join(one.pattern for one in LOWERING)} (docs/variables.md)",
            )
    return tuple(f"{name}={value}" for name, value in sorted(pairs.items()))


_SHARE = Range(0, 1)
_BELOW_ONE = Range(0, 1, high_open=True)
_FACTOR = Range(0, 1, low_open=True)
READERS: dict[str, _Reader] = {
    "model": Table.text,
    "num_classes": _integer(2),  # the background is one of them
    "pretrained_backbone": Table.flag,
    "momentum": _number(_BELOW_ONE),
    "weight_decay": _number(_BELOW_ONE),
    "lr_milestones": lambda table, key: table.integers(key, Range(1)),
    "lr_gamma": _number(_FACTOR),
    "warmup_steps": _integer(0),
    "warmup_factor": _number(_FACTOR),
    "epochs": _integer(1),
    "target_map": _number(_FACTOR),
    "horizontal_flip": _number(_SHARE),
    "aspect_ratio_groups": _integer(1),
    "workers": _integer(0),
    "seed": _integer(0),
    "gradient_clip": _number(Range(0)),
    "tf32": Table.flag,
    "deterministic": Table.flag,
    "cudnn_benchmark": Table.flag,
    "lowered": _read_lowered,
}
"""How each field of a Recipe is read and checked."""


def read_recipe(parent: Table, base: Recipe) -> Recipe:
    """Return `base` with the overrides of the parent's `recipe` table, if any."""
    if "recipe" not in parent:
        return base
    table = parent.table("recipe", tuple(READERS))
    return replace(base, **{key: READERS[key](table, key) for key in table.given()})


def deviations(recipe: Recipe) -> tuple[str, ...]:
    """Return each field in which `recipe` differs from the benchmark's, in words.

    >>> deviations(Recipe(tf32=True))
    ("tf32: true, the benchmark's is false",)
    """
    benchmark = Recipe()
    values = ((field.name, getattr(recipe, field.name), getattr(benchmark, field.name)) for field in fields(Recipe))
    return tuple(
        f"{name}: {_word(own)}, the benchmark's is {_word(usual)}" for name, own, usual in values if own != usual
    )


def _word(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
