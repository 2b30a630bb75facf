"""What the operators probe finds as a whole, and how long it takes: commands of benchmarks/numerics.py."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from dataclasses import replace
from typing import Mapping

import torch

from trainer.devices.numeric_faults import NumericFaults
from trainer.devices.scenario import FAULTS, Fault
from trainer.numerics.cases import Case, case, full_cases, quick_cases, repeats_of
from trainer.numerics.catalogue import RECORDED, may_vary
from trainer.numerics.operators import Tensors, load
from trainer.numerics.reference import inputs_of, reference_of
from trainer.probes.operators import answer_of

OPERATORS = load()

_LARGE = (
    case("linear", "fprop", "fp32", {"n": 512, "k": 12544, "m": 1024}),
    case("conv2d", "fprop", "fp32", {"n": 1, "cin": 256, "h": 50, "w": 84, "cout": 256, "k": 3, "stride": 1}),
    case("conv2d", "wgrad", "fp32", {"n": 1, "cin": 256, "h": 50, "w": 84, "cout": 256, "k": 3, "stride": 1}),
)
_FOUND = 0.95


def plain(one: Case, inputs: Tensors) -> torch.Tensor:
    """Return what this CPU computes for a case."""
    return OPERATORS[one.operator].compute(one.direction, one.sizes, inputs).detach()


def smallest(seeds: int, precision: str) -> None:
    """Print the smallest error of one element that is found in 95 % of the seeds, relative to the result's RMS."""
    print(f"| case | rule | elements | smallest error found in {_FOUND:.0%} of {seeds} seeds |")
    print("| --- | --- | --- | --- |")
    firsts = [one for one in quick_cases(precision, False, 0) if repeats_of(one) > 1]
    for shape in (*firsts, *_LARGE):
        if OPERATORS[shape.operator].kind.rule not in ("sums", "ulp", "exact"):
            continue
        found: list[int] = []
        size = 0
        for seed in range(seeds if shape not in _LARGE else max(1, seeds // 2)):
            one = replace(shape, seed=seed)
            inputs = inputs_of(one)
            reference, right = reference_of(one, inputs), plain(one, inputs)
            size = right.numel()
            if not right.is_floating_point():
                break
            scale, at = float(right.double().pow(2).mean().sqrt()), random.Random(seed).randrange(size)  # noqa: S311
            low, high = -1, 30  # of the exponents, the first is found and the second is not
            while high - low > 1:
                wrong, exponent = right.clone(), (low + high) // 2
                wrong.reshape(-1)[at] += scale * 2.0**-exponent
                is_found = not answer_of(one, inputs, reference, wrong).margin <= 1
                low, high = (exponent, high) if is_found else (low, exponent)
            found.append(low)
        if found:
            least = sorted(found)[int((1 - _FOUND) * len(found))]
            print(f"| {shape.name} | {OPERATORS[shape.operator].kind.rule} | {size} | 2^-{least} |", flush=True)


def _bits(answer: torch.Tensor) -> bytes:
    content: bytes = answer.detach().numpy().tobytes()  # NaN equals no NaN
    return content


def rare(seeds: int, precision: str) -> None:
    """Print how often a bit that flips once in 1,000 calls of one device is found, and by what, in a quick probe."""
    cases = list(quick_cases(precision, False, 0))
    right = {one: plain(one, inputs_of(one)) for one in cases}
    found: Counter[str] = Counter()
    values = {name: key.default for name, key in FAULTS["numerics"].items()}
    calls = sum(1 + repeats_of(one) for one in cases)
    for seed in range(seeds):
        faults = NumericFaults([Fault("numerics", {**values, "error": "bit", "rate": 0.001})], seed)
        by: set[str] = set()
        for one in cases:
            answers = [
                faults.compute(one, {}, lambda _, one=one: right[one])  # type: ignore[misc]
                for _ in range(1 + repeats_of(one))
            ]
            kind = OPERATORS[one.operator].kind
            same = [_bits(answer) == _bits(right[one]) for answer in answers]
            varies = bool(may_vary(kind, one.direction, deterministic=False, benchmark=False))
            if not all(same):
                by |= {"planted"} | ({"repeats"} if len(answers) > 1 and not varies else set())
                by |= set() if same[0] or varies else {"agreement"}
            if not same[0]:
                inputs = inputs_of(one)
                margin = answer_of(one, inputs, reference_of(one, inputs), answers[0]).margin
                by |= set() if margin <= 1 else {"bound"}
        found.update(by | ({"any"} if by & {"repeats", "agreement", "bound"} else set()))
    print(f"{seeds} runs of {calls} calls, {precision}\n")
    print("| | share of runs |\n| --- | --- |")
    for name in ("planted", "any", "repeats", "agreement", "bound"):
        print(f"| {name} | {found[name] / seeds:.1%} |")


def full(precision: str) -> None:
    """Print how long this CPU takes for the cases of the full probe of one picture, and for their references."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    spent: dict[str, list[float]] = {}
    cases = [one for one in full_cases(precision, False, 0) if repeats_of(one) == 1 and not _of_two_pictures(one)]
    for one in cases:
        begun_s = time.perf_counter()
        inputs = inputs_of(one)
        first, second = (plain(one, inputs) for _ in range(2))
        same, computed_s = _bits(first) == _bits(second), time.perf_counter()
        reference = reference_of(one, inputs)
        referred_s = time.perf_counter()
        margin = answer_of(one, inputs, reference, first).margin
        ended_s = time.perf_counter()
        mine = spent.setdefault(f"{one.operator} {one.direction}", [0, 0.0, 0.0, 0.0, 0])
        mine[0] += 1
        mine[1] += computed_s - begun_s + ended_s - referred_s
        mine[2] += referred_s - computed_s
        mine[3] = max(mine[3], margin)
        mine[4] += not same
    print("| operator | cases | asking, s | references, s | nearest to its bound | other bits the second time |")
    print("| --- | --- | --- | --- | --- | --- |")
    spent["all"] = [*(sum(one[column] for one in spent.values()) for column in range(3)), *_worst(spent)]
    for name, (count, asked_s, reference_s, margin, unlike) in spent.items():
        print(f"| {name} | {count:.0f} | {asked_s:.1f} | {reference_s:.1f} | {margin:.2f} | {unlike:.0f} |")


def _worst(spent: Mapping[str, list[float]]) -> tuple[float, float]:
    return max(one[3] for one in spent.values()), sum(one[4] for one in spent.values())


def _of_two_pictures(one: Case) -> bool:
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    return one.sizes not in recorded["batch 1"].get(one.operator, [])
