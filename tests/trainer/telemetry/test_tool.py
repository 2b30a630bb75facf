"""A vendor's tool is started with care: what is missing, hangs or fails is named."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from trainer.errors import DeviceError
from trainer.telemetry.tool import RefusedError, run_tool


def tool(folder: Path, body: str) -> str:
    path = folder / "some_smi"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path.name


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: Any) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path


def test_the_first_name_on_path_is_used(on_path: Path) -> None:
    name = tool(on_path, "echo got $1")

    assert run_tool(("not-there-smi", name), "-m") == "got -m\n"


def test_a_missing_tool_is_named() -> None:
    with pytest.raises(DeviceError, match="none of xpu_smi, xpu-smi is on PATH"):
        run_tool(("xpu_smi", "xpu-smi"))


def test_a_failing_tools_code_and_last_words_are_told(on_path: Path) -> None:
    name = tool(on_path, "echo cannot open device >&2; exit 7")

    with pytest.raises(DeviceError, match="code 7: cannot open device"):
        run_tool((name,))


def test_a_tool_that_hangs_is_given_up(on_path: Path) -> None:
    name = tool(on_path, "exec sleep 60")

    with pytest.raises(DeviceError, match=r"did not answer within 0\.2 s"):
        run_tool((name,), timeout_s=0.2)


def test_a_tool_that_is_no_program_is_told(on_path: Path) -> None:
    path = on_path / "some_smi"
    path.write_bytes(b"\x7fnot a program")
    path.chmod(0o755)

    with pytest.raises(DeviceError, match="could not be started"):
        run_tool(("some_smi",))


def test_a_refusal_is_told_from_other_failures_and_said_in_the_tools_words(on_path: Path) -> None:
    name = tool(on_path, "echo 'Field \"x\" is not a valid field to query.'; exit 2")

    with pytest.raises(RefusedError, match='code 2: Field "x" is not a valid field'):
        run_tool((name,))
