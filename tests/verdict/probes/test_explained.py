"""The explanation of p_core: on made-up devices that were made slow in one way, that way is named."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Callable

import pytest

from evidence.events.peaks import conv_name
from evidence.verdict import Verdict
from tests.verdict.probes.fake_step import SPECIFIED, Device, evidence, run
from trainer.probes.catalogue import HEAVIEST
from verdict.probes.explained import explain, explained_line, exposed_ms, judge_explained, nearest_rate

Draw = random.Random


def sound(draw: Draw) -> Device:
    """A device in order, whose convolutions reach different shares of its matrix products."""
    shares = {conv_name(size): draw.uniform(0.75, 0.9) for size in HEAVIEST}
    return Device(convolutions=shares, unfused=draw.uniform(1.0, 1.15), launch_us=draw.uniform(4, 8))


def slow_memory(draw: Draw) -> Device:
    return replace(sound(draw), memory_gb_per_s=draw.uniform(300, 600))


def slow_link(draw: Draw) -> Device:
    return replace(sound(draw), link_gb_per_s=draw.uniform(0.4, 0.8))


def slow_host(draw: Draw) -> Device:
    return replace(sound(draw), launch_us=draw.uniform(2500, 4000))


def slow_convolutions(draw: Draw) -> Device:
    device = sound(draw)
    slow = conv_name(HEAVIEST[draw.randrange(3)])
    return replace(device, convolutions={**device.convolutions, slow: draw.uniform(0.1, 0.25)})


CAUSES: dict[str, Callable[[Draw], Device]] = {
    "memory": slow_memory,
    "exchange": slow_link,
    "launch": slow_host,
    "convolutions": slow_convolutions,
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("cause", CAUSES)
def test_the_planted_cause_is_the_culprit(cause: str, seed: int) -> None:
    found = explain(evidence(CAUSES[cause](Draw(seed))), SPECIFIED)

    assert found.culprit == cause, found
    assert sum(found.parts_ms.values()) == pytest.approx(found.step_ms, rel=0.1)


def test_nothing_takes_much_of_a_device_in_order() -> None:
    for seed in range(20):
        found = explain(evidence(sound(Draw(seed))), SPECIFIED)

        assert max(found.lost_ms.values()) < 0.2 * found.step_ms, found


@pytest.mark.parametrize("gb_per_s", [0.4, 1.0, 3.0, 20.0])
def test_exchange_that_is_not_hidden_is_what_it_adds_to_the_step(gb_per_s: float) -> None:
    device = Device(link_gb_per_s=gb_per_s)
    added_ms = 1e3 * (run(device)[0] - run(replace(device, link_gb_per_s=1e6))[0])

    found = explain(evidence(device), SPECIFIED)

    assert found.parts_ms["exchange"] == pytest.approx(added_ms, rel=0.25)


def test_one_exchange_begins_after_the_other() -> None:
    assert exposed_ms([(8, 1.0), (8, 1.0)], [0.5, 1.0], 11.0) == pytest.approx(1.0)
    assert exposed_ms([(8, 6.0), (8, 6.0)], [0.5, 0.5], 16.0) == pytest.approx(16 - 8)
    assert exposed_ms([(8, 60.0)], [1.0], 16.0) == pytest.approx(16.0)
    assert exposed_ms([], [], 16.0) == 0


def test_one_rank_has_no_exchange_and_several_without_links_say_so() -> None:
    alone = explain(evidence(Device(), ranks=1), SPECIFIED)
    several = evidence(Device())
    for rank in several.ranks:
        rank.collectives, rank.links_done = (), None

    assert (alone.parts_ms["exchange"], alone.notes) == (0.0, ())
    assert "the exchange was not measured" in judge_explained(several, SPECIFIED).reason


def test_it_is_recorded_in_words() -> None:
    given = evidence(slow_memory(Draw(1)))
    found, line = judge_explained(given, SPECIFIED), explained_line(given, SPECIFIED)

    assert found.verdict is line.verdict is Verdict.RECORDED
    assert "most is lost in memory" in found.reason
    assert "GB/s" in found.reason


def changed(**fields: Any) -> Any:
    """The evidence of a run of one rank with other fields."""
    given = evidence(Device(), ranks=1)
    vars(given.ranks[0]).update(fields)
    return given


@pytest.mark.parametrize("fields", [{"layers": None}, {"rates": ()}])
def test_without_peaks_or_training_there_is_none(fields: dict[str, Any]) -> None:
    assert explain(changed(**fields), SPECIFIED) is None


def test_a_device_that_is_the_host_has_no_launches() -> None:
    on_host = SimpleNamespace(timing="synchronised", card=0, host="a")
    found = explain(changed(start=on_host), SPECIFIED)

    assert found.parts_ms["launch"] == 0


def test_a_step_that_is_faster_than_the_probes_is_not_explained() -> None:
    rates = evidence(Device(), ranks=1).ranks[0].rates
    slow = tuple(replace(one, times_ns=tuple(1000 * ns for ns in one.times_ns)) for one in rates)
    found = judge_explained(changed(rates=slow), SPECIFIED)

    assert re.search(r"the parts add up to \d{5,}\.\d ms, which explains nothing", found.reason)


def test_a_convolution_has_the_rate_of_the_nearest_one_that_was_measured() -> None:
    rates = evidence(Device(convolutions={conv_name(HEAVIEST[0]): 0.5}), ranks=1).ranks[0].rates

    assert nearest_rate("conv-256-256-3x3-200x272", "forward", rates) == pytest.approx(60)
    assert nearest_rate("conv-512-512-3x3-25x34", "backward", rates) == pytest.approx(96)
    assert nearest_rate("conv-64-256-1x1-200x336", "forward", rates) is None
