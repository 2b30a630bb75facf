"""The training loop: the arithmetic is plain torchvision's to the last bit, and what it writes down is what it did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Iterator

import pytest
import torch
from PIL import Image
from torchvision.transforms import functional

from evidence.rank_file import EventLog
from tests.trainer.small import small_settings
from trainer.clocks import Ledger
from trainer.data.dataset import BadSample
from trainer.data.loader import Loaders, build_loaders
from trainer.data.passes import Passes
from trainer.devices import load_backend
from trainer.errors import DataError, DivergedError
from trainer.loop.steps import StepLoop, Trainee
from trainer.loop.trainee import build_optimizer
from trainer.model.networks import build_model
from trainer.settings import Settings

STEPS = 10


def loaders_of(settings: Settings) -> Loaders:
    return build_loaders(settings, rank=0, world_size=1, pin_memory=False)


def batches_of(settings: Settings) -> Iterator[Any]:
    loaders = loaders_of(settings)
    loaders.train_plan.set_epoch(0)
    return iter(loaders.train)


def loop_for(settings: Settings, log: EventLog, model: Any = None) -> StepLoop:
    backend = load_backend("cpu")
    backend.open(0, 1)
    torch.set_num_threads(1)  # the threads of several workers would wait for one another
    torch.manual_seed(0)
    model = build_model(settings) if model is None else model
    trainee = Trainee(settings, backend, model, build_optimizer(model, settings))
    loaders = loaders_of(settings)
    torch.manual_seed(1)
    return StepLoop(trainee, log, Ledger(), Passes(loaders.train_plan, loaders.image_ids))


def windows(log: EventLog, name: str = "window") -> list[dict[str, Any]]:
    events = [json.loads(line) for line in log.path.read_text().splitlines()]
    return [event for event in events if event["event"] == name]


@pytest.mark.integration
@pytest.mark.parametrize("clip", [0.0, 10.0])
def test_ten_losses_equal_those_of_plain_torchvision_to_the_last_bit(shapes: Path, tmp_path: Path, clip: float) -> None:
    settings = small_settings(shapes, tmp_path, horizontal_flip=0.0, gradient_clip=clip)
    log = EventLog(tmp_path, 0)
    rates = [0.001 * (step + 1) for step in range(STEPS)]

    loop_for(settings, log).run(batches_of(settings), rates, epoch=0)

    ours = [loss for window in windows(log) for loss in window["loss"]]
    assert ours == plain_losses(shapes, settings, rates, clip)


def plain_losses(shapes: Path, settings: Settings, rates: list[float], clip: float) -> list[float]:
    """Train as torchvision's documentation shows: floats made on the host, one loss read per step."""
    annotations = json.loads((shapes / "annotations" / "instances_train2017.json").read_text())
    names = {image["id"]: image["file_name"] for image in annotations["images"]}
    boxes: dict[int, list[Any]] = {image_id: [] for image_id in names}
    for one in annotations["annotations"]:
        if not one["iscrowd"]:
            x, y, width, height = one["bbox"]
            boxes[one["image_id"]].append(([x, y, x + width, y + height], one["category_id"]))
    torch.manual_seed(0)
    model = build_model(settings)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9, weight_decay=1e-4)
    torch.manual_seed(1)
    losses = []
    for rate, batch in zip(rates, batches_of(settings)):
        image_ids = [target["image_id"] for target in batch.targets]
        images = [
            functional.to_tensor(Image.open(shapes / "train2017" / names[image_id]).convert("RGB"))
            for image_id in image_ids
        ]
        targets = [
            {
                "boxes": torch.tensor([box for box, _ in boxes[image_id]], dtype=torch.float32).reshape(-1, 4),
                "labels": torch.tensor([label for _, label in boxes[image_id]], dtype=torch.int64),
            }
            for image_id in image_ids
        ]
        loss = sum(model(images, targets).values())
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_windows_hold_every_step_once_and_count_what_was_consumed(shapes: Path, tmp_path: Path) -> None:
    settings = small_settings(shapes, tmp_path, model="fasterrcnn_tiny", window=4)
    log = EventLog(tmp_path, 0)
    loop = loop_for(settings, log)

    loop.run(batches_of(settings), [0.001] * STEPS, epoch=3)

    written = windows(log)
    assert [window["step"] for window in written] == [0, 4, 8]
    assert [len(window["images"]) for window in written] == [4, 4, 2]
    assert loop.steps == STEPS
    assert loop.images == sum(sum(window["images"]) for window in written) == STEPS * settings.batch_size
    for window in written:
        lengths = {len(window[name]) for name in ("compute_ns", "loss")}
        assert lengths == {len(window["images"])}
        assert window["epoch"] == 3
        assert window["wait_ns"] + window["copy_ns"] + sum(window["compute_ns"]) <= window["wall_ns"]


