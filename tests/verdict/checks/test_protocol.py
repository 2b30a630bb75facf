"""Runs that did not do what their protocol asks for are invalid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.verdict.bundles import EPOCH, STEADY, Bundle, Plan
from tests.verdict.checks.breaking import FAST, Fault, Faults, checked, ledger, nth, one, require_named, run

RESUMED = Plan(restarts=1, resumed=(1, 40))


def _slow_down(bundle: Bundle, steps: range, factor: float) -> None:
    for window in bundle.all("window", rank=1):
        at = [step in steps for step in range(window["step"], window["step"] + len(window["compute_ns"]))]
        window["compute_ns"] = [int(ns * (factor if slow else 1)) for ns, slow in zip(window["compute_ns"], at)]


FAULTS = Faults(
    [
        Fault("epochs-complete", "run.json:", run(epochs=None)),
        Fault("epochs-complete", "rank 0:", lambda b: None, replace(EPOCH, maps=(0.1, 0.2))),
        Fault("map-by-pycocotools", "rank 0: evaluation of epoch 2:", lambda b: checked(b, 2, checked_map=None)),
        Fault("map-by-pycocotools", "rank 0: evaluation of epoch 2:", lambda b: ledger(b, ("fast_scoring", True, ""))),
        Fault("steady-steps", "run.json:", run(steps=None), STEADY),
        Fault(
            "protocol-known",
            "run.json: found protocol quick, expected one of full, epoch, steady",
            run(protocol="quick"),
        ),
        Fault(
            "windows-in-training",
            "rank 0: found warm-up windows, expected none under protocol full",
            one("window", warmup=True),
        ),
        Fault(
            "windows-in-training",
            "rank 0: found the warm-up window of step 20 elsewhere, expected it before train_begin",
            nth("window", 2, warmup=True),
            STEADY,
        ),
        Fault("epochs-complete", "run.json: found a limit of 9 epochs, expected 1 to the recipe's 4", run(epochs=9)),
        Fault(
            "evaluations-complete",
            "rank 0: evaluation of epoch 2: found 127 images in total, expected the 128 of the validation set",
            nth("eval_end", 2, images_total=127),
        ),
        Fault(
            "evaluations-complete",
            "rank 0: evaluation of epoch 2: found map nan, expected a number from 0 to 1",
            nth("eval_end", 2, map="NaN"),
        ),
        Fault(
            "map-by-pycocotools",
            f"rank 0: evaluation of epoch 2: found map 0.38 by {FAST}, 0.38 by pycocotools, and 1.1e-09 between",
            lambda b: checked(b, 2, check_difference=1.1e-9),
        ),
        Fault(
            "map-by-pycocotools",
            f"rank 0: evaluation of epoch 2: found map 0.38 by {FAST} alone, expected pycocotools to have scored it",
            lambda b: checked(b, 1),
        ),
        Fault(
            "end-reached",
            "rank 1: ended for reason last_epoch, expected target as on rank 0",
            one("end", 1, reason="last_epoch"),
        ),
        Fault(
            "end-reached", "rank 0: ended for reason tired, expected target or last_epoch", one("end", reason="tired")
        ),
        Fault(
            "end-reached",
            "rank 0: ended at map 0.3550 for reason target, expected at least 0.36",
            nth("eval_end", 2, map=0.355),
        ),
        Fault(
            "end-reached",
            "rank 0: map 0.3600 after epoch 1 had reached the target 0.36, expected the run to end there",
            nth("eval_end", 1, map=0.36),
        ),
        Fault("steady-steps", "rank 0: found 120 measured steps, expected the 500 asked for", run(steps=500), STEADY),
        Fault("steady-steps", "run.json: found steps 0, expected the number of steps to measure", run(steps=0), STEADY),
        Fault(
            "steady-state",
            "rank 1: the first 12 measured steps took 52.0 ms a batch, the last 30 took 40.0 ms",
            lambda b: _slow_down(b, steps=range(20, 32), factor=1.3),
            STEADY,
        ),
        Fault(
            "steady-state",
            "rank 1:",
            lambda b: _slow_down(b, steps=range(20, 30), factor=1.3),
            replace(STEADY, steps=100),
        ),
        Fault("resumed-position", "rank 0: found a 'resumed' event, expected none", run(restarts=[]), RESUMED),
        Fault(
            "resumed-position",
            "rank 1: went on from step 39 of epoch 2, 81 left, expected step 40 of epoch 2, 80 left as on rank 0",
            one("resumed", 1, step=39, steps_left=81),
            RESUMED,
        ),
        Fault(
            "resumed-position",
            "rank 0: found step 40 of epoch 2, 80 left as step 161 of the run, expected these to agree",
            one("resumed", first_step=161),
            RESUMED,
        ),
        Fault(
            "resumed-position",
            "rank 1: epoch 2: found 79 steps, expected the 80 left",
            one("epoch_end", 1, steps=79),
            RESUMED,
        ),
        Fault(
            "resumed-position",
            "rank 1: found step 159 as the first, expected step 160",
            one("window", 1, step=159),
            RESUMED,
        ),
    ]
)


@FAULTS.add("epochs-complete", "rank 1: found the epochs [2, 1] completed, expected 1, 2, 3, ... up to 4 epochs")
def epochs_run_backwards(bundle: Bundle) -> None:
    first, second = bundle.all("epoch_end", rank=1)
    first["epoch"], second["epoch"] = 1, 0


@FAULTS.add("epochs-complete", "rank 0: found steps of epochs [8], expected steps of completed epochs only")
def steps_of_an_epoch_that_was_not(bundle: Bundle) -> None:
    bundle.all("window")[-1]["epoch"] = 7


@FAULTS.add("evaluations-made", "rank 1: found evaluations after epochs [1, 2], expected [0, 1, 2]")
def no_initial_evaluation(bundle: Bundle) -> None:
    bundle.ranks[1].remove(bundle.one("eval_begin", rank=1))
    bundle.ranks[1].remove(bundle.one("eval_end", rank=1))


@FAULTS.add("evaluations-made", "rank 0: found the initial evaluation in training, expected it before")
def initial_evaluation_in_training(bundle: Bundle) -> None:
    begin = bundle.one("train_begin")
    bundle.ranks[0].remove(begin)
    begin["t_ns"] = bundle.one("eval_begin")["t_ns"]
    bundle.ranks[0].insert(3, begin)


@FAULTS.add("evaluations-made", "rank 0: found the evaluation of epoch 2 outside of training, expected it within")
def evaluation_after_training(bundle: Bundle) -> None:
    end = bundle.one("train_end")
    bundle.ranks[0].remove(end)
    begin = bundle.all("eval_begin")[2]
    end["t_ns"] = begin["t_ns"]
    bundle.ranks[0].insert(bundle.ranks[0].index(begin), end)


@FAULTS.add("evaluations-made", "rank 0:")
def evaluation_before_training(bundle: Bundle) -> None:
    begin = bundle.one("train_begin")
    bundle.ranks[0].remove(begin)
    end = bundle.all("eval_end")[1]
    begin["t_ns"] = end["t_ns"]
    bundle.ranks[0].insert(bundle.ranks[0].index(end), begin)


@FAULTS.add(
    "evaluations-complete",
    "rank 0: evaluation of epoch 2: found 128 images in total, expected the 127 that the ranks looked at",
)
def ranks_looked_at_fewer_images(bundle: Bundle) -> None:
    bundle.all("eval_end", rank=1)[2]["images"] -= 1


@FAULTS.add(
    "evaluations-complete",
    "rank 0: evaluation of epoch 1: found 64 images in total, expected as many as were loaded, {128}",
)
def evaluation_of_half_the_data(bundle: Bundle) -> None:
    bundle.all("eval_end")[1].update(images=32, images_total=64, images_expected=64)
    bundle.all("eval_end", rank=1)[1]["images"] = 32


@FAULTS.add("all-measured", "found no measurement of map, expected one from protocol full")
def map_is_missing(bundle: Bundle) -> None:
    del bundle.all("eval_end")[2]["map"]


@FAULTS.add("map-by-pycocotools", "rank 0: evaluation of epoch 1:")
def scorers_differ_in_an_evaluation_before_the_last(bundle: Bundle) -> None:
    checked(bundle, 1, check_difference=0.5)
    checked(bundle, 2)


@FAULTS.add("evaluations-complete", "rank 0: evaluation of epoch 1:")
def map_of_an_epoch_is_missing(bundle: Bundle) -> None:
    del bundle.all("eval_end")[1]["map"]


@FAULTS.add("all-measured", "found no measurement of p_core_host")
def the_hosts_reading_is_missing(bundle: Bundle) -> None:
    for rank in bundle.ranks:
        for window in bundle.all("window", rank):
            window["compute_host_ns"] = 0


@FAULTS.add("end-reached", "rank 0:")
def target_without_evaluation(bundle: Bundle) -> None:
    bundle.drop("eval_begin")
    bundle.drop("eval_end")


@FAULTS.add("end-reached", "rank 0: ended after the last epoch with 2 epochs, expected 4")
def last_epoch_came_early(bundle: Bundle) -> None:
    for rank in bundle.ranks:
        bundle.one("end", rank)["reason"] = "last_epoch"


@FAULTS.add(
    "not-throttled",
    "device 1 of node0: throttled (power, thermal) in 3 samples, 22.42% of the training, expected at most 1%",
)
def a_device_was_throttled(bundle: Bundle) -> None:
    begin = bundle.one("train_begin", rank=1)["t_ns"]
    inside = [one for one in bundle.telemetry if one["card"] == 1 and one["t_ns"] > begin]
    for sample, reason in zip(inside, ("thermal", "power", "thermal")):
        sample["throttle"] = reason


@FAULTS.add("windows-in-training", "rank 1:")
def a_rank_after_one_without_a_training_measured_before_its_own(bundle: Bundle) -> None:
    bundle.drop("train_begin", rank=0)
    begin = bundle.one("train_begin", rank=1)
    bundle.ranks[1].remove(begin)
    window = bundle.all("window", rank=1)[1]
    begin["t_ns"] = window["t_ns"]
    bundle.ranks[1].insert(bundle.ranks[1].index(window), begin)


@FAULTS.add("evaluations-complete", "rank 0: evaluation of epoch 2:")
def a_rank_missed_the_last_evaluation(bundle: Bundle) -> None:
    bundle.ranks[1].remove(bundle.all("eval_begin", rank=1)[-1])
    bundle.ranks[1].remove(bundle.all("eval_end", rank=1)[-1])


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_a_fault_makes_the_run_invalid_and_is_named(fault: Fault, tmp_path: Path) -> None:
    require_named(fault, tmp_path)
