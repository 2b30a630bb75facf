"""Stands for torchrun, as torch/distributed/run.py of a fake torch: does what the trainer's flags say, in their order.

Its ranks are imagined; no torch is needed. A flag is ACTION:TEXT.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Callable

_STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"


def _write(text: str) -> None:
    name, _, line = text.partition("=")
    with open(name, "a") as file:
        file.write(line + "\n")


def _environment(name: str) -> None:
    with open(name, "w") as file:
        json.dump(dict(os.environ), file)


def _orphan(mark: str) -> None:
    """Leave a process behind, in a session of its own, that hears no SIGTERM; `mark` is among its words."""
    middle = (
        "import subprocess as s, sys; child = s.Popen(sys.argv[1:], stdout=s.PIPE, start_new_session=True); "
        "child.stdout.readline()"
    )
    subprocess.run([sys.executable, "-c", middle, sys.executable, "-c", _STUBBORN, mark], check=True)


def _until(name: str) -> None:
    while not os.path.exists(name):
        time.sleep(0.02)


ACTIONS: dict[str, Callable[[str], object]] = {
    "cd": os.chdir,
    "write": _write,
    "say": lambda text: print(text, flush=True),
    "environment": _environment,
    "orphan": _orphan,
    "deaf": lambda _: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "until": _until,
    "sleep": lambda text: time.sleep(float(text)),
    "exit": lambda text: sys.exit(int(text)),
}

if __name__ == "__main__":
    for flag in sys.argv[sys.argv.index("trainer") + 1 :]:
        action, _, rest = flag.partition(":")
        ACTIONS[action](rest)
