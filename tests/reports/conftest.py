"""A browser for the pages."""

from __future__ import annotations

from typing import Iterator

import pytest

from tests.reports.html.chromium import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all pages of a module."""
    started = Browser()
    yield started
    started.quit()
