"""The rules of the one-step probe put to the test: false alarms of honest arithmetic, and the errors that are found.

    python -m benchmarks.training.one_step alarms --seeds 1000  # honest arithmetic; --model for a larger network
    python -m benchmarks.training.one_step planted --seeds 20   # planted errors that each question finds
    python -m benchmarks.training.one_step times --model fasterrcnn_resnet50_fpn  # what the probe takes

A seed is a network with weights of its own, a picture of its own, and the decisions of its steps.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, ContextManager, Mapping, Sequence

import torch

from evidence.events.one_step import OneStepDone
from evidence.run_file import PROBES
from trainer.devices.cpu import CpuBackend
from trainer.devices.numeric_faults import NumericFaults
from trainer.devices.scenario import FAULTS, Fault
from trainer.model.products import replaced
from trainer.numerics.step_reference import StepReference, reference_of
from trainer.numerics.whole_step import Plan, own, plan_of, sequential, without_onednn
from trainer.probes.one_step import answer
from trainer.settings import MODELS, Settings
from verdict.probes.answers import ProbeAnswer
from verdict.probes.one_step import judge_gradients, judge_replayed_step, judge_trajectory

_PARTS = 8
_OTHER_DRAWS = 10_000  # seeds of errors that no reference has drawn

Around = Callable[[torch.nn.Module, str], ContextManager[Any]]


class _Device(CpuBackend):
    """The CPU with other arithmetic in its forward passes and their gradients."""

    device = torch.device("cpu")

    def __init__(self, around: Callable[[torch.nn.Module], ContextManager[Any]]) -> None:
        self.step_arithmetic = around  # type: ignore[method-assign]


@contextlib.contextmanager
def _two_threads(model: torch.nn.Module, dtype: str) -> Any:
    torch.set_num_threads(2)
    try:
        with own(dtype):
            yield
    finally:
        torch.set_num_threads(1)


def _channels_last(model: torch.nn.Module, dtype: str) -> ContextManager[Any]:
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return own(dtype)


@contextlib.contextmanager
def _split(model: torch.nn.Module, dtype: str) -> Any:
    """Add up the input channels of each product in parts, one after the other."""

    def parts(real: Any, x: torch.Tensor, weight: torch.Tensor, bias: Any, *more: Any) -> torch.Tensor:
        axis = 1 if weight.dim() == 4 else -1
        pairs = zip(x.chunk(_PARTS, axis), weight.chunk(_PARTS, 1))
        total: Any = sum(real(one, other, None, *more) for one, other in pairs)
        return total if bias is None else total + (bias.reshape(-1, 1, 1) if weight.dim() == 4 else bias)

    with own(dtype), replaced(conv2d=parts, linear=lambda real, x, weight, bias=None: parts(real, x, weight, bias)):
        yield


def _autocast(model: torch.nn.Module, dtype: str) -> ContextManager[Any]:
    """Return the CPU's own autocast: torch's lists, and products in bf16."""
    return torch.autocast("cpu", dtype=torch.bfloat16)


WAYS: Mapping[str, Around] = {
    "as it is": lambda model, dtype: own(dtype),
    "without oneDNN": lambda model, dtype: without_onednn(dtype),
    "2 threads": _two_threads,
    "channels_last": _channels_last,
    "split-K, 8 parts": _split,
    "sequential, drawn": lambda model, dtype: sequential(dtype, _OTHER_DRAWS),
}


def settings_of(model: str, seed: int, precision: str = "fp32", numerics: str = "quick") -> Settings:
    """Return the settings of a run that only asks the probes."""
    frozen = model == "fasterrcnn_resnet50_fpn"
    return Settings(
        *(Path(), Path()),
        protocol=PROBES,
        model=model,
        pretrained_backbone=frozen,
        precision=precision,
        seed=seed,
        numerics=numerics,
    )


def judged(
    plan: Plan, reference: StepReference, settings: Settings, around: Callable[[torch.nn.Module], ContextManager[Any]]
) -> Mapping[str, ProbeAnswer]:
    """Return the verdicts on a step of the CPU with that arithmetic, by question."""
    # The precision is that of the arithmetic here: the CPU has no autocast in this suite.
    gradients, losses = answer(plan, reference, replace(settings, precision="fp32"), _Device(around))
    done = OneStepDone(
        *(plan.model, plan.sides, plan.dtype, 0, 0.0, 0.0, "computed"),
        gradients=len(gradients),
        losses=tuple(losses),
        expected=tuple(reference.losses),
        spread=tuple(reference.spread),
    )
    rank = SimpleNamespace(rank=0, gradients=tuple(gradients), one_step=done)
    evidence: Any = SimpleNamespace(ranks=[rank], starts=[])
    found = (judge(evidence) for judge in (judge_gradients, judge_trajectory, judge_replayed_step))
    return {one.question: one for one in found if one is not None}


def alarms(seeds: range, model: str, precision: str, steps: int | None) -> int:
    """Print how many honest steps are refused, by arithmetic; return their number. Each seed has two, by turns."""
    ways = {**WAYS, "torch.autocast": _autocast} if precision == "bf16" else dict(WAYS)
    asked: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    nearest: dict[tuple[str, str], float] = {}
    with contextlib.suppress(KeyboardInterrupt):  # what there is by then is printed
        for seed in seeds:
            settings = settings_of(model, seed, precision)
            plan = plan_of(settings)
            plan = plan if steps is None else replace(plan, steps=steps)
            reference = reference_of(plan)
            for turn in range(2):
                name = list(ways)[(2 * seed + turn) % len(ways)]
                asked[name] += 1
                for question, one in judged(plan, reference, settings, lambda net: ways[name](net, plan.dtype)).items():  # noqa: B023
                    nearest[name, question] = max(nearest.get((name, question), 0.0), one.margin)
                    refused[name] += str(one.verdict) not in ("pass", "recorded")
                    if str(one.verdict) not in ("pass", "recorded"):
                        print(f"refused: seed {seed}, {name}: {question}: {one.reason}", flush=True)
    print(f"torch {torch.__version__}, {model}, {precision}, from seed {seeds.start}\n")
    print("| computed | steps | refused | gradients, nearest | loss, nearest |\n| --- | --- | --- | --- | --- |")
    for name in asked:
        margins = [f"{nearest.get((name, question), 0.0):.2f}" for question in ("gradients", "trajectory")]
        print(f"| {name} | {asked[name]} | {refused[name]} | {' | '.join(margins)} |")
    return sum(refused.values())


PLANTED: Mapping[str, Mapping[str, Any]] = {
    "TF32 in all products": {"error": "tf32", "layer": "."},
    "bf16 in all products": {"error": "bf16", "layer": "."},
    "TF32 in one layer": {"error": "tf32", "layer": "rpn.head.conv"},
    "one element of a gradient of one layer off by 2^-9": {"error": "element", "direction": "wgrad", "layer": "fc6"},
    "the tail of a gradient of one layer is 0": {"error": "tail", "direction": "wgrad", "layer": "rpn.head.conv"},
    "other last bits each time": {"error": "unordered", "layer": "."},
    "a drift of 2^-18 n^2 in the n-th pass": {"error": "drift", "layer": "."},
}


def planted_faults(values: Mapping[str, Any], seed: int) -> NumericFaults:
    """Return a device's planted errors, of which one fault has these values."""
    defaults = {name: key.default for name, key in FAULTS["numerics"].items() if name != "error"}
    return NumericFaults([Fault("numerics", {**defaults, **values})], seed)


