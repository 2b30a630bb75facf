"""One fault at a time: each makes the whole run invalid, and the check that it is for says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, NamedTuple

import pytest

from evidence.bundle import Evidence, read_run
from evidence.verdict import Verdict
from expected import Recipe, Topology
from tests.verdict.bundles import CPU, EPOCH, STEADY, Bundle, Plan, a_cell, build
from tests.verdict.checks_document import ROOT, lines
from verdict.checks.invariants import CHECKS, Case, violations
from verdict.judge import judge_run
from verdict.metrics.measure import measure

FULL = Plan()
FOUR = Plan(topology=Topology(2, 2))
BENCHMARK = Plan(recipe=replace(Recipe(), epochs=4))
RESUMED = Plan(restarts=1, resumed=(1, 40))
LOWERED = Plan(recipe=replace(FULL.recipe, lowered=("XDNN_CONV_GEMM_DTYPE=int16",)))


class Fault(NamedTuple):
    """What to break in the bundle of a plan, the check that has to notice (None: reading the files), and who is named.

    `says` is how the reason begins: the rank, device or file and the key, and for one fault a message all of its words.
    """

    check: str | None
    says: str
    break_it: Callable[[Bundle], Any]
    plan: Plan = FULL
    name: str = ""


def fault(
    check: str | None, says: str, plan: Plan = FULL
) -> Callable[[Callable[[Bundle], Any]], Callable[[Bundle], Any]]:
    """Put a function that breaks a bundle into the table."""

    def add(break_it: Callable[[Bundle], Any]) -> Callable[[Bundle], Any]:
        FAULTS.append(Fault(check, says, break_it, plan, break_it.__name__))
        return break_it

    return add


def one(event: str, of_rank: int = 0, /, **values: Any) -> Callable[[Bundle], Any]:
    """Change the first event of that kind."""
    return nth(event, 0, of_rank, **values)


def nth(event: str, index: int, of_rank: int = 0, /, **values: Any) -> Callable[[Bundle], Any]:
    """Change one of the events of that kind."""
    return lambda bundle: bundle.all(event, of_rank)[index].update(values)


def run(part: str = "", /, **values: Any) -> Callable[[Bundle], Any]:
    """Change run.json, or a part of it."""
    return lambda bundle: (bundle.run[part] if part else bundle.run).update(values)


def variables(bundle: Bundle, *of_ranks: dict[str, str]) -> None:
    """Have the ranks record these variables; given once, all of them the same."""
    for rank, found in zip(bundle.ranks, of_ranks * (len(bundle.ranks) if len(of_ranks) == 1 else 1)):
        bundle.one("start", rank)["variables"] = found


def ledger(bundle: Bundle, *items: tuple[str, bool, str]) -> None:
    """Let rank 0 tell of those optimizations: name, whether it was on, why not."""
    rest = dict.fromkeys(("what", "published", "allowed", "proof"), "")
    told = [{"name": name, "on": on, "why": why, **rest} for name, on, why in items]
    bundle.ranks[0].insert(1, {"event": "optimizations", "t_ns": bundle.one("start")["t_ns"], "items": told})


FAST = "faster-coco-eval 1.8.0"


def checked(bundle: Bundle, index: int, **facts: Any) -> None:
    """Have the fast library score every evaluation, and pycocotools that one."""
    for event in bundle.all("eval_end"):
        event["scorer"] = FAST
    event = bundle.all("eval_end")[index]
    event.update({"checked_map": event["map"], "check_difference": 0.0, **facts})


def _slow_down(bundle: Bundle, steps: range, factor: float) -> None:
    for window in bundle.all("window", rank=1):
        at = [step in steps for step in range(window["step"], window["step"] + len(window["compute_ns"]))]
        window["compute_ns"] = [int(ns * (factor if slow else 1)) for ns, slow in zip(window["compute_ns"], at)]


def _take_fewer_steps(bundle: Bundle, rank: int) -> None:
    window = bundle.all("window", rank)[-1]
    bundle.ranks[rank].remove(window)
    end = bundle.one("train_end", rank)
    end["steps"] -= 10
    end["images"] -= sum(window["images"])


def _insert_evaluation(bundle: Bundle, epoch: int, before: str) -> None:
    events = bundle.ranks[0]
    at = events.index(bundle.one(before))
    t_ns = events[at]["t_ns"]
    seen = {"images": 64, "images_total": 128, "images_expected": 128, "map": 0.1}
    events[at:at] = [
        {"event": "eval_begin", "t_ns": t_ns, "epoch": epoch},
        {"event": "eval_end", "t_ns": t_ns, "epoch": epoch, **seen},
    ]


def _forget_capacity(bundle: Bundle) -> None:
    for rank in bundle.ranks:
        bundle.one("start", rank)["capacity_gib"] = None
    for sample in bundle.telemetry:
        sample["memory_total_gib"] = None


FAULTS = [
    Fault("booted", "the launch ended with exit code 7, expected 0", run("boot", exit_code=7)),
    Fault("booted", "run.json has no exit code, expected 0", run("boot", exit_code=None)),
    Fault("all-ranks-reported", "rank 1: found 0 'end' events, expected 1", lambda b: b.drop("end", rank=1)),
    Fault("all-ranks-reported", "rank 1: found 0 'start' events", lambda b: b.drop("start", rank=1)),
    Fault("all-ranks-reported", "rank 0: found 0 'data' events", lambda b: b.drop("data")),
    Fault("all-ranks-reported", "rank 0: found 0 'train_begin' events", lambda b: b.drop("train_begin")),
    Fault("all-ranks-reported", "rank 0: found 0 'train_end' events", lambda b: b.drop("train_end")),
    Fault("world-size", "rank 1: found local world size", one("start", 1, local_world_size=1)),
    Fault("world-size", "host node0:", one("start", 1, local_rank=0)),
    Fault("cell", "run.json: found learning rate", run("cell", learning_rate=0.16)),
    Fault("cell", "run.json: found precision", run("cell", precision="bf16")),
    Fault("cell", "run.json: found batch size", run("cell", batch_size=2)),
    Fault("cell", "run.json: found device", run("cell", device="a100")),
    Fault("cell", "run.json: found topology", run("cell", topology="1x8")),
    Fault("cell", "rank 1: found cell", one("start", 1, cell="a100-1x2-fp32-bs4")),
    Fault("cell", "rank 1: found precision", one("start", 1, precision="bf16")),
    Fault("cell", "rank 1: found batch size", one("start", 1, batch_size=2)),
    Fault("cell", "rank 1: found learning rate", one("start", 1, learning_rate=0.01)),
    Fault("cell", "rank 1: found model", one("start", 1, model="fasterrcnn_tiny")),
    Fault("cell", "rank 1: found protocol", one("start", 1, protocol="epoch")),
    Fault("cell", "rank 1: found tf32", one("start", 1, tf32=True)),
    Fault("recipe", "run.json: recipe: found tf32", run("recipe", tf32=0)),
    Fault("cell", "rank 1: found deterministic True, expected False", one("start", 1, deterministic=True)),
    Fault("cell", "rank 1: found cudnn benchmark True, expected False", one("start", 1, cudnn_benchmark=True)),
    Fault("recipe", "run.json: recipe: found deterministic True, expected False", run("recipe", deterministic=True)),
    Fault(
        "recipe",
        "run.json: recipe: found lowered ['METAX_USE_TF32=1'], expected []",
        run("recipe", lowered=["METAX_USE_TF32=1"]),
    ),
    Fault(
        "variables-agree",
        "rank 1 on node0: found XACC_ARGS=-L O1, expected XACC_ARGS=-L O0 as on rank 0 on node0",
        lambda b: variables(b, {"XACC_ARGS": "-L O0"}, {"XACC_ARGS": "-L O1"}),
    ),
    Fault(
        "variables-agree",
        "rank 1 on node0: found no CUBLAS_WORKSPACE_CONFIG, expected CUBLAS_WORKSPACE_CONFIG=:4096:8 as on rank 0",
        lambda b: variables(b, {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}, {}),
    ),
    Fault(
        "precision-lowered",
        "rank 0: found XDNN_CONV_GEMM_DTYPE=int16, by which convolutions and linear layers multiply in that format",
        lambda b: variables(b, {"XDNN_CONV_GEMM_DTYPE": "int16"}),
    ),
    Fault(
        "precision-lowered",
        "rank 0: found NVIDIA_TF32_OVERRIDE=1, by which fp32 products of NVIDIA's libraries use TF32",
        lambda b: variables(b, {"NVIDIA_TF32_OVERRIDE": "1"}),
    ),
    Fault(
        "precision-lowered",
        "rank 0: found XDNN_CONV_GEMM_DTYPE=int16,",
        lambda b: variables(b, {"XDNN_CONV_GEMM_DTYPE": "int16"}),
        replace(FULL, recipe=replace(FULL.recipe, tf32=True)),
    ),
    Fault(
        "precision-lowered",
        "rank 0: found no XDNN_CONV_GEMM_DTYPE, expected XDNN_CONV_GEMM_DTYPE=int16, which belongs to the recipe of",
        lambda b: None,
        LOWERED,
    ),
    Fault(
        "precision-lowered",
        "rank 0: found XDNN_CONV_GEMM_DTYPE=int8, expected XDNN_CONV_GEMM_DTYPE=int16",
        lambda b: variables(b, {"XDNN_CONV_GEMM_DTYPE": "int8"}),
        LOWERED,
    ),
    Fault("device-is-real", "run.json: found a simulated device, expected a real r300", run(simulated=True)),
    Fault("device-is-real", "rank 1:", one("start", 1, simulated=True)),
    Fault("device-is-real", "rank 1: found a simulated clock", one("start", 1, clock="simulated")),
    Fault("device-is-real", "run.json:", lambda b: None, replace(FULL, device="virtual")),
    Fault("device-model", "rank 1:", one("start", 1, capacity_gib=24.0)),
    Fault(None, "run.json: schema 1, expected 2", run(schema=1)),
    Fault(None, "rank-0001.jsonl line 1: start: schema 1, expected 2", one("start", 1, schema=1)),
    Fault(None, "rank-0001.jsonl line 1: start: the file of rank 1 was written by rank 0", one("start", 1, rank=0)),
    Fault("windows-in-training", "rank 0:", one("window", warmup=True), EPOCH),
    Fault("windows-in-training", "rank 0:", nth("window", 0, warmup=False), STEADY),
    Fault("epochs-complete", "run.json:", run(epochs=None)),
    Fault("epochs-complete", "run.json:", run(epochs=0)),
    Fault("epochs-complete", "rank 0:", lambda b: None, replace(EPOCH, maps=(0.1, 0.2))),
    Fault("epochs-complete", "rank 1:", lambda b: b.ranks[1].remove(b.one("epoch_end", rank=1))),
    Fault("evaluations-complete", "rank 0: evaluation of epoch 1:", nth("eval_end", 2, map=38.0)),
    Fault("map-by-pycocotools", "rank 0: evaluation of epoch 1:", lambda b: checked(b, 2, checked_map=0.375)),
    Fault("map-by-pycocotools", "rank 0: evaluation of epoch 1:", lambda b: checked(b, 2, checked_map=None)),
    Fault("map-by-pycocotools", "rank 0: evaluation of epoch 1:", lambda b: checked(b, 2, check_difference=None)),
    Fault("map-by-pycocotools", "rank 0: evaluation of epoch 1:", lambda b: checked(b, 2, check_difference=-1.0)),
    Fault("map-by-pycocotools", "rank 0: evaluation of epoch 1:", lambda b: ledger(b, ("fast_scoring", True, ""))),
    Fault("map-by-pycocotools", "rank 0: evaluation of epoch 1:", nth("eval_end", 2, scorer="pycocotools2 1.0")),
    Fault("steady-steps", "rank 0:", run(steps=110), STEADY),
    Fault("steady-steps", "run.json:", run(steps=None), STEADY),
    Fault("steps-counted", "rank 1:", one("train_end", 1, steps=241)),
    Fault("steps-counted", "rank 1:", lambda b: _take_fewer_steps(b, rank=0)),
    Fault("learning-rate", "rank 0: step 10:", nth("window", 1, lr=0.04)),
    Fault("durations", "rank 0: found forward_ns", one("window", forward_ns=-1)),
    Fault("durations", "rank 0: found copy_ns", one("window", copy_ns=-1)),
    Fault("memory", "device 0 of node0: found -1.000 GiB reserved", one("memory", reserved_gib=-1.0)),
    Fault("memory", "device 0 of node0:", lambda b: b.telemetry.clear(), CPU),
    Fault("memory", "device 0 of node0: found no memory sample in telemetry.jsonl", lambda b: b.telemetry.clear()),
    Fault(
        "booted", "the run failed in phase unknown: no message was recorded", run(boot={"exit_code": 0, "failure": {}})
    ),
    Fault("world-size", "rank 1: found world size 3, expected 2 for topology 1x2", one("start", 1, world_size=3)),
    Fault(
        "world-size",
        "host node0: found local ranks [0, 1, 2], expected each of 0 to 1 once for topology 2x2",
        one("start", 2, host="node0", local_rank=2, card=2),
        FOUR,
    ),
    Fault(
        "one-device-per-rank",
        "rank 1: found device 0 of node0 in use by rank 0, expected its own",
        one("start", 1, card=0),
    ),
    Fault(
        "cell",
        "run.json: found cell r300-1x8-fp32-bs4, expected r300-1x2-fp32-bs4",
        run("cell", id="r300-1x8-fp32-bs4"),
    ),
    Fault("recipe", "run.json: recipe: found momentum 0.0, expected 0.9", run("recipe", momentum=0.0)),
    Fault("cell", "rank 1: found optimizations switched off", one("start", 1, without=["boxes_only"])),
    Fault(
        "optimization-ledger",
        "rank 0: found no ledger of optimizations, expected what was on and what was off",
        one("start", 0, without=[]),
    ),
    Fault("backend", "rank 1: found backend cpu, expected kunlunxin", one("start", 1, backend="cpu")),
    Fault(
        "device-is-real", "rank 1:", one("start", 1, simulated=False), replace(FULL, device="virtual", simulated=True)
    ),
    Fault(
        "device-model",
        "rank 1: found a device another device, expected a device as on rank 0",
        one("start", 1, device_name="another device"),
    ),
    Fault(
        "device-model",
        "rank 0: found a device of 40.0 GiB (a device), expected about 32.0 GiB for device r300: this is another model",
        one("start", capacity_gib=40.0),
    ),
    Fault(
        "data-set",
        "rank 1: found train_images 10, val_images None, expected train_images 926, val_images 128 as on rank 0",
        one("data", 1, train={"images": 10}, val=None),
    ),
    Fault("data-set", "rank 0: found 926 images to train on, expected 117266 of COCO 2017", lambda b: None, BENCHMARK),
    Fault(
        "protocol-known", "run.json: found protocol quick, expected one of full, epoch, steady", run(protocol="quick")
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
    Fault("evaluations-made", "rank 0:", lambda b: _insert_evaluation(b, epoch=0, before="train_end"), STEADY),
    Fault(
        "evaluations-complete",
        "rank 0: evaluation of epoch 1: found 127 images in total, expected the 128 of the validation set",
        nth("eval_end", 2, images_total=127),
    ),
    Fault(
        "evaluations-complete",
        "rank 0: evaluation of epoch 1: found map nan, expected a number from 0 to 1",
        nth("eval_end", 2, map="NaN"),
    ),
    Fault(
        "map-by-pycocotools",
        f"rank 0: evaluation of epoch 1: found map 0.38 by {FAST}, 0.38 by pycocotools, and 1.1e-09 between",
        lambda b: checked(b, 2, check_difference=1.1e-9),
    ),
    Fault(
        "map-by-pycocotools",
        f"rank 0: evaluation of epoch 1: found map 0.38 by {FAST} alone, expected pycocotools to have scored it",
        lambda b: checked(b, 1),
    ),
    Fault(
        "end-reached",
        "rank 1: ended for reason last_epoch, expected target as on rank 0",
        one("end", 1, reason="last_epoch"),
    ),
    Fault("end-reached", "rank 0: ended for reason tired, expected target or last_epoch", one("end", reason="tired")),
    Fault(
        "end-reached",
        "rank 0: ended at map 0.3550 for reason target, expected at least 0.36",
        nth("eval_end", 2, map=0.355),
    ),
    Fault(
        "end-reached",
        "rank 0: map 0.3600 after epoch 0 had reached the target 0.36, expected the run to end there",
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
    Fault("steady-state", "rank 1:", lambda b: _slow_down(b, steps=range(110, 140), factor=1.15), STEADY),
    Fault(
        "steady-state", "rank 1:", lambda b: _slow_down(b, steps=range(20, 30), factor=1.3), replace(STEADY, steps=100)
    ),
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
        "steps-counted", "rank 1: found 230 steps, expected 240 as on rank 0", lambda b: _take_fewer_steps(b, rank=1)
    ),
    Fault(
        "epochs-counted",
        "rank 0: epoch 1: found 120 steps, expected the 121 planned in epoch_begin",
        nth("epoch_begin", 1, steps=121),
    ),
    Fault(
        "epochs-counted",
        "rank 0: epoch 1: epoch_end says 119 steps, expected the 120 in its windows",
        nth("epoch_end", 1, steps=119),
    ),
    Fault(
        "epochs-counted",
        "rank 0: epoch 1: epoch_end says 1 images, expected the 463 in its batches",
        nth("epoch_end", 1, images=1),
    ),
    Fault(
        "learning-rate", "rank 0: step 0: found learning rate 0, expected above 0, at most 0.02", one("window", lr=0)
    ),
    Fault("durations", "rank 0: found compute_host_ns -1, expected 0 or more", one("window", compute_host_ns=-1)),
    Fault("memory", "device 1 of node0: found -1.000 GiB resident", one("memory", 1, resident_gib=-1.0), CPU),
    Fault("attempts-not-mixed", "rank 1: found attempt 0, expected 1, as", one("start", 1, attempt=0), RESUMED),
    Fault("resumed-position", "rank 0: found a 'resumed' event, expected none", run(restarts=[]), RESUMED),
    Fault(
        "resumed-position",
        "rank 1: went on from step 39 of epoch 1, 81 left, expected step 40 of epoch 1, 80 left as on rank 0",
        one("resumed", 1, step=39, steps_left=81),
        RESUMED,
    ),
    Fault(
        "resumed-position",
        "rank 0: found step 40 of epoch 1, 80 left as step 161 of the run, expected these to agree",
        one("resumed", first_step=161),
        RESUMED,
    ),
    Fault(
        "resumed-position",
        "rank 1: epoch 1: found 79 steps, expected the 80 left",
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


@fault("booted", "the run failed in phase preflight: torch_xmlir is missing")
def boot_failed(bundle: Bundle) -> None:
    failure = {"phase": "preflight", "message": "torch_xmlir is missing"}
    bundle.run["boot"] = {"exit_code": None, "failure": failure}
    bundle.ranks.clear()
    bundle.telemetry.clear()


@fault("no-failures", "rank 1: failed (device): device lost")
def rank_gave_up(bundle: Bundle) -> None:
    end = bundle.ranks[1].pop()
    bundle.ranks[1].append({"event": "failure", "t_ns": end["t_ns"], "kind": "device", "message": "device lost"})


@fault("all-ranks-reported", "rank 1: found no file, expected rank-0001.jsonl")
def rank_never_started(bundle: Bundle) -> None:
    del bundle.ranks[1]


@fault("all-ranks-reported", "rank 2: found a file, expected only ranks 0 to 1 of 1x2")
def a_rank_too_many(bundle: Bundle) -> None:
    bundle.ranks[2] = [dict(event) for event in bundle.ranks[1]]
    bundle.ranks[2][0]["rank"] = 2


@fault(None, "rank-0000.jsonl line 57: end: 'end' comes a second time")
def rank_ended_twice(bundle: Bundle) -> None:
    bundle.ranks[0].append(dict(bundle.ranks[0][-1]))


@fault("world-size", "found 1 hosts (node0), expected 2 for topology 2x2", FOUR)
def all_ranks_on_one_host(bundle: Bundle) -> None:
    for rank in bundle.ranks:
        bundle.one("start", rank)["host"] = "node0"


@fault("cell", "rank 1: found optimizations switched off")
def rank_switches_nothing_off(bundle: Bundle) -> None:
    bundle.run["without"] = ["static_graph", "boxes_only"]
    bundle.one("start", rank=0)["without"] = ["boxes_only", "static_graph"]
    bundle.one("start", rank=1)["without"] = []


@fault("optimization-ledger", "rank 0: ledger: found switched off boxes_only, expected none")
def the_ledger_says_more_was_switched_off(bundle: Bundle) -> None:
    bundle.one("start", rank=0)["without"] = []
    ledger(bundle, ("boxes_only", False, "switched off"), ("scored_once", True, ""))


@fault("optimization-ledger", "rank 0: ledger: found switched off")
def what_was_switched_off_is_on_in_the_ledger(bundle: Bundle) -> None:
    bundle.run["without"] = ["boxes_only", "scored_once"]
    ledger(bundle, ("boxes_only", True, "switched off"), ("scored_once", False, "switched off"))


@fault("recipe", "run.json: the recipe lacks momentum, weight_decay")
def recipe_has_gaps(bundle: Bundle) -> None:
    del bundle.run["recipe"]["momentum"], bundle.run["recipe"]["weight_decay"]


@fault("backend", "run.json: found backend cpu, expected kunlunxin for device r300")
def backend_is_the_hosts(bundle: Bundle) -> None:
    bundle.run["backend"] = "cpu"
    for rank in bundle.ranks:
        bundle.one("start", rank)["backend"] = "cpu"


@fault("data-set", "rank 0:", BENCHMARK)
def data_has_the_images_without_a_box(bundle: Bundle) -> None:
    for rank in bundle.ranks:
        bundle.one("data", rank)["train"]["images"] = 118_287


@fault("data-set", "rank 0: found 128 images to evaluate, expected 5000 of COCO 2017", BENCHMARK)
def validation_is_a_part_of_coco(bundle: Bundle) -> None:
    for rank in bundle.ranks:
        bundle.one("data", rank)["train"]["images"] = 117_266


@fault(None, "rank-0001.jsonl line 11: train_begin: the clock goes backwards, from t_ns")
def clock_goes_backwards(bundle: Bundle) -> None:
    bundle.one("train_begin", rank=1)["t_ns"] -= 10**10


@fault("windows-in-training", "rank 0:", STEADY)
def measured_after_training(bundle: Bundle) -> None:
    events = bundle.ranks[0]
    window = bundle.all("window")[-1]
    events.remove(window)
    events.insert(events.index(bundle.one("train_end")) + 1, window)
    window["t_ns"] = bundle.one("train_end")["t_ns"] + 1


@fault("epochs-complete", "rank 1: found the epochs [1, 0] completed, expected 0, 1, 2, ... up to 4 epochs")
def epochs_run_backwards(bundle: Bundle) -> None:
    first, second = bundle.all("epoch_end", rank=1)
    first["epoch"], second["epoch"] = 1, 0


@fault("epochs-complete", "rank 0: found steps of epochs [7], expected steps of completed epochs only")
def steps_of_an_epoch_that_was_not(bundle: Bundle) -> None:
    bundle.all("window")[-1]["epoch"] = 7


@fault("evaluations-made", "rank 1: found evaluations of epochs [0, 1], expected [-1, 0, 1]")
def no_initial_evaluation(bundle: Bundle) -> None:
    bundle.ranks[1].remove(bundle.one("eval_begin", rank=1))
    bundle.ranks[1].remove(bundle.one("eval_end", rank=1))


@fault("evaluations-made", "rank 0:")
def epoch_was_not_evaluated(bundle: Bundle) -> None:
    bundle.ranks[0].remove(bundle.all("eval_begin")[1])
    bundle.ranks[0].remove(bundle.all("eval_end")[1])


@fault("evaluations-made", "rank 0:", EPOCH)
def epoch_without_its_evaluation(bundle: Bundle) -> None:
    bundle.drop("eval_begin")
    bundle.drop("eval_end")


@fault("evaluations-made", "rank 0: found the initial evaluation in training, expected it before")
def initial_evaluation_in_training(bundle: Bundle) -> None:
    begin = bundle.one("train_begin")
    bundle.ranks[0].remove(begin)
    begin["t_ns"] = bundle.one("eval_begin")["t_ns"]
    bundle.ranks[0].insert(3, begin)


@fault("evaluations-made", "rank 0: found the evaluation of epoch 1 outside of training, expected it within")
def evaluation_after_training(bundle: Bundle) -> None:
    end = bundle.one("train_end")
    bundle.ranks[0].remove(end)
    begin = bundle.all("eval_begin")[2]
    end["t_ns"] = begin["t_ns"]
    bundle.ranks[0].insert(bundle.ranks[0].index(begin), end)


@fault("evaluations-made", "rank 0:")
def evaluation_before_training(bundle: Bundle) -> None:
    begin = bundle.one("train_begin")
    bundle.ranks[0].remove(begin)
    end = bundle.all("eval_end")[1]
    begin["t_ns"] = end["t_ns"]
    bundle.ranks[0].insert(bundle.ranks[0].index(end), begin)


@fault("evaluations-complete", "rank 0: evaluation of epoch 1:")
def evaluation_of_nothing(bundle: Bundle) -> None:
    bundle.all("eval_end")[2].update(images_total=0, images_expected=0, images=0)
    bundle.all("eval_end", rank=1)[2]["images"] = 0


@fault("evaluations-complete", "rank 0: evaluation of epoch 1:")
def evaluation_did_not_count(bundle: Bundle) -> None:
    del bundle.all("eval_end")[2]["images_total"], bundle.all("eval_end")[2]["images_expected"]


@fault(
    "evaluations-complete",
    "rank 0: evaluation of epoch 1: found 128 images in total, expected the 127 that the ranks looked at",
)
def ranks_looked_at_fewer_images(bundle: Bundle) -> None:
    bundle.all("eval_end", rank=1)[2]["images"] -= 1


@fault("evaluations-complete", "rank 0: evaluation of epoch 1:")
def ranks_looked_at_an_image_twice(bundle: Bundle) -> None:
    bundle.all("eval_end", rank=1)[2]["images"] += 1


@fault(
    "evaluations-complete",
    "rank 0: evaluation of epoch 0: found 64 images in total, expected as many as were loaded, {128}",
)
def evaluation_of_half_the_data(bundle: Bundle) -> None:
    bundle.all("eval_end")[1].update(images=32, images_total=64, images_expected=64)
    bundle.all("eval_end", rank=1)[1]["images"] = 32


@fault("all-measured", "found no measurement of map, expected one from protocol full")
def map_is_missing(bundle: Bundle) -> None:
    del bundle.all("eval_end")[2]["map"]


@fault("map-by-pycocotools", "rank 0: evaluation of epoch 0:")
def scorers_differ_in_an_evaluation_before_the_last(bundle: Bundle) -> None:
    checked(bundle, 1, check_difference=0.5)
    checked(bundle, 2)


@fault("evaluations-complete", "rank 0: evaluation of epoch 0:")
def map_of_an_epoch_is_missing(bundle: Bundle) -> None:
    del bundle.all("eval_end")[1]["map"]


@fault("all-measured", "found no measurement of p_core_host")
def the_hosts_reading_is_missing(bundle: Bundle) -> None:
    for rank in bundle.ranks:
        for window in bundle.all("window", rank):
            window["compute_host_ns"] = 0


@fault("end-reached", "rank 0:", STEADY)
def steady_run_ended_for_another_reason(bundle: Bundle) -> None:
    for rank in bundle.ranks:
        bundle.one("end", rank)["reason"] = "last_epoch"


@fault("end-reached", "rank 0:")
def target_without_evaluation(bundle: Bundle) -> None:
    bundle.drop("eval_begin")
    bundle.drop("eval_end")


@fault("end-reached", "rank 0: ended after the last epoch with 2 epochs, expected 4")
def last_epoch_came_early(bundle: Bundle) -> None:
    for rank in bundle.ranks:
        bundle.one("end", rank)["reason"] = "last_epoch"


@fault(
    "not-throttled",
    "device 1 of node0: throttled (power, thermal) in 3 samples, 22.42% of the training, expected at most 1%",
)
def a_device_was_throttled(bundle: Bundle) -> None:
    begin = bundle.one("train_begin", rank=1)["t_ns"]
    inside = [one for one in bundle.telemetry if one["card"] == 1 and one["t_ns"] > begin]
    for sample, reason in zip(inside, ("thermal", "power", "thermal")):
        sample["throttle"] = reason


@fault(None, "telemetry.jsonl line 1: 'throttle' is 7, expected a string")
def a_throttle_reason_is_none(bundle: Bundle) -> None:
    bundle.telemetry[0]["throttle"] = 7


@fault("steps-counted", "rank 0: found no optimizer step, expected at least one")
def nothing_was_trained(bundle: Bundle) -> None:
    for rank in bundle.ranks:
        bundle.drop("window", rank)
        bundle.one("train_end", rank).update(steps=0, images=0)


@fault("windows-gapless", "rank 0: found a window from step 60, expected step 50")
def window_was_lost(bundle: Bundle) -> None:
    bundle.ranks[0].remove(bundle.all("window")[5])


@fault("windows-gapless", "rank 0:", replace(STEADY, warmup=30))
def window_of_the_warmup_was_lost(bundle: Bundle) -> None:
    bundle.ranks[0].remove(bundle.all("window")[1])


@fault("windows-gapless", "rank 0:")
def window_comes_twice(bundle: Bundle) -> None:
    events = bundle.ranks[0]
    at = events.index(bundle.all("window")[5])
    events.insert(at, dict(events[at]))


@fault("batch-size", "rank 1: step 53: found a batch of 5 images, expected 1 to 4")
def batch_is_too_large(bundle: Bundle) -> None:
    bundle.all("window", rank=1)[5]["images"][3] = 5


@fault("batch-size", "rank 1: step 0:")
def batch_is_empty(bundle: Bundle) -> None:
    bundle.one("window", rank=1)["images"][0] = 0


@fault("loss-finite", "rank 0: step 13: found loss nan, expected a finite one", STEADY)
def loss_of_the_warmup_is_not_finite(bundle: Bundle) -> None:
    bundle.all("window")[1]["loss"][3] = "NaN"


@fault("loss-changes", "rank 0: found loss 0.5 on 50 steps in a row, expected it to change within 50", STEADY)
def loss_stands_still_just_long_enough_to_tell(bundle: Bundle) -> None:
    for window in bundle.all("window")[1:6]:
        window["loss"] = [0.5] * 10


@fault("durations", "rank 0: found 19.200 s of compute, expected at most the windows' 10.332 s")
def compute_is_longer_than_the_wall(bundle: Bundle) -> None:
    for window in bundle.all("window"):
        window["compute_ns"] = [time * 2 for time in window["compute_ns"]]


@fault(
    "durations",
    "rank 0: found windows of 20.664 s, expected at most the 10.382 s of training without evaluation",
)
def windows_are_longer_than_the_training(bundle: Bundle) -> None:
    for window in bundle.all("window"):
        window["wall_ns"] *= 2


@fault(
    "compute-synchronised",
    "rank 0: found 4.800 s of compute, expected about the 9.120 s that the host clock saw, or more",
)
def compute_timer_stopped_early(bundle: Bundle) -> None:
    for window in bundle.all("window"):
        window["compute_ns"] = [time // 2 for time in window["compute_ns"]]


@fault("compute-synchronised", "rank 0:")
def compute_is_short_by_more_than_a_tenth_of_the_training_without_evaluation(bundle: Bundle) -> None:
    for window in bundle.all("window"):
        window["compute_ns"] = [time * 7 // 8 for time in window["compute_ns"]]


@fault(
    "time-ledger",
    "rank 1: ledger: found 12.882 s in its parts, expected the 13.382 s between train_begin and train_end within 1%",
)
def ledger_lost_time(bundle: Bundle) -> None:
    bundle.one("train_end", rank=1)["ledger"]["data_wait_ns"] -= 500_000_000


@fault("time-ledger", "rank 1: ledger:")
def ledger_counts_time_twice(bundle: Bundle) -> None:
    bundle.one("train_end", rank=1)["ledger"]["data_wait_ns"] += 500_000_000


@fault("time-ledger", "rank 0: ledger: found idle_ns -1, expected 0 or more")
def ledger_has_a_negative_part(bundle: Bundle) -> None:
    bundle.one("train_end")["ledger"]["idle_ns"] = -1


@fault(
    "time-ledger",
    "rank 0: ledger: found 4.000 s of evaluation, expected the 3.000 s between eval_begin and eval_end",
)
def evaluation_is_booked_too_long(bundle: Bundle) -> None:
    ledger = bundle.one("train_end")["ledger"]
    ledger["evaluation_ns"] += 10**9
    ledger["compute_ns"] -= 10**9


@fault("time-ledger", "rank 0: ledger:")
def evaluation_is_booked_too_short(bundle: Bundle) -> None:
    ledger = bundle.one("train_end")["ledger"]
    ledger["evaluation_ns"] -= 10**9
    ledger["compute_ns"] += 10**9


@fault(
    "ledger-shares",
    "rank 1: ledger: found 6.6 s of bookkeeping, 64% of the 10.4 s of training without evaluation, expected at most 5%",
)
def most_of_the_training_is_bookkeeping(bundle: Bundle) -> None:
    _book(bundle, bookkeeping=0.64)
    for window in bundle.all("window", rank=1):
        for name in ("forward_ns", "compute_host_ns"):
            window[name] = window[name] * 36 // 100
        window["compute_ns"] = [ns * 36 // 100 for ns in window["compute_ns"]]


@fault("ledger-shares", "rank 1: ledger: found 10.2 s of data wait, 98% of the 10.4 s of training without evaluation")
def most_of_the_training_is_waiting_for_data(bundle: Bundle) -> None:
    _book(bundle, data_wait=0.98)


@fault("times-ordered", "rank 0: found a training of 0.0 s, expected train_begin before train_end")
def training_took_no_time(bundle: Bundle) -> None:
    end = bundle.one("train_end")
    bundle.ranks[0].remove(end)
    begin = bundle.one("train_begin")
    end["t_ns"] = begin["t_ns"]
    bundle.ranks[0].insert(bundle.ranks[0].index(begin) + 1, end)


@fault(
    "memory-of-workload",
    "device 0 of node0: found 0.130 GiB in use at most, expected at least 0.138 GiB (weights 0.046, gradients 0.046, "
    "momentum 0.046, a batch 0.000): this is not the memory of this workload",
    replace(FULL, used_gib=0.13),
)
def the_workload_does_not_fit(bundle: Bundle) -> None:
    pass


@fault("memory-of-workload", "rank 1: found no 'model' event, expected one")
def what_memory_has_to_hold_is_unknown(bundle: Bundle) -> None:
    bundle.drop("model", rank=1)


@fault(
    "memory-sources-agree",
    "device 0 of node0: xpu_smi read 20.00 GiB at most, and the allocator had given out 21.10 GiB at its peak, "
    "expected at least 20.05 GiB: the tool watches another device, or counts in another unit",
)
def smi_saw_less_than_the_allocator(bundle: Bundle) -> None:
    bundle.one("memory")["allocated_gib"] = 21.1


@fault(
    "device-at-work", "device 1 of node0: xpu_smi read a use of 7.0 % on average in training, of which 72% was compute,"
)
def a_device_was_hardly_used(bundle: Bundle) -> None:
    for sample in bundle.telemetry:
        sample["use_percent"] = 7.0 if sample["card"] == 1 else 93.0


@fault(
    "device-at-work",
    "device 0 of node0: xpu_smi read 62.0 W on average in training and 60.0 W before, expected more than 5%",
)
def a_device_drew_no_power(bundle: Bundle) -> None:
    begin = bundle.one("train_begin")["t_ns"]
    for sample in bundle.telemetry:
        sample["power_w"] = 60.0 if sample["t_ns"] < begin else 62.0 if sample["card"] == 0 else 290.0


@fault("memory", "device 1 of node0: found 33.000 GiB in use, expected at most its capacity, 32.000 GiB")
def more_memory_than_the_device_has(bundle: Bundle) -> None:
    bundle.telemetry[-1]["memory_used_gib"] = 33.0


@fault("memory", "device 0 of node0:")
def more_memory_than_the_run_says(bundle: Bundle) -> None:
    _forget_capacity(bundle)
    bundle.run["card_memory_gib"] = 30.0
    bundle.telemetry[0]["memory_used_gib"] = 31.0


@fault("memory", "device 0 of node0:")
def more_memory_than_the_cell_says(bundle: Bundle) -> None:
    _forget_capacity(bundle)
    bundle.run["card_memory_gib"] = None
    bundle.telemetry[0]["memory_used_gib"] = 33.0


@fault("memory", "device 0 of node0: found -1.000 GiB sampled, expected 0 or more")
def memory_is_negative(bundle: Bundle) -> None:
    for sample in bundle.telemetry:
        sample["memory_used_gib"] = -1.0


@fault(
    "memory",
    "device 1 of node0: found no memory sample in telemetry.jsonl (xpu_smi: it hung), expected some in training",
)
def a_device_was_not_watched(bundle: Bundle) -> None:
    bundle.telemetry = [sample for sample in bundle.telemetry if sample["card"] == 0]
    bundle.telemetry.append({"t_ns": 1, "source": "xpu_smi", "error": "it hung"})


@fault("memory", "device 0 of node0:")
def memory_was_watched_before_training_only(bundle: Bundle) -> None:
    begin = bundle.one("train_begin")["t_ns"]
    bundle.telemetry = [one for one in bundle.telemetry if one["card"] == 1 or one["t_ns"] < begin]


@fault("windows-in-training", "rank 1:")
def a_rank_after_one_without_a_training_measured_before_its_own(bundle: Bundle) -> None:
    bundle.drop("train_begin", rank=0)
    begin = bundle.one("train_begin", rank=1)
    bundle.ranks[1].remove(begin)
    window = bundle.all("window", rank=1)[1]
    begin["t_ns"] = window["t_ns"]
    bundle.ranks[1].insert(bundle.ranks[1].index(window), begin)


@fault("evaluations-complete", "rank 0: evaluation of epoch 1:")
def a_rank_missed_the_last_evaluation(bundle: Bundle) -> None:
    bundle.ranks[1].remove(bundle.all("eval_begin", rank=1)[-1])
    bundle.ranks[1].remove(bundle.all("eval_end", rank=1)[-1])


EASY = {"e2e_time": 1e6, "p_whole": 1e-3, "p_train": 1e-3, "p_core": 1e-3, "map": 0.01, "mem": 30.0}
"""Numbers that any run reaches: if a bad one is not stopped by a check, it passes."""


def judged(evidence: Evidence, plan: Plan) -> list[str]:
    """Judge a run against numbers that any run reaches; assert that nothing passes; return the reasons."""
    verdict = judge_run(evidence, a_cell(plan, **EASY), backend=plan.backend)
    assert verdict.outcome == Verdict.INVALID
    assert {metric.verdict for metric in verdict.metrics.values()} == {Verdict.INVALID}
    assert set(verdict.metrics) == set(EASY)
    assert all(metric.reason for metric in verdict.metrics.values())
    return list(verdict.reasons)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.check or 'file'}: {fault.name or fault.says}")
def test_a_fault_makes_the_run_invalid_and_is_named(fault: Fault, tmp_path: Path) -> None:
    bundle = build(fault.plan)
    fault.break_it(bundle)
    evidence = read_run(bundle.write(tmp_path / "run"))

    reasons = judged(evidence, fault.plan)

    case = Case(evidence, a_cell(fault.plan, **EASY), measure(evidence), fault.plan.backend)
    found = evidence.problems if fault.check is None else tuple(CHECKS[fault.check].find(case))
    assert any(reason in reasons and reason.startswith(fault.says) for reason in found), found


def test_no_check_needs_more_than_there_is(tmp_path: Path) -> None:
    folder = build(FULL).write(tmp_path / "run")
    (folder / "run.json").unlink()

    for evidence in (read_run(folder), read_run(tmp_path)):
        case = Case(evidence, a_cell(FULL, **EASY), measure(evidence))
        for check in CHECKS.values():
            assert all(isinstance(reason, str) for reason in check.find(case)), check.id


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-Infinity"])
def test_a_loss_that_is_not_finite_makes_the_run_invalid(bad: str, tmp_path: Path) -> None:
    bundle = build(FULL)
    bundle.all("window", rank=1)[12]["loss"][7] = bad

    found = judged(read_run(bundle.write(tmp_path / "run")), FULL)

    assert any(reason.startswith("rank 1: step 127:") for reason in found)


def _scale(bundle: Bundle, column: str, factor: float) -> None:
    for window in bundle.all("window"):
        found = window[column]
        window[column] = [int(value * factor) for value in found] if isinstance(found, list) else int(found * factor)


def _book(bundle: Bundle, **shares: float) -> None:
    """Book that share of rank 1's training without evaluations on a part of the ledger, and less on compute."""
    ledger = bundle.one("train_end", rank=1)["ledger"]
    free_ns = sum(ledger.values()) - ledger["evaluation_ns"]
    for part, share in shares.items():
        ledger["compute_ns"] -= int(share * free_ns) - ledger[f"{part}_ns"]
        ledger[f"{part}_ns"] = int(share * free_ns)


