"""The table of a stored run: every blank that it measured is filled, and the importer agrees."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from evidence.bundle import read_run
from expected import METRICS, UNPUBLISHED, load_device
from expected.__main__ import main as expected_main
from reports.__main__ import main
from reports.commands import FORMS
from tests.support import ROOT, device_of
from verdict.metrics.measure import measure
from verdict.wording import quantity


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
