"""The command that starts a host's ranks, and the environment that they need."""

from __future__ import annotations

import os
from typing import Mapping, Sequence

from trainer.devices import load_backend
from trainer.launch.source import PROGRAM_FOLDER

_ALONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "GROUP_RANK": "0"}


def ranks_command(
    python: str, flags: Sequence[str], *, nodes: int, node: int, ranks_per_node: int, address: str, port: int
) -> list[str]:
    """Return the words of the command that starts the ranks of host `node` of `nodes`: torchrun's.

    A rank that is alone has nobody to meet and is started without it, which takes the seconds that torchrun needs to
    import torch off every such run. One host meets itself by c10d, on a port that the system chooses. Several meet by
    the static rendezvous at `address`: ranks then follow the order of the hosts, and nothing depends on what a host's
    name resolves to (torch 1.12's c10d hands out the name of whoever came to be first) or on its time of day (c10d's
    keep-alive compares it).
    """
    if nodes * ranks_per_node == 1:
        return [python, "-u", "-m", "trainer", *flags]
    command = [python, "-m", "torch.distributed.run", f"--nproc_per_node={ranks_per_node}", "--max_restarts=0"]
    command += ["--monitor_interval=1"]
    if nodes == 1:
        command += ["--nnodes=1", "--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0"]
    else:
        command += [f"--nnodes={nodes}", f"--node_rank={node}", "--rdzv_backend=static"]
        command += [f"--master_addr={address}", f"--master_port={port}"]
    return [*command, "-m", "trainer", *flags]


def chosen_environment(
    backend_name: str, inherited: Mapping[str, str], *, ranks_per_node: int, interface: str | None
) -> dict[str, str]:
    """Return the variables that are added to `inherited` for the ranks; what is set there already stays.

    Except for what torchrun sets, which a rank that is alone is told here: it would be another job's.

    `interface` is the network interface towards the other hosts, "" where it is not known, None where there are no
    others.
    """
    wanted: dict[str, str] = dict(load_backend(backend_name).environment)
    if interface != "":
        # Alone there is no other network to find, and containers often cannot resolve their own name.
        wanted["GLOO_SOCKET_IFNAME"] = "lo" if interface is None else interface
    # Each rank sets its own number of threads; unset, torchrun warns on every start.
    wanted["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) // ranks_per_node))
    wanted["PYTHONUNBUFFERED"] = "1"
    added = {key: value for key, value in wanted.items() if key not in inherited}
    paths = [str(PROGRAM_FOLDER), *filter(None, [inherited.get("PYTHONPATH")])]
    if interface is None and ranks_per_node == 1:
        added.update(_ALONE)
    added["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(os.pathsep.join(paths).split(os.pathsep)))
    return added
