"""The rows of a table: hyper-parameters, and numbers with their bounds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from expected import (
    DERIVED,
    NOT_APPLICABLE,
    PUBLISHED,
    UNPUBLISHED,
    Expectation,
    ExpectationError,
    Topology,
    load_device,
)
from expected.cells import specified_peak
from tests.expected.sample import GOOD, change, load, write

SOURCE = "Example X100 report, 2nd edition"
DERIVATION = "e2e_time x p_whole / 117266 images, at most so many"
NO_CAPACITY = change("card_memory_gib = 32.0\n", "")


def test_a_row_is_read_with_its_hyper_parameters_and_expectations(tmp_path: Path) -> None:
    cell = load(tmp_path).cells[1]
    assert (cell.id, cell.topology, cell.learning_rate) == ("x100-1x8-amp-bs2", Topology(1, 8), 0.02)
    assert (cell.timing, cell.source, cell.note) == ("host", SOURCE, "")
    assert cell.expectations == {
        "e2e_time": Expectation(PUBLISHED, 12000.0, None, 13172.7, None, SOURCE, epoch_s=1172.66),
        "p_whole": Expectation(PUBLISHED, 100.0, 95.0, None, None, SOURCE),
        "p_train": Expectation(PUBLISHED, 110.0, 104.5, None, None, SOURCE),
        "p_core": Expectation(PUBLISHED, 120.0, 114.0, None, None, SOURCE),
        "map": Expectation(PUBLISHED, 0.364, 0.36, None, None, SOURCE),
        "mem": Expectation(PUBLISHED, 28.0, None, 29.4, 32.0, SOURCE),
        "epochs_to_target": Expectation(DERIVED, 10.23, 8.23, 12.23, None, f"{DERIVATION}; {SOURCE}"),
    }


@pytest.mark.parametrize(
    ("old", "new", "high"),
    [
        ("p_whole = 100", "p_whole = 100", 13172.7),  # 117,266 images / 100 a second
        ("p_whole = 100", "p_whole = 108", 13085.8),
        ("e2e_time = 12000", "e2e_time = 30000", 31500.0),  # 1.05 x, which is longer
        ("p_whole = 100.0", 'p_whole = "unpublished"', 12600.0),
        ("p_whole = 100", "p_whole = 9", 12600.0),  # an epoch would be longer than the run
        ("e2e_time = 12000", "e2e_time = { value = 12000, tolerance = 0.05 }", 12600.0),
        ("e2e_time = 12000", "e2e_time = { value = 12000, high = 12100 }", 12100.0),
        ("e2e_time = 12000", 'e2e_time = { value = 12000, unit = "s" }', 13172.7),
    ],
)
def test_the_default_bound_of_e2e_time_allows_one_epoch_more(tmp_path: Path, old: str, new: str, high: float) -> None:
    assert load(tmp_path, change(old, new)).cells[1].expectations["e2e_time"].high == high


def test_an_epoch_of_generated_images_is_as_short_as_they_are_few(tmp_path: Path) -> None:
    shapes = change("[recipe]", "[shapes]\ntrain_images = 90_000\nval_images = 8\nseed = 0\n\n[recipe]")

    few = load(tmp_path, change('backend = "cuda"', 'backend = "cpu"', shapes))

    assert few.cells[1].expectations["e2e_time"].high == 12900.0


@pytest.mark.parametrize(
    ("stated", "first", "second"),
    [
        ("", None, None),
        ("fp32 = 19.5\nfp16 = 312.0", 19.5, 312.0),
        ("fp16 = 125.0", 125.0, 125.0),  # no device is faster in a wider format
        ("fp32 = 36.0\ntf32 = 140.0", 36.0, None),
    ],
)
def test_a_cell_has_the_specified_peak_of_its_precision(
    tmp_path: Path, stated: str, first: float | None, second: float | None
) -> None:
    table = f'[peak_tflops]\n{stated}\nsource = "a data sheet"\n\n[[cell]]' if stated else "[[cell]]"

    device = load(tmp_path, GOOD.replace("[[cell]]", table, 1))

    assert [(cell.precision, cell.peak_tflops) for cell in device.cells] == [("fp32", first), ("amp", second)]


def test_tf32_has_a_peak_of_its_own() -> None:
    peaks = {"fp32": 19.5, "tf32": 156.0, "bf16": 311.0, "fp16": 312.0}

    found = {(precision, tf32): specified_peak(peaks, precision, tf32) for precision, tf32 in PRECISIONS}

    assert found == {("fp32", False): 19.5, ("fp32", True): 156.0, ("bf16", True): 311.0, ("amp", False): 312.0}


PRECISIONS = (("fp32", False), ("fp32", True), ("bf16", True), ("amp", False))


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("[peak_tflops]\nfp32 = 19.5\n", "peak_tflops.source: missing"),
        ('[peak_tflops]\nfp32 = 0\nsource = "a"\n', "peak_tflops.fp32: found the integer 0, expected a number > 0"),
        ('[peak_tflops]\nfp8 = 9.0\nsource = "a"\n', "peak_tflops.fp8: unknown key"),
    ],
)
def test_a_peak_without_source_or_meaning_is_refused(tmp_path: Path, table: str, key: str) -> None:
    with pytest.raises(ExpectationError, match=re.escape(key)):
        load(tmp_path, GOOD.replace("[[cell]]", table + "\n[[cell]]", 1))


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
            "map = { value = 0.5, low = 0.48 }",
            "map",
            Expectation(PUBLISHED, 0.5, 0.48, None, None, SOURCE),
        ),
        (
            "map = 0.364",
            'map = { value = 0.5, tolerance = 0.01, unit = "0..1", source = "page 3" }',
            "map",
            Expectation(PUBLISHED, 0.5, 0.49, None, None, "page 3"),
        ),
        (
            "p_core = 120.0",
            "p_core = { value = 120, tolerance = 0.1, high = 150 }",
            "p_core",
            Expectation(PUBLISHED, 120.0, 108.0, 150.0, None, SOURCE),
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
            "value = 28.0, high = 30.8",
            "mem",
            Expectation(PUBLISHED, 28.0, None, 30.8, 32.0, SOURCE),
        ),
        (
            "value = 28.0",
            "value = 30.0, tolerance = 0.1",
            "mem",
            Expectation(PUBLISHED, 30.0, None, 32.0, 32.0, SOURCE),
        ),
    ],
)
def test_a_number_can_bring_bounds_of_its_own(
    tmp_path: Path, old: str, new: str, metric: str, expectation: Expectation
) -> None:
    assert load(tmp_path, change(old, new)).cells[1].expectations[metric] == expectation


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "p_core = 120.0",
            "p_core = { value = 120, tolerance = 0.101 }",
            "p_core.tolerance: puts the low bound at 107.88, more than 10% from 120.0; a device file may allow for",
        ),
        ("p_core = 120.0", "p_core = { value = 120, tolerance = 0.999 }", "p_core.tolerance: puts the low bound"),
        ("p_core = 120.0", "p_core = { value = 120, low = 107.9 }", "p_core.low: puts the low bound at 107.9"),
        ("e2e_time = 12000", "e2e_time = { value = 12000, high = 13201 }", "e2e_time.high: puts the high bound"),
        ("value = 28.0", "value = 28.0, high = 30.9", "mem.high: puts the high bound at 30.9, more than 10%"),
        ("map = 0.364", "map = { value = 0.5, low = 0.47 }", "map.low: puts the low bound at 0.47, more than 0.02"),
        ("map = 0.364", "map = { value = 0.5, tolerance = 0.1 }", "map.tolerance: puts the low bound at 0.4"),
    ],
)
def test_a_bound_so_wide_that_it_proves_nothing_is_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(ExpectationError, match=re.escape(f"x100.toml: cell[2].{says}")):
        load(tmp_path, change(old, new))


def test_the_cpus_and_the_simulated_numbers_may_have_wide_bounds(tmp_path: Path) -> None:
    wide = change("map = 0.364", "map = { value = 0.5, low = 0.36 }")
    for marker in ("cpu", "virtual"):
        text = change('marker = "x100"', f'marker = "{marker}"', wide)
        path = write(tmp_path, text, f"{marker}.toml")

        assert load_device(path).cells[1].expectations["map"].low == 0.36


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
        "inf",
        "[1.0]",
        '"/"',
        '"36.4%"',
        '"Unpublished"',
        '"not_applicable"',
        "{ value = 0 }",
        '{ value = "unpublished" }',
        "{}",
        "{ low = 0.1 }",
        "{ value = 0.3, low = 0 }",
        "{ value = 0.3, high = inf }",
        "{ value = 0.3, tolerance = 1 }",
        "{ value = 0.3, tolerance = -0.1 }",
        '{ value = 0.3, unit = "%" }',
        "{ value = 0.3, source = '' }",
        "{ value = 0.3, capacity = 0 }",
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
    ('topo = "1x8"', 'topo = "1x0"', "topo"),
    ('topo = "1x8"\n', "", "topo"),
    ('precision = "amp"', 'precision = "int8"', "precision"),
    ('precision = "amp"\n', "", "precision"),
    ("batch_size = 2", "batch_size = 0", "batch_size"),
    ("batch_size = 2\n", "", "batch_size"),
    ("learning_rate = 0.02", "learning_rate = 0", "learning_rate"),
    ("learning_rate = 0.02", "learning_rate = 10", "learning_rate"),
    ("map = 0.364", 'map = 0.364\ntiming = "wall"', "timing"),
    ("map = 0.364", 'map = 0.364\nsource = " "', "source"),
    ("map = 0.364", "map = 36.4", "map"),
    ("map = 0.364", "map = { value = 0.364, low = 1.2 }", "map.low"),
    ("map = 0.364", "map = { value = 0.3, tolerance = 0.3 }", "map.tolerance"),
    ("map = 0.364", 'map = { value = 0.3, unit = "percent" }', "map.unit"),
    ("map = 0.364", "map = { vaule = 0.3 }", "map.vaule"),
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
@given(value=st.floats(0.01, 1e6), below=st.floats(0, 0.099), above=st.floats(0, 0.9))
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


def test_a_number_is_derived_where_all_that_it_follows_from_is_published(tmp_path: Path) -> None:
    blank, published = load(tmp_path).cells

    assert "epochs_to_target" not in blank.expectations
    assert blank.expectation("epochs_to_target").state == "unpublished"
    assert "epochs_to_target" not in blank.applicable
    assert published.expectations["epochs_to_target"].value == 10.23  # 12000 s x 100 images/s / 117,266 images
    assert published.applicable[-1] == "epochs_to_target"
    assert "epochs_to_target" not in published.without_numbers("other data").applicable


def test_nothing_is_derived_of_a_generated_data_set(tmp_path: Path) -> None:
    text = change('backend = "cuda"', 'backend = "cpu"') + "\n[shapes]\ntrain_images = 8\nval_images = 4\nseed = 0\n"

    assert all("epochs_to_target" not in cell.expectations for cell in load(tmp_path, text).cells)


UNPUBLISHED_ROWS = """
[[unpublished]]
topo = ["1x1", "1x8"]
precision = ["tf32", "bf16"]
batch_size = 4
learning_rate = 0.04
"""


def test_rows_without_a_number_are_one_table_for_all_their_topologies_and_precisions(tmp_path: Path) -> None:
    device = load(tmp_path, GOOD + UNPUBLISHED_ROWS)

    rows = device.cells[2:]
    names = ("1x1-tf32", "1x1-bf16", "1x8-tf32", "1x8-bf16")
    assert [cell.id for cell in rows] == [f"x100-{name}-bs4" for name in names]
    assert {known.state for cell in rows for known in cell.expectations.values()} == {UNPUBLISHED}
    assert {(cell.learning_rate, cell.recipe.epochs) for cell in rows} == {(0.04, 20)}
    assert load(tmp_path, _without_rows() + UNPUBLISHED_ROWS).cells == rows


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"1x8"]', '"1x9"]', "unpublished[1].topo: found 1x9, but a machine has 8 devices"),
        ('"bf16"]', '"int8"]', "unpublished[1].precision: found the string 'int8'"),
        ('["1x1", "1x8"]', '"1x1"', "unpublished[1].topo: found the string '1x1', expected an array of strings"),
        ("batch_size = 4", "map = 0.3", "unpublished[1].map: unknown key"),
        ('["1x1", "1x8"]', '["1x1", "1x1"]', "unpublished[1]: has the id x100-1x1-tf32-bs4 of unpublished[1]"),
        ('["1x1", "1x8"]', "[]", "cell: found no row"),
    ],
)
def test_a_bad_table_of_rows_without_a_number_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ExpectationError, match="^" + re.escape(f"x100.toml: {message}")):
        load(tmp_path, _without_rows() + change(old, new, UNPUBLISHED_ROWS))
