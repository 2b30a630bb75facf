"""What vendors' tools print is read by its form or refused, never guessed."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.devices.smi import parse_xpu_driver, parse_xpu_smi, run_tool
from trainer.errors import DeviceError


def card_line(used: str = "17408", total: str = "32768", use: str = "97", power: str = "81", columns: int = 24) -> str:
    words = [f"{900 + column}" for column in range(columns)]
    for index, word in ((8, power), (17, used), (18, total), (19, use)):
        if index < columns:
            words[index] = word
    return "  ".join(words)


def test_columns_are_read_where_the_vendor_puts_them() -> None:
    records = parse_xpu_smi(card_line() + "\n" + card_line(used="0", use="0", power="33.5") + "\n")

    assert records == [
        {"card": 0, "memory_used_gib": 17.0, "memory_total_gib": 32.0, "power_w": 81.0, "use_percent": 97.0},
        {"card": 1, "memory_used_gib": 0.0, "memory_total_gib": 32.0, "power_w": 33.5, "use_percent": 0.0},
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "printed no card"),
        ("\n  \n", "printed no card"),
        (card_line(columns=19), "not one card's twenty columns"),
        (card_line(used="N/A"), "not one card's twenty columns"),
        ("error: no device", "not one card's twenty columns"),
        (card_line(used="40000"), "cannot be"),
        (card_line(used="-1"), "cannot be"),
        (card_line(total="0", used="0"), "cannot be"),
        (card_line(use="101"), "cannot be"),
        (card_line(used="nan"), "cannot be"),
    ],
)
def test_a_line_of_another_form_is_refused(text: str, says: str) -> None:
    with pytest.raises(DeviceError, match=says):
        parse_xpu_smi(text)


@given(st.text())
def test_no_text_makes_the_parser_fail_in_another_way(text: str) -> None:
    try:
        records = parse_xpu_smi(text)
    except DeviceError:
        return
    assert all(0 <= record["memory_used_gib"] <= record["memory_total_gib"] for record in records)


def test_the_driver_is_read_from_its_line() -> None:
    assert parse_xpu_driver("| XPU-SMI    Driver Version: 4.0.25       |\n") == "4.0.25"


def test_a_listing_without_the_driver_is_refused() -> None:
    with pytest.raises(DeviceError, match="Driver Version"):
        parse_xpu_driver("XPU-SMI\nDriver Version:\n")


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