@pytest.mark.parametrize("clip", [0.0, 0.1])
def test_a_window_has_the_norm_of_its_last_gradients_and_the_steps_that_had_any(
    shapes: Path, tmp_path: Path, clip: float
) -> None:
    settings = small_settings(shapes, tmp_path, model="fasterrcnn_tiny", window=2, gradient_clip=clip)
    log = EventLog(tmp_path, 0)
    loop, batches = loop_for(settings, log), batches_of(settings)
    norms = []

    for _ in range(2):
        loop.run(batches, [0.001] * 2, epoch=0)
        gradients = [one.grad for one in loop._trainee.model.parameters() if one.grad is not None]
        norms.append(float(torch.cat([gradient.reshape(-1) for gradient in gradients]).norm()))

    written = windows(log)
    assert [one["backward_steps"] for one in written] == [2, 2]
    assert [one["skipped"] for one in written] == [[], []]
    found = [one["gradient_norm"] for one in written]
    if clip:
        assert norms == pytest.approx([clip] * 2, rel=1e-3)
        assert all(norm > 2 * clip for norm in found)  # before clipping
    else:
        assert found == pytest.approx(norms, rel=1e-5)


def test_a_window_in_which_the_optimizer_does_nothing_shows_it(shapes: Path, tmp_path: Path) -> None:
    settings = small_settings(shapes, tmp_path, model="fasterrcnn_tiny", window=2)
    log = EventLog(tmp_path, 0)
    loop, batches = loop_for(settings, log), batches_of(settings)

    loop.run(batches, [0.001] * 4, epoch=0)
    loop._trainee.optimizer.step = lambda: None
    loop.run(batches, [0.001] * 2, epoch=0)

    assert [one["moved"] > 0 for one in windows(log)] == [True, True, False]


def test_a_step_without_a_backward_pass_is_counted_as_one(shapes: Path, tmp_path: Path, monkeypatch: Any) -> None:
    settings = small_settings(shapes, tmp_path, model="fasterrcnn_tiny", window=3)
    log = EventLog(tmp_path, 0)
    loop, backward, passes = loop_for(settings, log), torch.Tensor.backward, []

    def only_twice(self: torch.Tensor) -> None:
        passes.append(self)
        if len(passes) <= 2:
            backward(self)

    monkeypatch.setattr(torch.Tensor, "backward", only_twice)

    loop.run(batches_of(settings), [0.001] * 6, epoch=0)

    assert [one["backward_steps"] for one in windows(log)] == [2, 0]
    assert [one["gradient_norm"] for one in windows(log)] == [0.0, 0.0]


class FakeScaler:
    """A GradScaler, of which CPUs have none in old versions of torch, that finds an overflow in certain steps."""

    def __init__(self, overflows: tuple[int, ...]) -> None:
        self._overflows = overflows
        self._step, self._scale = 0, 1024.0

    def scale(self, value: torch.Tensor) -> torch.Tensor:
        return value * self._scale

    def get_scale(self) -> float:
        return self._scale

    def step(self, optimizer: Any) -> None:
        for parameter in optimizer.param_groups[0]["params"]:
            if parameter.grad is not None:
                parameter.grad.div_(self._scale)
        if self._step not in self._overflows:
            optimizer.step()

    def update(self) -> None:
        if self._step in self._overflows:
            self._scale /= 2
        self._step += 1


