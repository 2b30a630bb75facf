"""The tests of the environment in real sessions over stored runs, reported and gated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.suite.junit import Session, run_suite
from tests.suite.stored import EIGHT, ONE, UNTIL, bundle_of, rates_of, site_file

TWO = "r300-2x8-fp32-bs16"


def item(session: Session, name: str, cell: str = EIGHT) -> Any:
    return session.cases[f"test_environment[{cell}-{name}]"]


@pytest.fixture(scope="module")
def other_driver(tmp_path_factory: Any) -> Path:
    """A run on two hosts, one of which has another driver, and the other of which did not tell its kernel."""
    bundle = bundle_of("r300", "2x8")
    for rank in bundle.ranks:  # sixteen have no equal shares of 5,000 images
        bundle.one("eval_end", rank)["images"] = 313 if rank < 8 else 312
    bundle.one("eval_end").update(images_total=5000, images_expected=5000)
    bundle.one("environment", rank=8)["driver"] = "4.0.31<script>\n\x00"
    bundle.one("environment", rank=0).update(kernel=None, absent={"kernel": "no permission"})
    return bundle.write(Path(str(tmp_path_factory.mktemp("runs"))) / "run")


def test_by_default_what_differs_is_reported_and_nothing_fails(tmp_path: Path, other_driver: Path) -> None:
    session = run_suite(tmp_path, "suite/test_environment.py", "--replay", other_driver, "-n", "1")

    assert session.code == 0
    assert item(session, "machine", TWO).outcome == "passed"
    driver = item(session, "driver", TWO)
    assert driver.outcome == "skipped"
    assert driver.properties == {
        "cell": TWO,
        "item": "driver",
        "host": "node0, node1",
        "stated": "4.0.25",
        "found": "node0: 4.0.25; node1: 4.0.31<script>\\x0a\\x00",
        "verdict": "differs",
        "mode": "report",
        "run": driver.properties["run"],
    }
    assert "differs: stated 4.0.25, found 4.0.31<script>\\x0a\\x00 on node1" in driver.message
    assert (
        "environment  driver: stated 4.0.25, found 4.0.31<script>\\x0a\\x00 on node1 (differs)"
        in session.output.splitlines()
    )
    assert "found nothing on node0 (unknown: no permission)" in session.output


def test_strict_fails_it_and_the_gate_with_it(tmp_path: Path, other_driver: Path) -> None:
    session = run_suite(tmp_path, "--gate", "--replay", other_driver)

    assert item(session, "driver", TWO).outcome == "failure"
    assert "missing: kernel unknown" in item(session, "kernel", TWO).message
    assert session.last_line == f"GATE: FAIL  {TWO}: mem; environment (driver) differs"
    assert item(session, "driver", TWO).properties["mode"] == "strict"


def test_a_gate_that_only_reports_the_environment_says_so(tmp_path: Path) -> None:
    bundle = bundle_of("r300", "1x1")
    bundle.drop("environment")
    run_dir = bundle.write(tmp_path / "run")
    site = site_file(tmp_path / "site.toml", {ONE: rates_of(run_dir)})

    session = run_suite(tmp_path, "--gate", "--environment", "report", "--baseline", site, "--replay", run_dir)

    assert session.code == 0
    assert session.last_line.startswith("GATE: PASS, environment not gated  r300-1x1-fp32-bs16; ")
    assert "environment (machine, card, " in session.cases["gate"].properties["environment"]
    assert " unknown" in session.cases["gate"].properties["environment"]
    assert "--environment=report" in session.output


def test_an_invalid_run_is_an_error_of_the_set_up(tmp_path: Path) -> None:
    run_dir = bundle_of("r300", "1x8").write(tmp_path / "run")
    (run_dir / "SHA256SUMS").unlink()

    session = run_suite(tmp_path, "suite/test_environment.py", "--replay", run_dir)

    assert item(session, "driver").outcome == "error"
    assert item(session, "driver").properties["verdict"] == "invalid"


@pytest.fixture(scope="module")
def new_driver(tmp_path_factory: Any) -> Path:
    """A sound run on one device with a driver that is newer than the document's, in an image of an unknown name."""
    bundle = bundle_of("r300", "1x1")
    bundle.one("environment").update(driver="4.0.31", image="", absent={"image": "CONFORMANCE_IMAGE is not set"})
    return bundle.write(Path(str(tmp_path_factory.mktemp("runs"))) / "run")


@pytest.fixture
def site(tmp_path: Path, new_driver: Path) -> Path:
    return site_file(tmp_path / "site.toml", {ONE: rates_of(new_driver)})


IMAGE = "image=pytorch1.12.1-cpu-ubuntu18.04:v0.04"


STATED = f"stated: {IMAGE}"
PASS = f"GATE: PASS  {ONE}; by baseline of 2026-01-03: p_whole, p_train, p_core of {ONE}; replayed, run of 2026-01-01"


def test_what_a_release_changes_is_held_against_its_own_name(tmp_path: Path, new_driver: Path, site: Path) -> None:
    claims = ["--state", IMAGE, "--under-test", "driver=4.0.31"]

    said = run_suite(tmp_path, "--gate", "--baseline", site, "--replay", new_driver, *claims)

    assert said.last_line == f"{PASS}; under test: driver=4.0.31; {STATED}"
    properties = item(said, "driver", ONE).properties
    assert (properties["stated"], properties["under_test"], properties["verdict"]) == ("4.0.31", "4.0.31", "match")
    assert item(said, "image", ONE).properties["declared"] == IMAGE.partition("=")[2]


def test_an_item_under_test_of_which_the_document_says_nothing_is_asked(
    tmp_path: Path, new_driver: Path, site: Path
) -> None:
    gated = ["--gate", "--baseline", site, "--replay", new_driver, "--state", IMAGE]
    under_test = ["--under-test", "driver=4.0.31", "firmware=1.39"]

    unsaid = run_suite(tmp_path / "a", *gated, *under_test)
    said = run_suite(tmp_path / "b", *gated, "firmware=1.39", *under_test)

    claim = "under test: driver=4.0.31, firmware=1.39"
    assert unsaid.last_line == f"GATE: INCOMPLETE  {ONE}: environment (firmware) unknown; {claim}; {STATED}"
    assert said.last_line == f"{PASS}; {claim}; {STATED}, firmware=1.39"


def test_a_replay_knows_what_the_run_was_made_with(tmp_path: Path) -> None:
    bundle = bundle_of("r300", "1x1")
    bundle.one("environment").update(driver="4.0.31")
    bundle.run.update(under_test={"driver": "4.0.31"})
    run_dir = bundle.write(tmp_path / "run")
    site = site_file(tmp_path / "site.toml", {ONE: rates_of(run_dir)})

    session = run_suite(tmp_path, "--gate", "--baseline", site, "--replay", run_dir)

    assert session.last_line == f"{PASS}; under test: driver=4.0.31"


def test_a_waiver_excuses_an_item_that_is_not_as_stated(tmp_path: Path, new_driver: Path) -> None:
    waivers = [
        {"cell": ONE, "item": name, "reason": "the site's own image", "ticket": "OPS-7", "until": UNTIL}
        for name in ("driver", "image")
    ]
    site = site_file(tmp_path / "site.toml", {ONE: rates_of(new_driver)}, waivers)

    session = run_suite(tmp_path, "--gate", "--baseline", site, "--replay", new_driver)

    assert session.last_line.startswith("GATE: PASS, 2 waived")
    driver = item(session, "driver", ONE)
    assert (driver.outcome, driver.properties["verdict"]) == ("skipped", "differs")
    assert f"waived until {UNTIL} (OPS-7)" in driver.message
