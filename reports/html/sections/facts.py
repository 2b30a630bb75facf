"""The facts of a run: deviations from the benchmark, optimizations, hosts and devices, versions, launch and seal."""

from __future__ import annotations

import hashlib
from typing import Any, Iterator

from evidence.bundle import Evidence
from evidence.codec import FieldError, decode
from evidence.events.setup import Optimization, Start
from evidence.files import SEAL_FILE
from evidence.run_file import Launcher, Run
from expected import Device, Recipe, split_place
from expected.metrics import COCO_TRAIN_IMAGES
from expected.recipe import deviations
from reports.html.texts import text
from verdict.checks.data import COCO_VAL_IMAGES
from verdict.judge import Judged
from verdict.lookup import on_other_data

_FINDINGS = {"match": "good", "differs": "bad", "unknown": "warn", "unstated": ""}


def facts_part(judged: Judged) -> dict[str, Any]:
    """Return what `templates/facts.html` takes."""
    evidence = judged.evidence
    return {
        "deviations": list(deviations_of(judged)),
        "optimizations": [_optimization(one) for rank in evidence.ranks for one in rank.optimizations],
        "environment": [{**vars(one), "kind": _FINDINGS.get(one.verdict, "")} for one in judged.environment],
        "cards": [_device(rank, start) for rank, start in evidence.starts],
        "versions": _versions(evidence),
        "launch": [] if evidence.run is None else _launch(evidence.run),
        "problems": evidence.problems,
        "seal": seal_of(judged),
    }


def deviations_of(judged: Judged) -> Iterator[str]:
    """Yield each way in which the run is not the benchmark as the table has it."""
    evidence, device, cell = judged.evidence, judged.device, judged.verdict.cell
    run = evidence.run
    table_id, _ = split_place(cell.id)
    listed = next((one for one in device.cells if one.id == table_id), None)
    recipe = _recipe(run) if listed is None else listed.recipe
    if recipe is None:
        yield "unknown: the recipe in run.json cannot be read"
    else:
        yield from deviations(recipe)
    precisions = sorted({one.precision for one in device.cells if str(one.topology) == cell.topology})
    if precisions and cell.precision not in precisions:
        yield f"precision: {cell.precision}, the table lists {', '.join(precisions)}"
    if run is None:
        return
    if run.protocol != "full":
        yield f"protocol: {run.protocol}, the benchmark's is full: evaluation, then epochs until the target mAP"
    if run.without:
        yield f"optimizations switched off: {', '.join(run.without)}"
    if run.steps is not None:
        yield f"--{'smoke' if run.protocol == 'smoke' else 'steps'}: {run.steps} measured steps, no whole epoch"
    if run.protocol == "smoke":
        yield from _smoke_deviations(evidence, recipe)
    if run.protocol == "full" and recipe is not None and run.epochs is not None and run.epochs < recipe.epochs:
        yield f"--epochs: {run.epochs} at most, the recipe's are {recipe.epochs}"
    yield from _data_deviations(evidence, device, recipe)
    for number, reason in enumerate(run.restarts, start=1):
        yield f"--max-restarts: started again after attempt {number} broke off ({reason})"
    if evidence.simulated:
        yield "device: simulated, there is no hardware behind these numbers"


def _smoke_deviations(evidence: Evidence, recipe: Recipe | None) -> Iterator[str]:
    hosts = [rank.environment for rank in evidence.ranks if rank.environment is not None]
    if recipe is not None and recipe.pretrained_backbone and not any(host.backbone_sha256 for host in hosts):
        yield "weights: drawn from the seed, the benchmark's backbone is trained on ImageNet"
    for sides in dict.fromkeys(start.sides for _, start in evidence.starts if start.sides):
        yield f"image size: sides of {' to '.join(map(str, sides))} pixels, other than the model's"


