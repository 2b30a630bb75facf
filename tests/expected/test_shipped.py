"""The files that are shipped, against the vendors' tables as they were typed a second time."""

from __future__ import annotations

from typing import NamedTuple, Union

import pytest

from expected import (
    METRICS,
    NOT_APPLICABLE,
    PUBLISHED,
    UNPUBLISHED,
    Cell,
    Device,
    Recipe,
    load_devices,
)
from expected.load import released
from trainer.devices.scenario import Scenario

DEVICES = load_devices()

Column = Union[str, float, int]


class Row(NamedTuple):
    """A row as it is printed: "" is blank, "/" is not applicable, mem is used/capacity."""

    marker: str
    topo: str
    batch_size: int
    learning_rate: float
    e2e_time: Column
    p_whole: Column
    p_train: Column
    p_core: Column
    map: Column
    mem: str


ROWS: list[Row] = [
    Row("r300", "1x1", 16, 0.16, "/", "", "", "", "/", "17.0/32.0"),
    Row("r300", "1x8", 16, 0.16, "", "", "", "", 0.364, "28.0/32.0"),
    Row("r300", "2x8", 16, 0.16, "/", "", "", "", "/", "15.0/32.0"),
    Row("a100", "1x8", 2, 0.02, 14086, 144, 150, 199, 0.370, "7.9/40.0"),
    Row("a100", "1x8", 16, 0.16, 11848, 187, 199, 298, 0.366, "38.8/40.0"),
    Row("a100", "1x1", 16, 0.16, "/", 26, 27, 45, "/", "33.7/40.0"),
    Row("a100", "2x8", 16, 0.16, "/", 351, 383, 601, "/", "39.0/40.0"),
    Row("c500", "1x8", 2, 0.02, "", "", "", "", "", "9.9/64"),
    Row("c500", "1x8", 16, 0.16, "", "", "", "", 0.367, "44.5/64"),
    Row("c500", "1x1", 16, 0.16, "/", "", "", "", "", "31.8/64"),
    Row("c500", "2x8", 16, 0.08, "/", "", "", "", "", "44.3/64"),
    Row("bi_v100", "1x1", 8, 0.0025, "/", "", "", "", "/", ""),
    Row("bi_v100", "1x8", 8, 0.08, "", "", "", "", "", ""),
    Row("bi_v100", "2x8", 8, 0.08, "/", "", "", "", "/", ""),
]
VENDORS = ("r300", "a100", "c500", "bi_v100")


def _id(row: Row) -> str:
    return f"{row.marker}-{row.topo}-fp32-bs{row.batch_size}"


def _cell(cell_id: str) -> Cell:
    return {cell.id: cell for device in DEVICES.values() for cell in device.cells}[cell_id]


def test_the_shipped_devices_come_in_the_order_of_their_files() -> None:
    assert list(DEVICES) == ["a100", "a100_80g", "bi_v100", "c500", "cpu", "h100", "h200", "r300", "virtual"]


def test_the_release_has_the_shipped_files_to_the_byte() -> None:
    devices = load_devices()

    changed = [device.path.name for device in devices.values() if not device.is_released]
    assert not changed, "after a change of a table: cd expected && sha256sum *.toml > SHA256SUMS"
    assert set(released(next(iter(devices.values())).path.parent)) == {f"{marker}.toml" for marker in devices}


def test_the_shipped_rows_are_those_of_the_tables_in_their_order() -> None:
    shipped = [cell.id for marker in VENDORS for cell in DEVICES[marker].cells]
    assert shipped == [_id(row) for row in ROWS]


@pytest.mark.parametrize("row", ROWS, ids=_id)
def test_a_shipped_row_says_what_the_table_prints(row: Row) -> None:
    cell = _cell(_id(row))
    printed: dict[str, Column] = {name: getattr(row, name) for name in METRICS}
    capacity: float | None = None
    if row.mem:
        used, total = row.mem.split("/")
        printed["mem"], capacity = float(used), float(total)
    words = {"": UNPUBLISHED, "/": NOT_APPLICABLE}
    for name, column in printed.items():
        found = cell.expectations[name]
        if isinstance(column, str):
            assert (found.state, found.value, found.low, found.high) == (words[column], None, None, None)
        else:
            assert (found.state, found.value) == (PUBLISHED, column)
        assert found.source == DEVICES[row.marker].source
    if capacity is not None:
        assert cell.expectations["mem"].capacity == capacity == DEVICES[row.marker].card_memory_gib
    assert (cell.learning_rate, cell.precision, cell.timing) == (row.learning_rate, "fp32", "host")


