"""`python -m verdict`: exit codes and the plain listing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from expected import Cell, load_devices
from tests.verdict.bundles import Bundle, Plan, build
from verdict.__main__ import main

ROOT = Path(__file__).resolve().parents[2]


def bundle_of(marker: str, **changes: Any) -> tuple[Bundle, Cell]:
    """A bundle of the first cell of a shipped table."""
    device = load_devices()[marker]
    cell = device.cells[0]
    plan = Plan(
        topology=cell.topology,
        device=marker,
        backend=device.backend,
        recipe=cell.recipe,
        maps=(cell.recipe.target_map + 0.2,),
        batch_size=cell.batch_size,
        used_gib=1.0,
        steps=40,
        **changes,
    )
    bundle = build(plan)
    bundle.run["cell"]["learning_rate"] = cell.learning_rate
    for rank in bundle.ranks:
        bundle.one("start", rank)["learning_rate"] = cell.learning_rate
    return bundle, cell


def test_a_run_of_a_shipped_cell_is_judged_and_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, cell = bundle_of("cpu")

    code = main([str(bundle.write(tmp_path / "run"))])

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert lines[0] == f"{cell.id} full: recorded"
    assert [line.split()[:2] for line in lines[1:]] == [
        ["e2e_time", "recorded"],
        ["p_whole", "recorded"],
        ["p_train", "recorded"],
        ["p_core", "recorded"],
        ["map", "pass"],
        ["mem", "pass"],
    ]


def test_a_run_on_another_data_set_is_only_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, _ = bundle_of("cpu")
    del bundle.run["own_data"]  # what does not say that the data set was the device's own is not taken for it

    main([str(bundle.write(tmp_path / "run"))])

    assert "full: recorded" in capsys.readouterr().out


def test_a_run_that_fails_a_metric_exits_with_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, _ = bundle_of("cpu")
    bundle.telemetry[0]["memory_used_gib"] = 30.0

    assert main([str(bundle.write(tmp_path / "run"))]) == 1
    assert "mem       fail          mem 30.00 GiB is above" in capsys.readouterr().out


def test_a_run_that_misses_a_metric_exits_with_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, _ = bundle_of("cpu", protocol="steady")

    assert main([str(bundle.write(tmp_path / "run"))]) == 1
    assert "steady: missing" in capsys.readouterr().out


def test_a_run_that_cannot_be_trusted_exits_with_two_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, _ = bundle_of("cpu", simulated=True)

    assert main([str(bundle.write(tmp_path / "run"))]) == 2
    printed = capsys.readouterr().out
    assert "full (simulated): invalid" in printed
    assert "\n\nrun.json: found a simulated device, expected a real cpu\n" in printed


def test_the_devices_own_backend_is_required(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, _ = bundle_of("r300")
    bundle.run["backend"] = "cpu"

    assert main([str(bundle.write(tmp_path / "run"))]) == 2
    assert "run.json: found backend cpu, expected kunlunxin for device r300" in capsys.readouterr().out


def test_a_folder_that_is_not_there_exits_with_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_a_run_without_run_json_exits_with_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "cannot tell which cell was run: run.json: cannot be read" in capsys.readouterr().err


def test_a_cell_that_no_table_has_exits_with_two_and_names_those_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, cell = bundle_of("cpu")
    bundle.run["cell"]["id"] = "abacus-1x1-fp32-bs1"

    assert main([str(bundle.write(tmp_path / "run"))]) == 2
    printed = capsys.readouterr().err
    assert "found cell abacus-1x1-fp32-bs1" in printed
    assert cell.id in printed


def test_the_package_runs_as_a_program_and_needs_neither_torch_nor_pytest(tmp_path: Path) -> None:
    bundle, _ = bundle_of("cpu")
    folder = bundle.write(tmp_path / "run")
    code = (
        "import json, runpy, sys; sys.argv = ['verdict', sys.argv[1]]\n"
        "try: runpy.run_module('verdict', run_name='__main__')\n"
        "except SystemExit as end: print(json.dumps([end.code, [m for m in ('torch', 'pytest') if m in sys.modules]]))"
    )

    result = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert json.loads(result.stdout.splitlines()[-1]) == [0, []]


def test_importing_the_package_does_not_import_numpy() -> None:
    code = "import sys, verdict; print(sorted({'numpy', 'torch'} & set(sys.modules)))"

    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env=dict(os.environ)
    )

    assert result.stdout.strip() == "[]"
