"""Starts a vendor's management tool and returns what it printed; the tools differ, the care does not."""

from __future__ import annotations

import shutil
import subprocess
from typing import Sequence

from trainer.errors import DeviceError

TIMEOUT_S = 10.0


class RefusedError(DeviceError):
    """The tool was there and answered with an exit code other than 0."""


def run_tool(names: Sequence[str], *arguments: str, timeout_s: float = TIMEOUT_S) -> str:
    """Return the standard output of the first of `names` that is on PATH. Raises DeviceError with what to do."""
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        raise DeviceError(f"none of {', '.join(names)} is on PATH; install the vendor's driver tools")
    command = [found, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise DeviceError(f"{' '.join(command)} did not answer within {timeout_s:g} s") from None
    except OSError as error:
        raise DeviceError(f"{' '.join(command)} could not be started: {error}") from None
    if done.returncode != 0:
        # NVIDIA's tool says what was wrong on its standard output.
        said = (done.stderr.strip() or done.stdout.strip()).decode("utf-8", "replace").splitlines()[-1:]
        raise RefusedError(f"{' '.join(command)} ended with code {done.returncode}: {' '.join(said)}")
    return done.stdout.decode("utf-8", "replace")
