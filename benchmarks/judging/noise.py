"""Eight kinds of noise in the time of a training step, for simulated runs of a device whose true speed is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Callable, Tuple

import numpy as np

Shape = Tuple[int, int]
"""Runs and steps."""

SCATTER = 0.03
"""Standard deviation of a step's time, as a share of its mean."""


@dataclass(frozen=True)
class Noise:
    """A kind of noise. `times(generator, shape)` returns the times of the steps of so many runs, float64 of `shape`.

    Their mean is 1 in the long run, over all runs: a device is as fast as its mean, whatever its noise.
    """

    name: str
    words: str
    times: Callable[[np.random.Generator, Shape], np.ndarray]


def autoregression(generator: np.random.Generator, shape: Shape, correlation: float) -> np.ndarray:
    """Normal noise of mean 0 and deviation 1, float64 of `shape`: each entry of a row resembles the one before it."""
    noise = generator.standard_normal(shape)
    fresh = math.sqrt(1 - correlation**2)
    for at in range(1, shape[1]):  # the first is from the start as scattered as later ones
        noise[:, at] = correlation * noise[:, at - 1] + fresh * noise[:, at]
    return noise


def _scattered(correlation: float) -> Callable[[np.random.Generator, Shape], np.ndarray]:
    return lambda generator, shape: 1 + SCATTER * autoregression(generator, shape, correlation)


def _independent(generator: np.random.Generator, shape: Shape) -> np.ndarray:
    return 1 + SCATTER * generator.standard_normal(shape)


def _heavy_tails(generator: np.random.Generator, shape: Shape) -> np.ndarray:
    # The mean of a Pareto variable with index 2 is 2, its variance infinite.
    return 0.9 + 0.1 * (1 + generator.pareto(2, shape)) / 2


def _stalls(generator: np.random.Generator, shape: Shape) -> np.ndarray:
    stalled = np.where(generator.random(shape) < _STALLED, _STALL, 1.0)
    return _independent(generator, shape) * stalled / (1 + _STALLED * (_STALL - 1))


_STALLED, _STALL = 0.001, 60.0


def _regimes(generator: np.random.Generator, shape: Shape) -> np.ndarray:
    runs, steps = shape
    lengths = generator.integers(200, 601, (runs, steps // 200 + 5))
    # Some steps into the row of regimes, so that a run begins anywhere in one.
    ends = lengths.cumsum(axis=1) - generator.integers(0, 1_200, (runs, 1))
    which = np.stack([np.searchsorted(of_run, np.arange(steps), side="right") for of_run in ends])
    slow = (which + generator.integers(0, 2, (runs, 1))) % 2
    return _independent(generator, shape) * np.where(slow, 1 + _REGIME, 1 - _REGIME)


_REGIME = 0.08


def _drift(generator: np.random.Generator, shape: Shape) -> np.ndarray:
    slow = autoregression(generator, shape, math.exp(-1 / 1_500))
    return _independent(generator, shape) * (1 + _DRIFT * slow)


_DRIFT = 0.015


def _between_runs(generator: np.random.Generator, shape: Shape) -> np.ndarray:
    return _independent(generator, shape) * (1 + 0.01 * generator.standard_normal((shape[0], 1)))


STALLS, BETWEEN_RUNS = "rare stalls", "between runs"

KINDS: tuple[Noise, ...] = (
    Noise("independent", "steps scatter by 3 % (standard deviation), each for itself", _independent),
    Noise("correlation 0.5", "the same, and neighbouring steps have a correlation of 0.5", _scattered(0.5)),
    Noise("correlation 0.8", "a correlation of 0.8", _scattered(0.8)),
    Noise("heavy tails", "a tenth of the time has a Pareto distribution with index 2: infinite variance", _heavy_tails),
    Noise(STALLS, "0.1 % of the steps take 60 times as long; the others scatter by 3 %", _stalls),
    Noise("regimes", "8 % faster and 8 % slower by turns, for 200 to 600 steps each, beside 3 %", _regimes),
    Noise("slow drift", "1.5 % with a correlation time of 1,500 steps, beside 3 %", _drift),
    Noise(BETWEEN_RUNS, "the speed differs by 1 % from run to run, beside 3 %", _between_runs),
)