def _loss_stands_still_for_49_steps(bundle: Bundle) -> None:
    for window in bundle.all("window")[1:6]:
        window["loss"] = [2.05] * 10
    bundle.all("window")[1]["loss"][0] = 2.06


def _memory_is_above_the_tables_but_below_the_devices(bundle: Bundle) -> None:
    bundle.run["card_memory_gib"] = 30.0
    bundle.telemetry[0]["memory_used_gib"] = 31.0


@pytest.mark.parametrize(
    "change",
    [
        _loss_stands_still_for_49_steps,
        _memory_is_above_the_tables_but_below_the_devices,
        lambda bundle: _scale(bundle, "compute_ns", 1.08),  # device events overlap the host's windows a little
        lambda bundle: _scale(bundle, "compute_ns", 0.95),
        lambda bundle: _scale(bundle, "compute_host_ns", 1.1),
        lambda bundle: bundle.one("train_end")["ledger"].update(idle_ns=140_000_000),
        lambda bundle: bundle.one("train_end")["ledger"].update(evaluation_ns=3_120_000_000),
        lambda bundle: _book(bundle, data_wait=0.49),
        lambda bundle: _book(bundle, copy=0.24, checkpoint=0.24),
        lambda bundle: _book(bundle, bookkeeping=0.09, idle=0.09),  # below a second
        lambda bundle: checked(bundle, 2),
        lambda bundle: checked(bundle, 2, check_difference=1e-9, checked_map=0.38 + 0.9e-9),
        lambda bundle: bundle.all("eval_end")[2].update(scorer="pycocotools 2.0.11"),
        lambda bundle: bundle.all("eval_end")[1].update(scorer=FAST),
    ],
)
def test_what_lies_within_the_tolerances_is_no_violation(change: Callable[[Bundle], Any], tmp_path: Path) -> None:
    bundle = build(FULL)
    change(bundle)
    evidence = read_run(bundle.write(tmp_path / "run"))

    assert violations(evidence, a_cell(FULL, **EASY), measure(evidence)) == ()


