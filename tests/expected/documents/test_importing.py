"""Documents become device files that load and say the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.errors import SuiteError
from expected import Cell, Device, load_device, load_devices
from expected.documents import Given, device_toml
from expected.documents.cells import read_default
from tests.expected.documents.making import SEED, changed, document, read, row

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
        assert without_origin(replace(cell, expectations={})) == without_origin(replace(other, expectations={}))


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


def test_a_card_without_a_printed_capacity_has_none(tmp_path: Path) -> None:
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
