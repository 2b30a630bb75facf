"""Checkpoints on disk: a reader finds a whole one or passes over it, as each has its digest beside it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, Iterator

import torch

from trainer.errors import DiskError, WeightsError
from trainer.loop.position import Position
from trainer.model.weights import read_state_dict, sha256

Tensors = Dict[str, torch.Tensor]
"""What a checkpoint is made of: tensors on the host by name, and nothing else, so that nothing else has to be read."""

FOLDER = "checkpoints"
_KEPT = 2
_NAME = re.compile(r"epoch-([0-9]{4,9})-step-([0-9]{6,12})\.pt")
_DIGEST = re.compile(r"([0-9a-f]{64})  (.+)\n")


class Checkpoints:
    """The checkpoints of a run, as rank 0 writes and finds them; the newest two that are good are kept."""

    def __init__(self, run_dir: Path) -> None:
        self._folder = run_dir / FOLDER
        self._good: list[str] = []
        self.skipped: list[str] = []
        """What was wrong with each file that `newest` passed over."""

    def save(self, position: Position, tensors: Tensors) -> tuple[str, int]:
        """Write the checkpoint of `position` and return (its path in the run's folder, bytes). Raises DiskError."""
        path = self._folder / file_name(position)
        try:
            self._folder.mkdir(exist_ok=True)
            digest = _write_whole(path, lambda file: torch.save(tensors, file))
            _write_whole(_digest_path(path), lambda file: file.write(f"{digest}  {path.name}\n".encode("ascii")))
            self._good = [*(name for name in self._good if name != path.name), path.name][-_KEPT:]
            self._tidy_up()
            return f"{FOLDER}/{path.name}", path.stat().st_size
        except (OSError, RuntimeError) as error:  # torch.save has no error of its own
            raise DiskError(_disk_message(path, error)) from error

    def newest(self, problem_of: Callable[[Tensors], str]) -> Tensors | None:
        """Return the content of the newest checkpoint that is whole and unaltered; None where there is none.

        `problem_of` says why a content that could be read is of no use, "" where it is. It is put on `skipped`, as is
        what is wrong with a file. Nothing in a file is ever called.
        """
        for path in self._newest_first():
            try:
                tensors = _read(path)
            except (OSError, WeightsError, ValueError) as error:
                self.skipped.append(_one_line(path, error))
                continue
            problem = problem_of(tensors)
            if not problem:
                self._good = [path.name]
                return tensors
            self.skipped.append(f"{path.name}: {problem}")
        return None

    def _newest_first(self) -> list[Path]:
        found: list[tuple[int, int, Path]] = []
        # Without the folder there are no checkpoints yet; that it cannot be read, saving will say.
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir():
                match = _NAME.fullmatch(path.name)
                if match is not None:
                    found.append((int(match.group(1)), int(match.group(2)), path))
        return [path for _, _, path in sorted(found, reverse=True)]

    def _tidy_up(self) -> None:
        """Remove what is not one of the good ones: older ones, those that `newest` passed over, and halves."""
        kept = {name for good in self._good for name in (good, _digest_path(Path(good)).name)}
        for path in self._folder.iterdir():
            if path.name.startswith("epoch-") and path.name not in kept:
                path.unlink()


def file_name(position: Position) -> str:
    """Return the name of a position's checkpoint."""
    return f"epoch-{position.epoch:04d}-step-{position.step:06d}.pt"


def _digest_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _read(path: Path) -> Tensors:
    """Raises OSError, WeightsError, and ValueError for a file that is not the one that was written."""
    match = _DIGEST.fullmatch(_digest_path(path).read_text(encoding="ascii"))
    if match is None or match.group(2) != path.name:
        raise ValueError(f"{_digest_path(path).name} holds no digest of it")
    found = sha256(path)
    if found != match.group(1):
        raise ValueError(
            f"found sha256 {found[:12]}..., expected {match.group(1)[:12]}...: it is torn, or was altered after it "
            "was written"
        )
    return read_state_dict(path)


class _Sink:
    """A file to write to that hashes what passes and remembers the first error, to be raised later.

    torch calls it from native code, which tells of an exception as of an error of its own, without the reason.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write `data`, unless an error is waiting to be raised."""
        if self._error is None:
            try:
                self._file.write(data)
                self._sha256.update(data)
            except OSError as error:
                self._error = error
        return len(data)

    def flush(self) -> None:
        """Do nothing: `finish` does."""

    def finish(self) -> str:
        """Bring everything to the disk and return the SHA-256 of what was written. Raises the first error there was."""
        if self._error is not None:
            raise self._error
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._sha256.hexdigest()


def _write_whole(path: Path, write: Callable[[Any], Any]) -> str:
    """Write a file so that it is there as a whole or not at all, also after a power cut; return its SHA-256."""
    partial = path.with_name(path.name + ".partial")
    with _removed_on_error(partial):
        with partial.open("wb") as file:
            sink = _Sink(file)
            write(sink)
            digest = sink.finish()
        os.replace(str(partial), str(path))
    _sync_folder(path.parent)
    return digest


@contextlib.contextmanager
def _removed_on_error(partial: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        # What it takes may be all that the disk has left, and the evidence still needs some.
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def _sync_folder(folder: Path) -> None:
    """A file's new name is in its folder, which reaches the disk on its own."""
    handle = os.open(str(folder), os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _disk_message(path: Path, error: Exception) -> str:
    reason = (error.strerror if isinstance(error, OSError) else "") or (str(error).splitlines() or ["?"])[0]
    try:
        free = f"{shutil.disk_usage(str(path.parent.parent)).free:,} bytes are free there"
    except OSError as unknown:
        free = f"how much is free there is not known ({unknown.strerror})"
    return f"{path}: the checkpoint could not be written: {reason}; {free}; make room, or choose another disk"


def _one_line(path: Path, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{Path(error.filename or path).name}: {error.strerror}"
    said = (str(error).splitlines() or [type(error).__name__])[0]
    return said if path.name in said else f"{path.name}: {said}"
