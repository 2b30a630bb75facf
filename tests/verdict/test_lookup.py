"""Which cell a stored run is of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from evidence.bundle import read_run
from evidence.errors import SuiteError
from expected import Topology
from tests.verdict.accepting import device_with, devices_of
from tests.verdict.bundles import CPU, Plan, a_cell, build
from verdict.lookup import OWN_DATA, find_cell

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


def test_a_run_of_one_card_is_of_its_tables_cell_on_that_card(tmp_path: Path) -> None:
    bundle = build(Plan())
    bundle.run["cell"]["id"] += "-card3"
    devices = devices_of(Plan(), map=0.3)

    _, cell = find_cell(read_run(bundle.write(tmp_path / "run")), devices)

    assert cell == replace(devices["r300"].cells[0], card=3)
