"""What a run stands on: how far it is from the benchmark's recipe, hosts and cards, versions, and the seal."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from pathlib import Path
from typing import Any, Iterator, Mapping

from evidence.bundle import RUN_FILE, Evidence
from evidence.codec import parse_object
from evidence.events import Optimization, Start
from evidence.seal import SEAL_FILE
from expected import Device, Recipe, split_card
from expected.cells import deviations
from verdict.checks.identity import COCO_TRAIN_IMAGES, COCO_VAL_IMAGES
from verdict.environment.findings import EnvironmentFinding, environment_findings
from verdict.lookup import on_other_data

_LONGEST_START = 1 << 20  # bytes; a line that is longer is no rank's introduction
_FINDINGS = {"match": "good", "differs": "bad", "unknown": "warn", "unstated": ""}


def facts_part(evidence: Evidence, verdict: Mapping[str, Any], device: Device) -> dict[str, Any]:
    """What `templates/facts.html` takes."""
    record = _run_file(evidence.path)
    starts = {rank.rank: _start_line(evidence.path / rank.file) for rank in evidence.ranks}
    return {
        "deviations": list(_deviations(evidence, verdict, device)),
        "optimizations": [_optimization(one) for rank in evidence.ranks for one in rank.optimizations],
        "environment": [_finding(one) for one in environment_findings(evidence, device)],
        "cards": [_card(rank, start, starts.get(rank, {})) for rank, start in evidence.starts],
        "versions": _versions(record, starts),
        "launch": _launch(record),
        "problems": list(evidence.problems),
        "seal": _seal(evidence),
    }


def _deviations(evidence: Evidence, verdict: Mapping[str, Any], device: Device) -> Iterator[str]:
    """In words, each way in which the run is not the benchmark as the table has it."""
    run, cell = evidence.run, verdict["cell"]
    table_id, _ = split_card(str(cell["id"]))
    listed = next((one for one in device.cells if one.id == table_id), None)
    recipe = _recipe({} if run is None else run.recipe) if listed is None else listed.recipe
    if recipe is None:
        yield "unknown: the recipe in run.json cannot be read"
    else:
        yield from deviations(recipe)
    precisions = sorted({one.precision for one in device.cells if str(one.topology) == cell["topology"]})
    if precisions and cell["precision"] not in precisions:
        yield f"precision: {cell['precision']}, the table lists {', '.join(precisions)}"
    if run is None:
        return
    if run.protocol != "full":
        yield f"protocol: {run.protocol}, the benchmark's is full: evaluation, then epochs until the target mAP"
    if run.without:
        yield f"optimizations switched off: {', '.join(run.without)}"
    if run.steps is not None:
        yield f"--steps: {run.steps} measured steps, no whole epoch"
    if run.protocol == "full" and recipe is not None and run.epochs is not None and run.epochs < recipe.epochs:
        yield f"--epochs: {run.epochs} at most, the recipe's are {recipe.epochs}"
    yield from _data_deviations(evidence, device, recipe)
    for number, reason in enumerate(run.restarts, start=1):
        yield f"--max-restarts: started again after attempt {number} broke off ({reason})"
    if evidence.simulated:
        yield "device: simulated, there is no hardware behind these numbers"


def _data_deviations(evidence: Evidence, device: Device, recipe: Recipe | None) -> Iterator[str]:
    try:
        if on_other_data(evidence, device):
            yield "--data: a data set of the user's own, the table's numbers belong to the generated one"
    except (OSError, ValueError):
        yield "unknown: whether the table's data set was used; run.json cannot be read"
    found = next((data for rank in evidence.ranks for data in rank.data), None)
    if found is None or recipe is None or recipe.num_classes != Recipe().num_classes:
        return
    if found.train_images != COCO_TRAIN_IMAGES or found.val_images not in (None, COCO_VAL_IMAGES):
        yield (
            f"data: {found.train_images} images to train on and {found.val_images} to evaluate, COCO 2017 has "
            f"{COCO_TRAIN_IMAGES} and {COCO_VAL_IMAGES}"
        )


def _recipe(record: Mapping[str, Any]) -> Recipe | None:
    values: dict[str, Any] = {}
    for field in fields(Recipe):
        value = record.get(field.name)
        values[field.name] = tuple(value) if isinstance(value, list) else value
        usual = type(field.default)
        if not isinstance(values[field.name], (int, float) if usual is float else usual):
            return None
    return Recipe(**values)


def _optimization(one: Optimization) -> dict[str, str]:
    state = "on" if one.on else f"off: {one.why}" if one.why else "off"
    words = {name: getattr(one, name) for name in ("name", "what", "published", "allowed", "proof")}
    return {**words, "state": state, "kind": "good" if one.on else ""}


def _finding(one: EnvironmentFinding) -> dict[str, str]:
    shown = {name: getattr(one, name) for name in ("item", "host", "stated", "found", "verdict", "reason")}
    return {**shown, "kind": _FINDINGS.get(one.verdict, "")}


def _card(rank: int, start: Start, line: Mapping[str, Any]) -> dict[str, str]:
    return {
        "rank": str(rank),
        "host": start.host,
        "card": str(start.card),
        "name": start.device_name,
        "serial": start.serial or "not read",
        "memory": "not read" if start.capacity_gib is None else f"{start.capacity_gib:.2f}",
        "driver": _words(line.get("driver")) or "not read",
        "collectives": _words(line.get("collectives")) or "not read",
        "timing": start.timing,
    }


def _versions(record: Mapping[str, Any], starts: Mapping[int, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Of each package the version that the ranks found, and the launching host's; ranks that differ are named."""
    launching = _table(_table(record.get("environment")).get("packages"))
    launching = {"python": _table(record.get("environment")).get("python"), **launching}
    by_rank = {rank: _table(line.get("versions")) for rank, line in starts.items()}
    names = dict.fromkeys([*(name for versions in by_rank.values() for name in versions), *launching])
    rows = []
    for name in names:
        found: dict[str, list[int]] = {}
        for rank, versions in by_rank.items():
            if versions.get(name) is not None:
                found.setdefault(_words(versions[name]), []).append(rank)
        told = [next(iter(found))] if len(found) == 1 else [f"{text} (ranks {_few(of)})" for text, of in found.items()]
        rows.append(
            {"name": _words(name), "ranks": "; ".join(told) or "-", "launching": _words(launching.get(name)) or "-"}
        )
    return rows


