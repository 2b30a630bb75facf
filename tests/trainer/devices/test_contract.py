"""What the trainer relies on, asked of every backend; where the hardware is missing, of the error that says so."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from trainer.devices import Backend, StepTimes, backend_names, is_simulated, load_backend
from trainer.errors import DeviceError
from trainer.telemetry.base import SOURCES

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
OPENED = [pytest.param(name, marks=[NEEDS_CUDA] * (name == "cuda")) for name in backend_names()]


@pytest.fixture(params=backend_names())
def name(request: Any) -> str:
    return str(request.param)


@pytest.fixture(params=OPENED)
def backend(request: Any, fake_kunlunxin: Any) -> Backend:
    opened = load_backend(request.param)
    opened.set_environment()
    opened.import_framework()
    opened.card = opened.open(0, 1)  # type: ignore[attr-defined]
    return opened


def test_the_backend_bears_its_modules_name(name: str) -> None:
    assert load_backend(name).name == name


def test_importing_a_backend_does_not_import_torch(name: str) -> None:
    import subprocess
    import sys

    program = (
        f"import sys; from trainer.devices import load_backend; load_backend({name!r}); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_a_backend_says_whether_it_is_simulated(name: str) -> None:
    assert load_backend(name).simulated is is_simulated(name) is (name == "virtual")


def test_the_device_has_a_name_an_index_and_a_memory(backend: Any) -> None:
    assert backend.card.name
    assert backend.card.index == 0
    assert backend.card.capacity_gib > 0


def test_work_on_the_device_gives_the_right_numbers(backend: Any) -> None:
    a = torch.arange(6, dtype=torch.float32).reshape(2, 3)

    product = a.to(backend.device) @ a.T.to(backend.device)
    backend.synchronise()

    assert torch.equal(product.cpu(), a @ a.T)


def test_the_same_seed_draws_the_same_numbers_and_another_seed_others(backend: Any) -> None:
    def draw(seed: int) -> Any:
        backend.seed(seed)
        return torch.rand(8, device=backend.device).cpu()

    assert torch.equal(draw(5), draw(5))
    assert not torch.equal(draw(5), draw(6))


def test_the_host_draws_on_from_where_its_generator_was(backend: Any) -> None:
    backend.seed(5)
    states = backend.random_states()
    drawn = torch.rand(8)

    backend.set_random_states(states, 9)

    assert torch.equal(torch.rand(8), drawn)
    assert all(state.dtype == torch.uint8 and state.device.type == "cpu" for state in states.values())


@NEEDS_CUDA
def test_a_cuda_device_draws_on_from_where_its_generator_was() -> None:
    backend = load_backend("cuda")
    backend.open(0, 1)
    states = backend.random_states()
    drawn = torch.rand(8, device=backend.device)

    backend.set_random_states(states, 9)

    assert torch.equal(torch.rand(8, device=backend.device), drawn)


def test_a_step_is_timed_twice_and_the_device_time_covers_the_host_time_or_is_read_from_events(backend: Any) -> None:
    timer = backend.step_timer()
    for _ in range(3):
        timer.start()
        torch.rand(256, 256, device=backend.device) @ torch.rand(256, 256, device=backend.device)
        timer.forward_done()
        timer.stop()

    times = timer.drain()

    assert len(times.compute_ns) == len(times.host_ns) == 3
    assert len(times.forward_ns) == (1 if timer.by_window else 3)
    assert all(time_ns > 0 for time_ns in times.compute_ns + times.host_ns + times.forward_ns)
    if timer.method != "device_events":
        assert sum(times.compute_ns) >= sum(times.host_ns)
    assert timer.drain() == StepTimes()


def test_fp32_is_always_there_and_an_unknown_precision_never(backend: Any) -> None:
    backend.check_precision("fp32")
    with backend.autocast("fp32"):
        assert not torch.is_autocast_enabled()
    assert backend.gradient_scaler("fp32") is None
    with pytest.raises(DeviceError, match=f"the {backend.name} backend has no precision fp16"):
        backend.check_precision("fp16")
    with pytest.raises(DeviceError, match="no precision fp16"):
        backend.autocast("fp16")


def test_memory_is_sampled_for_the_device_within_its_total(backend: Any) -> None:
    memory = backend.samplers(0, rank_pids=[os.getpid()])[0]

    sample = next(one for one in memory.read() if one["card"] == backend.card.index)

    assert 0 <= sample["memory_used_gib"] <= sample["memory_total_gib"]
    assert sample["source"] == memory.source.name
    assert SOURCES[memory.source.name] is memory.source


def test_numbers_are_read_back_as_they_are(backend: Any) -> None:
    scalars = [torch.tensor(value, device=backend.device) for value in (0.5, 3, True)]

    assert backend.numbers(scalars) == [0.5, 3.0, 1.0]


def test_the_collectives_are_known_to_torch(backend: Any) -> None:
    assert hasattr(torch.distributed.Backend, backend.collectives().upper())


def test_tf32_is_off_or_refused_unless_the_device_has_it(backend: Any) -> None:
    backend.set_tf32(False)
    if backend.name != "cuda":
        with pytest.raises(DeviceError, match="TF32"):
            backend.set_tf32(True)


def test_how_cudnn_chooses_is_refused_unless_the_device_has_it(backend: Any) -> None:
    backend.set_cudnn(deterministic=False, benchmark=False)
    if backend.name != "cuda":
        for asked in ({"deterministic": True, "benchmark": False}, {"deterministic": False, "benchmark": True}):
            with pytest.raises(DeviceError, match="cuDNN"):
                backend.set_cudnn(**asked)


def test_cuda_without_a_device_says_what_to_do(monkeypatch: Any) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(DeviceError, match=r"sees no CUDA device; install the vendor's driver"):
        load_backend("cuda").open(0, 1)


def test_a_backend_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(DeviceError, match=r"no backend .tpu.; trainer/devices has .*cpu, cuda, kunlunxin"):
        load_backend("tpu")
