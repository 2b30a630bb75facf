"""A gated session of a new driver on a machine of eight R300, rehearsed from the tool's listing to the last line."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Mapping

import pytest

from evidence.codec import encode
from evidence.seal import write_seal
from tests.fake_machine import MACHINES
from tests.rehearsal import PROBED_IN_FULL, put_up
from tests.suite.junit import Session, run_suite
from tests.suite.stored import EIGHT, UNPUBLISHED, site_file

DRIVER = "4.0.31"
MACHINE = replace(MACHINES["r300"], driver=DRIVER)
GATED = ["-p", "tests.rehearsal", "-m", "r300", "--topo", "1x8", "--gate", "--under-test", f"driver={DRIVER}"]


PLANTED = {"e2e_time": 16.2, "p_whole": 131.7, "p_train": 157.6, "p_core": 159.3}
"""What the machine delivers: eight devices at 50 ms an image, eight evaluations, and nothing else that takes time."""

PASS = f"GATE: PASS, simulated  {EIGHT}; by baseline of 2026-01-03: {', '.join(PLANTED)} of {EIGHT}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: Any) -> Path:
    return site_file(Path(str(tmp_path_factory.mktemp("site"))) / "site.toml", {EIGHT: PLANTED})


@pytest.fixture(scope="module")
def passed(tmp_path_factory: Any, site: Path) -> Session:
    """The session of the release."""
    folder = Path(str(tmp_path_factory.mktemp("machine")))
    return run_suite(folder / "session", *GATED, "--baseline", site, **put_up(folder / "machine", MACHINE))


@pytest.fixture
def again(passed: Session) -> list[Any]:
    """The arguments that judge its run again."""
    return [*(word for word in GATED if word not in ("--topo", "1x8")), "--replay", passed.runs[0]]


def test_without_the_sites_values_it_is_incomplete(tmp_path: Path, again: list[Any]) -> None:
    session = run_suite(tmp_path, *again)

    blank = ", ".join(UNPUBLISHED)
    claim = f"under test: driver={DRIVER}"
    assert session.last_line == f"GATE: INCOMPLETE  {EIGHT}: {blank} unpublished and no --baseline; {claim}"


def test_probes_that_were_asked_less_than_by_default_are_no_proof(tmp_path: Path, again: list[Any], site: Path) -> None:
    session = run_suite(tmp_path, *again, "--baseline", site, **{PROBED_IN_FULL: "1"})

    less = "; ".join(f"{EIGHT}: {option} quick, not full" for option in ("numerics", "links"))
    assert session.last_line.startswith(f"GATE: INCOMPLETE  {less}; ")
    assert {case.outcome for name, case in session.cases.items() if name.startswith("test_operator[")} == {"passed"}


def test_a_gate_that_asks_less_of_them_does_not_begin(tmp_path: Path, site: Path) -> None:
    machine = put_up(tmp_path / "machine", MACHINE)
    session = run_suite(tmp_path, *GATED, "--links", "quick", "--baseline", site, **{PROBED_IN_FULL: "1"}, **machine)

    assert session.code == 4
    assert not session.runs
    said = f"{EIGHT}: links quick, not full: a gate asks for all of it; leave out --links"
    assert session.last_line == f"GATE: INCOMPLETE  nothing was run: {said}"


def test_a_replay_of_the_release_passes_too(tmp_path: Path, again: list[Any], site: Path) -> None:
    session = run_suite(tmp_path, *again, "--baseline", site)

    day = again[-1].name[:8]
    replayed = f"replayed, run of {day[:4]}-{day[4:6]}-{day[6:]}"
    assert session.last_line == f"{PASS}; {replayed}; under test: driver={DRIVER}"


def test_a_new_driver_on_the_stated_machine_passes(passed: Session) -> None:
    assert passed.last_line == f"{PASS}; under test: driver={DRIVER}", passed.output
    assert passed.code == 0
    outcomes = {case.outcome for name, case in passed.cases.items() if name.startswith("test_environment[")}
    assert outcomes == {"passed"}
    record = json.loads((passed.runs[0] / "run.json").read_text())
    assert record["under_test"] == {"driver": DRIVER}


@pytest.mark.parametrize(
    ("change", "item", "word"),
    [
        ({"driver": "4.0.25"}, "driver", "FAIL"),  # the document's, and not the one under test
        ({"image": ""}, "image", "INCOMPLETE"),
        ({"torch": "1.13.1+cpu"}, "dependencies, torch", "FAIL"),
    ],
)
def test_a_disagreement_of_the_machine_is_no_pass(
    change: Mapping[str, Any], item: str, word: str, tmp_path: Path, again: list[Any], site: Path, monkeypatch: Any
) -> None:
    environment = encode(replace(MACHINE, **change).environment(tmp_path / "machine", monkeypatch))
    run_dir = Path(shutil.copytree(again.pop(), tmp_path / "run"))
    log = run_dir / "rank-0000.jsonl"
    events = [json.loads(line) for line in log.read_text().splitlines()]
    found = [{**event, **environment} if event["event"] == "environment" else event for event in events]
    log.write_text("".join(json.dumps(event) + "\n" for event in found))
    write_seal(run_dir)

    session = run_suite(tmp_path, *again, run_dir, "--baseline", site)

    verb = "unknown" if word == "INCOMPLETE" else "differs"
    line = f"GATE: {word}  {EIGHT}: environment ({item}) {verb}"
    assert session.last_line in (line, f"{line}; under test: driver={DRIVER}")
