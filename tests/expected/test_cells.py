"""The rows of a table: hyper-parameters, and numbers with their bounds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from expected import NOT_APPLICABLE, PUBLISHED, UNPUBLISHED, Expectation, ExpectationError, Topology
from tests.expected.sample import GOOD, change, load

SOURCE = "Example X100 report, 2nd edition"
NO_CAPACITY = change("card_memory_gib = 32.0\n", "")


def test_a_row_is_read_with_its_hyper_parameters_and_expectations(tmp_path: Path) -> None:
    cell = load(tmp_path).cells[1]
    assert (cell.id, cell.topology, cell.learning_rate) == ("x100-1x8-amp-bs2", Topology(1, 8), 0.02)
    assert (cell.timing, cell.source, cell.note) == ("host", SOURCE, "")
    assert cell.expectations == {
        "e2e_time": Expectation(PUBLISHED, 12000.0, None, 12600.0, None, SOURCE),
        "p_whole": Expectation(PUBLISHED, 100.0, 95.0, None, None, SOURCE),
        "p_train": Expectation(PUBLISHED, 110.0, 104.5, None, None, SOURCE),
        "p_core": Expectation(PUBLISHED, 120.0, 114.0, None, None, SOURCE),
        "map": Expectation(PUBLISHED, 0.364, 0.36, None, None, SOURCE),
        "mem": Expectation(PUBLISHED, 28.0, None, 29.4, 32.0, SOURCE),
    }


def test_blank_and_not_applicable_stay_two_different_things(tmp_path: Path) -> None:
    cell = load(tmp_path).cells[0]
    assert cell.expectations["map"] == Expectation(NOT_APPLICABLE, source=SOURCE)
    assert cell.expectations["p_core"] == Expectation(UNPUBLISHED, source=SOURCE)
    assert cell.expectations["mem"] == Expectation(UNPUBLISHED, capacity=32.0, source=SOURCE)
    assert cell.applicable == ("p_whole", "p_train", "p_core", "mem")


def test_memory_that_does_not_apply_has_no_capacity(tmp_path: Path) -> None:
    cell = load(tmp_path, change('mem = "unpublished"', 'mem = "not applicable"')).cells[0]
    assert cell.expectations["mem"] == Expectation(NOT_APPLICABLE, source=SOURCE)


def test_a_row_can_have_a_timing_a_source_and_a_note_of_its_own(tmp_path: Path) -> None:
    own = 'timing = "device"\nsource = "another report"\nnote = "as printed"\nmap = 0.364'
    cell = load(tmp_path, change("map = 0.364", own)).cells[1]
    assert (cell.timing, cell.source, cell.note) == ("device", "another report", "as printed")
    assert cell.expectations["map"].source == "another report"


@pytest.mark.parametrize(
    ("old", "new", "metric", "expectation"),
    [
        (
            "map = 0.364",
            "map = { value = 0.5, low = 0.36 }",
            "map",
            Expectation(PUBLISHED, 0.5, 0.36, None, None, SOURCE),
        ),
        (
            "map = 0.364",
            'map = { value = 0.5, tolerance = 0.1, unit = "0..1", source = "page 3" }',
            "map",
            Expectation(PUBLISHED, 0.5, 0.4, None, None, "page 3"),
        ),
        (
            "p_core = 120.0",
            "p_core = { value = 120, tolerance = 0.2, high = 150 }",
            "p_core",
            Expectation(PUBLISHED, 120.0, 96.0, 150.0, None, SOURCE),
        ),
        (
            "p_core = 120.0",
            "p_core = { value = 120, tolerance = 0 }",
            "p_core",
            Expectation(PUBLISHED, 120.0, 120.0, None, None, SOURCE),
        ),
        (
            "e2e_time = 12000",
            "e2e_time = { value = 12000, high = 13000, low = 100 }",
            "e2e_time",
            Expectation(PUBLISHED, 12000.0, 100.0, 13000.0, None, SOURCE),
        ),
        (
            "value = 28.0",
            "value = 28.0, high = 32.0",
            "mem",
            Expectation(PUBLISHED, 28.0, None, 32.0, 32.0, SOURCE),
        ),
        (
            "value = 28.0",
            "value = 28.0, tolerance = 0.5",
            "mem",
            Expectation(PUBLISHED, 28.0, None, 32.0, 32.0, SOURCE),
        ),
    ],
)
def test_a_number_can_bring_bounds_of_its_own(
    tmp_path: Path, old: str, new: str, metric: str, expectation: Expectation
) -> None:
    assert load(tmp_path, change(old, new)).cells[1].expectations[metric] == expectation


@pytest.mark.parametrize("mem", ["28.0", "{ value = 28.0 }"])
def test_memory_needs_no_capacity_where_the_table_states_none(tmp_path: Path, mem: str) -> None:
    text = change("mem = { value = 28.0, capacity = 32.0 }", f"mem = {mem}", NO_CAPACITY)
    assert load(tmp_path, text).cells[1].expectations["mem"] == Expectation(PUBLISHED, 28.0, None, 29.4, None, SOURCE)


def test_memory_may_have_a_capacity_where_the_device_states_none(tmp_path: Path) -> None:
    device = load(tmp_path, NO_CAPACITY)
    assert device.card_memory_gib is None
    assert device.cells[1].expectations["mem"].capacity == 32.0
    assert device.cells[0].expectations["mem"].capacity is None


_METRICS = ["e2e_time", "p_whole", "p_train", "p_core", "map", "mem"]
_WRITTEN = {
    "e2e_time": "e2e_time = 12000",
    "p_whole": "p_whole = 100.0",
    "p_train": "p_train = 110.0",
    "p_core": "p_core = 120.0",
    "map": "map = 0.364",
    "mem": "mem = { value = 28.0, capacity = 32.0 }",
}


@pytest.mark.parametrize("metric", ["e2e_time", "p_core", "map", "mem"])  # the other rates are read as p_core is
@pytest.mark.parametrize(
    "written",
    [
        "0",
        "-1.5",
        "true",
        "false",
        "nan",
        "inf",
        "-inf",
        "[1.0]",
        "2026-11-23",
        '""',
        '"/"',
        '"36.4%"',
        '"Unpublished"',
        '"not_applicable"',
        "{ value = 0 }",
        "{ value = true }",
        "{ value = nan }",
        '{ value = "unpublished" }',
        "{}",
        "{ low = 0.1 }",
        "{ value = 0.3, low = 0 }",
        "{ value = 0.3, low = true }",
        "{ value = 0.3, high = inf }",
        "{ value = 0.3, tolerance = 1 }",
        "{ value = 0.3, tolerance = -0.1 }",
        "{ value = 0.3, tolerance = false }",
        "{ value = 0.3, low = 0.4 }",
        "{ value = 0.3, high = 0.2 }",
        '{ value = 0.3, unit = "%" }',
        "{ value = 0.3, source = '' }",
        "{ value = 0.3, sauce = 'x' }",
        "{ value = 0.3, capacity = 0 }",
        "{ value = 0.3, low = 0.2, high = 0.4, tolerance = 0.1 }",
        "0x" + "f" * 400,
    ],
)
def test_a_number_that_cannot_be_relied_on_is_refused_at_its_key(tmp_path: Path, metric: str, written: str) -> None:
    with pytest.raises(ExpectationError, match=rf"^x100\.toml: cell\[2\]\.{metric}[.:]"):
        load(tmp_path, change(_WRITTEN[metric], f"{metric} = {written}"))


@pytest.mark.parametrize("metric", _METRICS)
def test_no_metric_may_be_left_out(tmp_path: Path, metric: str) -> None:
    with pytest.raises(ExpectationError, match=rf'^x100\.toml: cell\[2\]\.{metric}: missing; .*"unpublished"'):
        load(tmp_path, change(_WRITTEN[metric] + "\n", ""))


BAD = [
    ('topo = "1x8"', "topo = 18", "topo"),
    ('topo = "1x8"', 'topo = "1x0"', "topo"),
    ('topo = "1x8"\n', "", "topo"),
    ('precision = "amp"', 'precision = "tf32"', "precision"),
    ('precision = "amp"\n', "", "precision"),
    ("batch_size = 2", "batch_size = 0", "batch_size"),
    ("batch_size = 2", "batch_size = 2.0", "batch_size"),
    ("batch_size = 2", "batchsize = 2", "batchsize"),
    ("batch_size = 2\n", "", "batch_size"),
    ("learning_rate = 0.02", "learning_rate = 0", "learning_rate"),
    ("learning_rate = 0.02", "learning_rate = 10", "learning_rate"),
    ("learning_rate = 0.02", "lr = 0.02", "lr"),
    ("map = 0.364", 'map = 0.364\ntiming = "wall"', "timing"),
    ("map = 0.364", "map = 0.364\nnote = 3", "note"),
    ("map = 0.364", 'map = 0.364\nsource = " "', "source"),
    ("map = 0.364", "map = 36.4", "map"),
    ("map = 0.364", "mAP = 0.364", "mAP"),
    ("map = 0.364", "map = { value = 0.364, low = 1.2 }", "map.low"),
    ("map = 0.364", "map = { value = 0.3, tolerance = 0.3 }", "map.tolerance"),
    ("map = 0.364", 'map = { value = 0.3, unit = "percent" }', "map.unit"),
    ("map = 0.364", "map = { vaule = 0.3 }", "map.vaule"),
    ("capacity = 32.0", 'capacity = "32"', "mem.capacity"),
    ("capacity = 32.0", 'capacity = 32.0, unit = "MiB"', "mem.unit"),
]
BOTH = "tolerance = 0.1 }"
SAID = [
    ('topo = "1x8"', 'topo = "eight"', "topo: found the topology 'eight', expected NODESxDEVICES"),
    ('topo = "1x8"', 'topo = "1x9"', "topo: found 1x9, but a machine has 8 devices (device.cards_per_host)"),
    ("map = 0.364", 'map = "36.4%"', "map: found the string '36.4%', expected a number in 0..1"),
    ("map = 0.364", "map = 0.003", "map.value: puts the low bound at -0.001, where everything passes"),
    ("map = 0.364", "map = { value = 0.3, low = 0.31 }", "map.low: found 0.31, above the published value 0.3"),
    ("map = 0.364", "map = { value = 0.3, high = 0.2 }", "map.high: found 0.2, below the published value 0.3"),
    ("map = 0.364", "map = { value = 0.3, capacity = 1.0 }", "map.capacity: belongs to mem only"),
    ("map = 0.364", 'map = { value = "unpublished" }', "map.value: found a string; a number that is not published is"),
    ("map = 0.364", "map = { low = 0.3 }", "map.value: missing; expected the published number in 0..1"),
    ("p_core = 120.0", "p_core = { value = 120, low = 110, " + BOTH, "p_core.tolerance: would be without effect"),
    ("e2e_time = 12000", "e2e_time = { value = 12000, high = 13000, " + BOTH, "e2e_time.tolerance: would be"),
    ("e2e_time = 12000", "e2e_time = 1.79e308", "e2e_time.value: found 1.79e+308, too large to have a bound"),
    ("mem = { value = 28.0, capacity = 32.0 }", "mem = 28.0", "mem.capacity: missing; the table prints"),
    ("{ value = 28.0, capacity = 32.0 }", "{ value = 28.0 }", "mem.capacity: missing"),
    ("capacity = 32.0", "capacity = 64.0", "mem.capacity: found 64.0, but device.card_memory_gib is 32.0"),
    ("value = 28.0", "value = 33.0", "mem.capacity: found 32.0, less than the value 33.0"),
    ("value = 28.0", "value = 28.0, high = 33.0", "mem.high: found 33.0, above the capacity 32.0"),
    ("p_train = 110.0", "p_train = 121.0", "p_core: found 120.0, below p_train = 121.0"),
    ("p_train = 110.0", "p_train = 99.0", "p_train: found 99.0, below p_whole = 100.0"),
]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [*((old, new, f"{key}: ") for old, new, key in BAD), *SAID],
    ids=[new or old for old, new, _ in [*BAD, *SAID]],
)
def test_a_bad_row_is_refused_with_file_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ExpectationError, match="^" + re.escape(f"x100.toml: cell[2].{message}")):
        load(tmp_path, change(old, new))


def test_throughputs_are_compared_over_an_unpublished_one_between_them(tmp_path: Path) -> None:
    text = change("p_train = 110.0", 'p_train = "unpublished"')
    assert load(tmp_path, text).cells[1].expectations["p_train"].state == UNPUBLISHED
    with pytest.raises(ExpectationError, match=r"cell\[2\]\.p_core: found 99\.0, below p_whole = 100\.0"):
        load(tmp_path, change("p_core = 120.0", "p_core = 99.0", text))


def test_equal_throughputs_are_not_in_the_wrong_order(tmp_path: Path) -> None:
    cell = load(tmp_path, change("p_train = 110.0", "p_train = 120.0")).cells[1]
    assert cell.expectations["p_train"].value == cell.expectations["p_core"].value == 120.0


def test_two_rows_with_one_id_are_refused(tmp_path: Path) -> None:
    text = change(
        'topo = "1x8"\nprecision = "amp"\nbatch_size = 2', 'topo = "1x1"\nprecision = "fp32"\nbatch_size = 16'
    )
    with pytest.raises(ExpectationError, match=r"^x100\.toml: cell\[2\]: has the id x100-1x1-fp32-bs16 of cell\[1\]"):
        load(tmp_path, text)


def _without_rows() -> str:
    return GOOD[: GOOD.index("[[cell]]")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "cell: missing; expected a [[cell]] table for each row"),
        (
            "[cell]\ntopo = '1x1'",
            "cell: found the table {'topo': '1x1'}, expected [[cell]], with two brackets",
        ),
    ],
)
def test_a_file_without_rows_is_refused(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(ExpectationError, match=re.escape(f"x100.toml: {message}")):
        load(tmp_path, _without_rows() + rows)


@pytest.mark.parametrize(
    ("rows", "message"),
    [("cell = []", "cell: found no row"), ("cell = [1]", "cell[1]: found the integer 1, expected a table")],
)
def test_rows_that_hold_nothing_are_refused(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(ExpectationError, match=re.escape(f"x100.toml: {message}")):
        load(tmp_path, rows + "\n" + _without_rows())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(value=st.floats(0.01, 1e6), below=st.floats(0, 0.9), above=st.floats(0, 0.9))
def test_bounds_written_in_a_file_are_those_that_decide(
    tmp_path: Path, value: float, below: float, above: float
) -> None:
    low, high = value * (1 - below), value * (1 + above)
    written = f"p_whole = {{ value = {value!r}, low = {low!r}, high = {high!r} }}"
    text = change("p_whole = 100.0", written)
    for name in ("p_train", "p_core"):
        text = change(_WRITTEN[name], f'{name} = "unpublished"', text)
    found = load(tmp_path, text).cells[1].expectations["p_whole"]
    assert (found.value, found.low, found.high) == (value, low, high)
