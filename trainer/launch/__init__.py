"""Starts the ranks of a run with engines that exist: torchrun on each host, and ssh or Slurm to get there.

A launcher turns a run into processes to start on this host (starts.py); they lead to one agent on each host (agent.py),
which starts torchrun, or a rank that is alone by itself. The session holds the other end (control.py).
"""

from __future__ import annotations
