"""JSON objects, one a line, out of a file that may be damaged; every damage is named, none raises."""

from __future__ import annotations

import io
from typing import Any, Iterator

from evidence.codec import parse_object

_LIMIT = 20  # of problems spelled out for one file; a file full of rubbish needs no more


class Problems:
    """What is wrong with one file, each with its line; after the first few they are only counted."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._texts: list[str] = []
        self._unsaid = 0

    def add(self, what: str, line: int | None = None) -> None:
        """Note that `what` is wrong, on `line` (counted from 1) or with the file as a whole."""
        if len(self._texts) == _LIMIT:
            self._unsaid += 1
            return
        where = self.file if line is None else f"{self.file} line {line}"
        self._texts.append(f"{where}: {what}")

    def all(self) -> tuple[str, ...]:
        """The problems in the order of finding."""
        more = (f"{self.file}: and {self._unsaid} more problems",) if self._unsaid else ()
        return (*self._texts, *more)


def read_objects(content: bytes, problems: Problems) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) for each line; a line that is not an object goes to `problems`.

    So does a last line without its newline that does not parse: it was cut off while it was written.
    """
    for line, raw in enumerate(io.BytesIO(content), start=1):
        try:
            record = parse_object(raw)
        except ValueError as error:
            cut = not raw.endswith(b"\n")
            problems.add("the last line is cut off" if cut else f"not a JSON object ({error})", line)
        else:
            yield line, record