@pytest.mark.parametrize(
    ("cell_id", "bounds"),
    [
        ("r300-1x8-fp32-bs16", {"map": (0.36, None), "mem": (None, 29.4)}),
        ("r300-1x1-fp32-bs16", {"mem": (None, 17.85)}),
        (
            "a100-1x8-fp32-bs16",
            {"e2e_time": (None, 12475.1), "p_whole": (177.65, None), "p_train": (189.05, None)},
        ),
        ("a100-1x8-fp32-bs2", {"e2e_time": (None, 14900.3)}),  # one epoch more is 5.8 %
        ("a100-1x8-fp32-bs16", {"p_core": (283.1, None), "map": (0.362, None), "mem": (None, 40.0)}),
        ("a100-2x8-fp32-bs16", {"mem": (None, 40.0)}),
        ("c500-2x8-fp32-bs16", {"mem": (None, 46.515)}),
        ("cpu-1x1-fp32-bs8", {"map": (0.36, None)}),
    ],
)
def test_the_bounds_of_shipped_rows_are_the_documented_ones(cell_id: str, bounds: dict[str, object]) -> None:
    expectations = _cell(cell_id).expectations
    assert {name: (expectations[name].low, expectations[name].high) for name in bounds} == bounds


@pytest.mark.parametrize(
    ("marker", "vendor", "backend", "memory_gib"),
    [
        ("r300", "Kunlunxin", "kunlunxin", 32.0),
        ("a100", "NVIDIA", "cuda", 40.0),
        ("c500", "MetaX", "cuda", 64.0),
        ("bi_v100", "Iluvatar", "cuda", 32.0),
    ],
)
def test_a_vendors_device_names_its_backend_and_its_devices(
    marker: str, vendor: str, backend: str, memory_gib: float
) -> None:
    device = DEVICES[marker]
    assert (device.vendor, device.backend, device.card_memory_gib) == (vendor, backend, memory_gib)
    assert device.cards_per_host == 8
    assert device.shapes is None
    assert "host clock" in device.method


@pytest.mark.parametrize(
    ("marker", "recipe"),
    [
        ("r300", Recipe()),
        ("a100", Recipe(tf32=True, deterministic=True)),
        ("c500", Recipe(tf32=True, deterministic=True, lowered=("METAX_USE_TF32=1",))),
        ("bi_v100", Recipe(cudnn_benchmark=True)),
    ],
)
def test_what_a_vendors_published_runs_set_is_declared(marker: str, recipe: Recipe) -> None:
    notes = DEVICES[marker].notes
    assert {cell.recipe for cell in DEVICES[marker].cells} == {recipe}
    assert ("TF32" in notes) == recipe.tf32
    assert ("cudnn.deterministic" in notes) == recipe.deterministic
    assert ("cudnn.benchmark" in notes) == recipe.cudnn_benchmark


RENTED = {
    "h100": (80.0, 67.0, 494.7, 989.4),
    "h200": (141.0, 67.0, 494.7, 989.4),
    "a100_80g": (80.0, 19.5, 156.0, 312.0),
}


@pytest.mark.parametrize("marker", RENTED)
def test_devices_that_can_be_rented_have_rows_of_every_precision(marker: str) -> None:
    device, (memory_gib, fp32, tf32, short) = DEVICES[marker], RENTED[marker]

    assert [cell.id for cell in device.cells] == [
        f"{marker}-{topo}-{precision}-bs{size}"
        for size in (16, 2)
        for topo in ("1x1", "1x8", "2x8")
        for precision in ("fp32", "tf32", "amp", "bf16")
    ]
    assert {known.state for cell in device.cells for known in cell.expectations.values()} == {UNPUBLISHED}
    assert {cell.expectations["mem"].capacity for cell in device.cells} == {memory_gib}
    assert {(cell.precision, cell.recipe) for cell in device.cells} == {
        ("tf32", Recipe(tf32=True)),
        *((precision, Recipe()) for precision in ("fp32", "amp", "bf16")),
    }
    peaks = {cell.precision: cell.peak_tflops for cell in device.cells}
    assert peaks == {"fp32": fp32, "tf32": tf32, "amp": short, "bf16": short}
    assert {(cell.batch_size, cell.learning_rate) for cell in device.cells} == {(16, 0.16), (2, 0.02)}
    assert {(cell.protocol, cell.timing) for cell in device.cells} == {("epoch", "device")}


def test_the_rows_behind_the_footnote_say_so() -> None:
    noted = {cell.id for marker in ("a100", "c500", "bi_v100") for cell in DEVICES[marker].cells if cell.note}
    assert noted == {
        "c500-1x1-fp32-bs16",
        "c500-2x8-fp32-bs16",
        "bi_v100-1x1-fp32-bs8",
        "bi_v100-1x8-fp32-bs8",
        "bi_v100-2x8-fp32-bs8",
    }
    assert all("0.02" in _cell(f"bi_v100-{topo}-fp32-bs8").note for topo in ("1x8", "2x8"))


def test_the_r300_follows_the_later_edition_and_says_so() -> None:
    device = DEVICES["r300"]
    assert "later edition" in device.source
    assert "later edition" in device.notes
    assert [bool(cell.note) for cell in device.cells] == [True, False, True]


def test_devices_of_the_shared_backend_are_watched_by_their_vendors_tool() -> None:
    assert {name: device.smi for name, device in DEVICES.items() if device.smi} == {
        "a100": "nvml",
        "a100_80g": "nvml",
        "h100": "nvml",
        "h200": "nvml",
        "bi_v100": "ixsmi",
        "c500": "mx-smi",
    }


