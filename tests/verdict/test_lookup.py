"""The cell of a stored run, and what of its expectations changed since."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.bundle import Evidence, read_run
from evidence.errors import SuiteError
from expected import METRICS, SMOKE, Cell, Expectation, Topology
from tests.verdict.baseline.accepting import device_with, devices_of
from tests.verdict.bundles import CPU, Plan, a_cell, build, published
from verdict.judge import judge_run
from verdict.lookup import NOT_RECORDED, OWN_DATA, changes, find_cell

SHAPES = {"train_images": 256}


def test_a_cell_is_found_by_the_id_in_run_json(tmp_path: Path) -> None:
    devices = devices_of(Plan(), map=0.3)

    device, cell = find_cell(read_run(build(Plan()).write(tmp_path / "run")), devices)

    assert (device, cell) == (devices["r300"], devices["r300"].cells[0])


def test_of_a_devices_cells_the_one_that_was_run_is_found(tmp_path: Path) -> None:
    first, second = a_cell(replace(Plan(), topology=Topology(1, 8))), a_cell(Plan())
    device = device_with(first, "kunlunxin")["r300"]
    devices = {"r300": replace(device, cells=(first, second))}

    assert find_cell(read_run(build(Plan()).write(tmp_path / "run")), devices)[1] == second


def test_a_run_that_does_not_name_its_data_was_given_other_data(tmp_path: Path) -> None:
    bundle = build(CPU)
    del bundle.run["own_data"]
    known = a_cell(CPU, map=0.3)

    _, cell = find_cell(read_run(bundle.write(tmp_path / "run")), device_with(known, "cpu", SHAPES))

    assert cell == known.without_numbers(OWN_DATA)


def test_the_cell_of_a_smoke_run_has_no_number_and_need_not_be_in_the_table(tmp_path: Path) -> None:
    plan = replace(Plan(), topology=Topology(1, 2))
    devices = device_with(a_cell(replace(plan, topology=Topology(1, 8)), map=0.3), "kunlunxin")
    bundle = build(plan)
    bundle.run["protocol"] = "smoke"

    device, cell = find_cell(read_run(bundle.write(tmp_path / "run")), devices)

    assert (device.marker, cell.id) == ("r300", "r300-1x2-fp32-bs4")
    assert {known.source for known in cell.expectations.values()} == {SMOKE}


@pytest.mark.parametrize("own_data", [True, None])
def test_numbers_of_generated_data_do_not_hold_for_other_data(tmp_path: Path, own_data: object) -> None:
    bundle = build(CPU)
    bundle.run["own_data"] = own_data
    known = a_cell(CPU, map=0.3)

    _, cell = find_cell(read_run(bundle.write(tmp_path / "run")), device_with(known, "cpu", SHAPES))

    assert cell == known.without_numbers(OWN_DATA)


def test_numbers_hold_for_the_data_that_they_belong_to(tmp_path: Path) -> None:
    run = read_run(build(CPU).write(tmp_path / "run"))
    known = a_cell(CPU, map=0.3)

    assert find_cell(run, device_with(known, "cpu", SHAPES))[1] == known


def test_a_device_without_generated_data_is_always_given_some(tmp_path: Path) -> None:
    bundle = build(CPU)
    bundle.run["own_data"] = True
    known = a_cell(CPU, map=0.3)

    assert find_cell(read_run(bundle.write(tmp_path / "run")), device_with(known, "cpu"))[1] == known


def test_a_cell_that_no_table_has_is_refused_with_those_there_are(tmp_path: Path) -> None:
    run = read_run(build(Plan()).write(tmp_path / "run"))

    with pytest.raises(SuiteError) as caught:
        find_cell(run, devices_of(CPU))

    assert str(caught.value) == (
        f"{tmp_path / 'run'}: found cell r300-1x2-fp32-bs4 in run.json, expected one of the shipped tables: "
        "cpu-1x2-fp32-bs4"
    )


def test_without_run_json_there_is_no_cell(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"cannot tell which cell was run: .*run\.json: cannot be read"):
        find_cell(read_run(tmp_path), devices_of(CPU))


def test_a_run_of_one_device_is_of_its_tables_cell_on_that_device(tmp_path: Path) -> None:
    bundle = build(Plan())
    bundle.run["cell"]["id"] += "-card3"
    devices = devices_of(Plan(), map=0.3)

    _, cell = find_cell(read_run(bundle.write(tmp_path / "run")), devices)

    assert cell == replace(devices["r300"].cells[0], card=3)


SHORT = Plan(steps=40, maps=(0.4,))


def recorded(cell: Cell) -> dict[str, Any]:
    """The record of a cell's expectations as run.json has it."""
    loaded: dict[str, Any] = json.loads(json.dumps({name: asdict(one) for name, one in cell.expectations.items()}))
    return loaded


