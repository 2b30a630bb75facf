"""The seal of a bundle: SHA256SUMS over its evidence, in the format of `sha256sum -c`; and the seal's signature.

The seal detects damage and edits, also of a run that did not finish. A user who can write into the folder can seal it
again, but not sign it without the key: SHA256SUMS.sig is made and verified by `ssh-keygen -Y` of OpenSSH 8.1 or newer.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Iterator, Mapping

from evidence.errors import EvidenceError
from evidence.files import (
    DETECTIONS_FILE,
    LAUNCHER_LOG,
    RUN_FILE,
    SCENARIO_FILE,
    SEAL_FILE,
    SIGNATURE_FILE,
    Problems,
    sha256_of,
    telemetry_file,
    write_whole,
)

NAMESPACE = "seal@accelerator-conformance"
"""Of the signatures: what a key has signed elsewhere, a commit or a mail, is no seal."""

# What the ranks and the launch wrote. Not what is computed from it (verdict.json, reports), and not checkpoints/.
_FIXED = (RUN_FILE, telemetry_file(0), LAUNCHER_LOG, SCENARIO_FILE, DETECTIONS_FILE)
_NUMBERED = re.compile(r"(?:rank|telemetry|host)-.*\.(?:jsonl|log)|operators-.*\.npz", re.DOTALL)
_OF_AN_ATTEMPT = re.compile(r"attempt-[0-9]+\.")  # before the name of what an attempt left that broke off
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.*)")
_SPELLED_OUT = 20  # files; on many ranks the rest would only repeat them
_LARGEST_SIGNATURE_BYTES = 1 << 16
_VERIFIED_WITHIN_S = 60.0
_SIGNER = re.compile(r'(?:"([^"]+)"|([^"#\s]\S*))\s+(.*)')
_KEY_TYPES = ("ssh-", "ecdsa-", "sk-")
_OLD = re.compile(rb"option -- '?Y")  # what getopt says of an option that it does not know


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


def sign_seal(run_dir: Path, key: Path) -> Path:
    """Sign the seal of the bundle in `run_dir` with a private key; return the path of SHA256SUMS.sig.

    `key` may be the public key of one that ssh-agent holds. A passphrase is asked for on the terminal. Raises
    EvidenceError for a bundle that is not as it was sealed, a key that does not sign, and a missing or old ssh-keygen.
    """
    require_ssh_keygen()
    run_dir = Path(run_dir)
    seal = read_seal(run_dir)
    problems = seal_problems(run_dir, seal=seal)
    if problems:
        raise EvidenceError(f"{run_dir}: not signed, since it is not as it was sealed: {'; '.join(problems)}")
    done = _ssh_keygen("sign", "-f", str(key), "-n", NAMESPACE, sealed=seal, limit_s=None)
    if done.returncode != 0 or b"SSH SIGNATURE" not in done.stdout:
        raise EvidenceError(f"{run_dir}: not signed: ssh-keygen said {_said(done)}; give a private key with --key")
    path = run_dir / SIGNATURE_FILE
    write_whole(path, done.stdout.decode("ascii"))
    return path


def verified_signer(run_dir: Path, seal: bytes, allowed: Path) -> tuple[str, str]:
    """Return (who signed the seal, ""), or ("", what is wrong with its signature).

    `seal` is the content of SHA256SUMS as it was read, `allowed` an allowed_signers file of OpenSSH. Raises
    EvidenceError for a file without signers, and a missing or old ssh-keygen.
    """
    names = allowed_signers(allowed)
    path = Path(run_dir) / SIGNATURE_FILE
    if not os.path.lexists(str(path)):
        return "", f"{SIGNATURE_FILE}: not there, and a signature is required: sign the run where it was made"
    if not _is_file(path) or path.stat().st_size > _LARGEST_SIGNATURE_BYTES:
        return "", f"{SIGNATURE_FILE}: found a link or something else that is no signature, expected the file itself"
    why = "no signer is listed"
    for name in names:
        done = _ssh_keygen(
            *("verify", "-f", str(allowed), "-I", name, "-n", NAMESPACE, "-s", str(path)),
            sealed=seal,
            limit_s=_VERIFIED_WITHIN_S,
        )
        if done.returncode == 0:
            return name, ""
        why = _said(done)
    return "", f"{SIGNATURE_FILE}: is not a signature of this seal by any of {', '.join(names)} ({allowed.name}): {why}"


def allowed_signers(file: Path) -> tuple[str, ...]:
    """Return the names in an allowed_signers file, each once. Raises EvidenceError if it cannot be read or has none."""
    try:
        names = tuple(dict.fromkeys(_names(file.read_text(encoding="utf-8"))))
    except (OSError, ValueError) as error:
        raise EvidenceError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not names:
        raise EvidenceError(
            f"{file}: found no signer, expected lines of OpenSSH's allowed_signers: a name and a public key, as in "
            "`lab@example.com ssh-ed25519 AAAA...`"
        )
    return names


def require_ssh_keygen() -> None:
    """Raise EvidenceError unless there is an ssh-keygen that signs."""
    if shutil.which("ssh-keygen") is None:
        raise EvidenceError("ssh-keygen is not on PATH; signatures need OpenSSH 8.1 or newer, on any machine")
    if _OLD.search(_ssh_keygen("verify", sealed=b"", limit_s=_VERIFIED_WITHIN_S).stderr):
        raise EvidenceError(
            f"{shutil.which('ssh-keygen')} has no -Y, expected OpenSSH 8.1 or newer; use another machine, at any time"
        )


def _ssh_keygen(*words: str, sealed: bytes, limit_s: float | None) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["ssh-keygen", "-Y", *words], input=sealed, capture_output=True, timeout=limit_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EvidenceError(f"ssh-keygen -Y {words[0]}: could not be run: {error}") from None


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = (done.stderr + b"\n" + done.stdout).decode("utf-8", "replace").splitlines()
    shown = [line.strip() for line in lines if line.strip() and not line.startswith("Signing data")]
    return "; ".join(shown[:2]) or f"nothing, and ended with code {done.returncode}"


def _names(text: str) -> Iterator[str]:
    """The names of an allowed_signers file: the first word of each line, in which commas part several patterns."""
    for line in text.splitlines():
        match = _SIGNER.match(line.strip())
        names, rest = (match.group(1) or match.group(2), match.group(3)) if match else ("", "")
        if any(word.startswith(_KEY_TYPES) for word in rest.split()):
            yield from (name for name in names.split(",") if name and not name.startswith("!"))


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
