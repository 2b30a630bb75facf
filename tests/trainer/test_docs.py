"""The generated tables of docs/ are those that the declarations give."""

from __future__ import annotations

import pytest

from trainer.docs import TABLES, renewed


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_up_to_date(name: str) -> None:
    page, text, new = renewed(name)

    assert text == new, f"{page.name} is stale: python -m trainer.docs"
