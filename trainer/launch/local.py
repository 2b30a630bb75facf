"""All ranks on this host, started by torchrun with c10d rendezvous on a port that the system chooses."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping

from trainer.devices import load_backend
from trainer.settings import Settings, to_flags

#: The folder that `python -m trainer` has to be started in.
PROGRAM_FOLDER = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Launch:
    """A command and what it needs around it. `added` is the part of the environment that this launcher chose."""

    command: list[str]
    environment: Mapping[str, str]
    added: Mapping[str, str]
    folder: Path


def local_launch(settings: Settings, *, ranks: int, inherited: Mapping[str, str]) -> Launch:
    """Return how to start `ranks` ranks of `settings` on this host; `inherited` is the environment to build on."""
    command = [sys.executable, "-m", "torch.distributed.run"]
    command += ["--nnodes=1", f"--nproc_per_node={ranks}", "--max_restarts=0", "--monitor_interval=1"]
    command += ["--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0"]
    command += ["-m", "trainer", *to_flags(settings)]
    wanted: dict[str, str] = dict(load_backend(settings.device).environment)
    # With one host there is no other network to find, and containers often cannot resolve their own name.
    wanted["GLOO_SOCKET_IFNAME"] = "lo"
    # Each rank sets its own number of threads; unset, torchrun warns on every start.
    wanted["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) // ranks))
    wanted["PYTHONUNBUFFERED"] = "1"
    added = {key: value for key, value in wanted.items() if key not in inherited}
    paths = [str(PROGRAM_FOLDER), *filter(None, [inherited.get("PYTHONPATH")])]
    added["PYTHONPATH"] = os.pathsep.join(paths)
    return Launch(command, {**inherited, **added}, added, PROGRAM_FOLDER)
