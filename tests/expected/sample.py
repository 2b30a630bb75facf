"""A small, valid expectation file for tests to change and break."""

from __future__ import annotations

from pathlib import Path

from expected import Device, load_device

GOOD = """\
schema = 1

[device]
marker = "x100"
name = "X100"
vendor = "Example"
backend = "cuda"
card_memory_gib = 32.0
cards_per_host = 8
timing = "host"

[source]
document = "Example X100 report"
edition = "2nd edition"

[units]
e2e_time = "s"
p_whole = "images/s"
p_train = "images/s"
p_core = "images/s"
map = "0..1"
mem = "GiB"

[environment.hardware]
card = "Example X100"

[environment.software]
driver = "1.2.3"

[recipe]
epochs = 20

[[cell]]
topo = "1x1"
precision = "fp32"
batch_size = 16
learning_rate = 0.16
e2e_time = "not applicable"
p_whole = "unpublished"
p_train = "unpublished"
p_core = "unpublished"
map = "not applicable"
mem = "unpublished"

[[cell]]
topo = "1x8"
precision = "amp"
batch_size = 2
learning_rate = 0.02
e2e_time = 12000
p_whole = 100.0
p_train = 110.0
p_core = 120.0
map = 0.364
mem = { value = 28.0, capacity = 32.0 }
"""


def change(old: str, new: str, text: str = GOOD) -> str:
    """`text` with its last `old` replaced (the second cell before the first); `old` must be there."""
    before, found, after = text.rpartition(old)
    assert found, f"the sample has no {old!r}"
    return before + new + after


def write(folder: Path, text: str, name: str = "x100.toml") -> Path:
    """The path of a new file with that text."""
    path = folder / name
    path.write_bytes(text.encode("utf-8"))
    return path


def load(folder: Path, text: str = GOOD) -> Device:
    """The device that `text` describes."""
    return load_device(write(folder, text))
