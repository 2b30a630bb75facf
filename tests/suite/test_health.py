"""The question about the devices' health: a fault fails the gate, and what was not read is in its last line."""

from __future__ import annotations

from pathlib import Path

from tests.suite.junit import run_suite
from tests.suite.stored import virtual_bundle

CELL = "virtual-1x2-fp32-bs2"


def test_a_fault_fails_the_gate_and_is_named_wherever_it_is_shown(tmp_path: Path) -> None:
    bundle = virtual_bundle("1x2")
    bundle.all("health", 1)[1].update(ecc_uncorrected=2)

    session = run_suite(tmp_path, "--gate", f"--replay={bundle.write(tmp_path / 'two')}")

    fault = "device 1 (0000:1b:00.0) of node0: 2 new uncorrected ECC errors in the run, expected none"
    case = session.cases[f"test_health[{CELL}]"]
    assert session.last_line == f"GATE: FAIL  {CELL}: health"
    assert case.outcome == "failure"
    assert f"fail: {fault}" in case.message
    assert (case.properties["verdict"], case.properties["reason"]) == ("fail", fault)
    assert f"{CELL}   fail   {fault}" in session.output


def test_a_run_whose_devices_give_no_readings_passes_and_the_last_line_says_so(tmp_path: Path) -> None:
    bundle = virtual_bundle("1x2")
    for rank in bundle.ranks:
        bundle.drop("health", rank)

    session = run_suite(tmp_path, "--gate", f"--replay={bundle.write(tmp_path / 'two')}")

    case = session.cases[f"test_health[{CELL}]"]
    assert (case.outcome, case.properties["verdict"]) == ("skipped", "recorded")
    assert session.code == 0
    assert session.last_line.startswith(f"GATE: PASS, simulated  {CELL}; health of {CELL} not read; ")
