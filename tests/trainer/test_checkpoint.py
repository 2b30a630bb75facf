"""Positions of a training, and checkpoints: whole or skipped, the newest two kept."""

from __future__ import annotations

import hashlib
import os
import pickle
import resource
import signal
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer.errors import DiskError
from trainer.loop.checkpoint import Checkpoints, Position, Tensors, blocks

STEPS = 100


def at(epoch: int, step: int) -> Position:
    return Position(epoch, step, STEPS)


def content(number: int) -> Tensors:
    return {
        "weights": torch.full((40, 30), float(number)),
        "state": torch.arange(number + 1, dtype=torch.uint8),
        "count": torch.tensor(number),
    }


def number_of(tensors: Tensors | None) -> int | None:
    return None if tensors is None else int(tensors["count"])


def good(tensors: Tensors) -> str:
    return ""


def saved(run_dir: Path, *positions: Position) -> list[Path]:
    """Save a checkpoint for each position, all by one attempt, and return their paths."""
    checkpoints = Checkpoints(run_dir)
    return [run_dir / checkpoints.save(position, content(position.taken))[0] for position in positions]


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    return saved(tmp_path, at(0, 100), at(1, 20))


def test_the_newest_is_found_with_all_that_was_put_into_it(tmp_path: Path, two: list[Path]) -> None:
    checkpoints = Checkpoints(tmp_path)

    found = checkpoints.newest(good)

    assert found is not None
    assert found.keys() == content(120).keys()
    assert all(
        torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in content(120).items()
    )
    assert checkpoints.skipped == []


def test_epochs_and_steps_are_ordered_by_number(tmp_path: Path) -> None:
    run_dirs = [tmp_path / name for name in ("a", "b")]
    for run_dir, positions in zip(run_dirs, ([at(9_999, 1), at(10_000, 1)], [at(1, 9), at(1, 10)])):
        run_dir.mkdir()
        saved(run_dir, *positions)

        assert number_of(Checkpoints(run_dir).newest(good)) == positions[1].taken


def test_the_digest_is_what_sha256sum_reads(two: list[Path]) -> None:
    digest, name = (two[1].parent / f"{two[1].name}.sha256").read_text().split()

    assert name == two[1].name == "epoch-0001-step-000020.pt"
    assert digest == hashlib.sha256(two[1].read_bytes()).hexdigest()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_torn_file_is_passed_over(tmp_path: Path, two: list[Path], share: float) -> None:
    whole = two[1].read_bytes()
    two[1].write_bytes(whole[: int(share * len(whole))])
    checkpoints = Checkpoints(tmp_path)

    assert number_of(checkpoints.newest(good)) == 100
    assert len(checkpoints.skipped) == 1
    assert checkpoints.skipped[0].startswith(f"{two[1].name}: found sha256 ")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_with_one_changed_byte_is_passed_over(tmp_path: Path, two: list[Path], data: st.DataObject) -> None:
    whole = two[1].read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    two[1].write_bytes(changed)
    try:
        assert number_of(Checkpoints(tmp_path).newest(good)) == 100
    finally:
        two[1].write_bytes(whole)


@pytest.mark.parametrize(
    "text", [None, "", "0" * 64, f"{'0' * 64}  another.pt\n", "digest  epoch-0001-step-000020.pt\n"]
)
def test_a_file_without_its_digest_is_passed_over(tmp_path: Path, two: list[Path], text: str | None) -> None:
    path = two[1].parent / f"{two[1].name}.sha256"
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    checkpoints = Checkpoints(tmp_path)

    assert number_of(checkpoints.newest(good)) == 100
    assert two[1].name in checkpoints.skipped[0]


def seal(path: Path) -> None:
    (path.parent / f"{path.name}.sha256").write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")


