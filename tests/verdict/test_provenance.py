"""Where a run comes from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.bundle import read_run
from evidence.errors import EvidenceError
from tests.verdict.bundles import STEADY, Bundle, Plan, build
from verdict.compare.provenance import Provenance, plain, read_provenance

VERSIONS = {"python": "3.8.18", "torch": "1.12.1+cpu", "os": "Linux-5.4"}


def told(tmp_path: Path, bundle: Bundle) -> Provenance:
    return read_provenance(read_run(bundle.write(tmp_path / "run")))


def test_run_json_and_the_ranks_say_where_a_run_comes_from(tmp_path: Path) -> None:
    bundle = build(Plan())
    bundle.run.update(id="one", started_utc="2026-11-20T10:00:00+00:00")
    bundle.run["environment"] = {"packages": {"Pillow": "9.5.0", "torch": "2.0", "pytest": "8.3", "numpy": None}}
    for rank in bundle.ranks:
        bundle.one("start", rank).update(driver="4.0.25", versions=VERSIONS, device_name="Kunlunxin XPU")

    assert told(tmp_path, bundle) == Provenance(
        run="one",
        started_utc="2026-11-20T10:00:00+00:00",
        protocol="full of at most 4 epochs",
        simulated=False,
        card="Kunlunxin XPU",
        driver="4.0.25",
        versions={"pillow": "9.5.0", **VERSIONS},
    )


def test_all_that_has_to_be_equal_of_two_runs_is_its_state(tmp_path: Path) -> None:
    found = told(tmp_path, build(replace(STEADY, simulated=True)))

    assert found.state == {
        "protocol": "steady of 120 steps",
        "simulated": "true",
        "card": "a card",
        "driver": "",
        "python": "3.8",
    }


def test_the_protocol_of_one_epoch_needs_no_limit(tmp_path: Path) -> None:
    assert told(tmp_path, build(Plan(protocol="epoch", maps=(0.1,)))).protocol == "epoch"


def test_what_differs_among_the_ranks_is_told_once_each(tmp_path: Path) -> None:
    bundle = build(Plan())
    bundle.one("start", 0).update(driver="4.1.0", versions={"python": "3.9", "os": "a"})
    bundle.one("start", 1).update(driver="4.0.25", versions={"python": "3.8", "os": "a"})

    found = told(tmp_path, bundle)

    assert (found.driver, dict(found.versions)) == ("4.0.25, 4.1.0", {"python": "3.8, 3.9", "os": "a"})


def test_a_rank_that_says_nothing_of_itself_adds_nothing(tmp_path: Path) -> None:
    bundle = build(Plan())
    bundle.drop("start", 0)
    del bundle.one("start", 1)["versions"]

    found = told(tmp_path, bundle)

    assert (found.driver, dict(found.versions)) == ("", {})


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"started_utc": None}, "'started_utc' is missing: a baseline has to say where it comes from"),
        ({"environment": "Linux"}, "run.json: 'environment' is 'Linux', expected an object"),
        ({"environment": {"packages": []}}, "run.json: in 'environment': 'packages' is [], expected an object"),
    ],
)
def test_a_run_json_that_does_not_say_it_is_refused(tmp_path: Path, facts: dict[str, object], words: str) -> None:
    bundle = build(Plan())
    bundle.run.update(facts)

    with pytest.raises(EvidenceError) as caught:
        told(tmp_path, bundle)

    assert str(caught.value).startswith(f"{tmp_path / 'run'}: ")
    assert str(caught.value).endswith(words)


def test_a_start_event_with_damaged_versions_is_a_problem_of_the_evidence(tmp_path: Path) -> None:
    bundle = build(Plan())
    bundle.one("start", 1)["versions"] = "many"

    (problem,) = read_run(bundle.write(tmp_path / "run")).problems[:1]

    assert problem == "rank-0001.jsonl line 1: start: 'versions' is 'many', expected an object"


def test_without_run_json_nothing_can_be_told(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match=r"cannot tell where the run comes from: .*run\.json: cannot be read"):
        read_provenance(read_run(tmp_path))


@pytest.mark.parametrize(
    ("words", "shown"),
    [("4.0.25", "4.0.25"), (" a\tb\nc ", "a b c"), ("bell\x07", "bell"), ("\ud800", "unknown"), ("", "unknown")],
)
def test_words_are_made_to_fit_on_a_line(words: str, shown: str) -> None:
    assert plain(words) == shown


@given(st.text(st.characters()))
def test_plain_words_can_be_printed_and_do_not_change_again(words: str) -> None:
    found = plain(words)

    assert found
    assert found.isprintable()
    assert plain(found) == found
    assert found.encode("utf-8")
