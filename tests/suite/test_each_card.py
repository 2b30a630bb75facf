"""`--each-card`: one run and one verdict a device, made side by side, and the slow device named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.suite.junit import Session, run_suite
from tests.suite.stored import virtual_bundle

CELL = "virtual-1x1-fp32-bs2"
SIBLINGS = f"test_no_device_is_slower[{CELL}]"
SLOW_DEVICE = "noise = 0.005\n[[fault]]\nkind = 'slow'\nfactor = 1.15\ncards = [6]\n"


def device_run(folder: Path, card: int, step_ms: float = 92.0, found: int | None = None) -> Path:
    """Store a run of one virtual device, which did a step of two images, every seventh of one, in so many ms."""
    bundle = virtual_bundle("1x1", compute_ns=int(step_ms * 1e6))
    bundle.run["cell"]["id"] = bundle.one("start")["cell"] = f"{CELL}-card{card}"
    used = card if found is None else found
    bundle.one("start").update(card=used, serial=f"SIM-{used:04d}")
    for sample in bundle.telemetry:
        sample["card"] = used
    return bundle.write(folder / f"card{card}")


def replayed(folder: Path, *runs: Path, **environment: Any) -> Session:
    options = [f"--replay={run}" for run in runs]
    return run_suite(folder, "--each-card", "-m", "virtual", *options, **environment)


@pytest.fixture(scope="module")
def burnt_in(tmp_path_factory: Any) -> Session:
    folder = Path(str(tmp_path_factory.mktemp("burn-in")))
    plan = folder / "plan.toml"
    plan.write_text(SLOW_DEVICE)
    options = ["-m", "virtual", "--each-card", "--steps", "100", "--scenario", plan, "-n", "2"]
    return run_suite(folder, *options, VIRTUAL_VISIBLE_DEVICES="4,5,6,7")


def test_every_device_is_booted_once_and_has_a_verdict_of_its_own(burnt_in: Session) -> None:
    records = [json.loads((run / "run.json").read_text()) for run in burnt_in.runs]

    assert sorted(record["cell"]["id"] for record in records) == [f"{CELL}-card{card}" for card in (4, 5, 6, 7)]
    outcomes = {card: burnt_in.cases[f"test_p_core[{CELL}-card{card}]"].outcome for card in (4, 5, 6, 7)}
    assert outcomes == {4: "passed", 5: "passed", 6: "failure", 7: "passed"}, burnt_in.output


def test_the_slow_device_is_named_among_its_siblings(burnt_in: Session) -> None:
    case = burnt_in.cases[SIBLINGS]

    assert case.outcome == "failure"
    assert (case.properties["slow"], case.properties["verdict"]) == ("device 6 (SIM-0006)", "fail")
    assert (
        case.properties["cards"] == "device 4 (SIM-0004), device 5 (SIM-0005), device 6 (SIM-0006), device 7 (SIM-0007)"
    )
    assert f"siblings of {CELL}" in burnt_in.output


@pytest.mark.integration
def test_devices_work_side_by_side(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('clock = "real"\n')
    options = ["-m", "virtual", "--each-card", "--steps", "50", "--scenario", plan, "-n", "2"]

    session = run_suite(tmp_path, *options, VIRTUAL_VISIBLE_DEVICES="4,5")

    # To the second, as run.json has it; one after another, each would begin when the one before had ended.
    records = [json.loads((run / "run.json").read_text()) for run in session.runs]
    assert len(records) == 2, session.output
    assert max(record["started_utc"] for record in records) < min(record["ended_utc"] for record in records)


def test_stored_runs_of_eight_devices_are_eight_verdicts(tmp_path: Path) -> None:
    session = replayed(tmp_path, *(device_run(tmp_path, card) for card in range(8)))

    cases = [session.cases[f"test_p_core[{CELL}-card{card}]"] for card in range(8)]
    assert [(case.properties["card"], case.properties["serial"]) for case in cases] == [
        (str(card), f"SIM-{card:04d}") for card in range(8)
    ]
    assert {case.outcome for case in cases} == {session.cases[SIBLINGS].outcome} == {"passed"}
    assert "1 rank on 1 host · device 3 (SIM-0003)" in session.output


def test_without_each_card_they_are_judged_one_by_one(tmp_path: Path) -> None:
    session = run_suite(tmp_path, *(f"--replay={device_run(tmp_path, card)}" for card in range(3)))

    assert SIBLINGS not in session.cases
    assert {f"test_p_core[{CELL}-card{card}]" for card in range(3)} <= set(session.cases)


def test_a_slow_device_fails_the_gate_by_name(tmp_path: Path) -> None:
    runs = [device_run(tmp_path, card, 92.0 if card else 105.0) for card in range(4)]

    session = run_suite(tmp_path, "--each-card", "--gate", *(f"--replay={run}" for run in runs))

    assert session.cases[SIBLINGS].properties["slow"] == "device 0 (SIM-0000)"
    assert session.last_line == f"GATE: FAIL  {CELL}-card0: p_train, p_core; {CELL}: siblings"


def test_two_devices_are_only_recorded_and_stand_in_nobodys_way(tmp_path: Path) -> None:
    runs = [device_run(tmp_path, card) for card in range(2)]

    session = run_suite(tmp_path, "--each-card", "--gate", *(f"--replay={run}" for run in runs))

    assert session.cases[SIBLINGS].outcome == "skipped"
    assert session.last_line.startswith(f"GATE: PASS, simulated  {CELL}-card0, {CELL}-card1; ")


def test_a_run_on_another_device_than_the_asked_one_is_invalid(tmp_path: Path) -> None:
    runs = [device_run(tmp_path, card, found=1 if card == 2 else None) for card in range(4)]

    session = replayed(tmp_path, *runs)

    case = session.cases[f"test_p_core[{CELL}-card2]"]
    assert case.outcome == session.cases[SIBLINGS].outcome == "error"
    assert "found device 1 of node0, expected device 2" in case.message
    assert "device 2 (SIM-0001): its run cannot be compared" in session.cases[SIBLINGS].message
