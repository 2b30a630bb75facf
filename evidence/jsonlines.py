"""JSON objects, one a line, out of a file that may be damaged; every damage is named, none raises."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator

from evidence.codec import parse_object

_LIMIT = 20  # of problems spelled out for one file; a file full of rubbish needs no more


class Problems:
    """What is wrong with one file, each with its line; after the first few they are only counted."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._texts: list[str] = []
        self._unsaid = 0

    def add(self, what: str, line: int | None = None) -> None:
        """Note that `what` is wrong, on `line` (counted from 1) or with the file as a whole."""
        if len(self._texts) == _LIMIT:
            self._unsaid += 1
            return
        where = self._file if line is None else f"{self._file} line {line}"
        self._texts.append(f"{where}: {what}")

    def all(self) -> tuple[str, ...]:
        """The problems in the order of finding."""
        more = (f"{self._file}: and {self._unsaid} more problems",) if self._unsaid else ()
        return (*self._texts, *more)


def read_objects(path: Path, problems: Problems) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, object) of each line of the file; a line that is no object is a problem and left out.

    A last line without its newline that does not parse was cut off while it was written: also a problem, since
    what it said is lost.
    """
    try:
        with path.open("rb") as stream:
            for line, raw in enumerate(stream, start=1):
                try:
                    record = parse_object(raw)
                except ValueError as error:
                    cut = not raw.endswith(b"\n")
                    problems.add("the last line is cut off" if cut else f"not a JSON object ({error})", line)
                else:
                    yield line, record
    except OSError as error:
        problems.add(f"cannot be read: {error.strerror}")