class Caller:
    """Asks whoever unpickles it to make a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self._folder),)


@pytest.mark.parametrize("write", [pickle.dumps, torch.save], ids=["a pickle", "torch's format"])
def test_a_file_that_wants_to_call_something_is_passed_over_and_calls_nothing(
    tmp_path: Path, two: list[Path], write: Any
) -> None:
    trap = tmp_path / "called"
    if write is torch.save:
        torch.save({"weights": Caller(trap)}, str(two[1]))
    else:
        two[1].write_bytes(write(Caller(trap)))
    seal(two[1])

    assert number_of(Checkpoints(tmp_path).newest(good)) == 100
    assert not trap.exists()


def test_a_file_of_another_run_is_passed_over_with_its_reason(tmp_path: Path, two: list[Path]) -> None:
    checkpoints = Checkpoints(tmp_path)

    found = checkpoints.newest(lambda tensors: "another seed" if number_of(tensors) == 120 else "")

    assert number_of(found) == 100
    assert checkpoints.skipped == [f"{two[1].name}: another seed"]


def test_where_none_is_good_there_is_none(tmp_path: Path, two: list[Path]) -> None:
    for path in two:
        path.write_bytes(b"")
    empty = tmp_path / "empty"
    empty.mkdir()

    assert Checkpoints(tmp_path).newest(good) is None
    assert Checkpoints(empty).newest(good) is None


def names(run_dir: Path) -> list[str]:
    return sorted(path.name for path in (run_dir / "checkpoints").glob("*.pt"))


def test_the_newest_two_are_kept_with_their_digests(tmp_path: Path) -> None:
    saved(tmp_path, at(0, 50), at(0, 100), at(1, 50), at(1, 100))

    assert names(tmp_path) == [Path(at(1, 50).file).name, Path(at(1, 100).file).name]
    assert len(list((tmp_path / "checkpoints").iterdir())) == 4


def test_what_was_passed_over_makes_room_for_good_ones(tmp_path: Path) -> None:
    first, torn = saved(tmp_path, at(0, 100), at(1, 80))
    torn.write_bytes(b"torn")
    (torn.parent / ".epoch-0001-step-000090.pt.77.partial").write_bytes(b"half")
    checkpoints = Checkpoints(tmp_path)
    checkpoints.newest(good)

    checkpoints.save(at(1, 40), content(140))

    assert names(tmp_path) == [first.name, Path(at(1, 40).file).name]
    assert len(list(first.parent.iterdir())) == 4


@pytest.fixture
def little_room() -> Iterator[int]:
    """Let this process write no file beyond a few bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield 1000
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_without_room_is_an_error_that_says_so(tmp_path: Path, little_room: int) -> None:
    with pytest.raises(DiskError) as caught:
        saved(tmp_path, at(0, 100))

    said = str(caught.value)
    assert caught.value.kind == "disk"
    assert said.startswith(f"{tmp_path}/checkpoints/epoch-0000-step-000100.pt: the checkpoint could not be written: ")
    assert os.strerror(27) in said  # what the limit is called; a full disk has another name
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_the_one_before_outlives_a_write_that_failed(tmp_path: Path, monkeypatch: Any) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(at(0, 100), content(100))

    def full(handle: int) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DiskError, match="No space left on device"):
            checkpoints.save(at(1, 100), content(200))

    assert number_of(Checkpoints(tmp_path).newest(good)) == 100
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def test_a_place_where_no_folder_can_be_made_is_an_error_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("in the way")

    with pytest.raises(DiskError, match="the checkpoint could not be written: File exists"):
        saved(tmp_path, at(0, 100))


def test_what_torch_cannot_write_is_an_error_of_the_disk(tmp_path: Path, monkeypatch: Any) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file\nand a trace")

    monkeypatch.setattr(torch, "save", fail)

    with pytest.raises(DiskError, match=r"could not be written: PytorchStreamWriter failed writing file; make room"):
        saved(tmp_path, at(0, 100))


STEP_COUNTS = st.integers(1, 400)


@st.composite
def positions(draw: st.DrawFn) -> Position:
    steps = draw(STEP_COUNTS)
    return Position(draw(st.integers(0, 30)), draw(st.integers(0, steps)), steps)


@given(at=positions())
def test_steps_done_and_steps_left_make_whole_epochs(at: Position) -> None:
    assert at.taken + at.left == (at.epoch + 1) * at.steps


@given(at=positions())
def test_the_end_of_an_epoch_is_the_beginning_of_the_next(at: Position) -> None:
    end, begin = Position(at.epoch, at.steps, at.steps), Position(at.epoch + 1, 0, at.steps)

    assert end.taken == begin.taken
    assert (end.left, begin.left) == (0, at.steps)


@pytest.mark.parametrize(("epoch", "step", "steps"), [(-1, 0, 5), (0, -1, 5), (0, 6, 5), (0, 0, 0)])
def test_what_no_training_comes_to_is_no_position(epoch: int, step: int, steps: int) -> None:
    with pytest.raises(ValueError, match=f"step {step} of {steps} in epoch {epoch} is no position"):
        Position(epoch, step, steps)


@given(at=positions(), every=st.integers(0, 500))
def test_blocks_cover_what_is_left_once_and_end_where_something_is_kept(at: Position, every: int) -> None:
    cut = blocks(at.step, at.steps, every)

    assert [step for begin, end in cut for step in range(begin, end)] == list(range(at.step, at.steps))
    kept = [end for _, end in cut[:-1]]
    assert kept == [step for step in range(at.step + 1, at.steps) if every and step % every == 0]


@given(at=positions(), every=st.integers(1, 500))
def test_an_epoch_is_cut_alike_wherever_it_is_taken_up(at: Position, every: int) -> None:
    whole = blocks(0, at.steps, every)

    assert {end for _, end in blocks(at.step, at.steps, every)} == {end for _, end in whole if end > at.step}