def test_the_environment_of_the_r300_is_that_of_its_document() -> None:
    environment = DEVICES["r300"].environment
    assert environment["hardware"] == {
        "machine": "昆仑芯AI加速器组R480-X8",
        "card": "昆仑芯AI加速卡R300",
        "network": "InfiniBand，200Gb/s",
    }
    stated = {
        "os": "Ubuntu 20.04",
        "kernel": "5.4.0-26-generic",
        "driver": "4.0.25",
        "image": "pytorch1.12.1-cpu-ubuntu18.04:v0.04",
        "framework": "xmlir+e70db8f6",
        "dependencies": "pytorch-1.12.1+cpu",
    }
    assert environment["software"] == stated
    assert environment["packages"] == {
        "python": "3.8",
        "torch": "1.12.1+cpu",
        "torchvision": "0.13.1+cpu",
        "numpy": "1.23.5",
        "pillow": "9.5.0",
    }


def _protocols(device: Device) -> dict[str, str]:
    return {f"{cell.topology}-bs{cell.batch_size}": cell.protocol for cell in device.cells}


def test_rows_without_published_accuracy_or_time_train_one_epoch() -> None:
    assert _protocols(DEVICES["r300"]) == {"1x1-bs16": "epoch", "1x8-bs16": "full", "2x8-bs16": "epoch"}
    assert _protocols(DEVICES["c500"])["1x8-bs2"] == "epoch"
    assert set(_protocols(DEVICES["bi_v100"]).values()) == {"epoch"}


def test_the_cpu_has_small_cells_with_bounds_of_their_own() -> None:
    device = DEVICES["cpu"]
    assert [str(cell.topology) for cell in device.cells] == ["1x1", "1x2", "2x1", "2x2"]
    assert {cell.batch_size * cell.topology.ranks for cell in device.cells} == {8}
    assert (device.backend, device.card_memory_gib, device.cards_per_host) == ("cpu", None, None)
    assert device.shapes is not None
    for cell in device.cells:
        states = {name: cell.expectations[name].state for name in METRICS}
        assert states == {**dict.fromkeys(METRICS, UNPUBLISHED), "map": PUBLISHED, "mem": PUBLISHED}
        assert (cell.protocol, cell.timing, cell.precision) == ("full", "device", "fp32")
        assert cell.recipe.model == "fasterrcnn_resnet18_fpn_small"
        assert not cell.recipe.pretrained_backbone
        assert cell.expectations["map"].low == 0.36
        assert cell.expectations["mem"].high is not None
        assert cell.expectations["mem"].high <= 2.5


@pytest.mark.parametrize("topo", ["1x1", "1x2", "1x8", "2x8"])
def test_the_virtual_device_publishes_what_its_backend_plants_without_a_scenario(topo: str) -> None:
    scenario = Scenario()
    (cell,) = (cell for cell in DEVICES["virtual"].cells if str(cell.topology) == topo)

    known = cell.expectations
    images_per_s = cell.topology.ranks * 1000 / scenario.image_ms
    assert (known["p_core"].value, known["p_core"].low) == (images_per_s, images_per_s * 0.95)
    assert known["p_train"].value == images_per_s
    assert (known["mem"].value, known["mem"].capacity) == (scenario.memory_gib, scenario.capacity_gib)
    assert {known[name].state for name in ("e2e_time", "p_whole", "map")} == {NOT_APPLICABLE}
    assert (cell.protocol, cell.timing, cell.recipe.model) == ("epoch", "device", "fasterrcnn_tiny")


def test_eight_virtual_devices_have_an_epoch_of_sixteen_steps_or_more() -> None:
    device = DEVICES["virtual"]
    (cell,) = (cell for cell in device.cells if str(cell.topology) == "1x8")

    assert device.shapes is not None
    with_boxes = 0.95 * device.shapes["train_images"]  # some pictures have none, or those of crowds only
    assert with_boxes // (cell.batch_size * cell.topology.ranks) >= 16


def test_the_epochs_of_the_a100_follow_from_what_its_table_publishes() -> None:
    found = {
        cell.id: cell.expectations["epochs_to_target"]
        for device in DEVICES.values()
        for cell in device.cells
        if "epochs_to_target" in cell.expectations
    }

    assert {name: (known.value, known.low, known.high) for name, known in found.items()} == {
        "a100-1x8-fp32-bs2": (17.3, 15.3, 19.3),
        "a100-1x8-fp32-bs16": (18.89, 16.89, 20.89),
    }
    assert {known.state for known in found.values()} == {"derived"}
    assert found["a100-1x8-fp32-bs2"].source.startswith("e2e_time x p_whole / 117266 images, at most so many; FlagPerf")


def test_the_specified_peaks_are_those_of_the_rows_precision() -> None:
    peaks = {marker: {cell.peak_tflops for cell in device.cells} for marker, device in DEVICES.items()}

    stated = {"a100": {156.0}, "c500": {140.0}, "bi_v100": {147.0}, "r300": {125.0}}
    assert {marker: found for marker, found in peaks.items() if marker in stated} == stated
    assert peaks["cpu"] == peaks["virtual"] == {None}
