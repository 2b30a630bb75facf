"""A rank that lacks a probe's answer, or a rate above the specification, makes a run invalid: on evidence by hand."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Callable

import pytest

from evidence.events.links import LinksDone
from evidence.events.operators import OperatorsDone
from evidence.events.peaks import COPIES, PeaksDone, Sustained
from tests.verdict.probes.test_links import MIB, R300, SOUND, all_reduce, pair, probed
from tests.verdict.probes.test_one_step import DONE, gradient
from tests.verdict.probes.test_operators import answer
from tests.verdict.probes.test_peaks import CELL, CONV, evidence, rate
from verdict.checks.invariants import CHECKS

HOSTS, DEVICES = 2, 2
ASKED = ("operators-asked", "one-step-asked", "links-asked", "peaks-asked")
MINUTE = Sustained("fp32", 1, 1, (1,))


def a_rank(number: int, amount: str, devices: int) -> Any:
    """A rank that has answered all that it is asked."""
    local, world = number % devices, HOSTS * devices
    copies = [rate(of, 1.0, pinned=True, devices=devices) for of in COPIES if devices > 1]
    if local == 0 or amount == "full":
        copies += [rate(of, 1.0, pinned=True) for of in COPIES]
    rates = [*copies, rate("memory-copy", 1.0), rate("memory-patterns", 1.0), rate("gemm", 1.0, precision="fp32")]
    peers = [*range(number + 1, number - local + devices)]
    peers += range(number + devices, world, devices) if local == 0 else ()
    return SimpleNamespace(
        rank=number,
        start=SimpleNamespace(t_ns=5, local_rank=local, local_world_size=devices, world_size=world),
        end="end",
        operators=[answer(size={"n": 1}), answer(size={"n": 2})],
        operators_done=OperatorsDone(2, 10, 1.0, 1.0, "cache", t_ns=20),
        gradients=[gradient("a"), gradient("b")],
        one_step=replace(DONE, gradients=2),
        collectives=list(SOUND),
        pairs=[pair(peer, 50.0) for peer in peers],
        links_done=LinksDone(amount, len(SOUND), len(peers), 10, 1.0, 20.0, t_ns=20),
        rates=rates,
        sustained=MINUTE if amount == "full" else None,
        peaks_done=PeaksDone(len(rates), 10, 20),
    )


def a_run(amount: str = "quick", devices: int = DEVICES) -> Any:
    """Ranks of two hosts; the host of rank 2 is the second one."""
    ranks = [a_rank(number, amount, devices) for number in range(HOSTS * devices)]
    return SimpleNamespace(ranks=ranks, run=SimpleNamespace(numerics=amount, links=amount))


def found_by(check: str, given: Any, cell: Any = CELL) -> list[str]:
    return list(CHECKS[check].find(SimpleNamespace(evidence=given, cell=cell)))  # type: ignore[arg-type]


def also(event: str, **values: Any) -> Callable[[Any], None]:
    """Change the last event of a probe."""
    return lambda rank: setattr(rank, event, replace(getattr(rank, event), **values))


def without(kind: str, count: str, at: int = -1) -> Callable[[Any], None]:
    """Take an answer out, and let the last event count one less."""

    def change(rank: Any) -> None:
        event, name = count.split(".")
        getattr(rank, kind).pop(at)
        also(event, **{name: getattr(getattr(rank, event), name) - 1})(rank)

    return change


def timed(kind: str, *times_ns: int) -> Callable[[Any], None]:
    """Give the first answer of a kind these times."""

    def change(rank: Any) -> None:
        answers = getattr(rank, kind)
        answers[0] = replace(answers[0], times_ns=times_ns)

    return change


def copies_alone(rank: Any) -> None:
    rank.rates = [one for one in rank.rates if one.of not in COPIES or one.devices > 1]
    rank.peaks_done = replace(rank.peaks_done, rates=len(rank.rates))


@pytest.mark.parametrize("check", ASKED)
@pytest.mark.parametrize("devices", [1, 2, 3])
@pytest.mark.parametrize("amount", ["quick", "full"])
def test_what_every_rank_has_answered_is_right(check: str, devices: int, amount: str) -> None:
    assert found_by(check, a_run(amount, devices)) == []


@pytest.mark.parametrize(
    ("check", "change", "says"),
    [
        ("operators-asked", lambda rank: setattr(rank, "operators_done", None), "no 'operators' event"),
        ("operators-asked", also("operators_done", begun_ns=4), "begins outside the run"),
        ("operators-asked", also("operators_done", begun_ns=21), "begins outside the run"),
        ("operators-asked", lambda rank: rank.operators.pop(), "2 cases and answers to 1"),
        ("operators-asked", also("operators_done", cases=1), "1 cases and answers to 2"),
        ("operators-asked", lambda rank: rank.operators.append(rank.operators[0]), "expected one answer to each"),
        ("operators-asked", without("operators", "operators_done.cases"), "other answers"),
        ("one-step-asked", lambda rank: setattr(rank, "one_step", None), "no 'one_step' event"),
        ("one-step-asked", also("one_step", begun_ns=4), "begins outside the run"),
        ("one-step-asked", lambda rank: rank.gradients.clear(), "found 0 gradients, expected the 2"),
        ("one-step-asked", also("one_step", gradients=3), "found 2 gradients, expected the 3"),
        ("one-step-asked", lambda rank: setattr(rank, "gradients", rank.gradients[:1] * 2), "found 1 gradients"),
        ("one-step-asked", also("one_step", losses=(4.0,)), "found 1 losses"),
        ("one-step-asked", also("one_step", losses=(), expected=(), spread=()), "found 0 losses"),
        ("one-step-asked", without("gradients", "one_step.gradients"), "other answers"),
        ("links-asked", lambda rank: setattr(rank, "links_done", None), "no 'links' event"),
        ("links-asked", also("links_done", begun_ns=4), "begins outside the run"),
        ("links-asked", lambda rank: rank.collectives.pop(), "3 collectives and 1 pairs and results of 2 and 1"),
        ("links-asked", without("collectives", "links_done.collectives"), "other answers"),
        ("links-asked", also("links_done", not_asked=("all-reduce of 1 GiB",)), "other answers"),
        ("links-asked", without("pairs", "links_done.pairs"), "pairs with the ranks [], expected [3]"),
        ("links-asked", timed("collectives", 9, 0, 9), "no time above 0 of all-reduce of 8 B"),
        ("links-asked", timed("collectives", -1), "no time above 0 of all-reduce of 8 B"),
        ("links-asked", timed("pairs", 9, 0, 9), "no time above 0 of send-recv with rank 3"),
        ("links-asked", timed("pairs"), "no time above 0 of send-recv with rank 3"),
        ("peaks-asked", timed("rates", 9, 0, 9), "no work or no time of host-to-device"),
        ("peaks-asked", timed("rates"), "no work or no time of host-to-device"),
        ("peaks-asked", lambda rank: setattr(rank, "peaks_done", None), "no 'peaks' event"),
        ("peaks-asked", also("peaks_done", begun_ns=-5), "begins outside the run"),
        ("peaks-asked", lambda rank: rank.rates.pop(), "rates and 6 events with a rate"),
        ("peaks-asked", without("rates", "peaks_done.rates"), "other answers"),  # the product
        ("peaks-asked", without("rates", "peaks_done.rates", -2), "other answers"),  # the memory's patterns
        ("peaks-asked", without("rates", "peaks_done.rates", -3), "other answers"),  # the memory's copy
        ("peaks-asked", without("rates", "peaks_done.rates", 0), "found 2 rates of copies alone, expected 1"),
        ("peaks-asked", without("rates", "peaks_done.rates", 2), "found 1 rates of copies alone, expected 2"),
        ("peaks-asked", copies_alone, "found 0 rates of copies alone, expected 2"),
    ],
)  # fmt: skip
def test_a_rank_that_owes_an_answer_is_named(check: str, change: Callable[[Any], None], says: str) -> None:
    run = a_run()
    change(run.ranks[2])

    (text,) = found_by(check, run)

    assert text.startswith("rank 2: found ")
    assert says in text


def test_in_a_full_probe_every_rank_copies_alone_and_multiplies_for_a_minute() -> None:
    alone, minute = a_run("full"), a_run("full")
    copies_alone(alone.ranks[3])
    minute.ranks[3].sustained = None

    assert found_by("peaks-asked", alone) == ["rank 3: found 0 rates of copies alone, expected 2, as of those at once"]
    assert found_by("peaks-asked", minute)[0].startswith("rank 3: found other answers before 'peaks'")


def test_a_rank_that_copies_less_at_once_with_the_others_is_named() -> None:
    run = a_run()
    without("rates", "peaks_done.rates", 0)(run.ranks[3])  # which copies at once only

    assert found_by("peaks-asked", run)[0].startswith("rank 3: found other answers before 'peaks'")


def test_of_hosts_with_one_device_each_all_copy_alone() -> None:
    run = a_run(devices=1)
    copies_alone(run.ranks[1])

    assert found_by("peaks-asked", run)[0].startswith("rank 1: found other answers before 'peaks'")


def test_what_its_time_or_the_device_left_out_is_another_questions() -> None:
    late, unable, cut = a_run(), a_run(), a_run()
    without("operators", "operators_done.cases")(late.ranks[1])
    also("operators_done", unasked={"conv2d-wgrad-fp32": 1})(late.ranks[1])
    unable.ranks[1].gradients.clear()
    also("one_step", gradients=0, error="unable")(unable.ranks[1])
    for rank in cut.ranks:
        rank.pairs.clear()
        also("links_done", pairs=0, not_asked=("send-recv of 64 MiB between devices, round 1",))(rank)

    assert [found_by(*one) for one in zip(ASKED, (late, unable, cut))] == [[], [], []]


def test_ranks_are_held_against_those_that_have_answered_all() -> None:
    late = a_run()
    also("operators_done", unasked={"conv2d-wgrad-fp32": 1})(late.ranks[1])
    without("operators", "operators_done.cases")(late.ranks[2])

    assert [text[:6] for text in found_by("operators-asked", late)] == ["rank 2"]


def test_one_rank_has_no_links_and_owes_none() -> None:
    alone = a_run()
    alone.ranks = alone.ranks[:1]
    for rank in alone.ranks:
        rank.operators_done = rank.one_step = rank.links_done = rank.peaks_done = None

    assert [len(found_by(check, alone)) for check in ASKED] == [1, 1, 0, 1]


@pytest.mark.parametrize("check", ASKED)
def test_a_run_that_has_not_asked_and_a_rank_that_has_not_ended_owe_no_answer(check: str) -> None:
    unasked, broken = a_run("none"), a_run()
    for rank in (*unasked.ranks, broken.ranks[1]):
        rank.operators_done = rank.one_step = rank.links_done = rank.peaks_done = None
    broken.ranks[1].end = None

    assert found_by(check, unasked) == found_by(check, broken) == []


def test_a_link_above_its_specification_makes_the_run_invalid() -> None:
    pairs = found_by("links-within-specification", probed(*SOUND, pairs=(pair(1, 130.0), pair(1, 99.0))), R300)
    reduced = found_by("links-within-specification", probed(*SOUND, all_reduce(64 * MIB, 400)), R300)

    assert pairs == [
        "ranks 0 and 1: found a send-recv of 130 GB/s one way, above the specified 100 (Kunlunxin R480-X8: two rings, "
        "200 GB/s both directions together); either less was exchanged, or the clock is wrong"
    ]
    assert len(reduced) == 1
    assert reduced[0].startswith("all-reduce of 64 MiB: found 167.8 GB/s of the buffer, above the 100 that a device")
    assert not found_by("links-within-specification", probed(*SOUND, pairs=(pair(1, 99.0),)), R300)


def test_tf32_behind_fp32_is_above_the_specification_and_invalid() -> None:
    found = found_by("peaks-within-specification", evidence([rate("gemm", 118.0, precision="fp32")]))

    assert len(found) == 1
    assert "fp32-gemm: found 118 TFLOPS, expected at most the specified 19.5 (a data sheet)" in found[0]
    assert "not computed in fp32 but in a narrower format" in found[0]
    assert not found_by("peaks-within-specification", evidence([rate("gemm", 19.4, precision="fp32")]))


def test_memory_above_its_specification_is_invalid_too_and_convolutions() -> None:
    conv = rate("convolution", 30.0, precision="fp32", part="backward", size=CONV)
    found = found_by("peaks-within-specification", evidence([rate("memory-triad", 1700.0), conv]))

    assert ["memory-triad" in found[0], "backward" in found[1]] == [True, True]
