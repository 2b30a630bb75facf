"""A small, valid baseline file for tests to change and break; its cells are those of sample.GOOD."""

from __future__ import annotations

from pathlib import Path

from expected import Site, load_site
from tests.expected.sample import load, write

ACCEPTED = """\
[[accepted]]
cell = "x100-1x1-fp32-bs16"
metric = "p_core"
unit = "images/s"
value = 55.1
tolerance = 0.03
clock = "device"

[accepted.provenance]
protocol = "epoch"
simulated = false
card = "X100"
driver = "1.2.3"
runs = ["a", "b", "c", "d"]
dates = ["2026-11-20T10:00:00+00:00", "2026-11-22T10:00:00+00:00", "2026-11-21T10:00:00+00:00", "2026-11-21"]
measured = [55.0, 55.1, 55.2, 11.0]
trimmed = ["d"]
versions = { python = "3.8.18", torch = "1.12.1" }
"""

WAIVER = """\
[[waiver]]
cell = "x100-1x8-amp-bs2"
metric = "p_train"
reason = "the loader's disk is being replaced"
ticket = "OPS-17"
until = 2026-12-31
"""

SITE = f"# A site.\nschema = 1\n\n{ACCEPTED}\n{WAIVER}"


def load_text(folder: Path, text: str = SITE, device: str | None = None) -> Site:
    """The site that `text` describes, beside the device of sample.GOOD or of the text `device`."""
    known = load(folder) if device is None else load(folder, device)
    return load_site(write(folder, text, "site.toml"), {known.marker: known})
