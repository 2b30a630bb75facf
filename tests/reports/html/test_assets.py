"""The files that every page has in it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

import reports.html

ASSETS = Path(reports.html.__file__).parent / "assets"
TABLE = re.compile(r"^\| `([^`]+)` \| [^|]+ \| `([0-9a-f]{64})` \|$", re.MULTILINE)


def test_the_library_is_the_one_that_its_table_names() -> None:
    listed = dict(TABLE.findall((ASSETS / "uplot" / "README.md").read_text(encoding="utf-8")))
    found = {path.name for path in (ASSETS / "uplot").iterdir()} - {"README.md"}

    assert set(listed) == found == {"uPlot.iife.min.js", "uPlot.min.css", "LICENSE"}
    for name, digest in listed.items():
        assert hashlib.sha256((ASSETS / "uplot" / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize("name", ["uplot/uPlot.iife.min.js", "page.js", "uplot/uPlot.min.css", "page.css"])
def test_an_asset_ends_no_element_and_fetches_nothing(name: str) -> None:
    text = (ASSETS / name).read_text(encoding="utf-8").lower()

    for part in ("</script", "</style", "<!--", "fetch(", "xmlhttprequest", "import(", "url(", "eval(", "innerhtml"):
        assert part not in text, part