@pytest.mark.parametrize(
    "plan",
    [
        FULL,
        FOUR,
        STEADY,
        EPOCH,
        CPU,
        replace(FULL, maps=(0.1, 0.2, 0.2, 0.3)),
        replace(FULL, maps=(0.1,), epochs=1),
        replace(FULL, device="virtual", simulated=True),
        replace(FULL, jitter=30, slower={1: 1.2}),
        replace(STEADY, warmup=0),
        replace(FULL, topology=Topology(1, 1)),
        replace(FULL, maps=(0.1, 0.36)),
        replace(FULL, maps=(1.0,)),
        replace(STEADY, steps=1),
        replace(FULL, batch_size=2),
    ],
)
def test_a_sound_run_has_no_violations(plan: Plan, tmp_path: Path) -> None:
    evidence = read_run(build(plan).write(tmp_path / "run"))

    found = violations(evidence, a_cell(plan, **EASY), measure(evidence), backend=plan.backend)

    assert found == ()


def test_an_evaluation_that_gives_no_map_need_not_be_checked(tmp_path: Path) -> None:
    bundle = build(EPOCH)
    bundle.all("eval_end")[0]["scorer"] = FAST

    evidence = read_run(bundle.write(tmp_path / "run"))

    assert violations(evidence, a_cell(EPOCH), measure(evidence)) == ()


