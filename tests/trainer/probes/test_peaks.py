"""The probes of copies, memory and peaks: planted rates are read back, and a wrong result is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import conv2d

from evidence.events.peaks import CONVOLUTION, COPIES, GEMM, MEMORY_COPY, MEMORY_TRIAD, DeviceRate, PeaksDone, Sustained
from trainer.devices import load_backend
from trainer.probes.catalogue import peaks
from trainer.probes.peaks import ask_peaks, check_convolution
from trainer.ranks import HostGroup, Ranks
from trainer.settings import Settings


def probed(folder: Path, scenario: str = "", links: str = "quick") -> list[Any]:
    """The events of the probes of one virtual device, in this process."""
    backend, events = load_backend("virtual"), []
    (folder / "planted.toml").write_text(scenario)
    backend.configure(folder / "planted.toml", rank=0, world_size=1)
    device = backend.open(0, 1)
    settings = Settings(folder, folder, pretrained_backbone=False, model="fasterrcnn_tiny", links=links)

    class Log:
        def write(self, event: Any) -> None:
            events.append(event)

    ask_peaks(settings, backend, device, HostGroup(Ranks()), Log())
    return events


def rates(events: list[Any], *kinds: str) -> list[DeviceRate]:
    return [one for one in events if isinstance(one, DeviceRate) and one.of in kinds]


@pytest.mark.parametrize(
    ("gemm", "convolution", "memory", "copy"), [(19.5, 3.0, 80.0, 12.0), (700.0, 490.0, 4800.0, 55.0)]
)
def test_planted_rates_are_read_back_within_2_percent(
    gemm: float, convolution: float, memory: float, copy: float, tmp_path: Path
) -> None:
    planted = {GEMM: gemm, CONVOLUTION: convolution, MEMORY_COPY: memory, MEMORY_TRIAD: memory}
    planted.update(dict.fromkeys(COPIES, copy))
    keys = {"gemm_tflops": gemm, "convolution_tflops": convolution, "memory_gb_per_s": memory, "copy_gb_per_s": copy}
    events = probed(tmp_path, "\n".join(f"{key} = {value}" for key, value in keys.items()))

    for kind, value in planted.items():
        found = rates(events, kind)
        assert found
        assert [one.rate for one in found] == [pytest.approx(value, rel=0.02)] * len(found)


def test_everything_is_asked_once_and_checked(tmp_path: Path) -> None:
    events = probed(tmp_path)

    assert {one.peak for one in rates(events, GEMM, CONVOLUTION)} == set(peaks("fp32", tf32=False))
    assert len({one.name for one in events if isinstance(one, DeviceRate)}) == 4 + 3 + 1 + 2 * 5
    assert all(one.checked and not one.wrong and one.times_ns for one in events if isinstance(one, DeviceRate))
    assert events[-1] == PeaksDone(len(events) - 1, events[-1].begun_ns)


@pytest.mark.parametrize("part", ["copies", "memory", "gemm", "convolution"])
def test_one_wrong_number_is_found(part: str, tmp_path: Path) -> None:
    events = probed(tmp_path, f'[[fault]]\nkind = "wrong_part"\npart = "{part}"')

    kinds = {"copies": COPIES, "memory": (MEMORY_COPY, MEMORY_TRIAD, "memory-patterns")}.get(part, (part,))
    assert all(one.wrong for one in rates(events, *kinds))
    assert not any(one.wrong for one in events if isinstance(one, DeviceRate) and one.of not in kinds)


def test_a_part_that_is_slow_is_slow_by_its_factor(tmp_path: Path) -> None:
    events = probed(tmp_path, '[[fault]]\nkind = "slow_part"\npart = "memory"\nfactor = 3.0')

    (copy,) = rates(events, MEMORY_COPY)
    assert copy.rate == pytest.approx(500, rel=0.02)


def test_a_minute_of_products_has_clock_and_temperature_beside(tmp_path: Path) -> None:
    scenario = '[[fault]]\nkind = "overheat"\nafter_s = 30.0\nfactor = 1.25'
    (found,) = (one for one in probed(tmp_path, scenario, "full") if isinstance(one, Sustained))

    assert sum(found.times_ns) >= 60e9
    assert found.times_ns[-1] == pytest.approx(1.25 * found.times_ns[0], rel=0.1)
    assert len(found.at_s) == len(found.core_clock_mhz) == len(found.temperature_c) > 8
    assert (found.core_clock_mhz[0], found.core_clock_mhz[-1]) == (1400, 1120)
    assert found.temperature_c[-1] > found.temperature_c[0]
    assert found.throttle == ("thermal",)
    assert found.checked
    assert not found.wrong


def passes(seed: int) -> tuple[list[torch.Tensor], list[torch.Tensor], dict[str, torch.Tensor]]:
    """A convolution's output, its gradients to input and weights, and what they were computed from."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"x": (2, 24, 9, 7), "weight": (16, 24, 3, 3), "upstream": (2, 16, 9, 7)}
    given = {name: torch.randn(*shape, generator=generator) for name, shape in shapes.items()}
    x, weight = given["x"].clone().requires_grad_(), given["weight"].clone().requires_grad_()
    output = conv2d(x, weight, padding=1)
    gradients = torch.autograd.grad(output, (x, weight), given["upstream"])
    return [output.detach()], list(gradients), given


@pytest.mark.parametrize("seed", range(20))
def test_right_convolutions_are_let_pass(seed: int) -> None:
    output, gradients, given = passes(seed)

    assert all(
        wrong == 0 for results in (output, gradients) for _, wrong in check_convolution(results, "fp32", **given)
    )


@pytest.mark.parametrize("at", range(3))
def test_one_wrong_number_of_a_convolution_is_found(at: int) -> None:
    output, gradients, given = passes(1)
    results = [output, gradients, gradients][at]
    results[at == 2].reshape(-1)[5] += 0.05

    assert [wrong for _, wrong in check_convolution(results, "fp32", **given)][at == 2] == 1
