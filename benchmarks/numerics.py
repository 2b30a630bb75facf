"""The rules of the operators probe put to the test: false alarms of honest arithmetic, and the errors that are found.

    python -m benchmarks.numerics alarms --seeds 10000    # every honest way of computing that this CPU has
    python -m benchmarks.numerics alarms --sampled --seeds 100
    python -m benchmarks.numerics curve                   # one wrong element: its size against the share that is found
    python -m benchmarks.numerics rules                   # the same errors by the rules of others
    python -m benchmarks.numerics smallest                # the smallest wrong element that is found, by operator
    python -m benchmarks.numerics rare --seeds 1000       # a bit flipped once in 1,000 calls: what finds it, how often
    python -m benchmarks.numerics full                    # the full probe's cases of one picture: how long they take

The last three are in operator_errors.py.

A seed of the first is one case of the quick probe, by turns, with inputs of its own; with --sampled one of products
that are large enough to be sampled, as in the full probe.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from typing import Callable, Mapping, Sequence

import torch

from benchmarks.operator_errors import OPERATORS, full, plain, rare, smallest
from trainer.devices.numeric_faults import NumericFaults, permuted
from trainer.devices.scenario import FAULTS, Fault
from trainer.numerics.cases import Case, case, quick_cases
from trainer.numerics.operators import Tensors
from trainer.numerics.reference import Reference, in_parts, inputs_of, reference_of, sequential
from trainer.probes.operators import answer_of

_MOST_TERMS = 3_000_000  # of a result that is summed element by element

Way = Callable[[Case, Tensors], "torch.Tensor | None"]


def _without_mkldnn(one: Case, inputs: Tensors) -> torch.Tensor:
    with torch.backends.mkldnn.flags(enabled=False):
        return plain(one, inputs)


def _two_threads(one: Case, inputs: Tensors) -> torch.Tensor:
    torch.set_num_threads(2)
    try:
        return plain(one, inputs)
    finally:
        torch.set_num_threads(1)


def _channels_last(one: Case, inputs: Tensors) -> torch.Tensor | None:
    if all(each.dim() != 4 for each in inputs.values()):
        return None
    return plain(
        one,
        {
            name: each.contiguous(memory_format=torch.channels_last) if each.dim() == 4 else each
            for name, each in inputs.items()
        },
    )


def _permuted(one: Case, inputs: Tensors) -> torch.Tensor | None:
    """Add up in another order: permute the dimension of the inputs that is summed over."""
    changed = permuted(one, inputs, torch.Generator().manual_seed(one.seed))
    return None if changed is None else plain(one, changed)


def _by_terms(add_up: Callable[..., object]) -> Way:
    def way(one: Case, inputs: Tensors) -> torch.Tensor | None:
        operator = OPERATORS[one.operator]
        result = plain(one, inputs)
        if not result.numel() or operator.kind.rule != "sums" or one.dtype != "fp32":
            return None
        first = operator.terms(one.direction, one.sizes, inputs, torch.zeros(1, dtype=torch.int64))
        if first is None or first[0].shape[1] * result.numel() > _MOST_TERMS:
            return None
        left, right = operator.terms(one.direction, one.sizes, inputs, torch.arange(result.numel()))  # type: ignore[misc]
        return operator.finish(torch.from_numpy(add_up((left * right).numpy()))).reshape(result.shape)

    return way


WAYS: Mapping[str, Way] = {
    "as it is": plain,
    "without oneDNN": _without_mkldnn,
    "2 threads": _two_threads,
    "channels_last": _channels_last,
    "permuted K": _permuted,
    "sequential": _by_terms(sequential),
    "split-K, 8 parts": _by_terms(in_parts),
}


def _sampled_cases() -> list[Case]:
    """Return products whose number of terms is that of the model, just large enough to be sampled."""
    fpn, first = (
        {"n": 1, "cin": cin, "h": h, "w": w, "cout": 64, "k": k, "stride": 1}
        for cin, h, w, k in ((256, 32, 48, 3), (64, 200, 336, 1))
    )
    return [
        *(case("linear", one, "fp32", {"n": 128, "k": 12544, "m": 128}) for one in ("fprop", "dgrad", "wgrad")),
        *(case("conv2d", one, "fp32", size) for size in (fpn, first) for one in ("fprop", "dgrad", "wgrad")),
        case("conv-bn-relu", "fprop", "fp32", fpn),
    ]


def alarms(seeds: int, precision: str, *, sampled: bool) -> int:
    """Print how many honest answers are refused, by way of computing; return their number."""
    shapes = _sampled_cases() if sampled else list(quick_cases(precision, False, 0))
    asked: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    largest: dict[str, tuple[float, str]] = {}
    for seed in range(seeds):
        shape = shapes[seed % len(shapes)]
        one = Case(shape.operator, shape.direction, shape.dtype, shape.size, seed, shape.layout)
        inputs = inputs_of(one)
        reference = reference_of(one, inputs)
        torch.manual_seed(seed)
        for name, way in WAYS.items():
            result = way(one, inputs)
            if result is None:
                continue
            margin = answer_of(one, inputs, reference, result).margin
            asked[name] += 1
            refused[name] += not margin <= 1
            largest[name] = max(largest.get(name, (0.0, "")), (margin, one.name))
            if not margin <= 1:
                print(f"refused: {one.name} seed {seed}, {name}: {margin:.3g} times the bound")
    print(f"torch {torch.__version__}, {seeds} seeds, {precision}\n")
    print("| computed | answers | refused | nearest to its bound |\n| --- | --- | --- | --- |")
    for name in asked:
        print(f"| {name} | {asked[name]} | {refused[name]} | {largest[name][0]:.2f}, {largest[name][1]} |")
    return sum(refused.values())


_SUM_CASES = (
    case("linear", "fprop", "fp32", {"n": 32, "k": 12544, "m": 48}),
    case("linear", "wgrad", "fp32", {"n": 64, "k": 1024, "m": 91}),
    case("conv2d", "fprop", "fp32", {"n": 1, "cin": 256, "h": 16, "w": 24, "cout": 32, "k": 3, "stride": 1}),
    case("conv2d", "dgrad", "fp32", {"n": 1, "cin": 256, "h": 16, "w": 24, "cout": 32, "k": 3, "stride": 1}),
    case("conv2d", "wgrad", "fp32", {"n": 1, "cin": 256, "h": 16, "w": 24, "cout": 32, "k": 3, "stride": 1}),
)


def curve(seeds: int) -> None:
    """Print the share of runs in which one wrong element is found, by its relative error."""
    exponents = (4, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16)
    print("| case | " + " | ".join(f"2^-{exponent}" for exponent in exponents) + " |")
    print("| --- |" + " --- |" * len(exponents))
    for shape in _SUM_CASES:
        found: Counter[int] = Counter()
        for seed in range(seeds):
            one = Case(shape.operator, shape.direction, shape.dtype, shape.size, seed)
            inputs = inputs_of(one)
            reference, right = reference_of(one, inputs), plain(one, inputs)
            draw = random.Random(seed)  # noqa: S311 - nothing secret
            for exponent in exponents:
                wrong = right.clone()
                wrong.reshape(-1)[draw.randrange(wrong.numel())] *= 1 + 2.0**-exponent
                found[exponent] += not answer_of(one, inputs, reference, wrong).margin <= 1
        shares = (f"{found[exponent] / seeds:.0%}" for exponent in exponents)
        print(f"| {one.question}, K = {_terms(one)} | " + " | ".join(shares) + " |")


def _terms(one: Case) -> int:
    first = OPERATORS[one.operator].terms(one.direction, one.sizes, inputs_of(one), torch.zeros(1, dtype=torch.int64))
    return 1 if first is None else first[0].shape[1]


def _torch_testing(one: Case, inputs: Tensors, reference: Reference, result: torch.Tensor, third: torch.Tensor) -> bool:
    """torch.testing.assert_close's defaults for fp32: rtol 1.3e-6, atol 1e-5."""
    return bool(((result.double() - reference.result).abs() <= 1e-5 + 1.3e-6 * reference.result.abs()).all())


