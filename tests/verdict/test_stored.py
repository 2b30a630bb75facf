"""Runs that were stored by earlier versions get the verdict that they got then."""

from __future__ import annotations

import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from evidence.bundle import read_run
from evidence.errors import SuiteError
from evidence.verdict import encode_verdict
from expected import load_devices
from tests.support import ROOT
from verdict.judge import judge_run
from verdict.lookup import find_cell

STORED = sorted(path.parent for path in (ROOT / "tests" / "stored").glob("*/verdict.json"))


def judged_again(run_dir: Path) -> dict[str, Any]:
    evidence, devices = read_run(run_dir), load_devices()
    try:
        device, cell = find_cell(evidence, devices)
    except SuiteError:  # run.json cannot be read
        device = devices["virtual"]
        (cell,) = (cell for cell in device.cells if str(cell.topology) == "1x2")
    verdict: dict[str, Any] = json.loads(json.dumps(encode_verdict(judge_run(evidence, cell, backend=device.backend))))
    return verdict


def as_now_said(text: str) -> str:
    """The words of an earlier version in those of today: epochs are counted from 1, and one rank is no "1 ranks"."""
    text = re.sub(r"(after|of) epoch (\d+)", lambda found: f"{found[1]} epoch {int(found[2]) + 1}", text)
    return text.replace("1 ranks", "1 rank")


def in_pieces(reason: str) -> list[Any]:
    """The words of a reason and its numbers, which an earlier version wrote with other digits: 190, 1235, 12440.4."""
    words_and_numbers = re.split(r"(\d+(?: \d{3})*(?:\.\d+)?)", reason)
    return [
        pytest.approx(float(one.replace(" ", "")), rel=5e-4) if number else one
        for one, number in zip(words_and_numbers, itertools.cycle((False, True)))
    ]


def with_a_part_between_runs(metric: dict[str, Any]) -> None:
    """Put into a rate's interval what it has since these runs were stored: 1 % between boots of a real device."""
    if metric["interval"] is not None:
        value, reach = metric["measured"], 1.959964 * 0.01 * metric["measured"]
        low, high = (math.hypot(value - end, reach) for end in metric["interval"])
        metric["interval"] = pytest.approx([value - low, value + high], rel=1e-9)
        metric["method"] = metric["method"].replace("steps; from", "steps and 1% between runs, assumed; from")


@pytest.mark.parametrize("run_dir", STORED, ids=lambda path: path.name)
def test_a_stored_run_gets_the_verdict_that_it_got(run_dir: Path) -> None:
    then = json.loads((run_dir / "verdict.json").read_text(encoding="utf-8"))

    now = judged_again(run_dir)

    for part in ("cell", "simulated", "protocol", "restarts", "outcome", "workload"):
        assert now[part] == then[part], part
    # The order of reasons was that of the table, and is from the worst verdict on.
    pieces = [
        [in_pieces(one) for one in sorted(reasons)] for reasons in (now["reasons"], map(as_now_said, then["reasons"]))
    ]
    assert pieces[0] == pieces[1]
    # Later versions say more: what to know beside a verdict, and what was measured besides.
    notes = {name: metric.pop("note") for name, metric in now["metrics"].items() if "note" in metric}
    for name, note in notes.items():
        now["metrics"][name]["reason"] = now["metrics"][name]["reason"][: -len(f"; {note}")]
    for metric in now["metrics"].values():
        advised = max(metric.pop("more_steps", 0), metric.pop("boots", 0))
        assert not advised or str(advised) in metric["reason"]
    for metric in then["metrics"].values():
        metric.update(reason=as_now_said(metric["reason"]), method=as_now_said(metric["method"]))
    for metric in (*then["metrics"].values(), *now["metrics"].values()):
        metric["reason"] = in_pieces(metric["reason"])
    if not then["simulated"]:
        for metric in then["metrics"].values():
            with_a_part_between_runs(metric)
    assert now["metrics"] == then["metrics"]
    full = run_dir.name == "cpu-full"
    assert set(notes) == ({"map"} if full else set())
    assert {name: one["measured"] for name, one in now.get("further", {}).items()} == (
        {"epochs_to_target": 3.0} if full else {}
    )


def test_a_dozen_runs_are_stored_of_all_kinds() -> None:
    outcomes = [json.loads((one / "verdict.json").read_text(encoding="utf-8"))["outcome"] for one in STORED]

    assert len(outcomes) == 17
    assert {"pass", "fail", "inconclusive", "invalid", "recorded", "missing"} == set(outcomes)
