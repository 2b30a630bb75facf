"""docs/performance.md lists the optimization ledger as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.optimizations import OF_THE_ROW, SWITCHED, Optimization

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"


@pytest.mark.parametrize("one", [*SWITCHED, *OF_THE_ROW], ids=lambda one: one.name)
def test_every_item_of_the_ledger_stands_on_the_page_in_the_same_words(one: Optimization) -> None:
    proof = f"`{one.proof}`" if one.proof else "none: results differ"

    row = f"| `{one.name}` | {one.allowed} | {one.what} | {one.published} | {proof} |"

    assert row in PAGE.read_text(encoding="utf-8").splitlines()
