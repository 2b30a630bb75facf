"""Stored runs of shipped cells, and site files, for sessions that judge without booting."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Mapping, Sequence

from tests.support import cell_of, device_of
from tests.verdict.bundles import Bundle, Plan, build
from verdict.identity import COCO_TRAIN_IMAGES, COCO_VAL_IMAGES

ALL = ("e2e_time", "p_whole", "p_train", "p_core", "map", "mem")
UNPUBLISHED = ("e2e_time", "p_whole", "p_train", "p_core")
"""What the table of the R300 leaves blank at 1x8."""
EIGHT = "r300-1x8-fp32-bs16"
ONE = "r300-1x1-fp32-bs16"


def bundle_of(marker: str, topology: str, **changes: Any) -> Bundle:
    """A run of a shipped cell in which everything is as the cell asks, to be changed at will."""
    cell, device = cell_of(marker, topology), device_of(marker)
    ranks = cell.topology.ranks
    plan: dict[str, Any] = {
        "topology": cell.topology,
        "protocol": cell.protocol,
        "device": marker,
        "backend": device.backend,
        "recipe": cell.recipe,
        "maps": (cell.recipe.target_map + 0.02,),
        "steps": 40,
        "batch_size": cell.batch_size,
        "images_of_rank": COCO_VAL_IMAGES // ranks,
        "used_gib": 1.0 if marker == "cpu" else 16.0,
    }
    bundle = build(Plan(**{**plan, **changes}))
    bundle.run["cell"].update(learning_rate=cell.learning_rate, timing=cell.timing)
    bundle.run["expectation"] = {name: asdict(known) for name, known in cell.expectations.items()}
    for rank in bundle.ranks:
        bundle.one("start", rank)["learning_rate"] = cell.learning_rate
        bundle.one("data", rank)["train"]["images"] = COCO_TRAIN_IMAGES
        bundle.one("data", rank)["val"]["images"] = COCO_VAL_IMAGES
    return bundle


def store(folder: Path, marker: str = "r300", topology: str = "1x8", **changes: Any) -> Path:
    """Write a run of a shipped cell into `folder` and return it."""
    return bundle_of(marker, topology, **changes).write(folder)


def site_file(
    path: Path, accepted: Mapping[str, Mapping[str, float]], waivers: Sequence[Mapping[str, str]] = ()
) -> Path:
    """Write a baseline file with values by cell and metric, and waivers; return its path."""
    units = {"e2e_time": "s", "mem": "GiB", "map": "0..1"}
    blocks = ["schema = 1"]
    for cell, values in accepted.items():
        for metric, value in values.items():
            clock = ['clock = "device"'] if metric == "p_core" else []
            unit = units.get(metric, "images/s")
            blocks += ["[[accepted]]", f'cell = "{cell}"', f'metric = "{metric}"', f'unit = "{unit}"', *clock]
            blocks += [f"value = {value}", "tolerance = 0.03", "[accepted.provenance]", 'runs = ["a", "b", "c"]']
            blocks += ['dates = ["2026-01-01", "2026-01-02", "2026-01-03"]', f"measured = [{value}, {value}, {value}]"]
            blocks += [
                "trimmed = []",
                f'protocol = "{"epoch" if cell == ONE else "full"}"',
                "simulated = false",
                'card = "a card"',
            ]
            blocks += ["[accepted.provenance.versions]", 'python = "3.8"']
    for waiver in waivers:
        blocks += ["[[waiver]]", *(f"{key} = {json.dumps(text)}" for key, text in waiver.items())]
    path.write_text("\n".join(blocks) + "\n")
    return path


def waiver(metric: str, *, until: str = "2999-12-31", cell: str = EIGHT, ticket: str = "OPS-7") -> dict[str, str]:
    """A waiver as it stands in a baseline file."""
    return {"cell": cell, "metric": metric, "reason": "the new firmware", "ticket": ticket, "until": until}
