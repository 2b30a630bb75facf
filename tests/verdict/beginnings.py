"""Runs that have not ended: the first part of a whole one's files, as they are while it goes on."""

from __future__ import annotations

import json
from pathlib import Path

from evidence.seal import write_seal
from tests.verdict.bundles import Bundle


def beginning(whole: Path, folder: Path, share: float) -> Path:
    """Write so much of each file of the run in `whole` into `folder`, up to a byte in a line, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    record = json.loads((whole / "run.json").read_text())
    record.update(boot={}, ended_utc="")
    (folder / "run.json").write_text(json.dumps(record))
    for path in whole.glob("*.jsonl"):
        content = path.read_bytes()
        (folder / path.name).write_bytes(content[: int(len(content) * share)])
    return folder


def stopped(bundle: Bundle, folder: Path, share: float, why: str) -> Path:
    """Write so much of a run that --fail-fast has ended then, and return its folder."""
    whole = bundle.write(folder / "whole")
    run_dir = beginning(whole, folder / "stopped", share)
    record = json.loads((run_dir / "run.json").read_text())
    record.update(boot={"exit_code": None, "failure": None, "stopped": why}, ended_utc="2026-01-01T01:00:00+00:00")
    (run_dir / "run.json").write_text(json.dumps(record))
    write_seal(run_dir)
    return run_dir
