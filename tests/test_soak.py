"""The soak itself, short: what `python -m tests.soak` does fifty times is done a few times here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak import soak

pytestmark = pytest.mark.labs


def test_boots_and_kills_leave_nothing_behind(tmp_path: Path) -> None:
    lines: list[str] = []

    soak(tmp_path, boots=1, kills=1, seed=20261123, say=lines.append)

    assert len(lines) == 2
    assert list(tmp_path.iterdir()) == []
