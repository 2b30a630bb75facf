"""Device files made of documents and compared with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.errors import SuiteError
from expected import Cell, Device, Recipe, load_device, load_devices
from expected.documents import Given, device_toml, differences
from expected.documents.cells import read_default
from tests.expected.documents.making import ROW_LINE, SEED, changed, document, read, row, rows_of, shipped_row

R300 = Given("r300")


def imported(folder: Path, text: str = SEED, given_: Given = R300, **changes: Any) -> Device:
    path = folder / f"{given_.marker}.toml"
    path.write_text(device_toml(read(text), replace(given_, **changes)), encoding="utf-8")
    return load_device(path)


def without_origin(cell: Cell) -> Cell:
    """The cell less what its file says of where it is from."""
    table = {name: replace(known, source="") for name, known in cell.expectations.items()}
    return replace(cell, source="", note="", expectations=table)


def test_the_document_of_the_r300_becomes_the_shipped_file_but_for_the_cells_of_its_later_edition(
    tmp_path: Path,
) -> None:
    shipped, found = load_devices()["r300"], imported(tmp_path)

    for name in ("marker", "name", "vendor", "backend", "card_memory_gib", "cards_per_host", "shapes", "method", "smi"):
        assert getattr(found, name) == getattr(shipped, name), name
    assert found.environment == {key: shipped.environment[key] for key in ("hardware", "software")}
    differing = {
        (str(cell.topology), name): (known.state, cell.expectations[name].state)
        for cell, other in zip(found.cells, shipped.cells)
        for name, known in other.expectations.items()
        if replace(known, source="") != replace(cell.expectations[name], source="")
    }
    later = {(topology, name) for topology in ("1x1", "2x8") for name in ("e2e_time", "map")}
    assert differing == dict.fromkeys(later, ("not_applicable", "unpublished"))
    for cell, other in zip(found.cells, shipped.cells):
        assert without_origin(replace(cell, expectations={})) == without_origin(
            replace(other, expectations={}, peak_tflops=None, rates=())
        )


def test_what_the_document_does_not_know_is_said_to_come_from_elsewhere() -> None:
    text = device_toml(read(SEED), R300)

    assert 'backend = "kunlunxin" # not in the document: known of this vendor' in text
    assert 'timing = "host" # not in the document: FlagPerf reads p_core with the host\'s clock' in text
    assert "cards_per_host = 8 # the most that a row of the document uses" in text


def test_what_is_given_comes_before_what_is_known(tmp_path: Path) -> None:
    found = imported(tmp_path, backend="cuda", timing="device", vendor="Acme", name="Z1", edition="2nd edition")

    assert (found.backend, found.vendor, found.name) == ("cuda", "Acme", "Z1")
    assert {cell.timing for cell in found.cells} == {"device"}
    assert found.source.endswith("Acme Z1 (README.md), 2nd edition")
    assert "in step with the device" in found.method
    assert "given, not in the document" in (tmp_path / "r300.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("short", "vendor", "name", "smi"),
    [
        ("nvidia A100 40G", "NVIDIA", "A100 40G", "nvml"),
        ("METAX C500", "MetaX", "C500", "mx-smi"),
        ("iluvatar BI-V100", "Iluvatar", "BI-V100", "ixsmi"),
    ],
)
def test_known_vendors_need_nothing_said(tmp_path: Path, short: str, vendor: str, name: str, smi: str) -> None:
    text = changed("kunlunxin R300", short, document(row(config="1x8")))

    found = imported(tmp_path, text)

    assert (found.vendor, found.name, found.backend, found.smi) == (vendor, name, "cuda", smi)


def test_an_unknown_vendor_is_asked_for(tmp_path: Path) -> None:
    text = changed("kunlunxin R300", "Acme Z1", document(row(config="1x8")))

    with pytest.raises(SuiteError) as caught:
        imported(tmp_path, text)

    expected = [f"README.md:26:14: {what} is not in the document" for what in ("vendor", "backend", "timing")]
    assert [line[: len(start)] for line, start in zip(str(caught.value).splitlines(), expected)] == expected
    found = imported(tmp_path, text, vendor="Acme", backend="cuda", timing="device")
    assert (found.vendor, found.name) == ("Acme", "Z1")


def test_a_document_with_errors_becomes_nothing() -> None:
    with pytest.raises(SuiteError, match=r"^README\.md:39:\d+: p_core: found '298\[1\]'"):
        device_toml(read(document(row(p_core="298[1]"))), R300)


def test_declared_modifications_are_kept_where_a_person_will_see_them(tmp_path: Path) -> None:
    found = imported(tmp_path, changed("| 无 ", "| gradient clip \\| 10 "))

    assert found.notes == "The document declares modifications: gradient clip | 10"


def test_rows_with_given_hyper_parameters_say_so(tmp_path: Path) -> None:
    path = tmp_path / "r300.toml"
    found = read(document(row(fix_hp="/")), [read_default("bs=2,lr=0.02")])
    path.write_text(device_toml(found, R300), encoding="utf-8")

    (cell,) = load_device(path).cells

    assert (cell.batch_size, cell.learning_rate) == (2, 0.02)
    assert cell.note == "The table prints '/'; what it leaves out was given when it was imported."


def test_a_device_without_a_printed_capacity_has_none(tmp_path: Path) -> None:
    found = imported(tmp_path, document(row(config="1x1", mem="28.0")))

    assert (found.card_memory_gib, found.cards_per_host) == (None, None)
    assert found.cells[0].expectations["mem"].capacity is None


TEXTS = st.text(st.characters(), min_size=1, max_size=20)


@given(name=TEXTS)
def test_any_name_of_a_document_makes_a_file_that_loads(tmp_path_factory: Any, name: str) -> None:
    folder = Path(str(tmp_path_factory.mktemp("any")))
    path = folder / "r300.toml"
    path.write_text(device_toml(replace(read(SEED), name=name), R300), encoding="utf-8")

    assert load_device(path).marker == "r300"


SHIPPED = load_devices()["r300"]
LATER = SEED
for _line in ("R300单机单卡（1x1）", "R300两机8卡（2x8）"):
    _at = LATER.index(_line)
    _row = LATER[_at : LATER.index("\n", _at)]
    _cells = _row.split("|")
    _cells[3] = _cells[7] = " /  "
    LATER = LATER.replace(_row, "|".join(_cells))
"""The document in its later edition."""


def found(text: str, device: Device = SHIPPED) -> list[str]:
    return list(differences(read(text), device))


def test_the_shipped_file_differs_in_the_four_cells_of_the_later_edition() -> None:
    says = 'the document says blank (unpublished), r300.toml "/" (not applicable)'
    assert found(SEED) == [
        f"README.md:39:46: r300-1x1-fp32-bs16: e2e_time: {says}",
        f"README.md:39:86: r300-1x1-fp32-bs16: map: {says}",
        f"README.md:41:46: r300-2x8-fp32-bs16: e2e_time: {says}",
        f"README.md:41:86: r300-2x8-fp32-bs16: map: {says}",
    ]


def test_the_later_edition_does_not_differ() -> None:
    assert found(LATER) == []


CHANGES = {
    "a number": (("36.4%", "36.5%"), ["r300-1x8-fp32-bs16: map: the document says 0.365, r300.toml 0.364"]),
    "a number for a blank": (
        ("|          |         |         |        | 36.4%", "| 40310    |         |         |        | 36.4%"),
        ["r300-1x8-fp32-bs16: e2e_time: the document says 40310.0, r300.toml blank (unpublished)"],
    ),
    "used memory": (
        ("28.0/32.0", "28.1/32.0"),
        ["r300-1x8-fp32-bs16: mem: the document says 28.1 of 32.0, r300.toml 28.0 of 32.0"],
    ),
    "a learning rate": (
        ("R300单机8卡（1x8） | fp32      | bs=16,lr=0.16", "R300单机8卡（1x8） | fp32      | bs=16,lr=0.08"),
        ["r300-1x8-fp32-bs16: learning_rate: the document says 0.08, r300.toml 0.16"],
    ),
    "a batch size": (
        ("R300单机8卡（1x8） | fp32      | bs=16,lr=0.16", "R300单机8卡（1x8） | fp32      | bs=8,lr=0.16"),
        ["r300-1x8-fp32-bs16: batch_size: the document says 8, r300.toml 16"],
    ),
    "a topology": (
        ("R300单机8卡（1x8）", "R300单机4卡（1x4）"),
        [
            "r300-1x8-fp32-bs16: the document says no such row, r300.toml a cell",
            "1x4 fp32 bs=16 lr=0.16: the document says a row, r300.toml no such cell",
        ],
    ),
    "a precision": (
        ("R300单机8卡（1x8） | fp32 ", "R300单机8卡（1x8） | amp  "),
        [
            "r300-1x8-fp32-bs16: the document says no such row, r300.toml a cell",
            "1x8 amp bs=16 lr=0.16: the document says a row, r300.toml no such cell",
        ],
    ),
    "a text": (("4.0.25", "4.0.26"), ["software driver: the document says '4.0.26', r300.toml '4.0.25'"]),
    "its punctuation": (
        ("InfiniBand，200", "InfiniBand,200"),
        ["hardware network: the document says 'InfiniBand,200Gb/s', r300.toml 'InfiniBand，200Gb/s'"],
    ),
    "a text more": (
        ("  - OS版本", "  - Python: 3.8\n  - OS版本"),
        ["software python: the document says '3.8', r300.toml nothing"],
    ),
    "a text less": (
        ("  - OS版本：Ubuntu 20.04\n", ""),
        ["software os: the document says nothing, r300.toml 'Ubuntu 20.04'"],
    ),
    "the name": (("kunlunxin R300 ", "kunlunxin r300 "), []),
    "modifications": (
        ("| 无 ", "| gradient clip 10 "),
        ["modifications: the document says 'gradient clip 10', r300.toml none"],
    ),
    "spaces in a text": (("Ubuntu 20.04", "Ubuntu   20.04"), []),
}


@pytest.mark.parametrize("case", CHANGES)
def test_every_difference_is_listed_once(case: str) -> None:
    (old, new), expected = CHANGES[case]

    lines = found(changed(old, new, LATER))

    assert [line.split(": ", 1)[1] for line in lines] == expected


def test_another_device_is_another_device() -> None:
    text = changed("kunlunxin R300", "kunlunxin R400", document(row(config="1x8")))

    assert any(
        "26:14: device: the document says 'kunlunxin R400', r300.toml 'Kunlunxin R300'" in one for one in found(text)
    )


def test_a_recipe_that_the_document_does_not_declare_is_a_difference() -> None:
    device = replace(SHIPPED, cells=tuple(replace(cell, recipe=Recipe(tf32=True)) for cell in SHIPPED.cells))

    (line,) = found(LATER, device)

    assert line.endswith("modifications: the document says none, r300.toml tf32: true, the benchmark's is false")


def test_packages_source_and_bounds_are_not_compared() -> None:
    known = SHIPPED.cells[1].expectations
    table: dict[str, Any] = {**known, "map": replace(known["map"], low=0.1, source="elsewhere")}
    cells = (SHIPPED.cells[0], replace(SHIPPED.cells[1], expectations=table, note="a note"), SHIPPED.cells[2])
    environment = {**SHIPPED.environment, "packages": {"python": "2.7"}}

    device = replace(SHIPPED, source="", notes="", method="", environment=environment, cells=cells)

    assert found(LATER, device) == []


def test_rows_of_one_topology_are_told_apart_by_their_hyper_parameters() -> None:
    a100 = load_devices()["a100"]
    text = document(*(shipped_row(one, {"p_core": "600"} if one.p_core == 601 else {}) for one in rows_of("a100")))

    lines = found(changed("kunlunxin R300", "NVIDIA A100 40G", text), a100)

    cells = [line.split(": ", 1) for line in lines if "a100-" in line]
    assert cells == [
        [f"README.md:{ROW_LINE + 3}:48", "a100-2x8-fp32-bs16: p_core: the document says 600.0, a100.toml 601.0"]
    ]
