"""The files of a run's folder: names, version of the format, writing, hashing, and JSON Lines that may be damaged."""

from __future__ import annotations

import hashlib
import io
import os
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator

from evidence.codec import parse_object
from evidence.errors import EvidenceError

if TYPE_CHECKING:
    import numpy as np

SCHEMA = 3
"""Of run.json, events and verdict.json, as they are written."""
OLDEST_SCHEMA = 2
"""That is read too."""
WORK_SCHEMA = 3
"""The first with what shows that a rank trained (parameters, images by id, gradients, digests of annotations), and
whose ranks read the agent's clock and test their own in training."""

RUN_FILE = "run.json"
VERDICT_FILE = "verdict.json"
SEAL_FILE = "SHA256SUMS"
SIGNATURE_FILE = "SHA256SUMS.sig"
SCENARIO_FILE = "scenario.toml"
LAUNCHER_LOG = "launcher.log"
DETECTIONS_FILE = "detections.npz"

RANK_FILE = re.compile(r"rank-([0-9]{4,9})\.jsonl")
TELEMETRY_FILE = re.compile(r"telemetry(?:-[0-9]{4,9})?\.jsonl")

_CHUNK_BYTES = 1 << 20
_LIMIT = 20  # of problems spelled out for one file; a file full of rubbish needs no more
_DAMAGED = (ValueError, LookupError, TypeError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)
_MOST_DETECTIONS_BYTES = 1 << 30  # unpacked; COCO's 5,000 images have at most 16 MB


@dataclass(frozen=True, eq=False)
class KeptDetections:
    """The detections of the evaluation after `epoch`, the last one: float64 [n, 7], an image id, x, y, width, height
    in pixels of the original image, score and category id each; `annotations_sha256` is of the file they are scored by.
    """

    rows: np.ndarray
    epoch: int
    annotations_sha256: str


def other_schema(found: int) -> str:
    """Return the complaint about a schema that is not read; "" for one that is."""
    if OLDEST_SCHEMA <= found <= SCHEMA:
        return ""
    return f"schema {found}, expected {OLDEST_SCHEMA if found < OLDEST_SCHEMA else SCHEMA}"


def rank_file(rank: int) -> str:
    """Return the name of a rank's event log."""
    return f"rank-{rank:04d}.jsonl"


def telemetry_file(node: int) -> str:
    """Return the name of a host's samples: appending to one file is safe on a host, not on a file system of several."""
    return "telemetry.jsonl" if node == 0 else f"telemetry-{node:04d}.jsonl"


def operators_file(rank: int) -> str:
    """Return the name of a rank's answers of the operators probe that are outside their bounds."""
    return f"operators-{rank:04d}.npz"


def write_detections(run_dir: Path, found: KeptDetections) -> None:
    """Write detections.npz, compressed. Raises OSError.

    `image` is an image's number, from 1 in the ascending order of ids; boxes are kept by their corners in float32, as
    the model gave them.
    """
    import numpy as np

    boxes = found.rows[:, 1:5].copy()
    boxes[:, 2:] += boxes[:, :2]
    content = io.BytesIO()
    np.savez_compressed(
        content,
        image=found.rows[:, 0].astype(np.int64),
        box=boxes.astype(np.float32),
        score=found.rows[:, 5].astype(np.float32),
        category_id=found.rows[:, 6].astype(np.int32),
        epoch=np.array(found.epoch),
        annotations_sha256=np.array(found.annotations_sha256),
    )
    write_whole(run_dir / DETECTIONS_FILE, content.getvalue())


def read_detections(run_dir: Path) -> KeptDetections:
    """Return what was written, to the last bit. Raises EvidenceError for a file that is absent or damaged."""
    import numpy as np

    path = run_dir / DETECTIONS_FILE
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _MOST_DETECTIONS_BYTES:
                raise ValueError("it is too large to be of one evaluation")
        with np.load(str(path), allow_pickle=False) as arrays:
            boxes = arrays["box"].astype(np.float64)
            boxes[:, 2:] -= boxes[:, :2]
            columns = (arrays["image"], *boxes.T, arrays["score"], arrays["category_id"])
            rows = np.stack([column.astype(np.float64) for column in columns], axis=1)
            return KeptDetections(rows, int(arrays["epoch"]), str(arrays["annotations_sha256"]))
    except OSError as error:
        raise EvidenceError(f"{DETECTIONS_FILE}: cannot be read: {error.strerror or error}") from None
    except _DAMAGED as error:
        raise EvidenceError(f"{DETECTIONS_FILE}: found no detections: {error}") from None


def write_whole(path: Path, content: str | bytes | memoryview) -> None:
    """Replace `path` by `content`, a text in UTF-8, atomically and flushed to disk; an error leaves the old file.

    A reader finds the old content or the new one.
    """
    # The process id: several writers of the same file must not write into one another's.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            stream.write(content.encode("utf-8") if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(str(partial), str(path))
    except BaseException:
        if partial.exists():
            partial.unlink()
        raise


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for chunk in iter(lambda: stream.read(_CHUNK_BYTES), b""):
            digest.update(chunk)
    return digest.hexdigest()


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


def whole_lines(content: bytes) -> bytes:
    """Return the content without a last line that has no newline: it may be half written."""
    return content[: content.rfind(b"\n") + 1]


def read_objects(content: bytes, problems: Problems, first: int = 1) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from `first`, object) for each line; a line that is not an object goes to `problems`.

    So does a last line without its newline that does not parse: it was cut off while it was written.
    """
    for line, raw in enumerate(io.BytesIO(content), start=first):
        try:
            record = parse_object(raw)
        except ValueError as error:
            cut = not raw.endswith(b"\n")
            problems.add("the last line is cut off" if cut else f"not a JSON object ({error})", line)
        else:
            yield line, record
