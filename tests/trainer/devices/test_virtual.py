"""The virtual backend: real work on a simulated device, in simulated time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Iterator

import pytest
import torch

from tests.trainer.small import small_settings
from trainer.clocks import SimulatedClock
from trainer.devices import load_backend
from trainer.devices.virtual import Arrivals
from trainer.errors import DeviceError
from trainer.loop.trainee import Trainee, build_optimizer
from trainer.model.networks import build_model
from trainer.probes.clocks import probe_clock

STEP_MS = 80.0  # two images; far longer than the host takes to queue them


@pytest.fixture(autouse=True)
def _threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def opened(tmp_path: Path, text: str = "", rank: int = 0, world_size: int = 1) -> Any:
    """Return the backend of a rank under a scenario without noise."""
    path = tmp_path / "scenario.toml"
    path.write_text(f"image_ms = {STEP_MS / 2}\nnoise = 0.0\nforward_share = 0.25\n{text}")
    backend: Any = load_backend("virtual")
    backend.configure(path, rank=rank, world_size=world_size)
    backend.card = backend.open(rank, world_size)
    return backend


def trainee_of(backend: Any, tmp_path: Path) -> Trainee:
    settings = small_settings(tmp_path, tmp_path, device="virtual", model="fasterrcnn_tiny")
    torch.manual_seed(0)
    model = build_model(settings)
    backend.attend(model)
    return Trainee(settings, backend, model, build_optimizer(model, settings))


def batch() -> tuple[list[Any], list[Any]]:
    images = [torch.rand(3, 40, 32), torch.rand(3, 32, 40)]
    target = {"boxes": torch.tensor([[4.0, 4.0, 24.0, 24.0]]), "labels": torch.tensor([1])}
    return images, [target, dict(target)]


def steps(backend: Any, trainee: Trainee, count: int = 3) -> tuple[Any, list[Any]]:
    timer, losses = backend.step_timer(), []
    for _ in range(count):
        timer.start()
        losses.append(trainee.step(*batch(), timer.forward_done))
        timer.stop()
    return timer.drain(), losses


def test_one_thread_a_rank(tmp_path: Path) -> None:
    opened(tmp_path)

    assert torch.get_num_threads() == 1


def test_steps_take_the_planted_time_and_the_host_runs_ahead(tmp_path: Path) -> None:
    backend = opened(tmp_path)
    trainee = trainee_of(backend, tmp_path)

    times, _ = steps(backend, trainee, 5)

    assert times.compute_ns == [round(STEP_MS * 1e6)] * 5
    assert times.forward_ns == [round(STEP_MS * 1e6 / 4)] * 5
    assert times.host_ns == [4_000_000] * 5


def test_on_a_real_clock_a_step_takes_its_planted_time_of_the_hosts(tmp_path: Path) -> None:
    backend = opened(tmp_path, 'clock = "real"')
    trainee = trainee_of(backend, tmp_path)
    begun_ns = time.perf_counter_ns()

    steps(backend, trainee, 1)

    assert backend.clock.kind == "real"
    assert time.perf_counter_ns() - begun_ns >= STEP_MS * 1e6


def test_windows_give_the_same_time_in_sum(tmp_path: Path) -> None:
    backend = opened(tmp_path, 'timing = "windows"')
    trainee = trainee_of(backend, tmp_path)
    timer = backend.step_timer()

    times, _ = steps(backend, trainee)

    assert timer.method == "synchronised_windows"
    assert sum(times.compute_ns) == 3 * STEP_MS * 1e6


def test_the_model_really_trains(tmp_path: Path) -> None:
    backend = opened(tmp_path)
    trainee = trainee_of(backend, tmp_path)
    before = [parameter.clone() for parameter in trainee.model.parameters()]

    _, losses = steps(backend, trainee)

    assert all(torch.isfinite(loss) for loss in losses)
    assert len({float(loss) for loss in losses}) == 3
    assert not all(torch.equal(a, b) for a, b in zip(before, trainee.model.parameters()))


def test_an_evaluation_takes_the_planted_time_of_each_image(tmp_path: Path) -> None:
    backend = opened(tmp_path, "evaluate_ms = 30")
    trainee = trainee_of(backend, tmp_path)
    begun_ns = backend.clock.now_ns()
    trainee.model.eval()

    with torch.no_grad():
        outputs = trainee.model(batch()[0])

    assert set(outputs[0]) == {"boxes", "labels", "scores"}
    assert backend.clock.now_ns() - begun_ns == 2 * 30_000_000


def test_a_copy_takes_the_planted_time_of_each_image(tmp_path: Path) -> None:
    backend = opened(tmp_path, "copy_ms = 3")
    begun_ns = backend.clock.now_ns()

    backend.copied(2)

    assert backend.clock.now_ns() - begun_ns == 2 * 3_000_000


@pytest.mark.parametrize("value", ["0.75", "nan"])
def test_a_planted_loss_is_what_the_trainer_reads(value: str, tmp_path: Path) -> None:
    backend = opened(tmp_path, f'[[fault]]\nkind = "loss"\nvalue = {value}\nfrom_step = 1')
    trainee = trainee_of(backend, tmp_path)

    _, losses = steps(backend, trainee)

    read = backend.numbers(losses)
    assert read[0] != pytest.approx(float(value), nan_ok=True)
    assert read[1:] == pytest.approx([float(value)] * 2, nan_ok=True)


def test_reading_a_number_waits_even_where_synchronise_does_not(tmp_path: Path) -> None:
    backend = opened(tmp_path, '[[fault]]\nkind = "blind_synchronise"')
    trainee = trainee_of(backend, tmp_path)
    _, losses = steps(backend, trainee, 1)
    done_ns = backend._device.stream.queue(500e6)

    backend.synchronise()
    early_ns = backend.clock.now_ns()
    backend.numbers(losses)

    assert early_ns < done_ns == backend.clock.now_ns()


def test_the_clock_probe_finds_an_honest_clock(tmp_path: Path) -> None:
    found = probe_clock(opened(tmp_path))

    assert found.steps_back == 0
    product_ns = 2_000_000 * (found.side / 256) ** 3
    for name in ("work_ns", "synchronise_ns", "timer_ns"):
        assert min(getattr(found, name)) >= found.units * product_ns


def test_the_clock_probe_finds_a_synchronise_that_does_not_wait(tmp_path: Path) -> None:
    found = probe_clock(opened(tmp_path, '[[fault]]\nkind = "blind_synchronise"'))

    assert sum(found.after_ns) > sum(found.synchronise_ns)


def test_the_clock_probe_finds_a_timer_that_tells_less(tmp_path: Path) -> None:
    found = probe_clock(opened(tmp_path, '[[fault]]\nkind = "fast_timer"\nfactor = 2.0'))

    assert all(seen <= wall / 2 for seen, wall in zip(found.timer_ns, found.timer_wall_ns))


def test_work_gives_the_number_that_the_product_of_these_matrices_has(tmp_path: Path) -> None:
    assert opened(tmp_path).queue_work(256, 1)() == 1 / 256


def test_the_other_device_is_introduced(tmp_path: Path) -> None:
    text = '[[fault]]\nkind = "card"\nname = "Another"\ncapacity_gib = 16.0\nranks = [1]'

    cards = [opened(tmp_path, text, rank, 2).card for rank in (0, 1)]

    assert [(card.name, card.capacity_gib) for card in cards] == [("Virtual accelerator", 32.0), ("Another", 16.0)]
    assert {card.driver for card in cards} == {"simulated"}


def test_what_is_planted_is_told_with_its_defaults(tmp_path: Path) -> None:
    planted = opened(tmp_path).planted()

    assert (planted["image_ms"], planted["memory_gib"], planted["faults"]) == (40.0, 20.0, [])
    assert load_backend("cpu").planted() is None


def test_a_real_device_takes_no_scenario(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="a scenario is for simulated devices, and the cpu backend is real"):
        load_backend("cpu").configure(tmp_path / "scenario.toml", rank=0, world_size=1)
    load_backend("cpu").configure(None, rank=0, world_size=1)


def test_the_visible_devices_variable_chooses_the_device_which_has_a_serial_of_its_own(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("VIRTUAL_VISIBLE_DEVICES", "3")

    card = opened(tmp_path, "[[fault]]\nkind = 'card'\nname = 'Odd one'\ncards = [3]\n").card

    assert (card.index, card.name, card.serial) == (3, "Odd one", "SIM-0003")


def test_without_the_variable_a_rank_has_the_device_of_its_local_rank(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.delenv("VIRTUAL_VISIBLE_DEVICES", raising=False)

    card = opened(tmp_path, rank=1, world_size=2).card

    assert (card.index, card.serial) == (1, "SIM-0001")


def test_fewer_visible_devices_than_ranks_is_an_error(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("VIRTUAL_VISIBLE_DEVICES", "3")

    with pytest.raises(DeviceError, match="2 devices are needed on this host and 1 are visible; check VIRTUAL_VISIBLE"):
        opened(tmp_path, rank=0, world_size=2)


DECODE_NS, STEP_NS = 100, 40


class Ahead:
    """Batches of a loader that says whether the next one is there."""

    ready = True

    def __init__(self) -> None:
        self.closed = False

    def __iter__(self) -> Iterator[int]:
        return iter(range(100))

    def close(self) -> None:
        self.closed = True


def waits_of(workers: int, steps: int) -> list[int]:
    """How long each of so many steps waits for its batch."""
    clock, waits = SimulatedClock(), []
    batches = Arrivals(Ahead(), clock, DECODE_NS, workers)
    for _ in range(steps):
        begun_ns = clock.now_ns()
        next(batches)
        waits.append(clock.now_ns() - begun_ns)
        clock.spend(STEP_NS)
    return waits


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        (0, [100, 100, 100, 100]),  # decoded when it is wanted
        (1, [100, 60, 60, 60]),  # a batch every 100 from the one worker, steps of 40
        (2, [100, 0, 20, 0, 20, 0]),  # two batches at 100, at 200, ...
        (4, [100, 0, 0, 0, 0, 0, 0, 0]),  # a batch every 25, faster than steps
    ],
)
def test_a_step_waits_for_what_the_workers_have_not_decoded(workers: int, expected: list[int]) -> None:
    assert waits_of(workers, len(expected)) == expected


def test_workers_go_on_while_nobody_takes_a_batch_as_far_as_they_were_asked() -> None:
    clock = SimulatedClock()
    batches = Arrivals(Ahead(), clock, DECODE_NS, workers=1)

    clock.spend(1_000)
    ready = []
    for _ in range(3):
        ready.append(batches.ready)
        next(batches)

    assert ready == [True, True, False]  # two ahead; the third was asked for when the first was taken


def test_a_loader_without_workers_is_never_ready() -> None:
    assert not Arrivals([1, 2], SimulatedClock(), 0, workers=0).ready


def test_batches_are_those_of_the_loader_which_is_closed_with_it() -> None:
    loader = Ahead()
    batches: Any = Arrivals(loader, SimulatedClock(), DECODE_NS, workers=2)

    first = [next(batches) for _ in range(3)]
    batches.close()

    assert (first, loader.closed) == ([0, 1, 2], True)