def evidence_of(folder: Path, expectation: Any, timing: str | None = "device") -> Evidence:
    bundle = build(SHORT)
    bundle.run["expectation"] = expectation
    bundle.run["cell"]["timing"] = timing
    return read_run(bundle.write(folder / "run"))


def since(folder: Path, then: Cell, now: Cell) -> tuple[str, ...]:
    return changes(evidence_of(folder, recorded(then), then.timing), now)


def test_the_same_expectations_are_no_change(tmp_path: Path) -> None:
    cell = a_cell(SHORT, map=0.364, p_core=199.0, mem=28.0, p_whole=Expectation("not_applicable"))

    assert since(tmp_path, cell, cell) == ()


@pytest.mark.parametrize(
    ("metric", "then", "now", "text"),
    [
        (
            "map",
            published("map", 0.364),
            published("map", 0.37),
            "map: published 0.364, at least 0.36 when the run was made; now published 0.37, at least 0.366",
        ),
        (
            "map",
            Expectation("published", 0.364, low=0.36),
            Expectation("published", 0.364, low=0.35),
            "map: published 0.364, at least 0.36 when the run was made; now published 0.364, at least 0.35",
        ),
        (
            "e2e_time",
            Expectation("unpublished"),
            Expectation("published", 100.0, high=105.0),
            "e2e_time: unpublished when the run was made; now published 100.0 s, at most 105.0",
        ),
        (
            "p_train",
            Expectation("accepted", 55.1, low=53.5),
            Expectation("unpublished"),
            "p_train: accepted 55.1 images/s, at least 53.5 when the run was made; now unpublished",
        ),
        (
            "p_core",
            Expectation("accepted", 55.1, low=53.5, clock="device"),
            Expectation("accepted", 55.1, low=53.5, clock="host"),
            "p_core: accepted 55.1 images/s, at least 53.5, timed by the device when the run was made; "
            "now accepted 55.1 images/s, at least 53.5, timed by the host",
        ),
        (
            "p_whole",
            Expectation("not_applicable"),
            Expectation("unpublished"),
            "p_whole: not applicable when the run was made; now unpublished",
        ),
        (
            "mem",
            published("mem", 28.0),
            replace(published("mem", 28.0), capacity=64.0),
            "mem: published 28.0 GiB, at most 29.4, device of 32.0 GiB when the run was made; "
            "now published 28.0 GiB, at most 29.4, device of 64.0 GiB",
        ),
    ],
)
def test_a_change_is_told_in_words_and_numbers(
    tmp_path: Path, metric: str, then: Expectation, now: Expectation, text: str
) -> None:
    assert since(tmp_path, a_cell(SHORT, **{metric: then}), a_cell(SHORT, **{metric: now})) == (text,)


def test_several_changes_come_in_the_tables_order(tmp_path: Path) -> None:
    found = since(tmp_path, a_cell(SHORT), a_cell(SHORT, mem=28.0, map=0.3, e2e_time=5.0))

    assert [text.partition(":")[0] for text in found] == ["e2e_time", "map", "mem"]