def test_steps_that_a_gradient_scaler_skips_are_written_down(shapes: Path, tmp_path: Path) -> None:
    settings = small_settings(shapes, tmp_path, model="fasterrcnn_tiny", window=3)
    log = EventLog(tmp_path, 0)
    loop = loop_for(settings, log)
    loop._trainee.scaler = FakeScaler((0, 3, 5))  # type: ignore[assignment]
    loop = StepLoop(loop._trainee, log, Ledger(), loop._passes)

    loop.run(batches_of(settings), [0.001] * 6, epoch=0)

    assert [one["skipped"] for one in windows(log)] == [[0], [0, 2]]
    assert [one["loss_scale"] for one in windows(log)] == [512.0, 128.0]
    assert loop.images == 6 * settings.batch_size  # consumed, for the account of the epoch


def test_a_pass_over_the_data_set_is_written_down_when_its_last_window_is(shapes: Path, tmp_path: Path) -> None:
    settings = small_settings(shapes, tmp_path, model="fasterrcnn_tiny", window=4)
    log = EventLog(tmp_path, 0)
    steps = len(loaders_of(settings).train_plan)
    batches = batches_of(settings)

    loop_for(settings, log).run(batches, [0.001] * steps, epoch=0)

    (found,) = windows(log, "pass")
    assert (found["epoch"], found["steps"], found["repeated"]) == (0, steps, 0)
    assert found["images"] == steps * settings.batch_size


class Diverging(torch.nn.Module):
    """A model whose loss stops being a number at one step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self._left = step

    def forward(self, images: Any, targets: Any) -> Any:
        self._left -= 1
        return {"loss": self.weight.sum() * (float("nan") if self._left < 0 else 1.0)}


def test_a_loss_that_is_no_number_ends_the_run_and_is_in_the_evidence(shapes: Path, tmp_path: Path) -> None:
    settings = small_settings(shapes, tmp_path, window=4)
    log = EventLog(tmp_path, 0)
    loop = loop_for(settings, log, Diverging(step=5))

    with pytest.raises(DivergedError, match=r"loss of step 5 \(epoch 0\) is nan"):
        loop.run(batches_of(settings), [0.001] * STEPS, epoch=0)

    assert windows(log)[-1]["loss"][1] == "NaN"


def test_an_image_that_cannot_be_read_ends_the_run_with_its_message(shapes: Path, tmp_path: Path) -> None:
    settings = small_settings(shapes, tmp_path)
    loop = loop_for(settings, EventLog(tmp_path, 0))

    with pytest.raises(DataError, match=r"0001\.jpg: image 1 cannot be read"):
        loop.run(iter([BadSample("0001.jpg: image 1 cannot be read")]), [0.001], epoch=0)


def test_a_loader_that_ends_early_is_noticed(shapes: Path, tmp_path: Path) -> None:
    settings = small_settings(shapes, tmp_path)
    loop = loop_for(settings, EventLog(tmp_path, 0))

    with pytest.raises(DataError, match="ended before the epoch's planned steps"):
        loop.run(iter([]), [0.001], epoch=0)


@pytest.mark.parametrize(("without", "readings"), [((), 0), (("losses_by_window",), 5)])
def test_each_of_four_losses_and_their_sum_is_read_in_every_step_only_where_that_is_wanted(
    shapes: Path, tmp_path: Path, without: tuple[str, ...], readings: int, monkeypatch: Any
) -> None:
    settings = small_settings(shapes, tmp_path, model="fasterrcnn_tiny", window=3, without=without)
    loop = loop_for(settings, EventLog(tmp_path, 0))
    backend = loop._trainee.backend
    original, asked = backend.numbers, []

    def numbers(scalars: Any) -> list[float]:
        asked.append(len(scalars))
        return original(scalars)

    monkeypatch.setattr(backend, "numbers", numbers)

    loop.run(batches_of(settings), [0.001] * 3, epoch=0)

    assert asked[:-2] == [1] * 3 * readings  # the last two close the window: its last loss, and all of it
