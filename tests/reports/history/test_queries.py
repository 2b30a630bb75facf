"""What is asked of a history."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reports.history import HistoryError, queries
from reports.history.database import open_history
from tests.reports.history.entries import CELL, an_entry


def ask(url: str, question: Any, *words: Any, **options: Any) -> Any:
    with open_history(url) as history, history.reading() as connection:
        return question(connection, *words, **options)


def enter(url: str, *entries: Any) -> None:
    with open_history(url, create=True) as history:
        history.enter(entries)


def test_runs_are_listed_the_newest_first_as_many_and_which_were_asked_for(url: str) -> None:
    enter(url, *(an_entry(number) for number in (1, 2, 3)), an_entry(4, device="a100", cell_id="x", release_label="2"))

    def ids(**options: Any) -> list[str]:
        return [run.run_id for run in ask(url, queries.runs, **options)]

    assert ids() == ["run-4", "run-3", "run-2", "run-1"]
    assert ids(limit=2) == ["run-4", "run-3"]
    assert ids(device="r300") == ["run-3", "run-2", "run-1"]
    assert ids(cell="x") == ids(release="2") == ["run-4"]
    assert ids(device="nobody") == []


def test_a_run_is_found_by_its_id_and_by_its_number_with_all_that_is_known_of_it(url: str) -> None:
    facts, reasons = json.dumps({"device": "r300"}), json.dumps(["too slow"])
    enter(url, an_entry(1, values={"map": 0.3}, circumstances=facts, reasons=reasons, restarts=2))

    found = ask(url, queries.run, "run-1")

    assert ask(url, queries.run, str(found.number)) == found
    assert found.facts == {"device": "r300"}
    assert found.reasons == ("too slow",)
    assert found.restarts == 2
    assert found.metrics["map"].measured == 0.3
    assert ask(url, queries.versions_of, found.number) == {"torch": "1.12.1"}


def test_attempts_are_the_outcomes_of_a_cell_under_a_release_the_oldest_first(url: str) -> None:
    outcomes = ("fail", "invalid", "pass", "recorded")
    labels = {number: {"release_label": "rc1", "outcome": outcome} for number, outcome in enumerate(outcomes)}
    enter(url, *(an_entry(number, **changes) for number, changes in reversed([*labels.items()])))
    enter(
        url,
        an_entry(7, release_label="rc2", gate="INCOMPLETE"),
        an_entry(8, cell_id="x", release_label="rc1"),
        an_entry(9),
        an_entry(10, release_label="rc1", protocol="smoke", outcome="recorded"),
        an_entry(11, release_label="rc1", protocol="probes without boxes_only", outcome="missing"),
    )

    def ask_for(**options: Any) -> Any:
        return ask(url, queries.attempts, CELL, **options)

    assert ask_for(release="rc1") == ["fail", "invalid", "pass", "recorded"]
    assert ask_for(release="rc2") == ["INCOMPLETE"]
    assert ask_for(release="") == ["pass"]
    assert ask_for(release="rc3") == []
    of_run_2 = {"besides": "run-2", "before_utc": "2026-01-01T00:02:00+00:00"}
    assert ask_for(release="rc1", **of_run_2) == ask_for(release=None, **of_run_2) == ["fail", "invalid"]
    assert ask_for(release=None, besides="run-of-nobody") == ["pass"]


def test_a_run_that_is_not_there_or_there_twice_is_an_error(url: str) -> None:
    enter(url, an_entry(1, run_id="same"), an_entry(2, run_id="same"))

    with pytest.raises(HistoryError, match="found neither"):
        ask(url, queries.run, "999")
    with pytest.raises(HistoryError, match=r"found 2 runs of this id.*name one by number: \d+ \(runs/run-"):
        ask(url, queries.run, "same")


def test_time_series_are_by_cell_protocol_and_simulation_in_the_order_of_time(url: str) -> None:
    enter(
        url,
        an_entry(3, values={"map": 0.3}),
        an_entry(1, values={"map": 0.1, "mem": 16.0}),
        an_entry(2, outcome="invalid"),
        an_entry(4, restarts=1),
        an_entry(5, simulated=True),
        an_entry(6, protocol="steady"),
        an_entry(7, cell_id="another"),
    )

    found = ask(url, queries.time_series)
    alone = ask(url, queries.time_series, "another")

    keys = [(one.cell_id, one.protocol, one.simulated) for one in found]
    assert keys == [("another", "full", False), (CELL, "full", False), (CELL, "full", True), (CELL, "steady", False)]
    course = found[1]
    assert course.run_ids == ["run-1", "run-3"]
    assert course.values == {"map": [0.1, 0.3], "mem": [16.0, None]}
    assert course.versions == [{"torch": "1.12.1"}] * 2
    assert course.left_out == 2
    assert [one.run_ids for one in alone] == [["run-7"]]
    assert ask(url, queries.cells) == ["another", CELL]


def test_questions_about_many_runs_are_asked_in_parts(file_url: str) -> None:
    enter(file_url, *(an_entry(number) for number in range(1, 1102)))

    found = ask(file_url, queries.runs)

    assert len(found) == 1101
    assert all(run.metrics for run in found)