def test_another_clock_behind_the_published_rate_is_a_change(tmp_path: Path) -> None:
    cell = a_cell(SHORT, p_core=200.0)

    (text,) = since(tmp_path, replace(cell, timing="host"), cell)

    assert "at least 190.0, timed by the host when" in text
    assert text.endswith("at least 190.0, timed by the device")


def test_another_clock_behind_nothing_is_no_change(tmp_path: Path) -> None:
    assert since(tmp_path, replace(a_cell(SHORT), timing="host"), a_cell(SHORT)) == ()


def test_another_wording_of_where_a_number_is_from_is_no_change(tmp_path: Path) -> None:
    then = a_cell(SHORT, map=replace(published("map", 0.3), source="the table of 2022"))

    assert since(tmp_path, then, a_cell(SHORT, map=0.3)) == ()


@pytest.mark.parametrize("expectation", [None, {}, {"speed": {"state": "published"}}])
def test_a_run_that_recorded_nothing_is_told_as_such(tmp_path: Path, expectation: Any) -> None:
    assert changes(evidence_of(tmp_path, expectation), a_cell(SHORT, map=0.3)) == (NOT_RECORDED,)


@pytest.mark.parametrize("entry", [None, 5, {}, {"state": 1}, {"state": "published", "value": "high"}])
def test_a_metric_that_was_not_recorded_is_told_as_such(tmp_path: Path, entry: Any) -> None:
    record = recorded(a_cell(SHORT))
    record["map"] = entry

    assert changes(evidence_of(tmp_path, record), a_cell(SHORT, map=0.3)) == (
        "map: not recorded when the run was made; now published 0.3, at least 0.296",
    )


def test_a_metric_that_does_not_apply_needs_no_record(tmp_path: Path) -> None:
    cell = a_cell(SHORT, map=Expectation("not_applicable"))
    record = recorded(cell)
    del record["map"]

    assert changes(evidence_of(tmp_path, record), cell) == ()


def test_evidence_of_another_cell_has_nothing_to_compare(tmp_path: Path) -> None:
    other = replace(a_cell(SHORT, map=0.9), device="a100")

    assert changes(evidence_of(tmp_path, recorded(a_cell(SHORT, map=0.3))), other) == ()


def test_evidence_without_run_json_has_nothing_to_compare(tmp_path: Path) -> None:
    assert changes(read_run(tmp_path), a_cell(SHORT)) == ()


def test_a_change_is_no_fault_and_the_new_number_decides(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path, recorded(a_cell(SHORT, map=0.3)))

    lower, higher = (judge_run(evidence, a_cell(SHORT, map=value)) for value in (0.2, 0.5))

    assert (lower.metrics["map"].verdict, higher.metrics["map"].verdict) == ("pass", "fail")
    assert [len(verdict.changed) for verdict in (lower, higher)] == [1, 1]
    assert not any("when the run was made" in reason for reason in (*lower.reasons, *higher.reasons))


NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
EXPECTATIONS = st.builds(
    Expectation,
    state=st.sampled_from(["published", "accepted", "unpublished", "not_applicable"]),
    value=st.floats(0.1, 10),
    low=NUMBERS,
    high=NUMBERS,
)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return evidence_of(tmp_path_factory.mktemp("changes"), {})


@given(then=EXPECTATIONS, now=EXPECTATIONS, metric=st.sampled_from(sorted(METRICS)))
def test_whatever_can_decide_and_differs_is_told(
    evidence: Evidence, then: Expectation, now: Expectation, metric: str
) -> None:
    assert evidence.run is not None
    run = replace(evidence.run, expectation=recorded(a_cell(SHORT, **{metric: then})))

    found = changes(replace(evidence, run=run), a_cell(SHORT, **{metric: now}))

    decides = ("state", "value", "low", "high") if now.has_number or then.has_number else ("state",)
    assert bool(found) == any(repr(getattr(then, name)) != repr(getattr(now, name)) for name in decides)