def _data_deviations(evidence: Evidence, device: Device, recipe: Recipe | None) -> Iterator[str]:
    if on_other_data(evidence, device):
        yield "--data: a data set of the user's own, the table's numbers belong to the generated one"
    found = next((data for rank in evidence.ranks for data in rank.data), None)
    if found is None or recipe is None or recipe.num_classes != Recipe().num_classes:
        return
    if found.train_images != COCO_TRAIN_IMAGES or found.val_images not in (None, COCO_VAL_IMAGES):
        yield (
            f"data: {found.train_images} images to train on and {found.val_images} to evaluate, COCO 2017 has "
            f"{COCO_TRAIN_IMAGES} and {COCO_VAL_IMAGES}"
        )


def _recipe(run: Run | None) -> Recipe | None:
    """Return the recipe of a run whose cell no table has; None if it cannot be read."""
    try:
        return None if run is None else decode(Recipe, run.recipe)
    except FieldError:
        return None


def _optimization(one: Optimization) -> dict[str, Any]:
    state = text("optimizations.on") if one.on else text("optimizations.off") + (f": {one.why}" if one.why else "")
    return {**vars(one), "state": state, "kind": "good" if one.on else ""}


def _device(rank: int, start: Start) -> dict[str, str]:
    return {
        "rank": str(rank),
        "host": start.host,
        "card": str(start.card),
        "name": start.device_name,
        "serial": start.serial or text("value.not_read"),
        "memory": text("value.not_read") if start.capacity_gib is None else f"{start.capacity_gib:.2f}",
        "driver": start.driver or text("value.not_read"),
        "collectives": start.collectives or text("value.not_read"),
        "timing": start.timing,
    }


def _versions(evidence: Evidence) -> list[dict[str, str]]:
    """Return for each package the version on the ranks, and on the launching host; ranks that differ are named."""
    launcher = Launcher() if evidence.run is None else evidence.run.environment
    launching = {"python": launcher.python, **launcher.packages}
    rows = []
    for name in dict.fromkeys([*(name for _, start in evidence.starts for name in start.versions), *launching]):
        found: dict[str, list[int]] = {}
        for rank, start in evidence.starts:
            if name in start.versions:
                found.setdefault(start.versions[name], []).append(rank)
        versions = [one if len(found) == 1 else f"{one} (ranks {_few(of)})" for one, of in found.items()]
        rows.append({"name": name, "ranks": "; ".join(versions) or "-", "launching": str(launching.get(name) or "-")})
    return rows


def _few(ranks: list[int]) -> str:
    shown = ", ".join(map(str, ranks[:8]))
    return shown if len(ranks) <= 8 else f"{shown} and {len(ranks) - 8} more"


def _launch(run: Run) -> list[tuple[str, str]]:
    rows = {
        "run": run.id,
        "started": run.started_utc,
        "ended": run.ended_utc,
        "host": run.environment.host,
        "os": run.environment.os,
        "launcher": run.launcher,
        "exit_code": "" if run.boot.exit_code is None else str(run.boot.exit_code),
        "failed": " - ".join(filter(None, (run.boot.phase, run.boot.message))),
        "command": " ".join(run.command),
    }
    return [(text(f"launch.{name}"), value) for name, value in rows.items() if value]


def seal_of(judged: Judged) -> dict[str, Any]:
    """Return whether the seal holds, as reading the evidence found, and the digest that identifies this bundle."""
    if not judged.evidence.seal:
        ended = judged.evidence.run is None or judged.evidence.run.has_ended
        return {"state": "absent", "kind": "bad" if ended else "", "digest": "", "files": 0}
    broken = any(SEAL_FILE in problem for problem in judged.evidence.problems)
    state, kind = ("broken", "bad") if broken else ("holds", "good")
    digest = hashlib.sha256(judged.evidence.seal).hexdigest()
    return {"state": state, "kind": kind, "digest": digest, "files": len(judged.evidence.seal.splitlines())}
