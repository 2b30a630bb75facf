"""Which runs can be held against each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import pytest

from evidence.bundle import read_run
from tests.suite.stored import bundle_of
from verdict.compare.likeness import Candidate, circumstances, differing, refusals

Change = Callable[[Any], None]


def facts_of(
    folder: Path, change: Change = lambda bundle: None, topology: str = "1x8", **changes: Any
) -> dict[str, str]:
    bundle = bundle_of("r300", topology, **changes)
    change(bundle)
    return circumstances(read_run(bundle.write(folder)), "a method")


def candidate(name: str, facts: dict[str, str], **changes: Any) -> Candidate:
    return replace(Candidate(name, facts, 0, ""), **changes)


def at_start(**facts: Any) -> Change:
    def change(bundle: Any) -> None:
        for rank in bundle.ranks:
            bundle.one("start", rank).update(facts)

    return change


def lacking(name: str) -> Change:
    item = {**dict.fromkeys(("what", "published", "allowed", "proof"), ""), "name": name, "on": False, "why": "no room"}

    def change(bundle: Any) -> None:
        event = {"event": "optimizations", "t_ns": bundle.one("start", 0)["t_ns"], "items": [item]}
        bundle.ranks[0].insert(1, event)

    return change


def in_run(**facts: Any) -> Change:
    return lambda bundle: bundle.run.update(facts)


def in_cell(**facts: Any) -> Change:
    return lambda bundle: bundle.run["cell"].update(facts)


def data_of(images: int) -> Change:
    def change(bundle: Any) -> None:
        for rank in bundle.ranks:
            bundle.one("data", rank)["train"]["images"] = images

    return change


def test_two_runs_of_a_cell_are_comparable(tmp_path: Path) -> None:
    first, second = facts_of(tmp_path / "a"), facts_of(tmp_path / "b", jitter=5, compute_ns=50_000_000)

    assert refusals(candidate("a", first), candidate("b", second)) == ()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (in_cell(device="a100"), "device"),
        (in_cell(topology="2x8"), "topology"),
        (in_cell(precision="amp"), "precision"),
        (in_cell(batch_size=8), "batch size"),
        (in_cell(learning_rate=0.1), "learning rate"),
        (in_cell(id="r300-1x1-fp32-bs16-card3"), "share of the machine"),
        (in_run(protocol="steady", steps=40), "protocol"),
        (in_run(simulated=True), "device is"),
        (in_run(own_data=True), "data set"),
        (data_of(100), "data set"),
        (at_start(device_name="another card"), "card"),
        (at_start(timing="host"), "timing of steps"),
        (at_start(host_clock=False), "wait after each step for the host's clock"),
        (lambda bundle: bundle.run["recipe"].update(tf32=True), "recipe: tf32"),
        (in_run(without=["boxes_only"]), "optimizations switched off"),
        (lacking("fast_scoring"), "optimizations that could not be had"),
        (at_start(bucket_mb=50), "gradients exchanged at once"),
    ],
)
def test_what_differs_is_named(tmp_path: Path, change: Change, name: str) -> None:
    first, second = facts_of(tmp_path / "a"), facts_of(tmp_path / "b", change)

    (told,) = refusals(candidate("a", first), candidate("b", second))

    assert told.startswith(f"{name}: found ")
    assert " in a and " in told


@pytest.mark.parametrize(("count", "alike"), [(210, True), (300, False)])
def test_workloads_may_differ_by_as_much_as_training_brings_with_it(tmp_path: Path, count: int, alike: bool) -> None:
    first, second = facts_of(tmp_path / "a"), facts_of(tmp_path / "b", proposals=count)

    assert [told.partition(":")[0] for told in refusals(candidate("a", first), candidate("b", second))] == (
        [] if alike else ["proposals an image"]
    )


def test_another_clock_behind_p_core_is_named(tmp_path: Path) -> None:
    evidence = read_run(bundle_of("r300", "1x8").write(tmp_path / "a"))
    first, second = circumstances(evidence, "by the device"), circumstances(evidence, "by the host (p_core_host)")

    (told,) = refusals(candidate("a", first), candidate("b", second))

    assert told == "clock of p_core: found device in a and host in b"


def test_all_reasons_are_told_at_once(tmp_path: Path) -> None:
    facts = facts_of(tmp_path / "a")
    other = facts_of(tmp_path / "b", in_cell(precision="amp", batch_size=8))

    told = refusals(candidate("a", facts, invalid="a rank died"), candidate("b", other, restarts=1))

    assert [one.partition(":")[0] for one in told] == ["a", "b", "precision", "batch size"]
    assert "is invalid and proves nothing: a rank died" in told[0]
    assert "was restarted" in told[1]


def test_a_run_that_tells_nothing_of_itself_is_comparable_with_none(tmp_path: Path) -> None:
    folder = bundle_of("r300", "1x8").write(tmp_path / "a")
    (folder / "run.json").write_text("{")

    facts = circumstances(read_run(folder))

    assert facts == {}
    (told,) = refusals(candidate("a", facts), candidate("b", {"device": "r300"}))
    assert "expected a run.json that can be read" in told


def test_what_is_not_the_same_is_listed_with_both_values() -> None:
    assert list(differing({"a": "1", "b": "2"}, {"b": "3", "a": "1", "c": "4"})) == [("b", "2", "3"), ("c", "", "4")]
