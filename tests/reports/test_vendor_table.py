"""The vendor's table: published numbers as they are, blank cells from runs, and back through the importer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from expected import METRICS, NOT_APPLICABLE, PUBLISHED, UNPUBLISHED, Cell, Device, Expectation, Topology
from expected.documents import read_document
from expected.documents.markdown import Table, split
from expected.documents.names import size_of
from expected.documents.quoting import shown
from reports.vendor_document import document_lines
from reports.vendor_table import Filling, Style, aligned, number_text, rounded, style_of, table_lines
from tests.support import device_of

R300 = device_of("r300")
PERCENT, SHARE = Style(percent=True), Style(percent=False)
VALUES = {"e2e_time": 40310.27, "p_whole": 51.234, "p_train": 54.0, "p_core": 55.12345}
FILLED = Filling("r300-1x8-fp32-bs16", "runs/a", False, VALUES)


PUBLISHED_TABLE = """\
| 配置                | precision | fix_hp        | e2e_time | p_whole | p_train | p_core | map   | mem       |
|---------------------|-----------|---------------|----------|---------|---------|--------|-------|-----------|
| R300单机单卡（1x1） | fp32      | bs=16,lr=0.16 | /        |         |         |        | /     | 17.0/32.0 |
| R300单机8卡（1x8）  | fp32      | bs=16,lr=0.16 |          |         |         |        | 36.4% | 28.0/32.0 |
| R300两机8卡（2x8）  | fp32      | bs=16,lr=0.16 | /        |         |         |        | /     | 15.0/32.0 |"""


def test_the_published_table_is_printed_as_its_document_has_it() -> None:
    assert "\n".join(table_lines(R300, [], style_of(R300))) == PUBLISHED_TABLE


def test_blank_cells_are_filled_and_the_run_is_named() -> None:
    lines = table_lines(R300, [replace(FILLED, remarks=("mem left blank: no samples",))], PERCENT)

    assert [cell.strip() for cell in lines[3].split("|")[4:10]] == [
        "40310",
        "51.23",
        "54",
        "55.12",
        "36.4%",
        "28.0/32.0",
    ]
    assert lines[5:] == [
        "",
        "由运行结果填写 (filled from runs):",
        "",
        "- 1x8 fp32 bs=16,lr=0.16: e2e_time, p_whole, p_train, p_core from runs/a",
        "  - mem left blank: no samples",
    ]


def test_a_simulated_run_is_named_as_simulated() -> None:
    lines = table_lines(R300, [replace(FILLED, simulated=True)], PERCENT)

    assert lines[-1].endswith(" from runs/a, simulated: no real device was measured")


def test_a_published_number_stays_whatever_a_run_measured() -> None:
    lines = table_lines(R300, [replace(FILLED, values={**VALUES, "map": 0.9, "mem": 1.0})], PERCENT)

    assert [cell.strip() for cell in lines[3].split("|")[8:10]] == ["36.4%", "28.0/32.0"]


def test_published_and_measured_rates_that_contradict_each_other_are_told() -> None:
    cell = R300.cells[1]
    table = {**cell.expectations, "p_train": Expectation(PUBLISHED, 60.0, 57.0)}
    device = replace(R300, cells=(R300.cells[0], replace(cell, expectations=table), R300.cells[2]))

    lines = table_lines(device, [replace(FILLED, values={"p_core": 55.0})], PERCENT)

    assert lines[-1] == "  - p\\_core is below p\\_train: one is published, the other measured".replace("\\_", "_")


@pytest.mark.parametrize(
    ("name", "value", "style", "text"),
    [
        ("map", 0.364, PERCENT, "36.4%"),
        ("map", 0.364, SHARE, "0.364"),
        ("map", 1.0, PERCENT, "100%"),
        ("map", 0.01, PERCENT, "1%"),
        ("map", 0.0099, PERCENT, "0.0099"),  # less than one in a hundred with a sign would not be believed
        ("map", 0.0, PERCENT, "0"),
        ("e2e_time", 14086.0, PERCENT, "14086"),
        ("p_core", 55.12345, PERCENT, "55.12345"),
        ("mem", 28.0, PERCENT, "28.0"),
    ],
)
def test_a_number_has_the_form_of_its_column(name: str, value: float, style: Style, text: str) -> None:
    assert number_text(name, value, style) == text


@pytest.mark.parametrize(
    ("value", "few"), [(40310.27, 40310.0), (55.12345, 55.12), (0.365249, 0.3652), (1e-20, 1e-20), (0.0, 0.0)]
)
def test_a_measurement_has_four_digits_unless_all_are_asked_for(value: float, few: float) -> None:
    assert rounded(value, PERCENT) == few
    assert rounded(value, replace(PERCENT, exact=True)) == value


def test_chinese_counts_double_where_columns_are_aligned() -> None:
    assert aligned([("a", "b"), ("两机", "x"), ("e\u0301", "y")]) == [
        "| a    | b   |",
        "|------|-----|",
        "| 两机 | x   |",
        "| e\u0301    | y   |",
    ]


def test_only_the_vendors_that_print_percent_get_percent() -> None:
    assert {marker: style_of(device_of(marker)).percent for marker in ("r300", "a100", "virtual")} == {
        "r300": True,
        "a100": False,
        "virtual": False,
    }


def expectations_of(draw: Any, ranks: int) -> dict[str, Expectation]:
    """Any numbers that this model can have; e2e_time is as long as ten epochs at the highest rate, or not published."""
    table = {}
    for name in METRICS:
        top = 0.45 if name == "map" else 32.0 if name == "mem" else 300.0 * ranks
        state = draw(st.sampled_from((PUBLISHED, UNPUBLISHED, NOT_APPLICABLE)))
        value = draw(st.floats(1e-9, top)) if state == PUBLISHED else None
        table[name] = Expectation(state, value, capacity=32.0 if name == "mem" and value is not None else None)
    known = sorted(
        table[name].value or 0.0 for name in ("p_whole", "p_train", "p_core") if table[name].value is not None
    )
    for name in ("p_whole", "p_train", "p_core"):
        if table[name].value is not None:
            table[name] = replace(table[name], value=known.pop(0))
    if table["e2e_time"].value is not None:
        table["e2e_time"] = replace(table["e2e_time"], value=1e6 / (table["p_whole"].value or 300.0 * ranks))
    return table


@st.composite
def devices(draw: Any) -> Device:
    """The R300 with another name and any table."""
    topologies = st.builds(Topology, st.integers(1, 99), st.integers(1, 99))
    cells: dict[str, Cell] = {}
    for topology in draw(st.lists(topologies, min_size=1, max_size=4)):
        cell = replace(
            R300.cells[0],
            topology=topology,
            precision=draw(st.sampled_from(("fp32", "amp", "fp16", "bf16"))),
            batch_size=draw(st.integers(1, 99999)),
            learning_rate=draw(st.floats(1e-9, 9.9)),
            expectations=expectations_of(draw, topology.ranks),
        )
        cells.setdefault(cell.id, cell)
    name = draw(st.text(st.characters() | st.sampled_from("|`<>\\ \n两机卡（2x8）_*12"), min_size=1, max_size=12))
    assume(size_of(name) is None)  # as in "8G": more memory than that is refused, and is another test's
    return replace(R300, name=name, cells=tuple(cells.values()))


def values_of(device: Device, fillings: list[Filling], style: Style) -> dict[str, dict[str, float]]:
    """What the printed table has to say, by cell."""
    measured = {one.cell_id: one.values for one in fillings}
    found = {}
    for cell in device.cells:
        known = {name: one.value for name, one in cell.expectations.items() if one.value is not None}
        own = measured.get(cell.id, {})
        filled = {name: rounded(value, style) for name, value in own.items() if name not in known}
        blank = [name for name, one in cell.expectations.items() if one.state == UNPUBLISHED]
        found[str(cell.id)] = {**known, **{name: value for name, value in filled.items() if name in blank}}
    return found


@given(devices(), st.booleans(), st.booleans(), st.data())
def test_reading_an_export_gives_the_same_numbers_and_the_same_name(
    device: Device, percent: bool, exact: bool, data: Any
) -> None:
    style = Style(percent, exact)
    cell = data.draw(st.sampled_from(device.cells))
    # Rates of any size, but in their order, so that nothing but the number itself can be wrong.
    rates = {name for name in ("p_whole", "p_train", "p_core") if cell.expectations[name].state == PUBLISHED}
    measured = {"map": data.draw(st.floats(1e-3, 0.45))}
    measured["mem"] = data.draw(st.floats(1e-3, 31.0))
    if not rates:
        ordered = sorted(data.draw(st.floats(1e-3, 300.0)) for _ in range(3))
        measured.update(zip(("p_whole", "p_train", "p_core"), ordered))
    known = cell.expectations["e2e_time"].value
    blank = cell.expectations["p_whole"].state == UNPUBLISHED
    p_whole = cell.expectations["p_whole"].value or (measured.get("p_whole") if blank else None)
    measured["e2e_time"] = 1e6 / (rounded(p_whole, style) if p_whole else 300.0 * cell.topology.ranks)
    assume(known is None or not p_whole or p_whole == cell.expectations["p_whole"].value)
    fillings = [Filling(cell.id, data.draw(st.text(st.characters())), True, measured, ("why | not\n<b>",))]

    found = read_document("\n".join(document_lines(device, fillings, style)))

    stated = {
        f"r300-{row.topology}-{row.precision}-bs{row.batch_size}": {
            name: one.value for name, one in row.metrics.items() if one.value is not None
        }
        for row in found.rows
    }
    assert stated == values_of(device, fillings, style)
    assert {row.learning_rate for row in found.rows} == {one.learning_rate for one in device.cells}
    assert found.device is not None
    assert shown(found.device.text) == " ".join(f"{device.vendor} {device.name}".split())


HOSTILE = "R|300`<script>alert(1)</script>\n\x00\u202e[x](http://y) （2x4）两机"


def test_a_hostile_name_comes_through_harmless_and_can_be_had_back() -> None:
    environment = {"hardware": {"card": HOSTILE}, "software": {"driver": HOSTILE}}
    device = replace(R300, name=HOSTILE, vendor="Kunlunxin<b>", environment=environment)

    text = "\n".join(document_lines(device, [replace(FILLED, run=f"runs/{HOSTILE}\udc80")], PERCENT))

    own_words = "(p3>p2>p1)"
    assert not set("<>\x00\u202e\udc80") & set(text.replace(own_words, ""))
    assert "`" not in text.replace("\\`", "")
    assert "http:/" not in text
    assert all(len(table.rows) for table in split(text) if isinstance(table, Table))
    found = read_document(text)
    assert [str(row.topology) for row in found.rows] == ["1x1", "1x8", "2x8"]
    assert shown(found.environment["hardware"]["card"].text) == HOSTILE
    last = text.splitlines()[-1]
    assert shown(last.partition(" from ")[2]) == f"runs/{HOSTILE}\udc80"
