"""The tests of the environment in real sessions over stored runs, reported and gated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evidence.bundle import read_run
from tests.suite.junit import Session, run_suite
from tests.suite.stored import EIGHT, bundle_of, site_file
from tests.support import cell_of
from verdict.judge import judge_run

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
    assert session.output.splitlines()[-1] == f"GATE: FAIL  {TWO}: mem; environment (driver) differs"
    assert item(session, "driver", TWO).properties["mode"] == "strict"


def test_a_gate_that_only_reports_the_environment_says_so(tmp_path: Path) -> None:
    bundle = bundle_of("r300", "1x1")
    bundle.drop("environment")
    run_dir = bundle.write(tmp_path / "run")
    metrics = judge_run(read_run(run_dir), cell_of("r300", "1x1")).metrics
    rates = {name: metrics[name].measured or 0.0 for name in ("p_whole", "p_train", "p_core")}
    site = site_file(tmp_path / "site.toml", {"r300-1x1-fp32-bs16": rates})

    session = run_suite(tmp_path, "--gate", "--environment", "report", "--baseline", site, "--replay", run_dir)

    assert session.code == 0
    assert session.output.splitlines()[-1].startswith("GATE: PASS, environment not gated  r300-1x1-fp32-bs16; ")
    assert "environment (machine, card, " in session.cases["gate"].properties["environment"]
    assert " unknown" in session.cases["gate"].properties["environment"]
    assert "--environment=report" in session.output


def test_an_invalid_run_is_an_error_of_the_set_up(tmp_path: Path) -> None:
    run_dir = bundle_of("r300", "1x8").write(tmp_path / "run")
    (run_dir / "SHA256SUMS").unlink()

    session = run_suite(tmp_path, "suite/test_environment.py", "--replay", run_dir)

    assert item(session, "driver").outcome == "error"
    assert item(session, "driver").properties["verdict"] == "invalid"
