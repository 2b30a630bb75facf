"""Topologies, cells, recipes, and the errors about them."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expected import (
    ACCEPTED,
    METRICS,
    NOT_APPLICABLE,
    PUBLISHED,
    UNPUBLISHED,
    Cell,
    Expectation,
    ExpectationError,
    Recipe,
    Topology,
    split_place,
)

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
    with pytest.raises(ExpectationError, match=r"NODESxDEVICES.*1x8"):
        Topology.parse(text)


def test_topologies_are_ordered_by_nodes_then_devices() -> None:
    texts = ["2x8", "1x8", "1x1", "1x16"]
    assert [str(t) for t in sorted(Topology.parse(text) for text in texts)] == ["1x1", "1x8", "1x16", "2x8"]


def cell(**states: str) -> Cell:
    """A cell whose metrics are unpublished unless `states` says otherwise."""
    expectations = {name: Expectation(states.get(name, UNPUBLISHED)) for name in METRICS}
    return Cell("r300", Topology(1, 8), "fp32", 16, 0.16, "host", Recipe(), expectations)


def test_the_applicable_metrics_are_all_but_those_marked_so_in_order() -> None:
    assert cell().applicable == tuple(METRICS)
    assert cell(e2e_time=NOT_APPLICABLE, map=NOT_APPLICABLE, mem=PUBLISHED).applicable == (
        "p_whole",
        "p_train",
        "p_core",
        "mem",
    )


@pytest.mark.parametrize(
    ("states", "protocol"),
    [
        ({}, "epoch"),
        ({"map": PUBLISHED}, "full"),
        ({"e2e_time": PUBLISHED}, "full"),
        ({"map": PUBLISHED, "e2e_time": NOT_APPLICABLE}, "full"),
        ({"map": ACCEPTED}, "full"),
        ({"e2e_time": ACCEPTED}, "full"),
        ({"map": NOT_APPLICABLE, "e2e_time": NOT_APPLICABLE}, "epoch"),
        ({"mem": PUBLISHED, "p_whole": PUBLISHED, "p_train": PUBLISHED, "p_core": PUBLISHED}, "epoch"),
        ({"mem": ACCEPTED, "p_core": ACCEPTED}, "epoch"),
    ],
)
def test_a_cell_trains_in_full_where_accuracy_or_total_time_has_a_number(states: dict[str, str], protocol: str) -> None:
    assert cell(**states).protocol == protocol


def test_the_default_recipe_is_that_of_the_benchmark() -> None:
    assert asdict(Recipe()) == {
        "model": "fasterrcnn_resnet50_fpn",
        "num_classes": 91,
        "pretrained_backbone": True,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "lr_milestones": (16, 22),
        "lr_gamma": 0.1,
        "warmup_steps": 1000,
        "warmup_factor": 0.001,
        "epochs": 26,
        "target_map": 0.36,
        "horizontal_flip": 0.5,
        "aspect_ratio_groups": 3,
        "workers": 4,
        "seed": 0,
        "gradient_clip": 0.0,
        "tf32": False,
        "deterministic": False,
        "cudnn_benchmark": False,
        "lowered": (),
    }


def test_a_cell_without_numbers_has_not_those_of_its_site_either() -> None:
    bare = cell(p_core=ACCEPTED, map=NOT_APPLICABLE).without_numbers("other data")

    assert bare.expectations["p_core"] == Expectation(UNPUBLISHED, source="other data")
    assert bare.expectations["map"].state == NOT_APPLICABLE


@pytest.mark.parametrize("card", [None, 0, 3, 12])
def test_the_id_of_a_cell_of_one_device_gives_cell_and_device_back(card: int | None) -> None:
    assert split_place(replace(cell(), card=card).id) == (cell().id, {} if card is None else {"card": card})


@pytest.mark.parametrize("host", ["a", "gpu-07.example.org", "user@10.0.0.7", "gpu-card3", "x-host-y"])
def test_the_id_of_a_cell_of_one_host_gives_cell_and_host_back(host: str) -> None:
    assert split_place(replace(cell(), host=host).id) == (cell().id, {"host": host})


@pytest.mark.parametrize("text", ["", "x-card", "x-card-1", "x-card03", "x-cardé", "x-card³", "x-host-", "x-host"])
def test_what_is_no_device_is_part_of_the_id(text: str) -> None:
    assert split_place(text) == (text, {})