def test_an_initial_evaluation_does_no_harm_to_an_epoch(tmp_path: Path) -> None:
    bundle = build(EPOCH)
    for rank in bundle.ranks:
        events = bundle.ranks[rank]
        t_ns = bundle.one("train_begin", rank)["t_ns"]
        seen = {"images": 64, "images_total": 128, "images_expected": 128, "map": 0.0}
        events[2:2] = [
            {"event": "eval_begin", "t_ns": events[1]["t_ns"], "epoch": -1},
            {"event": "eval_end", "t_ns": t_ns, "epoch": -1, **seen},
        ]
        events[4]["t_ns"] = t_ns

    evidence = read_run(bundle.write(tmp_path / "run"))

    assert violations(evidence, a_cell(EPOCH), measure(evidence)) == ()


def test_a_run_of_the_whole_of_coco_by_the_benchmarks_recipe_is_sound(tmp_path: Path) -> None:
    plan = replace(BENCHMARK, images_of_rank=2500, batch_size=512, steps=114, unused=530, uneven=False)
    bundle = build(plan)
    for rank in bundle.ranks:
        data = bundle.one("data", rank)
        data["train"].update(images_listed=118_287, boxes_listed=860_001, crowds=10_052, categories=80)
        data["val"].update(images_listed=5_000, boxes_listed=36_781, crowds=446, categories=80)

    evidence = read_run(bundle.write(tmp_path / "run"))

    assert violations(evidence, a_cell(plan, **EASY), measure(evidence)) == ()


