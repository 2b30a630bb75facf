"""The bundle of a run that goes on: what its files hold so far, of which each call reads only what is new."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

from evidence.bundle import Evidence, no_collections
from evidence.errors import EvidenceError
from evidence.files import RANK_FILE, RUN_FILE, TELEMETRY_FILE, Problems, read_objects, whole_lines
from evidence.rank_file import RankReader
from evidence.run_file import Run, decode_run
from evidence.telemetry import TelemetryReader


@dataclass
class _File:
    """A file as far as it was read: bytes, lines, and which file it was."""

    problems: Problems
    offset: int = 0
    lines: int = 0
    inode: int = 0


class GrowingRun:
    """Reads the folder of a run that is still written to.

    Only whole lines count: the last one may be half written. Where a file is another one or shorter than before, as
    after a restart of the run, everything is read anew. There is no seal yet, so nothing is held against it.

        growing = GrowingRun(Path("runs/20261123T101200Z-r300-1x8-fp32"))
        while growing.read().run.boot.exit_code is None:
            time.sleep(2)
    """

    def __init__(self, run_dir: Path) -> None:
        self.path = Path(run_dir)
        self._begin()

    def _begin(self) -> None:
        self._files: dict[str, _File] = {}
        self._ranks: dict[int, RankReader] = {}
        self._telemetry = TelemetryReader()

    def read(self) -> Evidence:
        """Return what there is. Raises EvidenceError where there is no such folder, or it has no run.json."""
        with no_collections():
            run = self._run()
            if not self._take_new():
                self._begin()
                self._take_new()
            ranks = tuple(self._ranks[rank].so_far() for rank in sorted(self._ranks))
            problems = tuple(text for file in self._files.values() for text in file.problems.all())
            return Evidence(self.path, run, ranks, self._telemetry.so_far(), problems)

    def _run(self) -> Run:
        path = self.path / RUN_FILE
        try:
            return decode_run(path.read_bytes())
        except OSError as error:
            text = f"{path}: cannot be read ({error.strerror}); give the folder of a run, as runs/<run>"
            raise EvidenceError(text) from None
        except ValueError as error:
            raise EvidenceError(f"{path}: found no record of a run ({error})") from None

    def _take_new(self) -> bool:
        """Read what has been added to the files; False if one is not the file that it was."""
        names = {path.name for path in self.path.glob("*.jsonl")}
        if not names >= set(self._files):
            return False
        for name in sorted(names):
            match = RANK_FILE.fullmatch(name)
            if match is None and not TELEMETRY_FILE.fullmatch(name):
                continue
            file = self._files.setdefault(name, _File(Problems(name)))
            added = _added(self.path / name, file)
            if added is None:
                return False
            self._take(file, added, int(match.group(1)) if match else None)
        return True

    def _take(self, file: _File, added: bytes, rank: int | None) -> None:
        for line, record in self._records(file, added):
            if rank is None:
                self._telemetry.take(line, record, file.problems)
            else:
                reader = self._ranks.get(rank)
                if reader is None:
                    reader = self._ranks[rank] = RankReader(file.problems.file, rank, file.problems)
                reader.take(line, record)

    def _records(self, file: _File, added: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
        first, file.lines = file.lines + 1, file.lines + added.count(b"\n")
        return read_objects(added, file.problems, first)


def _added(path: Path, file: _File) -> bytes | None:
    """Return the whole lines that were added; None if it is another file, or shorter than it was."""
    try:
        with path.open("rb") as stream:
            state = os.fstat(stream.fileno())
            if file.inode not in (0, state.st_ino) or state.st_size < file.offset:
                return None
            file.inode = state.st_ino
            stream.seek(file.offset)
            content = stream.read()
    except OSError:
        return None if file.offset else b""  # gone; or not readable, which judging reports
    whole = whole_lines(content)
    file.offset += len(whole)
    return whole
