"""Mishaps of a lab's first day with an R300: how each is planted, how the session ends, and what it prints.

`python -m tests.faults.table` prints the table of docs/faults.md; tests/suite/test_first_day.py plants them.
"""

from __future__ import annotations

from typing import Mapping, NamedTuple, Sequence


class Row(NamedTuple):
    """`state` are variables of tests/fake_kunlunxin, `words` are the session's; `message` is part of one line."""

    name: str
    message: str
    state: Mapping[str, str] = {}
    words: Sequence[str] = ()


_NO_FOLDER = ": no such folder; --data names the folder"

REFUSED = (
    Row(
        "`xpu_smi` is not on PATH", "none of xpu_smi, xpu-smi is on PATH or in /opt/xre/bin", {"PATH": "/usr/bin:/bin"}
    ),
    Row(
        "a container that was given two of the eight devices",
        "the vendor's tool lists 2 devices (2, 3) on this host, expected at least 8",
        {"FAKE_XPU_LISTED": "2,3"},
        ("--topo", "1x8"),
    ),
    Row(
        "one device of eight is lost",
        "the vendor's tool lists 7 devices (0, 1, 2, 3, 4, 6, 7) on this host, expected at least 8",
        {"FAKE_XPU_LOST": "5"},
        ("--topo", "1x8"),
    ),
    Row("a `torch_xmlir` with parts of both forms", "torch_xmlir.py has device, ", {"FAKE_XMLIR_FORM": "mixed"}),
    Row(
        "`XDNN_CONV_GEMM_DTYPE=int16`, which the row does not declare",
        "found XDNN_CONV_GEMM_DTYPE=int16",
        {"XDNN_CONV_GEMM_DTYPE": "int16"},
    ),
    Row("no data set", _NO_FOLDER, words=("--data=/nowhere",)),
)
HANGS = Row("`xpu_smi` hangs", "xpu_smi -m did not answer within 10 s; try it by hand", {"FAKE_XPU_HANG": "1"})
TORCHVISION = Row(
    "a torchvision of another torch",
    "RuntimeError: operator torchvision::nms does not exist); install the version that goes with your torch",
)
SHARED_MEMORY = Row(
    "a container without `/dev/shm`",
    "/dev/shm: 16.00 KiB are free, expected 80.00 KiB for the batches that loader workers hand to their ranks",
)
GOES_ON = (
    Row("power in milliwatts", "device 0: power is not within 0 and 2000 W", {"FAKE_XPU_POWER": "81000"}),
    Row("power is N/A", "device 0: power is 'N/A'; not read", {"FAKE_XPU_POWER": "N/A"}),
    Row("a device is lost that the run does not use", "", {"FAKE_XPU_LOST": "5"}),
)
INVALID = (Row("the run's device is lost", "found no memory sample in telemetry.jsonl", {"FAKE_XPU_LOST": "0"}),)
ONE_HOST = Row("the data set is missing on one of two hosts", f"HOST: .../shapes{_NO_FOLDER}")
DIFFERS = (
    Row(
        "another driver",
        "driver: stated 4.0.25, found 4.0.31 on ",
        {"FAKE_XPU_DRIVER": "4.0.31"},
        ("--environment=strict", "suite/test_environment.py"),
    ),
)

_ENDS = (
    ("refused before anything starts", 4, (*REFUSED, HANGS, TORCHVISION, SHARED_MEMORY)),
    ("as without it", 0, GOES_ON),
    ("invalid", 1, (*INVALID, ONE_HOST)),
    ("environment differs", 1, DIFFERS),
)


def lines() -> list[str]:
    """The table as Markdown."""
    rows = [("mishap", "session", "exit code", "the one message has")]
    rows += [(row.name, ends, str(code), row.message or "-") for ends, code, of in _ENDS for row in of]
    shown = [f"| {' | '.join(cells)} |" for cells in rows]
    return [shown[0], "| --- | --- | --- | --- |", *shown[1:]]
