"""A run's folder on a host: the session's, where the file system is shared, or one whose evidence has to be sent."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Iterator

from trainer.errors import SettingsError
from trainer.launch.messages import Order
from trainer.launch.shipping import Shipper, evidence_files, manifest

SESSION_FILE = ".session"
"""In the run's folder, holds the order's token: an agent that finds it there shares the session's file system."""


class Workplace:
    """Finds the folder or makes it. Raises SettingsError where it cannot be had."""

    def __init__(self, order: Order) -> None:
        self.folder = Path(order.run_dir)
        self._files = [Path(name).name for name in order.files]
        try:
            self.shared = (self.folder / SESSION_FILE).read_text(encoding="utf-8") == order.token
        except OSError:
            self.shared = False
        self._shipper = None if self.shared else Shipper(self.folder, order.line_bytes)
        if not self.shared:
            self._make(order)

    @property
    def free_bytes(self) -> int:
        """What is free on its disk."""
        return shutil.disk_usage(str(self.folder)).free

    def pieces(self) -> Iterator[dict[str, Any]]:
        """Yield what has to be sent of what was added to the evidence since the last call."""
        if self._shipper is not None:
            yield from self._shipper.pieces()

    def manifest(self) -> dict[str, list[Any]]:
        """Return what has to have arrived."""
        return {} if self.shared else manifest(self.folder)

    def clear(self, *, again: bool) -> None:
        """Remove what the session has; the checkpoints stay if another attempt follows."""
        for path in evidence_files(self.folder):
            path.unlink()
        if not again:
            shutil.rmtree(str(self.folder), ignore_errors=True)

    def leave_as_found(self) -> None:
        """Remove what a run that never began has put here; what an attempt before it left stays."""
        if not self.shared:
            with contextlib.suppress(OSError):
                for name in self._files:
                    (self.folder / name).unlink()
                self.folder.rmdir()

    def leave_word(self, reason: str) -> None:
        """Mark the run as aborted for a session that can no longer do it."""
        path = self.folder / "run.json"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["boot"]["failure"] is None and record["boot"]["exit_code"] is None:
                record["boot"]["failure"] = {"phase": "aborted", "message": f"{reason}; the ranks were ended"}
                partial = path.with_suffix(".word")
                partial.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
                os.replace(str(partial), str(path))
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"agent: run.json could not be marked: {error}", file=sys.stderr)

    def _make(self, order: Order) -> None:
        if (self.folder / "run.json").exists():
            # Nothing is to be removed there: it may be the session's, on a file system that is slow to show its mark.
            raise SettingsError(
                f"{self.folder} holds a run and not the session's mark ({SESSION_FILE}): the hosts' file system shows "
                "files late, or the folder is another run's; choose another place with --runs"
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in evidence_files(self.folder):
                path.unlink()  # of an attempt before this one, which the session has
            for name, text in order.files.items():
                (self.folder / Path(name).name).write_text(text, encoding="utf-8")
        except OSError as error:
            raise SettingsError(
                f"{self.folder} cannot be made: {error.strerror}; choose another place with --runs"
            ) from None
