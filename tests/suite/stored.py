"""Stored runs of shipped cells, and site files, for sessions that judge without booting."""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Mapping, Sequence

from evidence.bundle import read_run
from expected import Device
from expected.metrics import COCO_TRAIN_IMAGES
from tests.support import cell_of, device_of
from tests.verdict.bundles import Bundle, Event, Plan, build
from verdict.checks.data import COCO_VAL_IMAGES
from verdict.environment.items import BACKBONE_SHA256, COCO_TRAIN_LISTED
from verdict.judge import judge_run

ALL = ("e2e_time", "p_whole", "p_train", "p_core", "map", "mem")
UNPUBLISHED = ("e2e_time", "p_whole", "p_train", "p_core")
"""What the table of the R300 leaves blank at 1x8."""
EIGHT = "r300-1x8-fp32-bs16"
ONE = "r300-1x1-fp32-bs16"
UNTIL = (datetime.datetime.now(datetime.timezone.utc).date() + datetime.timedelta(days=90)).isoformat()
"""The last day of a waiver that is in force."""
ACCEPTED_ON = "2026-01-03"
"""The newest run behind the values of `site_file`."""


def bundle_of(marker: str, topology: str, **changes: Any) -> Bundle:
    """A run of a shipped cell in which everything is as the cell asks, to be changed at will."""
    cell, device = cell_of(marker, topology), device_of(marker)
    ranks = cell.topology.ranks
    counts = {"train_images": COCO_TRAIN_LISTED, "val_images": COCO_VAL_IMAGES, **(device.shapes or {})}
    together = cell.batch_size * ranks
    of_coco: dict[str, Any] = {
        "steps": COCO_TRAIN_IMAGES // together,
        "unused": COCO_TRAIN_IMAGES % together,
        "uneven": False,
        # Far below what any device's peak allows.
        "compute_ns": 25_000_000 * cell.batch_size,
        "host_ns": 24_000_000 * cell.batch_size,
        "sample_ns": 4_000_000_000,  # of minutes; more samples would only take longer to read
    }
    plan: dict[str, Any] = {
        "topology": cell.topology,
        "protocol": cell.protocol,
        "device": marker,
        "backend": device.backend,
        "recipe": cell.recipe,
        "maps": (cell.recipe.target_map + 0.02,),
        **({"steps": 40} if device.shapes else of_coco),
        "batch_size": cell.batch_size,
        "images_of_rank": counts["val_images"] // ranks,
        "used_gib": 1.0 if marker == "cpu" else 16.0,
    }
    bundle = build(Plan(**{**plan, **changes}))
    bundle.run["cell"].update(learning_rate=cell.learning_rate, timing=cell.timing)
    bundle.run["expectation"] = {name: asdict(known) for name, known in cell.expectations.items()}
    for rank in bundle.ranks:
        bundle.one("start", rank)["learning_rate"] = cell.learning_rate
        train, val = (bundle.one("data", rank)[split] for split in ("train", "val"))
        train.update(images_listed=counts["train_images"])
        val.update(images=counts["val_images"], images_listed=counts["val_images"])
        if device.shapes is None:
            train.update(images=COCO_TRAIN_IMAGES, boxes_listed=860_001, crowds=860_001 - 849_949, categories=80)
            val.update(boxes_listed=36_781, crowds=36_781 - 36_335, categories=80)
        if bundle.one("start", rank)["local_rank"] == 0:
            t_ns = bundle.ranks[rank][0]["t_ns"]
            bundle.ranks[rank].insert(1, {"event": "environment", "t_ns": t_ns, **environment_of(device)})
    return bundle


def virtual_bundle(topology: str, **changes: Any) -> Bundle:
    """A steady run of simulated devices that deliver what their table says: two images a step, every seventh of one."""
    steady = {"protocol": "steady", "steps": 100, "warmup": 20, "window": 7, "compute_ns": 92_000_000}
    tiny = {"pixels": 1024, "proposals": 10, "positives": 1}
    bundle = bundle_of("virtual", topology, simulated=True, **{**steady, **tiny, **changes})
    for rank in bundle.ranks:
        for window in bundle.all("window", rank):
            window["sampled"] = 8 * sum(window["images"])  # what the tiny model's box head is given
    return bundle


def environment_of(device: Device) -> Event:
    """What a host is found to be on which everything is as the device's table states."""
    hardware, software = device.environment["hardware"], device.environment["software"]
    found = {**software, **device.environment.get("packages", {})}
    names = ("python", "torch", "torchvision", "numpy", "pillow")
    packages = {name: found[name].partition(" or ")[0] for name in names if name in found}
    return {
        "machine": {"vendor": "Kunlunxin", "product": "R480-X8"},
        "cards": ["a device", hardware.get("card", "a device")],
        "card_count": 8,
        "card_memory_gib": [32.0] * 8,
        "network": [
            {
                "device": "mlx5_0",
                "port": "1",
                "link_layer": "InfiniBand",
                "rate": "200 Gb/sec (4X HDR)",
                "state": "4: ACTIVE",
            }
        ],
        "os": {"name": "Ubuntu", "version": "20.04", "pretty": "Ubuntu 20.04.6 LTS", "of": "host"},
        **{name: found[name] for name in ("kernel", "driver", "image") if name in found},
        "packages": {**packages, "torch_xmlir": "1.0+e70db8f6"},
        "backbone_sha256": BACKBONE_SHA256 + "0" * 56,
        "absent": {},
    }


def store(folder: Path, marker: str = "r300", topology: str = "1x8", **changes: Any) -> Path:
    """Write a run of a shipped cell into `folder` and return it."""
    return bundle_of(marker, topology, **changes).write(folder)


def rates_of(run_dir: Path, topology: str = "1x1", names: Sequence[str] = UNPUBLISHED[1:]) -> Mapping[str, float]:
    """Return what a run of the R300 delivers where its table is blank: what a site would accept."""
    metrics = judge_run(read_run(run_dir), cell_of("r300", topology)).metrics
    return {name: metrics[name].measured or 0.0 for name in names}


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
                'card = "a device"',
            ]
            blocks += ["[accepted.provenance.versions]", 'python = "3.8"']
    for waiver in waivers:
        blocks += ["[[waiver]]", *(f"{key} = {json.dumps(text)}" for key, text in waiver.items())]
    path.write_text("\n".join(blocks) + "\n")
    return path


def waiver(metric: str, *, until: str = UNTIL, cell: str = EIGHT, ticket: str = "OPS-7") -> dict[str, str]:
    """A waiver as it stands in a baseline file."""
    return {"cell": cell, "metric": metric, "reason": "the new firmware", "ticket": ticket, "until": until}
