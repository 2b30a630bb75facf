"""Every fault of a launch ends in time, in its verdict, with words to act on, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator

import pytest

pytest.importorskip("torch")

from tests.faults.launches import LAUNCHES, Launch, lines
from tests.support import ROOT

pytestmark = [pytest.mark.needs_torch, pytest.mark.slow]


def _parameters() -> Iterator[Any]:
    for launch in LAUNCHES:
        yield pytest.param(launch, id=launch.name, marks=[pytest.mark.thorough] * launch.name.endswith("twice"))


@pytest.mark.parametrize("launch", _parameters())
def test_a_launch_that_breaks_ends_in_its_verdict_and_leaves_nothing(launch: Launch, tmp_path: Path) -> None:
    reason = launch.needs()
    if reason:
        pytest.skip(reason)

    verdict = launch.break_it(tmp_path)

    assert verdict.outcome == launch.outcome, verdict.reasons
    assert any(launch.words in reason for reason in (*verdict.reasons, "")), verdict.reasons


def test_the_document_shows_this_table() -> None:
    document = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")

    assert "\n".join(lines()) in document, "run python -m tests.faults.launches and put its output there"
