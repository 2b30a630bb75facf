"""The peaks probe: matrix products and the model's heaviest convolutions, and products for a minute.

Every result is compared with the host's fp64 by a product with a random vector (Freivalds, Probabilistic machines can
use less running time, 1977): r (A B) = (r A) B costs the host one row instead of the whole product.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
from typing import Any, Callable, Iterator, Mapping, Sequence

import torch
from torch.nn.functional import conv2d, pad

from evidence.events.operators import UNIT_ROUNDOFF
from evidence.events.peaks import CONVOLUTION, GEMM, DeviceRate, PeaksDone, Sustained
from evidence.rank_file import EventLog
from trainer.devices import Backend, DeviceInfo
from trainer.errors import first_line
from trainer.numerics.reference import DTYPES
from trainer.probes.catalogue import HEAVIEST, formats
from trainer.probes.copies import measure_copies
from trainer.probes.memory import measure_memory
from trainer.probes.repeats import Timed, repeat
from trainer.ranks import HostGroup
from trainer.settings import Settings

_SIDE = 8192
_BATCH = 4  # images of a convolution, if the row has as many
_REGION_S, _BUDGET_S = 0.01, 0.06
_SUSTAINED_S, _CHUNK_S, _READ_EACH_S = 60.0, 0.5, 5.0
_HONEST = 16.0
"""A sum may be off by so many u S, as in verdict/probes/operators.py."""
_READINGS = ("core_clock_mhz", "temperature_c", "power_w")


def ask_peaks(settings: Settings, backend: Backend, device: DeviceInfo, group: HostGroup, log: EventLog) -> None:
    """Measure copies, memory and peaks, and write an event each; a collective call of all ranks.

    All devices work at once, so that they share power and host as in training.
    """
    began_ns, full, rates = backend.clock.now_ns(), settings.links == "full", 0
    for found in (
        measure_copies(backend, group, settings.seed, full),
        measure_memory(backend, device.capacity_gib, settings.seed, full),
        measure_peaks(settings, backend),
    ):
        for rate in found:
            log.write(rate)
            rates += 1
        group.barrier()
    if full:
        log.write(measure_sustained(settings, backend, device))
        group.barrier()
    log.write(PeaksDone(rates, began_ns))


def measure_peaks(settings: Settings, backend: Backend) -> Iterator[DeviceRate]:
    """Yield the rate of the matrix product in each format, and of both passes of each convolution in the row's own."""
    asked = formats(settings.precision, settings.tf32)
    for precision in asked:
        yield _guarded(functools.partial(_gemm, backend, settings, precision), of=GEMM, precision=precision)
        backend.release_memory()
    for size in HEAVIEST:
        for part in ("forward", "backward"):
            what: dict[str, Any] = {"precision": asked[-1], "part": part, "size": size}
            yield _guarded(functools.partial(_convolution, backend, settings, **what), of=CONVOLUTION, **what)
            backend.release_memory()
    backend.set_tf32(settings.tf32)


def _guarded(measure: Callable[[], DeviceRate], **what: Any) -> DeviceRate:
    try:
        return measure()
    except (RuntimeError, NotImplementedError) as error:  # what a framework raises, also where memory is short
        return DeviceRate(amount=0, units=0, times_ns=(), error=first_line(error), **what)


def _gemm(backend: Backend, settings: Settings, precision: str) -> DeviceRate:
    side = _SIDE // backend.probe_cut
    product = _Product(backend, side, precision, settings.seed)
    done = repeat(backend, GEMM, product.amount, product.compute, region_s=_REGION_S, budget_s=_BUDGET_S)
    checked, wrong = product.check(done.result)
    size = {"m": side, "n": side, "k": side}
    return DeviceRate(
        GEMM, product.amount, done.units, done.times_ns, precision, size=size, checked=checked, wrong=wrong
    )


class _Product:
    """C = A B of random matrices of `side`, in a format."""

    def __init__(self, backend: Backend, side: int, precision: str, seed: int) -> None:
        backend.set_tf32(precision == "tf32")
        self.amount, self._precision, self._seed = 2 * side**3, precision, seed
        self._a, self._b = (_random((side, side), precision, seed + turn) for turn in (0, 1))
        self._there = [one.to(backend.device) for one in (self._a, self._b)]
        self._result = torch.empty_like(self._there[0])

    def compute(self) -> torch.Tensor:
        """Multiply once."""
        return torch.matmul(*self._there, out=self._result)

    def check(self, result: torch.Tensor) -> tuple[int, int]:
        """Return how many sums of a result were compared, and how many are further off than rounding explains."""
        signs, a, b = _signs(len(self._a), self._seed), self._a.double(), self._b.double()
        condition = a.abs().sum(0) @ b.abs()
        return _compared(signs @ result.cpu().double(), (signs @ a) @ b, condition, self._precision)


