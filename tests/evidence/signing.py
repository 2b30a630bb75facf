"""Keys and signers for tests, of the real ssh-keygen or the one in fake_ssh_keygen.py."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Iterator

FAKE = Path(__file__).with_name("fake_ssh_keygen.py")
LAB = "lab@example.com"


@contextlib.contextmanager
def on_path(folder: Path) -> Iterator[None]:
    """Look for programs in `folder` first."""
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{folder}{os.pathsep}{before}"
    try:
        yield
    finally:
        os.environ["PATH"] = before


def fake_program(folder: Path) -> Path:
    """Make the fake ssh-keygen in `folder` and return the folder."""
    return program(folder, f'exec {shlex.quote(sys.executable)} {shlex.quote(str(FAKE))} "$@"')


def program(folder: Path, does: str) -> Path:
    """Make an `ssh-keygen` in `folder` that does this in a shell; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ssh-keygen").write_text(f"#!/bin/sh\n{does}\n")
    (folder / "ssh-keygen").chmod(0o755)
    return folder


def fake_key(path: Path) -> str:
    """Write a key of the fake program; return its public half."""
    path.write_text(path.stem)
    return f"ssh-ed25519 {path.stem}"


def real_key(path: Path) -> str:
    """Make a key of OpenSSH without a passphrase; return its public half."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, stdin=subprocess.DEVNULL
    )
    return path.with_name(f"{path.name}.pub").read_text().strip()


def signers(path: Path, *lines: str) -> Path:
    """Write an allowed_signers file and return it."""
    path.write_text("".join(f"{line}\n" for line in lines))
    return path
