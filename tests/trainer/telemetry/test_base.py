"""Cards that a tool lists are matched to the cards of the run, by address where both know it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.telemetry.base import CardPlace, Smi, card_sampler, matched, normal_pci
from trainer.telemetry.metrics import card_metrics


def smi(is_started: bool = True, records: Any = ()) -> Smi:
    metrics = card_metrics("memory_used_gib", "power_w", "use_percent")
    return Smi("some-smi", metrics, lambda: list(records), lambda: "1.0", is_started)


def record(card: int, pci: str | None = None, **change: Any) -> dict[str, Any]:
    return {"card": card, "pci": pci, "name": "a card", "power_w": 100.0 + card, **change}


def test_the_address_decides_where_both_know_it() -> None:
    records = [record(0, "00000000:1B:00.0"), record(1, "00000000:1A:00.0")]

    samples = matched(smi(), records, [CardPlace(0, "0000:1a:00.0"), CardPlace(1, "0000:1b:00.0")])

    assert samples == [
        {"source": "some-smi", "card": 0, "power_w": 101.0},
        {"source": "some-smi", "card": 1, "power_w": 100.0},
    ]


@pytest.mark.parametrize("place", [CardPlace(1), CardPlace(1, "no address")])
def test_else_the_index_decides(place: CardPlace) -> None:
    (sample,) = matched(smi(), [record(0, "0000:1a:00.0"), record(1, "0000:1b:00.0")], [place])

    assert (sample["card"], sample["power_w"]) == (1, 101.0)


def test_where_the_tool_tells_no_address_the_index_decides_too() -> None:
    (sample,) = matched(smi(), [record(0), record(1)], [CardPlace(1, "0000:1b:00.0")])

    assert sample["power_w"] == 101.0


@pytest.mark.parametrize(
    ("place", "says"),
    [
        (CardPlace(7), "some-smi lists no card 7; it lists 0000:1a:00.0"),
        (CardPlace(0, "0000:99:00.0"), "some-smi lists no card at 0000:99:00.0; it lists 0000:1a:00.0"),
    ],
)
def test_a_card_that_the_tool_does_not_list_is_told_and_never_another_ones(place: CardPlace, says: str) -> None:
    assert matched(smi(), [record(0, "0000:1a:00.0")], [place]) == [{"error": says}]


def test_complaints_pass_and_what_cannot_be_becomes_one() -> None:
    samples = matched(smi(), [record(0, use_percent=250.0), {"error": "a new line"}], [CardPlace(0)])

    assert samples[0] == {"error": "a new line"}
    assert "use_percent 250 %, which cannot be" in samples[1]["error"]
    assert samples[2] == {"source": "some-smi", "card": 0, "power_w": 100.0}


def test_what_a_tool_does_not_declare_is_not_passed_on() -> None:
    assert matched(smi(), [record(0, throttle="made up")], [CardPlace(0)])[0].keys() == {"source", "card", "power_w"}


def test_a_card_of_which_nothing_is_told_has_no_sample() -> None:
    assert matched(smi(), [{"card": 0}], [CardPlace(0)]) == []


def test_a_program_is_started_less_often_than_a_library_is_asked() -> None:
    assert card_sampler(smi(is_started=True), ()).least_interval_s == 5.0
    assert card_sampler(smi(is_started=False), ()).least_interval_s == 0.0


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("00000000:1B:00.0", "0000:1b:00.0"),
        ("0000:1b:00.0", "0000:1b:00.0"),
        ("1b:00", "0000:1b:00.0"),
        ("00010000:01:00.0", "10000:01:00.0"),
        ("", None),
        ("GPU-1", None),
        (None, None),
        (7, None),
    ],
)
def test_addresses_are_brought_into_the_kernels_form(text: Any, normal: str | None) -> None:
    assert normal_pci(text) == normal


@given(st.text())
def test_no_text_makes_the_address_fail(text: str) -> None:
    found = normal_pci(text)

    assert found is None or normal_pci(found) == found