def _flag_gems(one: Case, inputs: Tensors, reference: Reference, result: torch.Tensor, third: torch.Tensor) -> bool:
    """FlagGems' gems_assert_close: rtol 1.3e-6, atol 1e-4 times the reduced length."""
    allowed = 1e-4 * _terms(one) + 1.3e-6 * reference.result.abs()
    return bool(((result.double() - reference.result).abs() <= allowed).all())


def _double_benchmark(
    one: Case, inputs: Tensors, reference: Reference, result: torch.Tensor, third: torch.Tensor
) -> bool:
    """Huawei's double benchmark at its middle level: errors at most 5, 1.5 and 1.5 times a third party's."""
    ours, theirs = (_relative_errors(each, reference.result) for each in (result, third))
    return all(mine <= factor * other for mine, other, factor in zip(ours, theirs, (5.0, 1.5, 1.5)))


def _relative_errors(result: torch.Tensor, expected: torch.Tensor) -> tuple[float, float, float]:
    error = (result.double() - expected).abs()
    relative = error / expected.abs().clamp(min=1e-300)
    return float(relative.max()), float(relative.mean()), float(error.pow(2).mean().sqrt())


def _ours(one: Case, inputs: Tensors, reference: Reference, result: torch.Tensor, third: torch.Tensor) -> bool:
    """The rule of this suite."""
    return answer_of(one, inputs, reference, result).margin <= 1


