"""Efficiency against that of the published numbers, the straggler ratio and siblings against the tolerance."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from evidence.verdict import Interval, MetricVerdict, Verdict
from expected import Cell, Expectation, Topology
from tests.verdict.bundles import STEADY, a_cell, with_timing
from verdict.compare.scaling import (
    DeviceRun,
    SiblingsVerdict,
    TopologyRun,
    judge_efficiency,
    judge_siblings,
    judge_stragglers,
    ratio_per_device,
)
from verdict.metrics.measurement import Measurement
from verdict.metrics.stragglers import Straggler

ONE, EIGHT = Topology(1, 1), Topology(1, 8)


def cell_at(topology: Topology, p_core: Any = None, **changes: Any) -> Cell:
    given_number = {} if p_core is None else {"p_core": p_core}
    return replace(a_cell(replace(STEADY, topology=topology), **given_number), **changes)


def measured(rate: float, half: float | None = 0.002, metric: str = "p_core") -> Measurement:
    interval = None if half is None else Interval(rate * (1 - half), rate * (1 + half))
    return Measurement(metric, rate, "images/s", interval, "a method", "rank-0000.jsonl", 100, 100)


def run(cell: Cell, rate: float | None, half: float | None = 0.002, **facts: Any) -> TopologyRun:
    rates = {} if rate is None else {"p_core": measured(rate, half)}
    return TopologyRun(**{"cell": cell, "simulated": False, "measured": rates, "p_core": Verdict.FAIL, **facts})


def judged(small: float, big: float, half: float | None = 0.002) -> MetricVerdict:
    """The verdict where 20 images/s are published for one device and 144 for eight: 0.9 of each is left."""
    return judge_efficiency(run(cell_at(ONE, 20.0), small, half), run(cell_at(EIGHT, 144.0), big, half))


def test_efficiency_is_the_rate_a_device_over_that_of_the_smaller_topology() -> None:
    metric = judged(20.0, 140.0)

    assert metric.measured == pytest.approx(140 / 8 / 20)
    assert metric.expected == pytest.approx(0.9)
    assert metric.low == pytest.approx(0.9 * 0.95)
    assert (metric.metric, metric.verdict) == ("efficiency", "pass")
    assert metric.reason == "efficiency 0.8750 is at least 0.8550 (0.95 x 0.9000, what the expected p_core come to)"
    assert metric.method == ("p_core a device at 1x8 over that at 1x1; interval of a ratio of independent estimates")


def test_the_devices_of_all_hosts_count() -> None:
    metric = judge_efficiency(run(cell_at(EIGHT, 144.0), 144.0), run(cell_at(Topology(2, 8), 288.0), 216.0))

    assert (metric.measured, metric.expected) == (pytest.approx(0.75), pytest.approx(1.0))


def test_less_than_the_published_numbers_leave_is_a_fail() -> None:
    metric = judged(20.0, 130.0)

    assert metric.verdict == "fail"
    assert metric.reason.startswith("efficiency 0.8125 is below 0.8550 (0.95 x 0.9000")


@pytest.mark.parametrize("big", [130.0, 137.0])  # below the bound, and an interval that straddles it
def test_beside_two_p_core_that_pass_a_ratio_below_the_bound_is_told_and_no_failure(big: float) -> None:
    runs = (
        run(cell_at(ONE, 20.0), 20.0, 0.01, p_core=Verdict.PASS),
        run(cell_at(EIGHT, 144.0), big, 0.01, p_core=Verdict.PASS),
    )

    metric = judge_efficiency(*runs)

    assert (metric.verdict, metric.expected) == ("recorded", pytest.approx(0.9))
    assert metric.reason.startswith("efficiency 0.8125 is below" if big == 130 else "efficiency 0.8562: its interval")
    assert metric.reason.endswith("; recorded only, as p_core passes at both topologies")


@pytest.mark.parametrize(
    ("small", "big", "verdict"),
    [
        (Verdict.PASS, Verdict.FAIL, "fail"),
        (Verdict.FAIL, Verdict.PASS, "fail"),
        (Verdict.PASS, Verdict.INCONCLUSIVE, "inconclusive"),
        (Verdict.INCONCLUSIVE, Verdict.FAIL, "fail"),
        (Verdict.PASS, None, "fail"),
    ],
)
def test_a_ratio_below_the_bound_fails_only_with_a_metric(small: Verdict, big: Verdict | None, verdict: str) -> None:
    runs = run(cell_at(ONE, 20.0), 20.0, p_core=small), run(cell_at(EIGHT, 144.0), 130.0, p_core=big)

    assert judge_efficiency(*runs).verdict == verdict


@pytest.mark.parametrize(("small", "big"), [(10.0, 72.0), (20.0, 170.0)])
def test_a_slow_device_that_scales_as_published_passes_and_so_does_more(small: float, big: float) -> None:
    assert judged(small, big).verdict == "pass"


@pytest.mark.parametrize("big", [137.0, 136.5])
def test_an_interval_that_straddles_the_bound_is_inconclusive(big: float) -> None:
    metric = judged(20.0, big, half=0.01)

    assert metric.verdict == "inconclusive"
    assert "straddles 0.8550" in metric.reason
    assert metric.reason.endswith("more steps of each would decide")


def test_without_an_interval_nothing_is_shown() -> None:
    metric = judged(20.0, 160.0, half=None)

    assert (metric.verdict, metric.interval) == ("inconclusive", None)
    assert "has no confidence interval" in metric.reason


def test_the_interval_is_wider_than_that_of_either_run_and_narrower_than_both_together() -> None:
    interval = judged(20.0, 144.0, half=0.01).interval

    assert (interval.low, interval.high) == (
        pytest.approx(0.9 * math.exp(-math.hypot(math.log(1 / 0.99), math.log(1.01)))),
        pytest.approx(0.9 * math.exp(math.hypot(math.log(1.01), math.log(1 / 0.99)))),
    )


def test_an_uneven_interval_counts_on_the_side_on_which_it_lies() -> None:
    up = replace(measured(144.0), interval=Interval(144.0, 160.0))
    exact = replace(measured(20.0), interval=Interval(20.0, 20.0))
    cells = cell_at(ONE, 20.0), cell_at(EIGHT, 144.0)

    over = judge_efficiency(run(cells[0], 0, measured={"p_core": exact}), run(cells[1], 0, measured={"p_core": up}))
    up_small = replace(measured(20.0), interval=Interval(20.0, 22.0))
    under = judge_efficiency(
        run(cells[0], 0, measured={"p_core": up_small}),
        run(cells[1], 0, measured={"p_core": replace(measured(144.0), interval=Interval(144.0, 144.0))}),
    )

    assert over.interval == Interval(pytest.approx(0.9), pytest.approx(1.0))  # type: ignore[arg-type]
    assert under.interval == Interval(pytest.approx(0.9 / 1.1), pytest.approx(0.9))  # type: ignore[arg-type]


def test_an_interval_that_reaches_zero_leaves_none() -> None:
    wide = replace(measured(20.0), interval=Interval(0.0, 40.0))

    metric = judge_efficiency(run(cell_at(ONE, 20.0), 0, measured={"p_core": wide}), run(cell_at(EIGHT, 144.0), 144.0))

    assert (metric.verdict, metric.interval) == ("inconclusive", None)


@pytest.mark.parametrize(
    ("small", "big", "where"), [(None, 144.0, "1x1"), (20.0, None, "1x8"), (None, None, "1x1 and")]
)
def test_without_both_numbers_it_is_recorded(small: Any, big: Any, where: str) -> None:
    metric = judge_efficiency(run(cell_at(ONE, small), 20.0), run(cell_at(EIGHT, big), 100.0))

    assert (metric.verdict, metric.expected, metric.low) == ("recorded", None, None)
    assert metric.measured == pytest.approx(0.625)
    assert f"no p_core is published or accepted at {where}" in metric.reason


def test_what_a_site_accepted_counts_as_what_is_published() -> None:
    accepted = Expectation("accepted", 144.0, 139.0, None, None, "accepted in site.toml", "device", "steady")

    metric = judge_efficiency(run(cell_at(ONE, 20.0), 20.0), run(cell_at(EIGHT, accepted), 100.0))

    assert metric.verdict == "fail"
    assert metric.source == "a table; accepted in site.toml"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 16}, "not comparable, as a device's batch is 4 at 1x1 and 16 at 1x8"),
        ({"recipe": replace(STEADY.recipe, tf32=True)}, "not comparable, as the recipes differ in tf32"),
    ],
)
def test_other_work_on_each_card_is_not_comparable(changes: dict[str, Any], words: str) -> None:
    metric = judge_efficiency(run(cell_at(ONE, 20.0), 20.0), run(cell_at(EIGHT, 144.0, **changes), 10.0))

    assert (metric.verdict, metric.expected) == ("recorded", None)
    assert metric.reason.endswith(words)


def test_numbers_that_were_read_by_a_hosts_clock_are_held_against_such_readings() -> None:
    cells = [with_timing(cell, "host") for cell in (cell_at(ONE, 20.0), cell_at(EIGHT, 144.0))]
    readings = [{"p_core": measured(device), "p_core_host": measured(host)} for device, host in ((10, 20), (10, 144))]

    metric = judge_efficiency(*(run(cell, 0, measured=one) for cell, one in zip(cells, readings)))

    assert (metric.verdict, metric.measured) == ("pass", pytest.approx(0.9))
    assert metric.method.startswith("p_core_host a device")


def test_numbers_that_were_read_by_different_clocks_are_not_held_against_each_other() -> None:
    small, big = with_timing(cell_at(ONE, 20.0), "host"), cell_at(EIGHT, 144.0)

    metric = judge_efficiency(run(small, 20.0), run(big, 10.0))

    assert metric.verdict == "recorded"
    assert metric.measured == pytest.approx(10 / 8 / 20)
    assert metric.reason.endswith("was read with a host clock at 1x1 and a device clock at 1x8")


def test_a_run_that_cannot_be_trusted_makes_it_invalid() -> None:
    metric = judge_efficiency(run(cell_at(ONE, 20.0), 20.0, broken="a rank died"), run(cell_at(EIGHT, 144.0), 144.0))

    assert (metric.verdict, metric.reason) == ("invalid", "r300-1x1-fp32-bs4: a rank died")


@pytest.mark.parametrize("simulated", ["small", "big"])
def test_a_simulated_run_beside_a_real_one_makes_it_invalid(simulated: str) -> None:
    small = run(cell_at(ONE, 20.0), 20.0, simulated=simulated == "small")
    big = run(cell_at(EIGHT, 144.0), 144.0, simulated=simulated == "big")

    metric = judge_efficiency(small, big)

    assert metric.verdict == "invalid"
    assert metric.reason.startswith(f"r300-{'1x1' if simulated == 'small' else '1x8'}-fp32-bs4 was simulated and")


def test_two_simulated_runs_are_judged() -> None:
    runs = run(cell_at(ONE, 20.0), 20.0, simulated=True), run(cell_at(EIGHT, 144.0), 144.0, simulated=True)

    assert judge_efficiency(*runs).verdict == "pass"


def test_what_was_not_measured_is_missing() -> None:
    metric = judge_efficiency(run(cell_at(ONE, 20.0), 20.0), run(cell_at(EIGHT, 144.0), None))

    assert (metric.verdict, metric.measured, metric.method) == ("missing", None, "")
    assert metric.reason == "efficiency is not measured: no p_core of r300-1x8-fp32-bs4"


def test_a_number_that_was_accepted_from_another_protocol_is_missing() -> None:
    metric = judge_efficiency(
        run(cell_at(ONE, 20.0), 20.0, missing="accepted from full"), run(cell_at(EIGHT, 144.0), 1.0)
    )

    assert (metric.verdict, metric.reason) == ("missing", "accepted from full")


def test_a_ratio_per_device_of_any_rate() -> None:
    small = run(cell_at(ONE), 0, measured={"p_train": measured(10.0)})
    big = run(cell_at(EIGHT), 0, measured={"p_train": measured(60.0)})

    assert ratio_per_device(small, big, "p_train") == pytest.approx(0.75)
    assert ratio_per_device(small, big, "p_core") is None
    assert ratio_per_device(run(cell_at(ONE), 0.0), run(cell_at(EIGHT), 1.0), "p_core") is None


rates = st.floats(0.1, 10_000)
halves = st.floats(0.0, 0.5)


@given(small=rates, big=rates, first=halves, second=halves)
def test_the_interval_holds_the_value_and_no_more_than_both_worst_cases(
    small: float, big: float, first: float, second: float
) -> None:
    metric = judge_efficiency(run(cell_at(ONE, 20.0), small, first), run(cell_at(EIGHT, 144.0), big, second))

    interval, value = metric.interval, metric.measured
    assert value is not None
    assert interval.low <= value <= interval.high
    slack = 1e-9 * value
    assert interval.low >= value * (1 - second) / (1 + first) - slack
    assert interval.high <= value * (1 + second) / (1 - first) + slack
    assert interval.low <= value * min(1 - second, 1 / (1 + first)) + slack
    assert interval.high >= value * max(1 + second, 1 / (1 - first)) - slack


@given(small=rates, big=rates, half=st.floats(0.0, 0.1))
def test_the_verdict_follows_the_interval(small: float, big: float, half: float) -> None:
    metric = judged(small, big, half)

    assert metric.low is not None
    below, above = metric.interval.high < metric.low, metric.interval.low >= metric.low
    assert metric.verdict == ("fail" if below else "pass" if above else "inconclusive")


SLOWEST = Straggler(3, "node0", 5, 0.02)


@pytest.mark.parametrize(
    ("slowest", "on_host", "broken", "verdict", "reason"),
    [
        (SLOWEST, False, "", "pass", "the slowest, rank 3 (device 5 of node0), takes 1.020 of its siblings' time"),
        (replace(SLOWEST, slower=0.05), False, "", "pass", "the slowest, rank 3"),  # the tolerance itself
        (
            replace(SLOWEST, slower=0.12),
            False,
            "",
            "fail",
            "rank 3 (device 5 of node0) is 12% slower than its siblings, expected at most 5%",
        ),
        (replace(SLOWEST, slower=0.5), True, "", "recorded", "skew 1.500, rank 3 (device 5 of node0): the ranks share"),
        (None, False, "", "missing", "skew is not measured"),
        (replace(SLOWEST, slower=0.5), False, "a rank died", "invalid", "a rank died"),
    ],
)
def test_the_slowest_rank_decides_on_the_straggler_ratio(
    slowest: Straggler | None, on_host: bool, broken: str, verdict: str, reason: str
) -> None:
    metric = judge_stragglers(slowest, on_host=on_host, broken=broken)

    assert (metric.metric, metric.verdict, metric.high) == ("skew", verdict, 1.05)
    assert metric.measured == (None if slowest is None else pytest.approx(1 + slowest.slower))
    assert metric.reason.startswith(reason)


@pytest.mark.parametrize(
    ("slower", "interval", "verdict"),
    [
        (0.12, Interval(1.06, 1.13), "fail"),
        (0.07, Interval(1.02, 1.08), "inconclusive"),
        (0.04, Interval(1.03, 1.06), "inconclusive"),
        (0.04, Interval(1.03, 1.05), "pass"),
        (0.05, Interval(1.05, 1.05), "pass"),
    ],
)
def test_the_interval_of_the_straggler_ratio_decides(slower: float, interval: Interval, verdict: str) -> None:
    metric = judge_stragglers(replace(SLOWEST, slower=slower), interval, on_host=False)

    assert (metric.verdict, metric.interval) == (verdict, interval)
    assert (": its interval, " in metric.reason) is (verdict == "inconclusive")


def device(card: int, rate: float | None, half: float | None = 0.002, broken: str = "") -> DeviceRun:
    """The run of a device with its rate, whose interval reaches the share `half` to each side."""
    if rate is None:
        return DeviceRun(f"device {card}", "", None, broken)
    interval = None if half is None else Interval(rate * (1 - half), rate * (1 + half))
    measured = Measurement("p_core", rate, "images/s", interval, "a method", "rank-0000.jsonl", 60, 100)
    return DeviceRun(f"device {card}", f"S-{card}", measured, broken)


def siblings(*rates: float, half: float | None = 0.002) -> SiblingsVerdict:
    return judge_siblings([device(card, rate, half) for card, rate in enumerate(rates)])


def test_devices_that_are_alike_pass_and_the_slowest_is_told() -> None:
    found = siblings(20.0, 20.1, 19.9, 20.0)

    assert found.verdict == "pass"
    assert found.reason == (
        "none is slower than its siblings; the slowest, device 2 (S-2) does 19.90 images/s, 99.5% of its "
        "siblings' "
        "median 20.00"
    )
    assert found.metric.measured == pytest.approx(0.995)


def test_the_slow_device_is_named_with_its_serial() -> None:
    found = siblings(20.0, 20.0, 17.4, 20.0)

    assert found.verdict == "fail"
    assert [card.verdict for card in found.cards] == ["pass", "pass", "fail", "pass"]
    assert found.reason == (
        "device 2 (S-2) does 17.40 images/s, 87.0% of its siblings' median 20.00: slower by more than 5%"
    )
    assert (found.metric.metric, found.metric.low, found.metric.better) == ("siblings", 0.95, "higher")


def test_every_slow_device_is_named() -> None:
    found = siblings(20.0, 16.0, 20.0, 17.0, 20.0)

    assert [card.run.place for card in found.cards if card.verdict == "fail"] == ["device 1", "device 3"]
    assert "device 1 (S-1)" in found.reason
    assert "device 3 (S-3)" in found.reason


def test_beside_one_quick_device_of_three_none_is_slow() -> None:
    assert [card.share for card in siblings(30.0, 20.0, 20.0).cards] == [1.5, 1.0, 1.0]


def test_a_device_is_not_its_own_sibling() -> None:
    assert siblings(19.0, 21.0, 21.0).cards[0].share == pytest.approx(19 / 21)


@pytest.mark.parametrize("rates", [(19.2, 20.0, 20.0), (30.0, 20.0, 20.0)])
def test_small_differences_and_quick_devices_pass(rates: tuple[float, ...]) -> None:
    assert siblings(*rates).verdict == "pass"


@pytest.mark.parametrize("rate", [19.1, 19.0, 18.9])
def test_a_device_whose_interval_straddles_the_bound_is_inconclusive(rate: float) -> None:
    found = siblings(rate, 20.0, 20.0, half=0.02)

    assert [card.verdict for card in found.cards] == ["inconclusive", "pass", "pass"]
    assert found.verdict == "inconclusive"
    assert "straddles 19.00 (5% below them)" in found.reason
    assert ("no number of steps" if rate == 19.0 else "more steps would decide") in found.reason


def test_an_interval_that_ends_at_the_bound_is_decided() -> None:
    at = judge_siblings([replace(device(0, 19.5), p_core=_with(19.5, 19.0, 20.0)), device(1, 20.0), device(2, 20.0)])
    below = judge_siblings([replace(device(0, 18.5), p_core=_with(18.5, 18.0, 19.0)), device(1, 20.0), device(2, 20.0)])

    assert at.cards[0].verdict == "pass"
    assert below.cards[0].verdict == "inconclusive"


def _with(value: float, low: float, high: float) -> Measurement:
    return Measurement("p_core", value, "images/s", Interval(low, high), "m", "f", 60, 100)


def test_a_device_without_an_interval_is_inconclusive() -> None:
    found = siblings(20.0, 20.0, 10.0, half=None)

    assert found.verdict == "inconclusive"
    assert "from 60 steps there is no confidence interval, at least 40 more are needed" in found.reason


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_devices_are_only_recorded(count: int) -> None:
    found = siblings(*[20.0, 10.0][:count])

    assert found.verdict == "recorded"
    assert found.reason.startswith(f"found {count} run{'' if count == 1 else 's'} of siblings, expected 3 or more")
    assert found.metric.measured is None


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        ((20.0, 0.002, "rank 0: failed"), "device 3 (S-3): its run cannot be compared: rank 0: failed"),
        ((None,), "device 3: its run cannot be compared: found no p_core, expected one"),
    ],
)
def test_a_device_that_is_broken_or_has_no_number_makes_the_answer_invalid(last: tuple[Any, ...], reason: str) -> None:
    found = judge_siblings([*(device(card, 20.0) for card in range(3)), device(3, *last)])

    assert (found.verdict, found.reason) == ("invalid", reason)


def test_a_broken_run_is_in_no_median_and_hides_no_slow_device() -> None:
    runs = [
        device(0, 20.0),
        device(1, 20.0),
        device(2, 15.0),
        device(3, 500.0, broken="lies"),
        device(4, 500.0, broken="lies"),
    ]

    found = judge_siblings(runs)

    assert [card.verdict for card in found.cards] == ["pass", "pass", "fail", "invalid", "invalid"]
    assert found.verdict == "fail"


def test_two_devices_that_are_left_beside_broken_ones_name_nobody() -> None:
    found = judge_siblings([device(0, 20.0), device(1, 10.0), device(2, 20.0, broken="lies")])

    assert [card.verdict for card in found.cards] == ["recorded", "recorded", "invalid"]
    assert found.verdict == "invalid"


@given(
    values=st.lists(st.floats(1.0, 1000.0), min_size=3, max_size=9),
    half=st.floats(0.0, 0.04),
    factor=st.floats(0.01, 100),
)
def test_the_unit_of_the_rate_decides_nothing(values: list[float], half: float, factor: float) -> None:
    found, scaled = siblings(*values, half=half), siblings(*(value * factor for value in values), half=half)
    shares = [card.share for card in found.cards if card.share is not None]
    assume(all(abs(share * (1 + side * half) - 0.95) > 1e-9 for share in shares for side in (-1, 1)))

    assert [card.verdict for card in scaled.cards] == [card.verdict for card in found.cards]


@given(values=st.lists(st.floats(1.0, 1000.0), min_size=3, max_size=9, unique=True), half=st.floats(0.0, 0.04))
def test_no_device_is_judged_worse_than_one_that_is_slower(values: list[float], half: float) -> None:
    worst = {"fail": 0, "inconclusive": 1, "pass": 2}
    cards = sorted(siblings(*values, half=half).cards, key=lambda card: card.share or 0)

    assert [worst[card.verdict] for card in cards] == sorted(worst[card.verdict] for card in cards)
    assert cards[-1].verdict == "pass"  # nobody is quicker than the quickest


@given(values=st.lists(st.floats(1.0, 1000.0), min_size=3, max_size=9), data=st.data())
def test_the_order_of_the_devices_decides_nothing(values: list[float], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(values))))
    runs = [device(card, value) for card, value in enumerate(values)]

    found, shuffled = judge_siblings(runs), judge_siblings([runs[at] for at in order])

    assert found.verdict == shuffled.verdict
    assert {card.run.place: card.verdict for card in found.cards} == {
        card.run.place: card.verdict for card in shuffled.cards
    }