def _few(ranks: list[int]) -> str:
    shown = ", ".join(map(str, ranks[:8]))
    return shown if len(ranks) <= 8 else f"{shown} and {len(ranks) - 8} more"


def _launch(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    environment = _table(record.get("environment"))
    boot = _table(record.get("boot"))
    failure, command = _table(boot.get("failure")), record.get("command")
    words = {
        "run": record.get("id"),
        "started": record.get("started_utc"),
        "ended": record.get("ended_utc"),
        "launched on": environment.get("host"),
        "operating system": environment.get("os"),
        "launcher": record.get("launcher"),
        "exit code": boot.get("exit_code"),
        "failed in": " - ".join(_words(failure.get(name)) for name in ("phase", "message") if failure.get(name)),
        "command on the first host": " ".join(map(_words, command)) if isinstance(command, list) else "",
    }
    return [(name, _words(value)) for name, value in words.items() if value not in (None, "")]


def _seal(evidence: Evidence) -> dict[str, Any]:
    """Whether the seal holds, as reading the evidence found it, and the digest by which this bundle is known."""
    broken = [problem for problem in evidence.problems if SEAL_FILE in problem]
    try:
        content = (evidence.path / SEAL_FILE).read_bytes()
    except OSError:
        return {"state": "not there", "kind": "bad", "digest": "", "files": 0, "broken": broken}
    files = len(content.splitlines())
    state, kind = ("broken", "bad") if broken else ("holds", "good")
    return {
        "state": state,
        "kind": kind,
        "digest": hashlib.sha256(content).hexdigest(),
        "files": files,
        "broken": broken,
    }


def _run_file(path: Path) -> Mapping[str, Any]:
    try:
        return parse_object((path / RUN_FILE).read_bytes())
    except (OSError, ValueError):
        return {}  # what is wrong with it, the evidence's problems say


def _start_line(path: Path) -> Mapping[str, Any]:
    """The first event of a rank as it stands in its file: facts that judging does not need are in it."""
    try:
        with path.open("rb") as stream:
            return parse_object(stream.readline(_LONGEST_START))
    except (OSError, ValueError):
        return {}


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _words(value: Any) -> str:
    return "" if value is None else str(value)