def untrained() -> Bundle:
    """A run of which only the environment and the probes were asked for."""
    bundle = build(FULL)
    bundle.run["protocol"] = "probes"
    for rank, events in bundle.ranks.items():
        kept = ("start", "environment", "clock_test", "memory", "end")
        bundle.ranks[rank] = [event for event in events if event["event"] in kept]
        bundle.one("start", rank)["protocol"] = bundle.one("end", rank)["reason"] = "probes"
    return bundle


def test_a_run_of_probes_alone_is_sound_and_measures_nothing(tmp_path: Path) -> None:
    bundle = untrained()
    bundle.telemetry[3]["throttle"] = "thermal"  # in no training
    evidence = read_run(bundle.write(tmp_path / "run"))

    verdict = judge_run(evidence, a_cell(FULL, **EASY))

    assert violations(evidence, a_cell(FULL, **EASY), measure(evidence)) == ()
    assert {metric.verdict for metric in verdict.metrics.values()} == {Verdict.MISSING}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda bundle: bundle.drop("clock_test", 1), "rank 1: found no 'clock_test' event, expected one"),
        (lambda bundle: bundle.drop("end", 1), "rank 1: found 0 'end' events, expected 1"),
        (
            lambda bundle: bundle.ranks[0].insert(2, build(FULL).one("data")),
            "rank 0: found 1 'data' events, expected 0",
        ),
        (one("end", reason="steps"), "rank 0: ended for reason steps, expected probes"),
        (one("clock_test", steps_back=1), "clock test: the host's clock went back 1 times"),
        (one("start", world_size=3), "rank 0: found world size 3, expected 2"),
    ],
)
def test_what_holds_without_training_is_checked_of_probes_alone(
    tmp_path: Path, change: Callable[[Bundle], Any], says: str
) -> None:
    bundle = untrained()
    change(bundle)
    evidence = read_run(bundle.write(tmp_path / "run"))

    assert any(says in reason for reason in judged(evidence, FULL))