RULES = {
    "this suite": _ours,
    "torch.testing": _torch_testing,
    "FlagGems": _flag_gems,
    "double benchmark": _double_benchmark,
}


def _planted(error: str) -> Way:
    keys = FAULTS["numerics"]
    values = {name: key.default for name, key in keys.items() if name != "error"}

    def way(one: Case, inputs: Tensors) -> torch.Tensor:
        faults = NumericFaults([Fault("numerics", {**values, "error": error})], one.seed)
        return faults.compute(one, inputs, lambda given: plain(one, given))

    return way


def rules(seeds: int) -> None:
    """Print the share of runs that each rule refuses, of honest ways of computing and of planted errors."""
    errors = FAULTS["numerics"]["error"].expected.partition("one of ")[2].split(", ")
    ways = {
        **{f"honest: {name}": way for name, way in WAYS.items()},
        **{f"planted: {one}": _planted(one) for one in errors},
    }
    refused: Counter[tuple[str, str]] = Counter()
    asked: Counter[str] = Counter()
    for shape in _SUM_CASES:
        for seed in range(seeds):
            one = Case(shape.operator, shape.direction, shape.dtype, shape.size, seed)
            inputs = inputs_of(one)
            reference, third = reference_of(one, inputs), plain(one, inputs)
            for name, way in ways.items():
                result = way(one, inputs)
                if result is None:
                    continue
                asked[name] += 1
                for rule, accepts in RULES.items():
                    refused[name, rule] += not accepts(one, inputs, reference, result, third)
    print("| answer | runs | " + " | ".join(RULES) + " |\n| --- | --- |" + " --- |" * len(RULES))
    for name in asked:
        shares = (f"{refused[name, rule] / asked[name]:.0%}" for rule in RULES)
        print(f"| {name} | {asked[name]} | " + " | ".join(shares) + " |")


def main(argv: Sequence[str]) -> int:
    """Run a command; returns 1 if an honest answer was refused."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.numerics", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("alarms", "curve", "rules", "smallest", "rare", "full"))
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--sampled", action="store_true")
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    if given.command == "alarms":
        return int(alarms(given.seeds, given.precision, sampled=given.sampled) > 0)
    commands: Mapping[str, Callable[[], None]] = {
        "curve": lambda: curve(given.seeds),
        "rules": lambda: rules(given.seeds),
        "smallest": lambda: smallest(given.seeds, given.precision),
        "rare": lambda: rare(given.seeds, given.precision),
        "full": lambda: full(given.precision),
    }
    commands[given.command]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
