"""The clock test in the suite: honest clocks pass, each lie fails its own question and makes the whole run invalid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.suite.junit import Session, run_suite
from tests.suite.stored import bundle_of

CELL = "r300-1x1-fp32-bs16"


def asked(folder: Path, **readings: Any) -> Session:
    bundle = bundle_of("r300", "1x1")
    bundle.one("clock_test").update(readings)
    return run_suite(
        folder, "-m", "r300", "--replay", bundle.write(folder / "stored"), "-k", "clock or synchronise or work"
    )


LIES = {
    "timer_sees_queued_work": ({"timer_ns": [10**7] * 3}, "the step timer saw 50%"),
    "synchronise_waits": ({"synchronise_ns": [10**6] * 3, "after_ns": [19 * 10**6] * 3}, "it does not wait"),
    "clock_is_monotonic": ({"steps_back": 1}, "the host's clock went back 1 times"),
}


@pytest.mark.parametrize("lying", [["timer_sees_queued_work"], ["synchronise_waits", "clock_is_monotonic"]])
def test_a_lie_fails_its_own_question(lying: list[str], tmp_path: Path) -> None:
    session = asked(tmp_path, **{name: value for lie in lying for name, value in LIES[lie][0].items()})

    cases = {name: session.cases[f"test_{name}[{CELL}]"] for name in LIES}
    assert {name for name, case in cases.items() if case.outcome == "failure"} == set(lying)
    assert {name for name, case in cases.items() if case.outcome == "passed"} == set(LIES) - set(lying)
    assert [name for name in lying if LIES[name][1] not in cases[name].message] == []
    assert session.code == 1


def test_a_rank_that_was_not_put_to_the_test_is_an_error(tmp_path: Path) -> None:
    bundle = bundle_of("r300", "1x1")
    bundle.drop("clock_test")

    session = run_suite(tmp_path, "-m", "r300", "--replay", bundle.write(tmp_path / "stored"), "-k", "synchronise")

    case = session.cases[f"test_synchronise_waits[{CELL}]"]
    assert case.outcome == "error"
    assert "found no 'clock_test' event" in case.message