def test_a_boot_that_failed_is_the_only_reason_given(tmp_path: Path) -> None:
    bundle = build(FULL)
    boot_failed(bundle)

    reasons = judged(read_run(bundle.write(tmp_path / "run")), FULL)

    assert reasons == ["the run failed in phase preflight: torch_xmlir is missing"]


@pytest.mark.parametrize(("protocol", "violations"), [("full", 1), ("smoke", 0)])
def test_bookkeeping_on_a_busy_host_makes_no_smoke_run_invalid(protocol: str, violations: int, tmp_path: Path) -> None:
    bundle = build(FULL)
    _book(bundle, bookkeeping=0.64)
    bundle.run["protocol"] = protocol
    evidence = read_run(bundle.write(tmp_path / "run"))

    case = Case(evidence, a_cell(FULL, **EASY), measure(evidence), FULL.backend)

    assert len(tuple(CHECKS["ledger-shares"].find(case))) == violations


def test_of_a_device_that_cannot_be_opened_only_the_cause_is_given(tmp_path: Path) -> None:
    bundle = build(FULL)
    failures = {"phase": "run", "message": "rank 0: device: no device is visible (2 of 2 ranks failed)"}
    bundle.run["boot"] = {"exit_code": 1, "failure": failures}
    for events in bundle.ranks.values():
        t_ns = events[0]["t_ns"]
        events[:] = [{"event": "failure", "t_ns": t_ns, "kind": "device", "message": "no device is visible"}]
    bundle.telemetry.clear()

    reasons = judged(read_run(bundle.write(tmp_path / "run")), FULL)

    assert reasons == ["the run failed in phase run: rank 0: device: no device is visible (2 of 2 ranks failed)"]


