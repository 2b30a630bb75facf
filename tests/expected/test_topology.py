"""Topologies: 1x8 and what is not one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expected import ExpectationError, Topology

counts = st.integers(min_value=1, max_value=9999)


@given(nodes=counts, cards=counts)
def test_what_a_topology_prints_parses_to_the_same_topology(nodes: int, cards: int) -> None:
    topology = Topology(nodes, cards)
    assert Topology.parse(str(topology)) == topology
    assert topology.ranks == nodes * cards


@given(st.one_of(st.text(), st.text("0123456789xX +-_\n٣８"), st.from_regex(r"\d{1,5}x\d{1,5}")))
def test_any_text_is_either_refused_or_printed_back_as_it_was(text: str) -> None:
    try:
        topology = Topology.parse(text)
    except ExpectationError:
        topology = None
    assert topology is None or str(topology) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "eight",
        "8",
        "x8",
        "1x",
        "0x8",
        "1x0",
        "01x8",
        "1X8",
        "1 x 8",
        " 1x8",
        "1x8\n",
        "-1x8",
        "1x8x2",
        "1×8",
        "1.0x8",
        "+1x8",
        "１x８",
        "10000x1",
        "1x" + "9" * 5000,
    ],
)
def test_what_is_not_a_topology_is_refused_with_the_form_it_should_have(text: str) -> None:
    with pytest.raises(ExpectationError, match=r"NODESxCARDS.*1x8"):
        Topology.parse(text)


def test_one_machine_of_eight_cards_has_eight_ranks() -> None:
    topology = Topology.parse("1x8")
    assert (topology.nodes, topology.cards, topology.ranks, str(topology)) == (1, 8, 8, "1x8")


@pytest.mark.parametrize(
    ("nodes", "cards", "named"),
    [
        (0, 8, "nodes"),
        (1, 0, "cards"),
        (-1, 8, "nodes"),
        (1, 10000, "cards"),
        (True, 8, "nodes"),
        (1, 8.0, "cards"),
    ],
)
def test_a_topology_cannot_be_built_from_anything_but_counts(nodes: Any, cards: Any, named: str) -> None:
    with pytest.raises(ExpectationError, match=named):
        Topology(nodes, cards)


def test_topologies_are_ordered_by_nodes_then_cards() -> None:
    texts = ["2x8", "1x8", "1x1", "1x16"]
    assert [str(t) for t in sorted(Topology.parse(text) for text in texts)] == ["1x1", "1x8", "1x16", "2x8"]
