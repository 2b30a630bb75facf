"""Adds accepted values to a site's baseline file, and leaves everything else in it as it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Mapping

from evidence.files import write_whole
from expected import METRICS, Device, Site, load_site
from expected.site import SITE_SCHEMA, check_site
from expected.toml_file import parse_toml
from verdict.baseline.accept import Acceptance
from verdict.baseline.spread import AcceptedValue, AcceptError

_HEAD = f"# What this site holds its runs against where the vendor publishes nothing.\nschema = {SITE_SCHEMA}\n"


def add_accepted(path: Path, acceptance: Acceptance, devices: Mapping[str, Device]) -> Site:
    """Append the values to the file at `path`, which is made if it is not there, and return what the file then says.

    A reader finds the old file or the new, never half. Raises AcceptError for a file that has accepted values of the
    cell already or cannot be written, ExpectationError for one that is no baseline.
    """
    path = Path(os.path.realpath(str(path)))  # what a link points to is replaced, not the link
    before = _HEAD
    if path.exists():
        _refuse_second(load_site(path, devices), acceptance.cell.id)
        before = path.read_bytes().decode("utf-8")
    content = before + ("" if before.endswith("\n") else "\n") + "\n" + to_toml(acceptance)
    site = check_site(parse_toml(content.encode("utf-8"), path), path, devices)
    try:
        write_whole(path, content)
    except OSError as error:
        raise AcceptError(f"{path}: cannot be written: {error.strerror or error}") from error
    return site


def to_toml(acceptance: Acceptance) -> str:
    """The values as [[accepted]] blocks."""
    import tomli_w  # here, so that judging does without it

    return tomli_w.dumps({"accepted": [_block(acceptance, value) for value in acceptance.values]})


def _block(acceptance: Acceptance, value: AcceptedValue) -> dict[str, Any]:
    # Every fact below is the same for all runs, or they would not have been accepted together.
    origin = acceptance.runs[0]
    return {
        "cell": acceptance.cell.id,
        "metric": value.metric,
        "unit": METRICS[value.metric].unit,
        "value": value.value,
        "tolerance": value.tolerance,
        **({"clock": "device"} if value.metric == "p_core" else {}),
        "provenance": {
            "protocol": origin.protocol,
            "simulated": origin.simulated,
            "card": origin.card,
            **({"driver": origin.driver} if origin.driver else {}),
            "runs": [run.run for run in acceptance.runs],
            "dates": [run.started_utc for run in acceptance.runs],
            "measured": [value.readings[run.run] for run in acceptance.runs],
            "trimmed": list(value.trimmed),
            "versions": dict(origin.versions),
        },
    }


def _refuse_second(site: Site, cell_id: str) -> None:
    blocks = [
        f"accepted[{number}] ({metric})"
        for number, (cell, metric) in enumerate(site.accepted, start=1)
        if cell == cell_id
    ]
    if blocks:
        raise AcceptError(
            f"{site.path}: found accepted values of {cell_id} already; delete {', '.join(blocks)}, counted from the "
            "top of the file, and accept again"
        )