def test_many_violations_of_one_kind_are_counted_after_the_first_four(tmp_path: Path) -> None:
    plan = replace(FULL, topology=Topology(1, 8))
    bundle = build(plan)
    for rank in bundle.ranks:
        bundle.one("start", rank)["precision"] = "bf16"

    reasons = judged(read_run(bundle.write(tmp_path / "run")), plan)

    assert reasons == [f"rank {rank}: found precision bf16, expected fp32" for rank in range(4)] + [
        "and 4 more like it"
    ]


def test_four_violations_of_one_kind_are_all_there_is_to_say(tmp_path: Path) -> None:
    bundle = build(FOUR)
    for rank in bundle.ranks:
        bundle.one("start", rank)["precision"] = "bf16"

    reasons = judged(read_run(bundle.write(tmp_path / "run")), FOUR)

    assert reasons == [f"rank {rank}: found precision bf16, expected fp32" for rank in range(4)]


def test_without_run_json_everything_is_invalid(tmp_path: Path) -> None:
    bundle = build(FULL)
    folder = bundle.write(tmp_path / "run")
    (folder / "run.json").unlink()

    verdict = judge_run(read_run(folder), a_cell(FULL, **EASY))

    assert verdict.outcome == Verdict.INVALID
    assert verdict.protocol == "unknown"
    assert Verdict.PASS not in {metric.verdict for metric in verdict.metrics.values()}
    assert verdict.reasons == (
        "run.json: cannot be read: No such file or directory",
        "run.json: listed in SHA256SUMS and not there",
    )


