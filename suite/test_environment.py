"""Is the machine the one that the vendor's document describes? One test for each thing that it states of it."""

from __future__ import annotations

from fixtures.ask.questions import EnvironmentItem, environment_is_gated, stated_environment
from fixtures.select.registry import question


@question("environment", of=stated_environment, gated=environment_is_gated, phase="environment")
def test_environment(environment_item: EnvironmentItem) -> None:
    """What is stated was found on every host of the run; a difference fails with --environment strict only."""
    environment_item.require_match()
