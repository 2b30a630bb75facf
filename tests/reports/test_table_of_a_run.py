"""The table after a run on eight simulated devices: every blank of its row is filled, and the importer agrees."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from evidence.bundle import read_run
from expected import METRICS, UNPUBLISHED, Device, load_device
from expected.__main__ import main as expected_main
from reports.__main__ import main
from reports.commands import FORMS
from tests.support import ROOT, device_of
from tests.verdict.bundles import Plan, build
from verdict.metrics.measure import measure
from verdict.wording import quantity

BLANK = """
[[cell]]
topo = "1x8"
precision = "fp32"
batch_size = 2
learning_rate = 0.02
e2e_time = "unpublished"
p_whole = "unpublished"
p_train = "unpublished"
p_core = "unpublished"
map = 0.364
mem = { value = 28.0, capacity = 32.0 }
"""
"""The row of the R300, on simulated devices."""


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["cpu-full", "virtual-full"])
def test_every_metric_that_a_stored_full_run_measured_is_in_the_document_and_is_imported(
    name: str, form: str, tmp_path: Path, capsys: Any
) -> None:
    run_dir, device = ROOT / "tests" / "stored" / name, device_of(name.partition("-")[0])
    assert main(["table", str(run_dir), "--document", "--exact", "--form", form]) == 0
    (tmp_path / "README.md").write_text(capsys.readouterr().out, encoding="utf-8")

    out = tmp_path / f"{device.marker}.toml"
    words = ["--out", str(out), "--backend", device.backend, "--vendor", device.vendor]
    assert expected_main(["import", str(tmp_path / "README.md"), *words]) == 0

    imported, known = load_device(out).cells[0].expectations, device.cells[0].expectations
    measured = {one.metric: one for one in measure(read_run(run_dir)).values() if one.metric in METRICS}
    blank = {metric for metric in measured if known[metric].state == UNPUBLISHED}
    assert {metric: imported[metric].value for metric in blank} == {metric: measured[metric].value for metric in blank}
    assert blank == ({"e2e_time", "p_whole", "p_train", "p_core"} if name == "cpu-full" else set())
    others = [measured[metric] for metric in METRICS if metric in measured and metric not in blank]
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    (remark,) = re.findall(r"measured, where the table keeps its own: (.*)", text)
    by_how_much = r" \(\d+\.\d % of the published, [\d.]+ % (?:in|out)side its bound\)"
    assert re.sub(by_how_much, "", remark) == ", ".join(
        f"{one.metric} {quantity(one.value, one.unit)}" for one in others
    )
    shown = re.findall(r"(\w+) [^,(]*" + by_how_much, remark)
    # The virtual device's p_whole is held against one that was read otherwise.
    assert shown == [one.metric for one in others if name == "cpu-full" or one.metric != "p_whole"]


def device_file(folder: Path) -> Path:
    text = (ROOT / "expected" / "virtual.toml").read_text(encoding="utf-8")
    text = text[: text.index("[[cell]]")] + BLANK
    for old, new in (("train_images = 560", "train_images = 300"), ("val_images = 32", "val_images = 16")):
        assert old in text
        text = text.replace(old, new)
    path = folder / "virtual.toml"
    path.write_text(text.replace('timing = "device"', 'timing = "host"'), encoding="utf-8")
    return path


def run_of(device: Device, folder: Path) -> Path:
    (cell,) = device.cells
    plan = {"topology": cell.topology, "device": "virtual", "backend": "virtual", "recipe": cell.recipe}
    tiny = {"pixels": 1024, "proposals": 10, "positives": 1}
    bundle = build(Plan(**plan, **tiny, batch_size=cell.batch_size, used_gib=27.5, simulated=True))
    for rank in bundle.ranks:
        for window in bundle.all("window", rank):
            window["sampled"] = 8 * sum(window["images"])  # what the tiny model's box head is given
    return bundle.write(folder / "run")


def test_a_run_fills_every_blank_of_its_row_and_the_export_imports_to_the_same_numbers(
    tmp_path: Path, capsys: Any
) -> None:
    path = device_file(tmp_path)
    run_dir = run_of(load_device(path), tmp_path)

    code = main(["table", str(run_dir), "--file", str(path), "--document", "--exact"])

    out, err = capsys.readouterr()
    assert code == 0, err
    (line,) = [line for line in out.splitlines() if "（1x8）" in line]
    cells = [cell.strip() for cell in line.split("|")[4:10]]
    assert all(cells)
    assert cells[4:] == ["0.364", "28.0/32.0"]
    assert f"e2e_time, p_whole, p_train, p_core from {run_dir}, simulated: no real device was measured" in out
    readme = tmp_path / "README.md"
    readme.write_text(out, encoding="utf-8")
    words = ["--backend", "virtual", "--vendor", "simulated", "--timing", "host"]
    assert expected_main(["import", str(readme), "--out", str(tmp_path / "back" / "virtual.toml"), *words]) == 2
    (tmp_path / "back").mkdir()
    assert expected_main(["import", str(readme), "--out", str(tmp_path / "back" / "virtual.toml"), *words]) == 0
    (cell,) = load_device(tmp_path / "back" / "virtual.toml").cells
    measured = measure(read_run(run_dir))
    assert {name: cell.expectations[name].value for name in ("e2e_time", "p_whole", "p_train", "p_core")} == {
        "e2e_time": measured["e2e_time"].value,
        "p_whole": measured["p_whole"].value,
        "p_train": measured["p_train"].value,
        "p_core": measured["p_core"].value,
    }