def test_an_empty_folder_is_invalid(tmp_path: Path) -> None:
    verdict = judge_run(read_run(tmp_path), a_cell(FULL, **EASY))

    assert verdict.outcome == Verdict.INVALID
    assert {metric.verdict for metric in verdict.metrics.values()} == {Verdict.INVALID}


def test_a_cell_whose_rates_are_upside_down_is_invalid(tmp_path: Path) -> None:
    evidence = read_run(build(FULL).write(tmp_path / "run"))
    measurements = dict(measure(evidence))
    measurements["p_train"] = replace(measurements["p_train"], value=measurements["p_core"].value * 1.001)
    measurements["p_whole"] = replace(measurements["p_whole"], value=0.0)
    measurements["e2e_time"] = replace(measurements["e2e_time"], value=1.0)

    found = violations(evidence, a_cell(FULL), measurements)

    assert found[0].startswith("rank 0: found e2e_time 1.0 s, expected at least its training, 13.38")
    upside_down = [reason for reason in found if "expected at least p_train 193.1" in reason]
    assert upside_down[0].startswith("found p_core 192.9")
    assert "found p_whole 0.0 images/s, expected more than 0" in found


def test_every_check_says_in_a_line_what_has_to_hold() -> None:
    assert all(check.description.endswith(".") for check in CHECKS.values())


def test_reasons_begin_with_what_is_nearest_to_the_cause() -> None:
    rooms = [check.find.__module__.rpartition(".")[2] for check in CHECKS.values()]

    assert list(dict.fromkeys(rooms)) == [
        "identity",
        "variables",
        "data",
        "protocol",
        "clocks",
        "workload",
        "training",
        "accounts",
        "memory",
        "links",
        "peaks",
    ]
    assert [check.id for check in CHECKS.values() if check.cause] == ["booted", "no-failures"] == list(CHECKS)[:2]


def test_the_document_lists_every_check() -> None:
    document = (ROOT / "docs" / "verdicts.md").read_text(encoding="utf-8")

    assert "\n".join(lines()) in document, "run python -m tests.verdict.checks_document and put its output there"


@pytest.mark.parametrize("found", [2, 4])
def test_a_run_that_was_to_use_one_device_and_used_another_is_refused(found: int, tmp_path: Path) -> None:
    plan = replace(STEADY, topology=Topology(1, 1))
    cell = replace(a_cell(plan), card=3)
    bundle = build(plan)
    bundle.run["cell"]["id"] = bundle.one("start")["cell"] = cell.id
    bundle.one("start")["card"] = found
    for sample in bundle.telemetry:
        sample["card"] = found
    evidence = read_run(bundle.write(tmp_path / "run"))

    assert violations(evidence, cell, measure(evidence)) == (
        f"rank 0: found device {found} of node0, expected device 3",
    )


def test_a_run_that_used_the_device_that_it_was_to_use_is_believed(tmp_path: Path) -> None:
    plan = replace(STEADY, topology=Topology(1, 1))
    cell = replace(a_cell(plan), card=0)
    bundle = build(plan)
    bundle.run["cell"]["id"] = bundle.one("start")["cell"] = cell.id
    evidence = read_run(bundle.write(tmp_path / "run"))

    assert violations(evidence, cell, measure(evidence)) == ()
