"""Files in, checked devices out."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from expected import ExpectationError, Smoke, Topology, load_device, load_devices
from expected.load import RESERVED_MARKERS
from tests.expected.sample import GOOD, change, load, write

ROOT = Path(__file__).parents[2]


def test_a_file_becomes_a_device(tmp_path: Path) -> None:
    device = load(tmp_path)
    assert (device.marker, device.name, device.vendor, device.backend) == ("x100", "X100", "Example", "cuda")
    assert (device.card_memory_gib, device.cards_per_host) == (32.0, 8)
    assert device.environment == {"hardware": {"card": "Example X100"}, "software": {"driver": "1.2.3"}}
    assert device.source == "Example X100 report, 2nd edition"
    assert (device.method, device.notes, device.shapes) == ("", "", None)
    assert device.path == tmp_path / "x100.toml"
    assert [cell.id for cell in device.cells] == ["x100-1x1-fp32-bs16", "x100-1x8-amp-bs2"]
    assert {cell.recipe.epochs for cell in device.cells} == {20}


def test_packages_that_no_document_prints_are_a_table_of_their_own(tmp_path: Path) -> None:
    device = load(tmp_path, change("[recipe]", '[environment.packages]\npython = "3.8"\n\n[recipe]'))
    assert device.environment["packages"] == {"python": "3.8"}
    assert list(device.environment) == ["hardware", "software", "packages"]


def test_method_and_notes_of_the_document_are_kept_and_an_edition_is_optional(tmp_path: Path) -> None:
    device = load(tmp_path, change('edition = "2nd edition"', 'method = "host clock"\nnotes = """two\nlines"""'))
    assert (device.source, device.method, device.notes) == ("Example X100 report", "host clock", "two lines")


def test_a_device_without_devices_states_neither_memory_nor_devices(tmp_path: Path) -> None:
    device = load(tmp_path, change("card_memory_gib = 32.0\ncards_per_host = 8\n", ""))
    assert (device.card_memory_gib, device.cards_per_host) == (None, None)


def test_a_device_of_the_shared_backend_may_name_its_management_tool(tmp_path: Path) -> None:
    named = change('timing = "host"', 'timing = "host"\nsmi = "mx-smi"')
    assert (load(tmp_path).smi, load(tmp_path, named).smi) == ("", "mx-smi")
    with pytest.raises(ExpectationError, match=r"device\.smi: belongs to the backend cuda, .* found it for kunlunxin"):
        load(tmp_path, change('backend = "cuda"', 'backend = "kunlunxin"', named))


def test_a_generated_data_set_belongs_to_the_cpu(tmp_path: Path) -> None:
    shapes = "[shapes]\ntrain_images = 256\nval_images = 64\nseed = 0\n\n[recipe]"
    text = change("[recipe]", shapes)
    device = load(tmp_path, change('backend = "cuda"', 'backend = "cpu"', text))
    assert device.shapes == {"train_images": 256, "val_images": 64, "seed": 0}
    with pytest.raises(ExpectationError, match=r"^x100\.toml: shapes: belongs to the backends cpu and virtual only"):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("train_images = 0", "train_images"),
        ("val_images = true", "val_images"),
        ("seed = -1", "seed"),
        ("images = 3", "images"),
        ("", "train_images"),
    ],
)
def test_a_bad_generated_data_set_is_refused(tmp_path: Path, line: str, key: str) -> None:
    good = {"train_images": "train_images = 256", "val_images": "val_images = 64", "seed": "seed = 0"}
    good[key] = line
    text = change('backend = "cuda"', 'backend = "cpu"')
    with pytest.raises(ExpectationError, match=re.escape(f"x100.toml: shapes.{key}: ")):
        load(tmp_path, change("[recipe]", "[shapes]\n" + "\n".join(good.values()) + "\n[recipe]", text))


BAD = [
    ("schema = 1\n", "", "schema"),
    ("schema = 1", "schema = 2", "schema"),
    ("schema = 1", "schema = 2\nlater = true", "schema"),
    ("schema = 1", "schema = true", "schema"),
    ("schema = 1", "schema = 1\nunits_ = 3", "units_"),
    ("schema = 1", "schema = 1\n'' = 3", "''"),
    ("[recipe]", "[recepi]", "recepi"),
    ("[recipe]", "[cells]\n[recipe]", "cells"),
    ('marker = "x100"', "marker = 100", "device.marker"),
    ('marker = "x100"', 'marker = "1x"', "device.marker"),
    ('marker = "x100"', 'marker = "not"', "device.marker"),
    ('marker = "x100"', 'maker = "x100"', "device.maker"),
    ('name = "X100"', 'name = ""', "device.name"),
    ('vendor = "Example"\n', "", "device.vendor"),
    ('backend = "cuda"', 'backend = "cu da"', "device.backend"),
    ('backend = "cuda"\n', "", "device.backend"),
    ("card_memory_gib = 32.0", "card_memory_gib = 0", "device.card_memory_gib"),
    ("cards_per_host = 8", "cards_per_host = 0", "device.cards_per_host"),
    ("cards_per_host = 8", "cards_per_host = 8.0", "device.cards_per_host"),
    ('timing = "host"', 'timing = "wall"', "device.timing"),
    ('timing = "host"\n', "", "device.timing"),
    ('document = "Example X100 report"\n', "", "source.document"),
    ('edition = "2nd edition"', "edition = 2", "source.edition"),
    ('edition = "2nd edition"', 'editon = "2nd"', "source.editon"),
    ('map = "0..1"', 'map = "%"', "units.map"),
    ('mem = "GiB"', 'mem = "GB"', "units.mem"),
    ('e2e_time = "s"', 'e2e_time = "h"', "units.e2e_time"),
    ('p_core = "images/s"\n', "", "units.p_core"),
    ('mem = "GiB"', 'mem = "GiB"\npower = "W"', "units.power"),
    ('[environment.software]\ndriver = "1.2.3"\n', "", "environment.software"),
    ('driver = "1.2.3"\n', "", "environment.software"),
    ('driver = "1.2.3"', "driver = 1.2", "environment.software.driver"),
    ("[environment.software]", "[environment.sofware]", "environment.sofware"),
    ("[recipe]", "[environment.packages]\n[recipe]", "environment.packages"),
    ("[recipe]", "[environment.packages]\npython = 3.8\n[recipe]", "environment.packages.python"),
    ('[environment.hardware]\ncard = "Example X100"', "[environment]\nhardware = 3", "environment.hardware"),
]
SAID = [
    ('marker = "x100"', 'marker = "x200"', "device.marker: found 'x200', expected 'x100', the file's own name"),
    ('marker = "x100"', 'marker = "x-100"', "device.marker: found 'x-100', expected a name that pytest -m understands"),
    ('driver = "1.2.3"', 'Driver = "1.2.3"', "environment.software.Driver: expected a key of small letters"),
]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [*((old, new, f"{key}: ") for old, new, key in BAD), *SAID],
    ids=[new or old for old, new, _ in [*BAD, *SAID]],
)
def test_a_bad_file_is_refused_with_file_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    head, rows = GOOD[: GOOD.index("[[cell]]")], GOOD[GOOD.index("[[cell]]") :]
    with pytest.raises(ExpectationError, match="^" + re.escape(f"x100.toml: {message}")):
        load(tmp_path, change(old, new, head) + rows)


@pytest.mark.parametrize("table", ["device", "source", "units", "environment", "recipe"])
@pytest.mark.parametrize("written", ["3", '"text"', "[]"])
def test_a_value_in_place_of_a_table_is_refused(tmp_path: Path, table: str, written: str) -> None:
    head, rows = GOOD[: GOOD.index("[[cell]]")], GOOD[GOOD.index("[[cell]]") :]
    parts = [part for part in re.split(r"(?m)^(?=\[)", head) if not part.startswith(f"[{table}")]
    text = change("schema = 1", f"schema = 1\n{table} = {written}", "".join(parts)) + rows
    with pytest.raises(ExpectationError, match=rf"^x100\.toml: {table}: found the .*, expected a table"):
        load(tmp_path, text)


@pytest.mark.parametrize("marker", sorted(RESERVED_MARKERS))
def test_a_marker_that_means_something_else_is_refused(tmp_path: Path, marker: str) -> None:
    path = write(tmp_path, change('"x100"', f'"{marker}"'), f"{marker}.toml")
    with pytest.raises(ExpectationError, match=rf"^{marker}\.toml: device\.marker: found '{marker}', which pytest"):
        load_device(path)


def test_every_marker_that_this_python_knows_already_is_reserved() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--markers", "-p", "no:cacheprovider", "-c", str(ROOT / "tox.ini")],
        cwd=str(ROOT / "tests" / "expected"),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    names = set(re.findall(r"(?m)^@pytest\.mark\.(\w+)", listed.stdout))
    devices = set(load_devices())
    assert names - devices <= RESERVED_MARKERS
    assert {"skip", "parametrize", "labs"} <= names


def test_a_folder_is_loaded_in_the_order_of_its_file_names(tmp_path: Path) -> None:
    for marker in ("b2", "a10", "a9"):
        text = GOOD.replace('"x100"', f'"{marker}"').replace('"X100"', f'"{marker}"')
        write(tmp_path, text, f"{marker}.toml")
    write(tmp_path, "an editor's lock", ".#a9.toml")
    write(tmp_path, "not a device", "notes.txt")
    devices = load_devices(str(tmp_path))
    assert list(devices) == ["a10", "a9", "b2"]
    assert [device.marker for device in devices.values()] == list(devices)


def test_an_empty_or_missing_folder_is_an_error(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ExpectationError, match=re.escape(str(folder)) + r": found no \*\.toml file"):
            load_devices(folder)


def test_one_bad_file_spoils_the_folder(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    write(tmp_path, change('"x100"', '"y100"'), "z100.toml")
    with pytest.raises(ExpectationError, match=r"^z100\.toml: device\.marker: "):
        load_devices(tmp_path)


def test_two_devices_of_one_name_are_an_error(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    write(tmp_path, change('"x100"', '"x200"'), "x200.toml")
    with pytest.raises(
        ExpectationError,
        match=r"^x200\.toml: device\.name: found 'Example X100', which x100\.toml has already",
    ):
        load_devices(tmp_path)


def test_two_markers_that_differ_in_case_only_are_an_error(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    write(tmp_path, change('"x100"', '"X100"', change('"X100"', '"X100 new"')), "X100.toml")
    with pytest.raises(ExpectationError, match=r"^x100\.toml: device\.marker: found 'x100', which X100\.toml has"):
        load_devices(tmp_path)


def test_the_vendors_tables_are_read_without_heavy_libraries() -> None:
    code = "import sys, expected; expected.load_devices(); print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=str(ROOT),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    modules = set(run.stdout.split())
    assert "expected.load" in modules
    assert not modules & {
        "torch",
        "torchvision",
        "numpy",
        "pytest",
        "trainer",
        "verdict",
        "fixtures",
        "reports",
    }


def test_a_file_may_say_how_its_smoke_runs_differ(tmp_path: Path) -> None:
    smoke = "[smoke]\nbatch_size = 1\nsteps = 8\nsides = [128, 171]\n\n[recipe]"

    device = load(tmp_path, change("[recipe]", smoke))

    assert device.smoke == Smoke(1, 8, (128, 171))
    assert device.smoke_cell(Topology(1, 8), "amp").id == "x100-1x8-amp-bs1"
    assert load(tmp_path).smoke == Smoke(None, 20, None)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("batch_size = 0", "smoke.batch_size: "),
        ("steps = 0", "smoke.steps: "),
        ("sides = [128]", "smoke.sides: found 1 numbers, expected two"),
        ("epochs = 1", "smoke.epochs: unknown key"),
    ],
)
def test_what_a_smoke_run_cannot_be_is_refused(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(ExpectationError, match=re.escape(f"x100.toml: {says}")):
        load(tmp_path, change("[recipe]", f"[smoke]\n{line}\n\n[recipe]"))
