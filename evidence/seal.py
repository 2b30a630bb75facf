"""The seal of a bundle: SHA256SUMS over its evidence, in the format of `sha256sum -c`.

It detects damage and edits, also of a run that did not finish. It is not a signature: a user who can write into the
folder can seal it again.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Mapping

from evidence.files import LAUNCHER_LOG, RUN_FILE, SCENARIO_FILE, SEAL_FILE, sha256_of, telemetry_file, write_whole
from evidence.jsonlines import Problems

# What the ranks and the launch wrote. Not what is computed from it (verdict.json, reports), and not checkpoints/.
_FIXED = (RUN_FILE, telemetry_file(0), LAUNCHER_LOG, SCENARIO_FILE)
_NUMBERED = re.compile(r"(?:rank|telemetry|host)-.*\.(?:jsonl|log)", re.DOTALL)
_OF_AN_ATTEMPT = re.compile(r"attempt-[0-9]+\.")  # before the name of what an attempt left that broke off
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.*)")
_SPELLED_OUT = 20  # files; on many ranks the rest would only repeat them


def write_seal(run_dir: Path) -> Path:
    """Seal the evidence in `run_dir` as it is now and return the path of SHA256SUMS, which is replaced as a whole.

    A file with an odd name is left out, so that checking names it.
    """
    run_dir = Path(run_dir)
    names = [name for name in _evidence_files(run_dir) if _PLAIN.fullmatch(name) and _is_file(run_dir / name)]
    path = run_dir / SEAL_FILE
    write_whole(path, "".join(f"{sha256_of(run_dir / name)}  {name}\n" for name in names))
    return path


def file_states(run_dir: Path) -> dict[str, tuple[int, int, int]]:
    """Size, time of change and inode of each file of evidence: another value means that it was written to."""
    states = {}
    for name in (*_evidence_files(run_dir), SEAL_FILE):
        try:
            found = os.lstat(str(run_dir / name))
        except OSError:
            continue  # a file that is not there is for others to miss
        states[name] = found.st_size, found.st_mtime_ns, found.st_ino
    return states


def read_seal(run_dir: Path) -> bytes:
    """Return the content of SHA256SUMS; empty if it is not there, is no regular file or cannot be read."""
    try:
        return (run_dir / SEAL_FILE).read_bytes() if _is_file(run_dir / SEAL_FILE) else b""
    except OSError:
        return b""


def seal_problems(run_dir: Path, digests: Mapping[str, str] | None = None, seal: bytes = b"") -> tuple[str, ...]:
    """Return how the evidence in `run_dir` differs from its seal, each with the name of the file.

    `digests` are the SHA-256 of files that were read already, by name, and `seal` the content of SHA256SUMS; what is
    not given is read here.
    """
    problems = Problems(SEAL_FILE)
    try:
        sealed = _read_seal(run_dir / SEAL_FILE, problems, seal)
        if sealed is None:
            return problems.all()
        return (*problems.all(), *_differences(run_dir, sealed, digests or {}))
    except OSError as error:
        problems.add(f"the evidence cannot be held against it: {error.strerror}")
        return problems.all()


def _read_seal(path: Path, problems: Problems, seal: bytes) -> dict[str, str] | None:
    """Return the digests by file name, or None if there is no seal to compare with."""
    if not os.path.lexists(str(path)):
        problems.add("not there: the run never came to its end, or its seal was taken away")
        return None
    if not _is_file(path):
        problems.add("found a link or something else that is no file, expected the file itself")
        return None
    sealed: dict[str, str] = {}
    for line, raw in enumerate(io.BytesIO(seal or path.read_bytes()), start=1):
        name, digest = _entry(raw, line, problems)
        if name in sealed:
            problems.add(f"{name} is listed a second time", line)
        elif name:
            sealed[name] = digest
    return sealed


def _entry(raw: bytes, line: int, problems: Problems) -> tuple[str, str]:
    """(file name, digest) of one line; the name is empty where there is none to be trusted."""
    match = _LINE.fullmatch(raw.decode("utf-8", errors="replace").rstrip("\n"))
    if match is None:
        problems.add("expected 64 hexadecimal digits, two spaces and a file's name", line)
        return "", ""
    digest, name = match.group(1).lower(), match.group(2)
    # The name becomes a path: nothing but a file of this very folder may come of it.
    if not (_PLAIN.fullmatch(name) and _is_evidence(name)):
        problems.add(f"found the name {name[:60]!r}, expected that of a file of evidence in this folder", line)
        return "", ""
    return name, digest


def _differences(run_dir: Path, sealed: Mapping[str, str], digests: Mapping[str, str]) -> list[str]:
    found = set(_evidence_files(run_dir))
    texts = []
    for name in sorted({*sealed, *found}):
        gone = f"listed in {SEAL_FILE} and not there"
        what = _difference(run_dir / name, sealed.get(name), digests.get(name)) if name in found else gone
        if what:
            texts.append(f"{name if _PLAIN.fullmatch(name) else repr(name)}: {what}")
    more = len(texts) - _SPELLED_OUT
    return texts if more <= 0 else [*texts[:_SPELLED_OUT], f"{SEAL_FILE}: and {more} more files that differ"]


def _difference(path: Path, digest: str | None, found: str | None) -> str:
    """What is wrong with a file of evidence; empty when it is as it was sealed."""
    if not _is_file(path):
        return "found a link or something else that is no file, expected the file itself"
    if digest is None:
        return f"not listed in {SEAL_FILE}: it came after the run, or the list was changed"
    found = found or sha256_of(path)
    if found == digest:
        return ""
    return f"changed since it was sealed: found sha256 {found[:12]}..., expected {digest[:12]}... of {SEAL_FILE}"


def _evidence_files(run_dir: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(str(run_dir)) if _is_evidence(entry.name))


def _is_evidence(name: str) -> bool:
    broken_off = _OF_AN_ATTEMPT.match(name)
    name = name[broken_off.end() :] if broken_off else name
    return name in _FIXED or _NUMBERED.fullmatch(name) is not None


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
