"""Ranks by Slurm: srun inside an allocation, and from outside one that salloc makes for the run."""

from __future__ import annotations

from typing import Mapping, Sequence

from trainer.launch.starts import Start, agent_command


def slurm_starts(
    nodes: int,
    hosts: Sequence[str],
    prefix: Sequence[str],
    python: str | None,
    options: Sequence[str],
    environment: Mapping[str, str],
) -> list[Start]:
    """Return how to start an agent on each of `nodes` nodes; srun hands the lifeline to all of them.

    Inside an allocation (`environment` has SLURM_JOB_ID) `options` go to srun, otherwise to salloc.
    """
    shape = [f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
    shape += [f"--nodelist={','.join(hosts[:nodes])}"] if hosts else []
    inside = bool(environment.get("SLURM_JOB_ID"))
    # All of a node's cores for its one task, and not bound: the ranks share them out themselves.
    step = ["srun", *shape, "--cpu-bind=none", "--kill-on-bad-exit=0"]
    cores = environment.get("SLURM_CPUS_ON_NODE", "") if inside else ""
    step += [f"--cpus-per-task={cores}"] if cores.isdigit() else []
    agents = agent_command(prefix, python, None)
    command = [*step, *options, *agents] if inside else ["salloc", *shape, "--exclusive", *options, *step, *agents]
    return [Start(command, tuple(range(nodes)), "Slurm")]