def _convolution(
    backend: Backend, settings: Settings, precision: str, part: str, size: Mapping[str, int]
) -> DeviceRate:
    """Measure one pass of a convolution whose padding keeps the sides; backward is to input and weights."""
    backend.set_tf32(precision == "tf32")
    computed, k = _fitted(size, settings.batch_size, backend.probe_cut), size["k"]
    n, cin, cout, h, w = (computed[name] for name in ("n", "inputs", "outputs", "rows", "columns"))
    shapes = {"x": (n, cin, h, w), "weight": (cout, cin, k, k), "upstream": (n, cout, h, w)}
    host = {name: _random(shape, precision, settings.seed + at) for at, (name, shape) in enumerate(shapes.items())}
    x, weight, upstream = (one.to(backend.device, copy=True) for one in host.values())
    forward_flops = 2 * n * cin * cout * k * k * h * w
    results: list[torch.Tensor] = []

    def forward() -> torch.Tensor:
        with torch.no_grad():
            results[:] = [conv2d(x, weight, padding=k // 2)]
        return results[0]

    def backward() -> torch.Tensor:
        results[:] = torch.autograd.grad(output, (x, weight), upstream, retain_graph=True)
        return results[0]

    if part == "forward":
        amount, compute = forward_flops, forward
    else:
        x.requires_grad_()
        weight.requires_grad_()
        output = conv2d(x, weight, padding=k // 2)
        amount, compute = 2 * forward_flops, backward
    done = repeat(backend, CONVOLUTION, amount, compute, region_s=_REGION_S, budget_s=_BUDGET_S)
    checked, wrong = map(sum, zip(*check_convolution([one.cpu() for one in results], precision, **host)))
    return DeviceRate(
        CONVOLUTION,
        amount,
        done.units,
        done.times_ns,
        precision,
        part,
        {**size, **computed},
        checked=checked,
        wrong=wrong,
    )


def _fitted(size: Mapping[str, int], batch_size: int, cut: int) -> Mapping[str, int]:
    """Return the size of a convolution that is no more work than the matrix product of this device, as computed.

    Sides are smaller by the same factor, and channels where that is not enough.
    """
    cin, cout, k, h, w = (size[name] for name in ("cin", "cout", "k", "h", "w"))
    if cut == 1:
        return {"n": min(_BATCH, batch_size), "inputs": cin, "outputs": cout, "rows": h, "columns": w}
    flops, most = 2 * cin * cout * k * k, 2 * (_SIDE // cut) ** 3
    by, channels = max(1.0, math.sqrt(flops * h * w / most)), max(1.0, math.sqrt(flops / most))
    computed = {"inputs": cin / channels, "outputs": cout / channels, "rows": h / by, "columns": w / by}
    return {"n": 1, **{name: max(1, round(value)) for name, value in computed.items()}}


def check_convolution(
    results: Sequence[torch.Tensor], precision: str, x: torch.Tensor, weight: torch.Tensor, upstream: torch.Tensor
) -> Iterator[tuple[int, int]]:
    """Yield (sums compared, further off than rounding explains) of an output, or of gradients to input and weights.

    Sums go over the channels with random signs; of outputs and gradients to inputs those of the first image.
    """
    cout, cin, k, _ = weight.shape
    doubled = weight.double()
    if len(results) == 1:
        signs = _signs(cout, 0)
        kernel, absolute = torch.tensordot(signs, doubled, 1), doubled.abs().sum(0)
        found = torch.tensordot(signs, results[0][0].double(), 1)
        image = x[0].double()
        yield _compared(found, _correlated(image, kernel), _correlated(image.abs(), absolute), precision)
        return
    signs = _signs(cin, 0)
    kernel, absolute = torch.tensordot(doubled, signs, ([1], [0])).flip(1, 2), doubled.abs().sum(1).flip(1, 2)
    found = torch.tensordot(signs, results[0][0].double(), 1)
    image = upstream[0].double()
    yield _compared(found, _correlated(image, kernel), _correlated(image.abs(), absolute), precision)
    signs = _signs(cout, 0)
    found = torch.tensordot(signs, results[1].double(), 1).reshape(cin, k * k)
    expected, condition = torch.zeros_like(found), torch.zeros_like(found)
    for image, gradient in zip(x, upstream):
        flat = image.double().reshape(cin, -1)
        expected += flat @ _shifted(torch.tensordot(signs, gradient.double(), 1), k).t()
        condition += flat.abs() @ _shifted(gradient.double().abs().sum(0), k).t()
    yield _compared(found, expected, condition, precision)


def _correlated(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Return the convolution [h, w] of an image [c, h, w] with one kernel [c, k, k], padded to keep the sides."""
    (channels, h, w), k = image.shape, kernel.shape[1]
    parts = kernel.reshape(channels, -1).t() @ image.reshape(channels, -1)  # [k * k, h * w]
    padded = pad(parts.reshape(k * k, h, w), [k // 2] * 4)
    total = torch.zeros_like(parts[0]).reshape(h, w)
    for at in range(k * k):
        row, column = divmod(at, k)
        total += padded[at, row : row + h, column : column + w]
    return total


def _shifted(plane: torch.Tensor, k: int) -> torch.Tensor:
    """Return a plane [h, w] as each element of a k x k kernel meets it: [k * k, h * w]."""
    h, w = plane.shape
    padded = pad(plane, [k // 2] * 4)
    ends = [(k - 1 - row, k - 1 - column) for row in range(k) for column in range(k)]
    return torch.stack([padded[row : row + h, column : column + w].reshape(-1) for row, column in ends])


def _random(shape: Sequence[int], precision: str, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(DTYPES[precision])


def _signs(count: int, seed: int) -> torch.Tensor:
    """Return random signs in fp64."""
    return torch.randint(0, 2, (count,), generator=torch.Generator().manual_seed(seed)).double() * 2 - 1


def _compared(found: torch.Tensor, expected: torch.Tensor, condition: torch.Tensor, precision: str) -> tuple[int, int]:
    """Return how many numbers there are, and how many of them differ by more than 16 u S."""
    allowed = _HONEST * UNIT_ROUNDOFF[precision] * condition
    return found.numel(), int((~((found - expected).abs() <= allowed)).sum())


def measure_sustained(settings: Settings, backend: Backend, device: DeviceInfo) -> Sustained:
    """Multiply matrices for a minute in the row's format, and read clock and temperature beside."""
    precision = formats(settings.precision, settings.tf32)[-1]
    product = _Product(backend, _SIDE // backend.probe_cut, precision, settings.seed)
    timed = Timed(backend, GEMM, product.amount, product.compute)
    timed.region_ns(1)
    units, read_s = timed.units_of(_CHUNK_S), -_READ_EACH_S
    times_ns: list[int] = []
    found: dict[str, list[float]] = {name: [] for name in ("at_s", *_READINGS)}
    throttle: set[str] = set()
    while sum(times_ns) < _SUSTAINED_S * 1e9:
        times_ns.append(timed.region_ns(units))
        at_s = sum(times_ns) / 1e9
        if at_s - read_s >= _READ_EACH_S:
            read_s = at_s
            reading = _reading(settings, backend, device)
            throttle.update(filter(None, [reading.get("throttle")]))
            for name in _READINGS:
                if name in reading:
                    found[name].append(reading[name])
            found["at_s"].append(round(at_s, 1))
    checked, wrong = product.check(timed.result)
    backend.set_tf32(settings.tf32)
    columns = {name: tuple(values) for name, values in found.items()}
    return Sustained(
        precision,
        product.amount,
        units,
        tuple(times_ns),
        throttle=tuple(sorted(throttle)),
        checked=checked,
        wrong=wrong,
        **columns,
    )


def _reading(settings: Settings, backend: Backend, device: DeviceInfo) -> dict[str, Any]:
    """Return what the samplers read of this rank's device now, in one record; {} if they fail."""
    found: dict[str, Any] = {}
    for sampler in backend.samplers(0, rank_pids=[os.getpid()], places=[device.place], smi=settings.smi):
        with contextlib.suppress(Exception):  # a vendor's tool, which may fail in any way
            for record in sampler.read():
                found.update(record)
    return found
