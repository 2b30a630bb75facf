"""Every fault of a launch ends in time, in its verdict, with words to act on, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator

import pytest

from tests.faults.launches import LAUNCHES, Launch, lines, nothing
from tests.support import ROOT


def _parameters() -> Iterator[Any]:
    for launch in LAUNCHES:
        tier = pytest.mark.integration if launch.needs is nothing else pytest.mark.labs
        yield pytest.param(launch, id=launch.name, marks=tier)


@pytest.mark.parametrize("launch", list(_parameters()))
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
