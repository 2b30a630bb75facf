"""`python -m verdict`: exit codes and the plain listing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.verdict.shipped import bundle_of
from verdict.__main__ import main

ROOT = Path(__file__).resolve().parents[2]


def test_a_run_of_a_shipped_cell_is_judged_and_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, cell = bundle_of("cpu")

    code = main([str(bundle.write(tmp_path / "run"))])

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert lines[0] == f"{cell.id} full: recorded"
    assert [line.split()[:2] for line in lines[1:7]] == [
        ["e2e_time", "recorded"],
        ["p_whole", "recorded"],
        ["p_train", "recorded"],
        ["p_core", "recorded"],
        ["map", "pass"],
        ["mem", "pass"],
    ]
    assert lines[7].split()[:2] == ["epochs_to_target", "recorded"]


def test_what_changed_since_the_run_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, _ = bundle_of("cpu")
    bundle.run["expectation"]["map"].update(value=0.4, low=0.39)

    code = main([str(bundle.write(tmp_path / "run"))])

    assert code == 0
    assert "\n\nchanged since the run: map: published 0.4, at least 0.39 when the" in capsys.readouterr().out


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


def test_a_folder_that_is_not_there_exits_with_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_the_word_accept_accepts_runs_instead_of_judging_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, _ = bundle_of("cpu")
    folder = str(bundle.write(tmp_path / "run"))

    assert main(["accept", folder, folder, "--out", str(tmp_path / "site.toml")]) == 2
    assert "found 2 runs, expected 3 or more" in capsys.readouterr().err


def test_a_folder_named_accept_can_still_be_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, cell = bundle_of("cpu")

    assert main([str(bundle.write(tmp_path / "accept"))]) == 0
    assert cell.id in capsys.readouterr().out


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
