"""Runs whose counts and times do not add up are invalid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.verdict.bundles import STEADY, Bundle
from tests.verdict.checks.breaking import Fault, Faults, book, nth, one, require_named


def _take_fewer_steps(bundle: Bundle, rank: int) -> None:
    window = bundle.all("window", rank)[-1]
    bundle.ranks[rank].remove(window)
    end = bundle.one("train_end", rank)
    end["steps"] -= 10
    end["images"] -= sum(window["images"])


FAULTS = Faults(
    [
        Fault("learning-rate", "rank 0: step 10:", nth("window", 1, lr=0.04)),
        Fault("durations", "rank 0: found forward_ns", one("window", forward_ns=-1)),
        Fault("durations", "rank 0: found copy_ns", one("window", copy_ns=-1)),
        Fault("durations", "rank 0: found read_ns", one("window", read_ns=-1)),
        Fault("durations", "rank 0: found span_ns", one("window", span_ns=-1)),
        Fault("durations", "rank 0: found span_device_ns", one("window", span_device_ns=-1)),
        Fault(
            "steps-counted",
            "rank 1: train_end says 239 steps, expected the 240 in its windows",
            one("train_end", 1, steps=239),
        ),
        Fault(
            "steps-counted",
            "rank 1: train_end says 960 images, expected the 926 in its batches",
            one("train_end", 1, images=960),
        ),
        Fault(
            "steps-counted",
            "rank 1: found 230 steps, expected 240 as on rank 0",
            lambda b: _take_fewer_steps(b, rank=1),
        ),
        Fault(
            "epochs-counted",
            "rank 0: epoch 2: found 120 steps, expected the 121 planned in epoch_begin",
            nth("epoch_begin", 1, steps=121),
        ),
        Fault(
            "epochs-counted",
            "rank 0: epoch 2: epoch_end says 119 steps, expected the 120 in its windows",
            nth("epoch_end", 1, steps=119),
        ),
        Fault(
            "epochs-counted",
            "rank 0: epoch 2: epoch_end says 1 images, expected the 463 in its batches",
            nth("epoch_end", 1, images=1),
        ),
        Fault(
            "learning-rate",
            "rank 0: step 0: found learning rate 0, expected above 0, at most 0.02",
            one("window", lr=0),
        ),
        Fault("durations", "rank 0: found compute_host_ns -1, expected 0 or more", one("window", compute_host_ns=-1)),
    ]
)


@FAULTS.add("steps-counted", "rank 0: found no optimizer step, expected at least one")
def nothing_was_trained(bundle: Bundle) -> None:
    for rank in bundle.ranks:
        bundle.drop("window", rank)
        bundle.one("train_end", rank).update(steps=0, images=0)


@FAULTS.add("windows-gapless", "rank 0: found a window from step 60, expected step 50")
def window_was_lost(bundle: Bundle) -> None:
    bundle.ranks[0].remove(bundle.all("window")[5])


@FAULTS.add("windows-gapless", "rank 0:", replace(STEADY, warmup=30))
def window_of_the_warmup_was_lost(bundle: Bundle) -> None:
    bundle.ranks[0].remove(bundle.all("window")[1])


@FAULTS.add("batch-size", "rank 1: step 53: found a batch of 5 images, expected 1 to 4")
def batch_is_too_large(bundle: Bundle) -> None:
    bundle.all("window", rank=1)[5]["images"][3] = 5


@FAULTS.add("loss-finite", "rank 0: step 13: found loss nan, expected a finite one", STEADY)
def loss_of_the_warmup_is_not_finite(bundle: Bundle) -> None:
    bundle.all("window")[1]["loss"][3] = "NaN"


@FAULTS.add("loss-changes", "rank 0: found loss 0.5 on 50 steps in a row, expected it to change within 50", STEADY)
def loss_stands_still_just_long_enough_to_tell(bundle: Bundle) -> None:
    for window in bundle.all("window")[1:6]:
        window["loss"] = [0.5] * 10


@FAULTS.add("durations", "rank 0: found 19.200 s of compute, expected at most the windows' 10.332 s")
def compute_is_longer_than_the_wall(bundle: Bundle) -> None:
    for window in bundle.all("window"):
        window["compute_ns"] = [time * 2 for time in window["compute_ns"]]


@FAULTS.add(
    "durations",
    "rank 0: found windows of 20.664 s, expected at most the 10.382 s of training without evaluation",
)
def windows_are_longer_than_the_training(bundle: Bundle) -> None:
    for window in bundle.all("window"):
        window["wall_ns"] *= 2


@FAULTS.add(
    "compute-synchronised",
    "rank 0: found 4.800 s of compute, expected about the 9.120 s that the host clock saw, or more",
)
def compute_timer_stopped_early(bundle: Bundle) -> None:
    for window in bundle.all("window"):
        window["compute_ns"] = [time // 2 for time in window["compute_ns"]]


@FAULTS.add("compute-synchronised", "rank 0:")
def compute_is_short_by_more_than_a_tenth_of_the_training_without_evaluation(bundle: Bundle) -> None:
    for window in bundle.all("window"):
        window["compute_ns"] = [time * 7 // 8 for time in window["compute_ns"]]


@FAULTS.add(
    "time-ledger",
    "rank 1: ledger: found 12.882 s in its parts, expected the 13.382 s between train_begin and train_end within 1%",
)
def ledger_lost_time(bundle: Bundle) -> None:
    bundle.one("train_end", rank=1)["ledger"]["data_wait_ns"] -= 500_000_000


@FAULTS.add("time-ledger", "rank 0: ledger: found idle_ns -1, expected 0 or more")
def ledger_has_a_negative_part(bundle: Bundle) -> None:
    bundle.one("train_end")["ledger"]["idle_ns"] = -1


@FAULTS.add(
    "time-ledger",
    "rank 0: ledger: found 4.000 s of evaluation, expected the 3.000 s between eval_begin and eval_end",
)
def evaluation_is_booked_too_long(bundle: Bundle) -> None:
    ledger = bundle.one("train_end")["ledger"]
    ledger["evaluation_ns"] += 10**9
    ledger["compute_ns"] -= 10**9


@FAULTS.add(
    "ledger-shares",
    "rank 1: ledger: found 6.6 s of bookkeeping, 64% of the 10.4 s of training without evaluation, expected at most 5%",
)
def most_of_the_training_is_bookkeeping(bundle: Bundle) -> None:
    book(bundle, bookkeeping=0.64)
    for window in bundle.all("window", rank=1):
        for name in ("forward_ns", "compute_host_ns"):
            window[name] = window[name] * 36 // 100
        window["compute_ns"] = [ns * 36 // 100 for ns in window["compute_ns"]]


@FAULTS.add(
    "ledger-shares", "rank 1: ledger: found 10.2 s of data wait, 98% of the 10.4 s of training without evaluation"
)
def most_of_the_training_is_waiting_for_data(bundle: Bundle) -> None:
    book(bundle, data_wait=0.98)


@FAULTS.add("times-ordered", "rank 0: found a training of 0.0 s, expected train_begin before train_end")
def training_took_no_time(bundle: Bundle) -> None:
    end = bundle.one("train_end")
    bundle.ranks[0].remove(end)
    begin = bundle.one("train_begin")
    end["t_ns"] = begin["t_ns"]
    bundle.ranks[0].insert(bundle.ranks[0].index(begin) + 1, end)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_a_fault_makes_the_run_invalid_and_is_named(fault: Fault, tmp_path: Path) -> None:
    require_named(fault, tmp_path)
