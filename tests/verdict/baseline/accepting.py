"""Devices with one cell, and several runs of it to accept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

from expected import Cell, Device
from tests.verdict.bundles import Bundle, Plan, a_cell, build

# Every seventh batch is smaller: with such windows all are alike, and the intervals are narrow.
PLAN = Plan(steps=42, window=7)
COMPUTE_NS = (40_000_000, 40_200_000, 39_900_000)

Change = Callable[[int, Bundle], None]


def device_with(cell: Cell, backend: str = "kunlunxin", shapes: Mapping[str, int] | None = None) -> dict[str, Device]:
    """The devices by marker, of which there is one, whose table has one row."""
    device = Device(
        marker=cell.device,
        name="a device",
        vendor="Example",
        backend=backend,
        card_memory_gib=32.0,
        cards_per_host=8,
        environment={},
        source="a table",
        cells=(cell,),
        shapes=shapes,
        path=Path(f"{cell.device}.toml"),
    )
    return {cell.device: device}


def devices_of(plan: Plan, **expectations: Any) -> dict[str, Device]:
    """The device that `plan` runs on, with nothing published but what is given."""
    return device_with(a_cell(plan, **expectations), plan.backend)


def write_runs(
    folder: Path,
    plan: Plan = PLAN,
    compute_ns: Sequence[int] = COMPUTE_NS,
    change: Change = lambda number, bundle: None,
) -> list[Path]:
    """The folders of one run for each of `compute_ns`, with the ids run-0, run-1, ... and one day between them."""
    run_dirs = []
    for number, step_ns in enumerate(compute_ns):
        bundle = build(replace(plan, compute_ns=step_ns))
        bundle.run.update(id=f"run-{number}", started_utc=f"2026-11-{20 + number}T10:00:00+00:00")
        change(number, bundle)
        run_dirs.append(bundle.write(folder / f"run-{number}"))
    return run_dirs
