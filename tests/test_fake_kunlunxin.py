"""The stand-in of xpu_smi prints what real ones print, and its faults are those that it is asked for."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

import pytest

from tests.fake_machine import FAKE_KUNLUNXIN

# Public listings: a P800's line of `xpu_smi -m`, and the table of an R300.
LINE = (
    "00000000:53:00.0 0 0 02K00P800S0001 38 0 0 0 74 1450 1450 1450 1450 1450 1450 2 63 28653 98304 94 "
    '1.0:2.6:1.39.1.7 "P800 OAM" 0 0 0 0 0 0 0 0 0 0'
)
HEADING = "| DevID |   PCI Addr   | Model |   SN   |    INODE   | UseRate |    L3     |    Memory    |"
ROW = "|     0 | 0000:53:00.0 | R300  | 02Kxxx | /dev/xpu0  |     0 % | 0 / 63 MB | 0 / 32768 MB |"


def printed(*arguments: str, **machine: str) -> list[str]:
    command = [sys.executable, str(FAKE_KUNLUNXIN / "xpu_smi"), *arguments]
    return subprocess.run(
        command, env={**os.environ, **machine}, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.splitlines()


def form(cell: str) -> str:
    return re.sub(r"\d+", "1", cell.strip().replace("P800 OAM", "R300").replace("P800", "R300"))


def test_a_line_has_the_columns_of_a_real_one() -> None:
    lines = [shlex.split(line) for line in printed("-m")]

    assert len(lines) == 8
    assert [form(word) for word in lines[0]] == [form(word) for word in shlex.split(LINE)]


def test_the_table_has_the_cells_of_a_real_one() -> None:
    listing = printed()

    rows = [[cell.strip() for cell in line.split("|")] for line in listing if line.startswith("|")]
    assert rows[0] == [cell.strip() for cell in HEADING.split("|")]
    assert [form(cell) for cell in rows[1]] == [form(cell.replace("xxx", "00R300S0001")) for cell in ROW.split("|")]
    assert listing[1] == "Driver Version: 4.0.25"


@pytest.mark.parametrize(
    ("machine", "device", "column", "word"),
    [
        ({"FAKE_XPU_POWER": "81000"}, 0, 9, "81000"),
        ({"FAKE_XPU_POWER": "81,N/A"}, 1, 9, "N/A"),
        ({"FAKE_XPU_LISTED": "2,3"}, 0, 2, "2"),
        ({"FAKE_XPU_LOST": "5"}, 5, 18, "N/A"),
        ({"FAKE_XPU_LOST": "5"}, 4, 18, "0"),
    ],
)
def test_a_fault_is_in_its_column(machine: dict[str, str], device: int, column: int, word: str) -> None:
    assert shlex.split(printed("-m", **machine)[device])[column - 1] == word
