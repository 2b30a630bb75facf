"""Bundles of the cells of the shipped tables."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from expected import Cell, load_devices
from tests.verdict.bundles import Bundle, Plan, build


def bundle_of(marker: str, **changes: Any) -> tuple[Bundle, Cell]:
    """A bundle of the first cell of a shipped table."""
    device = load_devices()[marker]
    cell = device.cells[0]
    plan = Plan(
        topology=cell.topology,
        device=marker,
        backend=device.backend,
        recipe=cell.recipe,
        maps=(cell.recipe.target_map + 0.2,),
        batch_size=cell.batch_size,
        used_gib=1.0,
        **{"steps": 40, **changes},
    )
    bundle = build(plan)
    bundle.run["cell"].update(learning_rate=cell.learning_rate, timing=cell.timing)
    bundle.run["expectation"] = {name: asdict(known) for name, known in cell.expectations.items()}
    for rank in bundle.ranks:
        bundle.one("start", rank)["learning_rate"] = cell.learning_rate
    return bundle, cell
