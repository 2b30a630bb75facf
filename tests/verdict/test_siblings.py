"""A card is named only if it is slower than its siblings with confidence, and only if there are enough to tell."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from evidence.verdict import Interval
from verdict.compare.siblings import CardRun, SiblingsVerdict, judge_siblings
from verdict.metrics.measurement import Measurement


def run(card: int, rate: float | None, half: float | None = 0.002, broken: str = "") -> CardRun:
    """The run of a card with its rate, whose interval reaches the share `half` to each side."""
    if rate is None:
        return CardRun(card, "", None, broken)
    interval = None if half is None else Interval(rate * (1 - half), rate * (1 + half))
    measured = Measurement("p_core", rate, "images/s", interval, "a method", "rank-0000.jsonl", 60, 100)
    return CardRun(card, f"S-{card}", measured, broken)


def judged(*rates: float, half: float | None = 0.002) -> SiblingsVerdict:
    return judge_siblings([run(card, rate, half) for card, rate in enumerate(rates)])


def test_cards_that_are_alike_pass_and_the_slowest_is_told() -> None:
    found = judged(20.0, 20.1, 19.9, 20.0)

    assert found.verdict == "pass"
    assert found.reason == (
        "no card is slower than its siblings; the slowest, card 2 (S-2) does 19.90 images/s, 99.5% of its siblings' "
        "median 20.00"
    )
    assert found.metric.measured == pytest.approx(0.995)


def test_the_slow_card_is_named_with_its_serial() -> None:
    found = judged(20.0, 20.0, 17.4, 20.0)

    assert found.verdict == "fail"
    assert [card.verdict for card in found.cards] == ["pass", "pass", "fail", "pass"]
    assert found.reason == (
        "card 2 (S-2) does 17.40 images/s, 87.0% of its siblings' median 20.00: slower by more than 5%"
    )
    assert (found.metric.metric, found.metric.low, found.metric.better) == ("siblings", 0.95, "higher")


def test_every_slow_card_is_named() -> None:
    found = judged(20.0, 16.0, 20.0, 17.0, 20.0)

    assert [card.run.card for card in found.cards if card.verdict == "fail"] == [1, 3]
    assert "card 1 (S-1)" in found.reason
    assert "card 3 (S-3)" in found.reason


def test_beside_one_quick_card_of_three_none_is_slow() -> None:
    assert [card.share for card in judged(30.0, 20.0, 20.0).cards] == [1.5, 1.0, 1.0]


def test_a_card_is_not_its_own_sibling() -> None:
    assert judged(19.0, 21.0, 21.0).cards[0].share == pytest.approx(19 / 21)


@pytest.mark.parametrize("rates", [(19.2, 20.0, 20.0), (30.0, 20.0, 20.0)])
def test_small_differences_and_quick_cards_pass(rates: tuple[float, ...]) -> None:
    assert judged(*rates).verdict == "pass"


@pytest.mark.parametrize("rate", [19.1, 19.0, 18.9])
def test_an_interval_that_straddles_the_bound_is_inconclusive(rate: float) -> None:
    found = judged(rate, 20.0, 20.0, half=0.02)

    assert [card.verdict for card in found.cards] == ["inconclusive", "pass", "pass"]
    assert found.verdict == "inconclusive"
    assert "straddles 19.00 (5% below them)" in found.reason
    assert ("no number of steps" if rate == 19.0 else "more steps would decide") in found.reason


def test_an_interval_that_ends_at_the_bound_is_decided() -> None:
    at = judge_siblings([replace(run(0, 19.5), p_core=_with(19.5, 19.0, 20.0)), run(1, 20.0), run(2, 20.0)])
    below = judge_siblings([replace(run(0, 18.5), p_core=_with(18.5, 18.0, 19.0)), run(1, 20.0), run(2, 20.0)])

    assert at.cards[0].verdict == "pass"
    assert below.cards[0].verdict == "inconclusive"


def _with(value: float, low: float, high: float) -> Measurement:
    return Measurement("p_core", value, "images/s", Interval(low, high), "m", "f", 60, 100)


def test_without_an_interval_nothing_is_shown() -> None:
    found = judged(20.0, 20.0, 10.0, half=None)

    assert found.verdict == "inconclusive"
    assert "from 60 steps there is no confidence interval, at least 40 more are needed" in found.reason


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_cards_are_only_recorded(count: int) -> None:
    found = judged(*[20.0, 10.0][:count])

    assert found.verdict == "recorded"
    assert found.reason.startswith(f"found {count} card{'' if count == 1 else 's'}, expected 3 or more")
    assert found.metric.measured is None


def test_a_card_whose_run_is_broken_makes_the_answer_invalid() -> None:
    found = judge_siblings([*(run(card, 20.0) for card in range(3)), run(3, 20.0, broken="rank 0: failed (device)")])

    assert found.verdict == "invalid"
    assert found.reason == "card 3 (S-3): its run cannot be compared: rank 0: failed (device)"


def test_a_card_without_a_number_makes_the_answer_invalid() -> None:
    found = judge_siblings([*(run(card, 20.0) for card in range(3)), run(3, None)])

    assert found.reason == "card 3: its run cannot be compared: found no p_core, expected one"


def test_a_broken_run_is_in_no_median_and_hides_no_slow_card() -> None:
    runs = [run(0, 20.0), run(1, 20.0), run(2, 15.0), run(3, 500.0, broken="lies"), run(4, 500.0, broken="lies")]

    found = judge_siblings(runs)

    assert [card.verdict for card in found.cards] == ["pass", "pass", "fail", "invalid", "invalid"]
    assert found.verdict == "fail"


def test_two_cards_that_are_left_beside_broken_ones_name_nobody() -> None:
    found = judge_siblings([run(0, 20.0), run(1, 10.0), run(2, 20.0, broken="lies")])

    assert [card.verdict for card in found.cards] == ["recorded", "recorded", "invalid"]
    assert found.verdict == "invalid"


rates = st.floats(1.0, 1000.0)


@given(values=st.lists(rates, min_size=3, max_size=9), half=st.floats(0.0, 0.04), factor=st.floats(0.01, 100))
def test_the_unit_of_the_rate_decides_nothing(values: list[float], half: float, factor: float) -> None:
    found, scaled = judged(*values, half=half), judged(*(value * factor for value in values), half=half)
    shares = [card.share for card in found.cards if card.share is not None]
    assume(all(abs(share * (1 + side * half) - 0.95) > 1e-9 for share in shares for side in (-1, 1)))

    assert [card.verdict for card in scaled.cards] == [card.verdict for card in found.cards]


@given(values=st.lists(rates, min_size=3, max_size=9, unique=True), half=st.floats(0.0, 0.04))
def test_no_card_is_judged_worse_than_one_that_is_slower(values: list[float], half: float) -> None:
    worst = {"fail": 0, "inconclusive": 1, "pass": 2}
    cards = sorted(judged(*values, half=half).cards, key=lambda card: card.share or 0)

    assert [worst[card.verdict] for card in cards] == sorted(worst[card.verdict] for card in cards)
    assert cards[-1].verdict == "pass"  # nobody is quicker than the quickest


@given(values=st.lists(rates, min_size=3, max_size=9), data=st.data())
def test_the_order_of_the_cards_decides_nothing(values: list[float], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(values))))
    runs = [run(card, value) for card, value in enumerate(values)]

    found, shuffled = judge_siblings(runs), judge_siblings([runs[at] for at in order])

    assert found.verdict == shuffled.verdict
    assert {card.run.card: card.verdict for card in found.cards} == {
        card.run.card: card.verdict for card in shuffled.cards
    }