def planted(seeds: int, model: str) -> None:
    """Print the share of steps in which each question finds each planted error."""
    found: Counter[tuple[str, str]] = Counter()
    for seed in range(seeds):
        settings = settings_of(model, seed)
        plan = plan_of(settings)
        reference = reference_of(plan)
        for name, values in PLANTED.items():
            for question, one in judged(plan, reference, settings, planted_faults(values, seed).in_step).items():
                found[name, question] += str(one.verdict) == "fail"
    questions = ("gradients", "trajectory", "replayed_step")
    print(f"| planted | {' | '.join(questions)} |\n| --- | --- | --- | --- |")
    for name in PLANTED:
        print(f"| {name} | " + " | ".join(f"{found[name, question] / seeds:.0%}" for question in questions) + " |")


def times(model: str, numerics: str) -> None:
    """Print what the reference and the device's part take, in seconds of time and of the processors."""
    settings = settings_of(model, 0, numerics=numerics)
    plan = plan_of(settings)
    clocks = [(time.perf_counter(), time.process_time())]
    reference = reference_of(plan)
    clocks.append((time.perf_counter(), time.process_time()))
    judged(plan, reference, settings, lambda _: contextlib.nullcontext())
    clocks.append((time.perf_counter(), time.process_time()))
    print(plan, f"{torch.get_num_threads()} threads")
    for name, before, after in zip(("reference", "device"), clocks, clocks[1:]):
        print(f"{name}: {after[0] - before[0]:.1f} s, {after[1] - before[1]:.1f} s of the processors")


def main(argv: Sequence[str]) -> int:
    """Run a command; returns 1 if an honest step was refused."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training.one_step", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("alarms", "planted", "times"))
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--model", choices=MODELS, default="fasterrcnn_tiny")
    parser.add_argument("--precision", choices=("fp32", "amp", "bf16"), default="fp32")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--numerics", choices=("quick", "full"), default="quick")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(argv)
    torch.set_num_threads(given.threads)
    if given.command == "alarms":
        return int(alarms(range(given.first, given.first + given.seeds), given.model, given.precision, given.steps) > 0)
    planted(given.seeds, given.model) if given.command == "planted" else times(given.model, given.numerics)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
