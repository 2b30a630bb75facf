"""Ranks of the virtual device that are forked (forked.py) where the suite would have its agents start torchrun.

A pytest plug-in of sessions that tests run, and a fixture for tests that boot in their own process (conftest.py).
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any, Mapping, Sequence

import fixtures.boot.boot
from expected import Cell
from fixtures.boot.launching import control_of
from fixtures.options.session import Options
from tests.forked import Forked, free_port
from trainer.clocks import AGENT_CLOCK, AgentClock
from trainer.devices import is_simulated, load_backend
from trainer.launch.control import Ending
from trainer.launch.progress import HostProgress, ProgressReader
from trainer.launch.protocol import Order
from trainer.launch.ranks import chosen_environment


class ForkedRanks:
    """What trainer.launch.control.Control is to a session: it starts a run's ranks and knows how they ended."""

    program = "tests.forked:rank"

    def __init__(self, order: Order, run_dir: Path) -> None:
        self._order = order
        self._run_dir = run_dir
        self._ranks: list[Forked] = []
        self.ending: Ending | None = None
        self.started = False
        self.left_behind = ""
        self._agent_clock = AgentClock()
        self._reader = ProgressReader(run_dir, range(order.nodes * order.ranks_per_node))

    def begin(self, *, again: bool = False) -> None:
        """Fork the ranks."""
        order = self._order
        (self._run_dir / "launcher.log").touch()
        shared = {
            **os.environ,
            **order.environment,
            AGENT_CLOCK: self._agent_clock.name,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_port()),
        }
        interface = None if order.nodes == 1 else "lo"
        for node in range(order.nodes):
            chosen = chosen_environment(order.backend, shared, ranks_per_node=order.ranks_per_node, interface=interface)
            of_node = {**shared, **chosen, **self._devices(), "GROUP_RANK": str(node)}
            if order.simulated_hosts:
                of_node["VIRTUAL_HOST"] = f"{socket.gethostname()}-simulated-{node}"
            for local_rank in range(order.ranks_per_node):
                place = {
                    "RANK": node * order.ranks_per_node + local_rank,
                    "LOCAL_RANK": local_rank,
                    "WORLD_SIZE": order.nodes * order.ranks_per_node,
                    "LOCAL_WORLD_SIZE": order.ranks_per_node,
                }
                environment = {**of_node, **{name: str(number) for name, number in place.items()}}
                self._ranks.append(
                    Forked(self.program, *order.flags, environment=environment, output=str(self._log(node)))
                )
        self.started = True

    def poll(self) -> None:
        """Notice how ranks ended. As with torchrun, one that breaks ends them all and is named in the log."""
        codes = {rank: process.poll() for rank, process in enumerate(self._ranks)}
        broken = {rank: code for rank, code in codes.items() if code}
        if self.ending is not None or not (broken or all(code == 0 for code in codes.values())):
            return
        if not broken:
            self.ending = Ending(0)
            return
        # The one that was killed, or that says why: what its peers died of is that it was gone.
        first = min(broken, key=lambda rank: (broken[rank] >= 0, rank))
        self._kill()
        if len(self._ranks) == 1:
            self.ending = Ending(broken[first], "run", f"the rank ended with code {broken[first]}")
            return
        with self._log(0).open("a") as log:
            log.write(f"Root Cause (first observed failure):\n  rank : {first}\n  exitcode : {broken[first]}\n")
        self.ending = Ending(1, "run", "torchrun ended with code 1")

    @property
    def progress(self) -> list[HostProgress]:
        """The ranks' progress now."""
        return [self._reader.poll()]

    def stacks(self) -> Sequence[Mapping[str, Any]]:
        """Return nothing: stacks are the agents' part."""
        return []

    def status(self) -> str:
        """Return what is being waited for."""
        return "starting"

    def end(self, reason: str, *, again: bool = False, now: Any = None) -> None:
        """See to it that no rank is left."""
        self._kill()
        self._agent_clock.close()

    def _kill(self) -> None:
        for process in self._ranks:
            process.kill()

    def _devices(self) -> dict[str, str]:
        variable = load_backend(self._order.backend).visible_devices
        listed = [name.strip() for name in os.environ.get(variable or "", "").split(",") if name.strip()]
        cards = self._order.devices or listed or [str(card) for card in range(self._order.ranks_per_node)]
        return {} if variable is None else {variable: ",".join(cards[: self._order.ranks_per_node])}

    def _log(self, node: int) -> Path:
        return self._run_dir / f"host-{node:04d}.log"


def forked_control_of(cell: Cell, options: Options, order: Order, run_dir: Path) -> Any:
    """Return ForkedRanks for a simulated device with the default launcher, otherwise the Control of a real launch."""
    plain = options.launch.launcher == "local" and not options.launch.exec_prefix and options.launch.python is None
    if is_simulated(order.backend) and plain:
        return ForkedRanks(order, run_dir)
    return control_of(cell, options, order, run_dir)


def pytest_configure() -> None:
    """As a plug-in of a session: all of its boots."""
    fixtures.boot.boot.control_of = forked_control_of
