"""A run's folder on a host: the session's own on a shared file system, else a work dir whose evidence is transferred.

The transfer is one gzipped tar archive, sent in lines when the ranks have ended: at the end of a run, and when it fails
or is stopped. If it does not get through, the files stay where they are.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import shutil
import sys
import tarfile
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Mapping

from evidence.files import RUN_FILE
from evidence.run_file import Boot, Broken, decode_run, write_run
from trainer.errors import SettingsError
from trainer.launch.protocol import LINE_BYTES, Order

SESSION_FILE = ".session"
"""In the run's folder, holds the order's token: an agent that finds it there shares the session's file system."""

TRANSFER_S = 600.0
"""The longest that an agent sends its evidence."""

_NAME = (
    r"(?:rank-[0-9]{4,9}\.(?:jsonl|log|stack\.log)|telemetry(?:-[0-9]{4})?\.jsonl|host-[0-9]{4}\.log|detections\.npz"
    r"|operators-[0-9]{4,9}\.npz)"
)
_SENT = rf"(?:attempt-[0-9]{{1,4}}\.)?{_NAME}"  # also those of an earlier attempt, set aside
_ENVELOPE_BYTES = 150  # of a line: the token, the host's number and the key


def evidence_files(folder: Path) -> list[Path]:
    """Return the files of evidence that ranks and agents write into a run's folder."""
    return _files(folder, _NAME)


def _files(folder: Path, name: str) -> list[Path]:
    return sorted(path for path in folder.glob("*.*") if re.fullmatch(name, path.name) and not path.is_symlink())


class WorkDir:
    """The run's folder on an agent's host, made if it is missing. Raises SettingsError if it cannot be used."""

    def __init__(self, order: Order) -> None:
        self.folder = Path(order.run_dir)
        self._order = order
        try:
            self.shared = (self.folder / SESSION_FILE).read_text(encoding="utf-8") == order.token
        except OSError:
            self.shared = False
        if not self.shared:
            self._make()

    @property
    def free_bytes(self) -> int:
        """What is free on its disk."""
        return shutil.disk_usage(str(self.folder)).free

    def clear(self, *, again: bool) -> None:
        """Remove what the session has received; checkpoints stay if another attempt follows."""
        for path in _files(self.folder, _SENT):
            path.unlink()
        if not again:
            shutil.rmtree(str(self.folder), ignore_errors=True)

    def leave_as_found(self) -> None:
        """Remove what this agent has put here for a run that never began; checkpoints of an earlier attempt stay."""
        if not self.shared:
            with contextlib.suppress(OSError):
                for name in self._order.files:
                    (self.folder / Path(name).name).unlink()
                self.folder.rmdir()

    def mark_aborted(self, reason: str) -> None:
        """Record in the session's run.json that the run was aborted, unless the session has recorded its end itself."""
        try:
            run = decode_run((self.folder / RUN_FILE).read_bytes())
            if run.boot == Boot():
                failure = Broken("aborted", f"{reason}; the ranks were ended")
                write_run(self.folder, replace(run, boot=Boot(failure=failure)))
        except (OSError, ValueError) as error:
            print(f"agent: run.json could not be marked: {error}", file=sys.stderr)

    def _make(self) -> None:
        if (self.folder / RUN_FILE).exists():
            # Nothing may be removed here: it may be the session's, on a file system that shows new files late.
            raise SettingsError(
                f"{self.folder} holds a run and not the session's mark ({SESSION_FILE}): the hosts' file system shows "
                "files late, or the folder is another run's; choose another place with --runs"
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in evidence_files(self.folder):
                # Of an earlier attempt, and not received: sent with this one's.
                path.rename(self.folder / f"attempt-{max(0, self._order.attempt - 1)}.{path.name}")
            for name, text in self._order.files.items():
                (self.folder / Path(name).name).write_text(text, encoding="utf-8")
        except OSError as error:
            raise SettingsError(
                f"{self.folder} cannot be made: {error.strerror}; choose another place with --runs"
            ) from None


def send_evidence(
    folder: Path, send: Callable[[Mapping[str, Any]], bool], line_bytes: int = LINE_BYTES, limit_s: float = TRANSFER_S
) -> list[Any]:
    """Send the files of evidence in a folder; return the size and SHA-256 of what the session has to have then.

    `send` sends a message and returns whether it got through. The SHA-256 is "" if the transfer failed or took longer
    than `limit_s`.
    """
    piece_bytes = (line_bytes - _ENVELOPE_BYTES) * 3 // 4  # base64 makes four bytes of three
    stream = _Sender(send, piece_bytes, time.monotonic() + limit_s)
    try:
        with tarfile.open(fileobj=stream, mode="w|gz", bufsize=piece_bytes) as archive:  # type: ignore[call-overload]
            for path in _files(folder, _SENT):
                archive.add(str(path), path.name, recursive=False)
    except (OSError, tarfile.TarError) as error:
        print(f"agent: the evidence in {folder} was not sent: {error}", file=sys.stderr, flush=True)
        return [stream.size, ""]
    return [stream.size, stream.digest.hexdigest()]


class _Sender:
    """The file that the archive is written to."""

    def __init__(self, send: Callable[[Mapping[str, Any]], bool], piece_bytes: int, until_s: float) -> None:
        self._send = send
        self._piece_bytes = piece_bytes
        self._until_s = until_s
        self.size = 0
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.size += len(data)
        self.digest.update(data)
        for at in range(0, len(data), self._piece_bytes):
            piece = base64.b64encode(data[at : at + self._piece_bytes])
            if not self._send({"evidence": piece.decode("ascii")}):
                raise OSError("the session does not receive it")
        if time.monotonic() > self._until_s:
            raise OSError("it takes too long")
        return len(data)


class Receiver:
    """The session's end of a transfer: collects the archive of one host, and unpacks it into the run's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spool = tempfile.TemporaryFile(dir=str(folder))  # noqa: SIM115 - closed by unpack
        self._size = 0
        self._digest = hashlib.sha256()
        self._problem = ""

    def take(self, text: str) -> None:
        """Take the next piece."""
        try:
            data = base64.b64decode(text, validate=True)
            self._size += len(data)
            self._digest.update(data)
            self._spool.write(data)
        except (TypeError, ValueError):
            self._problem = self._problem or "a piece of it is damaged"
        except OSError as error:
            self._problem = self._problem or f"{self._folder} cannot be written: {error.strerror}"

    def unpack(self, sent: object) -> str:
        """Write the files, given what `send_evidence` returned; return what is missing or wrong, "" if nothing.

        Only regular files with names of evidence are written, and none that is there already.
        """
        with self._spool as spool:
            if not self._problem and sent != [self._size, self._digest.hexdigest()]:
                self._problem = f"{self._size} bytes of it arrived, which are not what was sent"
            if self._problem:
                return self._problem
            try:
                spool.seek(0)
                with tarfile.open(fileobj=spool, mode="r:gz") as archive:
                    for member in archive:
                        if not member.isreg() or not re.fullmatch(_SENT, member.name):
                            return f"it has a file named {member.name[:60]!r}, expected files of evidence"
                        content = archive.extractfile(member)
                        assert content is not None
                        with (self._folder / member.name).open("xb") as file:  # never through a link
                            shutil.copyfileobj(content, file)
            except OSError as error:
                return f"{error.filename or self._folder} cannot be written: {error.strerror or error}"
            except (tarfile.TarError, EOFError, ValueError) as error:
                return f"its archive cannot be read: {error}"
        return ""
