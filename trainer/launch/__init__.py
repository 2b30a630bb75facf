"""Starts the ranks of a run by torchrun on each host, and reaches the hosts by ssh or Slurm.

A launcher gives the processes to start on this host (launchers.py); each leads to an agent on a host (agent.py), which
starts torchrun, or a single rank without it. The session holds the other end (control.py).
"""

from __future__ import annotations
