"""Which runs are comparable, and where a run comes from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.bundle import read_run
from evidence.errors import EvidenceError
from tests.suite.stored import bundle_of
from tests.verdict.bundles import STEADY, Bundle, Plan, build
from verdict.compare.comparability import (
    Candidate,
    Provenance,
    circumstances,
    differing,
    operator_bits,
    plain,
    read_provenance,
    refusals,
)

VERSIONS = {"python": "3.8.18", "torch": "1.12.1+cpu", "os": "Linux-5.4"}

Change = Callable[[Any], None]


def facts_of(
    folder: Path, change: Change = lambda bundle: None, topology: str = "1x8", **changes: Any
) -> dict[str, str]:
    bundle = bundle_of("r300", topology, **{"steps": 40, **changes})
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
        (at_start(device_name="another device"), "card"),
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

    (message,) = refusals(candidate("a", first), candidate("b", second))

    assert message.startswith(f"{name}: found ")
    assert " in a and " in message


@pytest.mark.parametrize(("count", "alike"), [(210, True), (300, False)])
def test_workloads_may_differ_by_as_much_as_training_brings_with_it(tmp_path: Path, count: int, alike: bool) -> None:
    first, second = facts_of(tmp_path / "a"), facts_of(tmp_path / "b", proposals=count)

    assert [found.partition(":")[0] for found in refusals(candidate("a", first), candidate("b", second))] == (
        [] if alike else ["proposals an image"]
    )


def test_another_clock_behind_p_core_is_named(tmp_path: Path) -> None:
    evidence = read_run(bundle_of("r300", "1x8").write(tmp_path / "a"))
    first, second = circumstances(evidence, "by the device"), circumstances(evidence, "by the host (p_core_host)")

    (message,) = refusals(candidate("a", first), candidate("b", second))

    assert message == "clock of p_core: found device in a and host in b"


def test_all_reasons_are_told_at_once(tmp_path: Path) -> None:
    facts = facts_of(tmp_path / "a")
    other = facts_of(tmp_path / "b", in_cell(precision="amp", batch_size=8))

    found = refusals(candidate("a", facts, invalid="a rank died"), candidate("b", other, restarts=1))

    assert [one.partition(":")[0] for one in found] == ["a", "b", "precision", "batch size"]
    assert "is invalid and proves nothing: a rank died" in found[0]
    assert "was restarted" in found[1]


def test_a_run_that_tells_nothing_of_itself_is_comparable_with_none(tmp_path: Path) -> None:
    folder = bundle_of("r300", "1x8").write(tmp_path / "a")
    (folder / "run.json").write_text("{")

    facts = circumstances(read_run(folder))

    assert facts == {}
    (message,) = refusals(candidate("a", facts), candidate("b", {"device": "r300"}))
    assert "expected a run.json that can be read" in message


def test_what_is_not_the_same_is_listed_with_both_values() -> None:
    assert list(differing({"a": "1", "b": "2"}, {"b": "3", "a": "1", "c": "4"})) == [("b", "2", "3"), ("c", "", "4")]


def test_operators_with_other_bits_are_counted_in_one_difference() -> None:
    names = [f"bits of conv2d fprop fp{number}" for number in range(9)]
    first = dict.fromkeys(names, "0a")
    second = {**first, **dict.fromkeys(names[2:9], "0b"), "bits of linear fprop fp32": "0c"}

    ((name, one, other),) = differing(first, second)

    named = ", ".join(name[8:] for name in names[2:7])
    assert name == f"bits of 7 of 9 operators ({named}, 2 more)"
    assert one != other
    assert list(differing(first, first)) == []
    assert list(differing({}, second)) == []


def test_the_bits_of_an_operator_are_those_of_all_its_cases_unless_they_may_vary() -> None:
    def bits_of(*answers: tuple[str, str, str]) -> dict[str, str]:
        found = [SimpleNamespace(question=name, digest=digest, may_vary=reason) for name, digest, reason in answers]
        return operator_bits(SimpleNamespace(ranks=[SimpleNamespace(operators=found)]))  # type: ignore[arg-type]

    first = bits_of(
        ("linear-fprop-fp32", "a", ""), ("linear-fprop-fp32", "b", ""), ("conv2d-wgrad-fp32", "c", "atomics")
    )

    assert list(first) == ["bits of linear fprop fp32"]
    assert first != bits_of(("linear-fprop-fp32", "a", ""), ("linear-fprop-fp32", "d", ""))
    assert bits_of() == {}


def origin_of(bundle: Bundle, tmp_path: Path) -> Provenance:
    return read_provenance(read_run(bundle.write(tmp_path / "run")))


def test_run_json_and_the_ranks_say_where_a_run_comes_from(tmp_path: Path) -> None:
    bundle = build(Plan())
    bundle.run.update(id="one", started_utc="2026-11-20T10:00:00+00:00")
    bundle.run["environment"] = {"packages": {"Pillow": "9.5.0", "torch": "2.0", "pytest": "8.3", "numpy": None}}
    for rank in bundle.ranks:
        bundle.one("start", rank).update(driver="4.0.25", versions=VERSIONS, device_name="Kunlunxin XPU")

    assert origin_of(bundle, tmp_path) == Provenance(
        run="one",
        started_utc="2026-11-20T10:00:00+00:00",
        protocol="full of at most 4 epochs",
        simulated=False,
        card="Kunlunxin XPU",
        driver="4.0.25",
        versions={"pillow": "9.5.0", **VERSIONS},
        annotations=dict.fromkeys(("train2017", "val2017"), "ab" * 32),
    )


def test_all_that_has_to_be_equal_of_two_runs_is_its_state(tmp_path: Path) -> None:
    found = origin_of(build(replace(STEADY, simulated=True)), tmp_path)

    assert found.state == {
        "protocol": "steady of 120 steps",
        "simulated": "true",
        "card": "a device",
        "driver": "",
        "python": "3.8",
        "SHA-256 of the annotations of train2017": "ab" * 32,
        "SHA-256 of the annotations of val2017": "ab" * 32,
    }


def test_the_protocol_of_one_epoch_needs_no_limit(tmp_path: Path) -> None:
    assert origin_of(build(Plan(protocol="epoch", maps=(0.1,))), tmp_path).protocol == "epoch"


def test_what_differs_among_the_ranks_is_told_once_each(tmp_path: Path) -> None:
    bundle = build(Plan())
    bundle.one("start", 0).update(driver="4.1.0", versions={"python": "3.9", "os": "a"})
    bundle.one("start", 1).update(driver="4.0.25", versions={"python": "3.8", "os": "a"})

    found = origin_of(bundle, tmp_path)

    assert (found.driver, dict(found.versions)) == ("4.0.25, 4.1.0", {"python": "3.8, 3.9", "os": "a"})


def test_a_rank_that_says_nothing_of_itself_adds_nothing(tmp_path: Path) -> None:
    bundle = build(Plan())
    bundle.drop("start", 0)
    del bundle.one("start", 1)["versions"]

    found = origin_of(bundle, tmp_path)

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
        origin_of(bundle, tmp_path)

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


def test_runs_with_other_annotations_are_not_comparable(tmp_path: Path) -> None:
    def other(bundle: Bundle) -> None:
        for rank in bundle.ranks:
            bundle.one("data", rank)["val"]["annotations_sha256"] = "cd" * 32

    facts = [facts_of(tmp_path / name, change) for name, change in (("a", lambda bundle: None), ("b", other))]

    (found,) = refusals(candidate("a", facts[0]), candidate("b", facts[1]))

    assert found.startswith("SHA-256 of the annotations of val2017: found abab")


def test_a_run_that_did_not_record_its_annotations_is_compared_without(tmp_path: Path) -> None:
    def older(bundle: Bundle) -> None:
        for rank in bundle.ranks:
            for split in ("train", "val"):
                del bundle.one("data", rank)[split]["annotations_sha256"]

    facts = [facts_of(tmp_path / name, change) for name, change in (("a", lambda bundle: None), ("b", older))]

    assert refusals(candidate("a", facts[0]), candidate("b", facts[1])) == ()
