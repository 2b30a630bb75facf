"""Evidence on its way from a host to the session: pieces of files as they grow, and at the end what there has to be."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import time
from functools import partial
from pathlib import Path
from typing import Any, Iterator, Mapping

from trainer.launch.messages import LINE_BYTES

_NAME = re.compile(r"(?:rank-[0-9]{4,9}\.(?:jsonl|log|stack\.log)|telemetry(?:-[0-9]{4})?\.jsonl|host-[0-9]{4}\.log)")
_SETTLE_S = 10.0
_AROUND_DATA_BYTES = 250  # of a line: the token, the name and the place
_SPELLED_OUT = 4


def evidence_files(folder: Path) -> list[Path]:
    """Return the files of evidence that ranks and agents write into a run's folder."""
    return sorted(path for path in folder.glob("*.*") if _NAME.fullmatch(path.name) and not path.is_symlink())


class Shipper:
    """Reads what was added to the files of a folder, a piece at a time."""

    def __init__(self, folder: Path, line_bytes: int = LINE_BYTES) -> None:
        self._folder = folder
        self._piece_bytes = (line_bytes - _AROUND_DATA_BYTES) * 3 // 4  # base64 makes four bytes of three
        self._offsets: dict[str, int] = {}

    def pieces(self) -> Iterator[dict[str, Any]]:
        """Yield a message for every piece that was added since the last call; of a new file also where it is empty."""
        for path in evidence_files(self._folder):
            is_new = path.name not in self._offsets
            with path.open("rb") as file:
                file.seek(self._offsets.setdefault(path.name, 0))
                for piece in iter(partial(file.read, self._piece_bytes), b""):
                    yield self._message(path.name, piece)
                    is_new = False
            if is_new:
                yield self._message(path.name, b"")

    def _message(self, name: str, piece: bytes) -> dict[str, Any]:
        at = self._offsets[name]
        self._offsets[name] += len(piece)
        return {"file": name, "at": at, "data": base64.b64encode(piece).decode("ascii")}


def manifest(folder: Path) -> dict[str, list[Any]]:
    """Return [bytes, sha256] by name of the files of evidence in a folder."""
    found = {}
    for path in evidence_files(folder):
        digest, size = hashlib.sha256(), 0
        with path.open("rb") as file:
            for piece in iter(lambda: file.read(1 << 20), b""):
                digest.update(piece)
                size += len(piece)
        found[path.name] = [size, digest.hexdigest()]
    return found


class Receiver:
    """Puts the pieces that come from a host into the session's folder of the run."""

    def __init__(self, folder: Path, host: str) -> None:
        self._folder = folder
        self._host = host
        self.problems: list[str] = []

    def take(self, message: Mapping[str, Any]) -> None:
        """Append a piece; one that does not continue its file, or has a name of its own making, is a problem."""
        name, at = message.get("file"), message.get("at")
        if not isinstance(name, str) or not _NAME.fullmatch(name) or type(at) is not int:
            self._problem(f"sent a file named {str(name)[:60]!r}, expected one of evidence")
            return
        try:
            data = base64.b64decode(message.get("data") or "", validate=True)
        except (binascii.Error, TypeError, ValueError):
            self._problem(f"sent a piece of {name} that is damaged")
            return
        path = self._folder / name
        if path.is_symlink():
            self._problem(f"sent a piece of {name}, and {path} is a link, expected a file or nothing")
            return
        try:
            size = path.stat().st_size if path.exists() else 0
            if size != at:
                lost = f"expected byte {size}: a part was lost on the way"
                self._problem(f"sent a piece of {name} from byte {at}, {lost}")
                return
            with path.open("ab") as file:
                file.write(data)
        except OSError as error:
            self._problem(f"sent a piece of {name} that could not be written to {path}: {error.strerror}")

    def missing(self, expected: Mapping[str, Any], settle_s: float = _SETTLE_S) -> list[str]:
        """Return what differs between the folder and a host's manifest; a shared file system may take a moment."""
        deadline_s = time.monotonic() + settle_s
        while True:
            differing = self._differing(expected)
            if not differing or self.problems or time.monotonic() > deadline_s:
                more = len(differing) - _SPELLED_OUT
                rest = [f"and {more} more files"] if more > 0 else []
                return [*self.problems, *differing[:_SPELLED_OUT], *rest]
            time.sleep(0.2)

    def _differing(self, expected: Mapping[str, Any]) -> list[str]:
        found = manifest(self._folder) if expected else {}
        texts = []
        for name, (size, digest) in expected.items():
            have = found.get(name)
            if have is None:
                texts.append(f"{name} of {self._host} is not here")
            elif have != [size, digest]:
                texts.append(f"{name} of {self._host} has {have[0]} bytes here and {size} there, or others")
        return texts

    def _problem(self, text: str) -> None:
        if len(self.problems) < _SPELLED_OUT:
            self.problems.append(f"{self._host} {text}")
