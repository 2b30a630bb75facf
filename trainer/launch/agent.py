"""`python -m trainer.launch.agent`: starts its host's ranks when told to, and lets nothing outlive the run.

Every launcher starts one on each host, directly or through ssh, srun or a container's command. It reads orders and a
heartbeat on its standard input and answers on its standard output (messages.py). When the heartbeat ends - the session
is gone, or the network to it - it ends the ranks, so that no card stays in use by a run that nobody waits for.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Mapping, Sequence

from trainer.devices import load_backend
from trainer.errors import TrainerError
from trainer.launch.leases import Leases
from trainer.launch.lifeline import GONE, UNHEARD, Lifeline, Voice
from trainer.launch.messages import SILENCE_S, Order
from trainer.launch.network import free_port, interface_towards, own_addresses, port_problem
from trainer.launch.processes import adopt_orphans, die_with_parent, end_descendants
from trainer.launch.source import PROGRAM_FOLDER, source_digest
from trainer.launch.stacks import dump_stacks
from trainer.launch.torchrun import chosen_environment, ranks_command
from trainer.launch.workplace import Workplace
from trainer.preflight import backbone_problems, data_problems, missing_modules

_POLL_S = 0.1
_GRACE_S = 8.0
_DONE_WAIT_S = 15.0


class _EndedError(Exception):
    """The run has to end; says why."""


class Agent:
    """One host's part of a run."""

    def __init__(self, node: int, lifeline: Lifeline) -> None:
        self._node = node
        self._lifeline = lifeline
        self._order: Order
        self._voice: Voice
        self._place: Workplace
        self._process: subprocess.Popen[bytes] | None = None
        self._signal = ""

    def run(self) -> int:
        """Take the order, wait for `go`, see torchrun or the only rank through; return its exit code, 1 if none ran."""
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, lambda got, _: setattr(self, "_signal", signal.Signals(got).name))
        try:
            self._order = self._await_order()
        except (_EndedError, ValueError, TypeError) as error:
            print(f"agent of host {self._node}: {error}", file=sys.stderr, flush=True)
            return 1
        try:
            self._place = Workplace(self._order)
        except TrainerError as error:
            self._give_up(str(error))
            return 1
        try:
            leases = self._leases()
            try:
                return self._with_cards(leases)
            finally:
                end_descendants(_GRACE_S)
                leases.release()
        except _EndedError as ended:
            self._give_up(str(ended))
            self._place.leave_as_found()
            return 1

    def _give_up(self, reason: str) -> None:
        self._voice.say({"ended": {"exit_code": None, "reason": reason, "files": {}, "free_bytes": None}})

    def _await_order(self) -> Order:
        begun_s = time.monotonic()
        while True:
            message = self._lifeline.next(_POLL_S)
            if message is not None and "order" in message:
                order = Order.of(message["order"])
                self._voice = Voice(order.token, self._node, order.line_bytes)
                return order
            why = self._lifeline.lost(SILENCE_S) or self._told_to_end()
            if why == GONE and time.monotonic() - begun_s < 1.0:
                why = (
                    "standard input was closed at once, and orders come through it: if a container's command stands "
                    "in front, it has to hand it on, as `docker exec -i NAME` does"
                )
            if why:
                raise _EndedError(why)

    def _leases(self) -> Leases:
        order = self._order
        folder = Path(order.leases) if order.leases else None
        name = f"{order.backend}-{self._node}" if order.simulated_hosts else order.backend
        return Leases(folder, name, {**order.holder, "pid": str(os.getpid()), "host": socket.gethostname()})

    def _with_cards(self, leases: Leases) -> int:
        order = self._order
        problems, cards = self._problems(), []
        variable = load_backend(order.backend).visible_cards if not problems else None
        if not problems:
            listed = [name.strip() for name in os.environ.get(variable or "", "").split(",") if name.strip()]
            available = listed or [str(card) for card in range(order.card_count or order.ranks_per_node)]
            if order.cards is None and len(available) < order.ranks_per_node:
                where = variable or "the topology"
                problems = [f"{order.ranks_per_node} cards are needed, there are {len(available)}; check {where}"]
        if not problems:
            try:
                cards = leases.take(order.cards, available, order.ranks_per_node, wait_s=order.lease_wait_s)
            except TrainerError as error:
                problems = [str(error)]
        self._voice.say(
            {
                "hello": {
                    "host": self._host_name(),
                    "utc_s": time.time(),
                    "pid": os.getpid(),
                    "source": source_digest(),
                    "shared": self._place.shared,
                    "port": free_port(),
                    "cards": cards,
                    "addresses": own_addresses(),
                    "problems": problems,
                }
            }
        )
        meeting = self._await_go()
        if variable is not None:
            os.environ[variable] = ",".join(cards)
        return self._see_through(str(meeting["address"]), int(meeting["port"]))

    def _problems(self) -> list[str]:
        order = self._order
        if order.source != source_digest():
            return [f"{PROGRAM_FOLDER} holds another version of the suite than the session's; bring both to the same"]
        try:
            problems = missing_modules(order.backend)
            if order.shapes is not None and not problems:
                from trainer.data.shapes import ensure

                ensure(Path(order.shapes["folder"]), **order.shapes["parameters"])
        except (TrainerError, OSError) as error:
            return [str(error)]
        if order.shapes is None:
            problems += data_problems(Path(order.data))
        if order.backbone is not None:
            problems += backbone_problems(Path(order.backbone))
        return problems

    def _await_go(self) -> Mapping[str, Any]:
        while True:
            message = self._lifeline.next(_POLL_S) or {}
            if "go" in message:
                meeting: Mapping[str, Any] = message["go"]
                problem = port_problem(int(meeting["port"])) if self._node == 0 and self._order.nodes > 1 else ""
                if problem:
                    raise _EndedError(problem)
                return meeting
            self._end_if_asked(message)

    def _see_through(self, address: str, port: int) -> int:
        order = self._order
        command = ranks_command(
            sys.executable,
            order.flags,
            nodes=order.nodes,
            node=self._node,
            ranks_per_node=order.ranks_per_node,
            address=address,
            port=port,
        )
        environment = {**os.environ, **{key: text for key, text in order.environment.items() if key not in os.environ}}
        interface = (interface_towards(address) or "") if order.nodes > 1 else None
        environment.update(
            chosen_environment(order.backend, environment, ranks_per_node=order.ranks_per_node, interface=interface)
        )
        if order.simulated_hosts:
            environment["VIRTUAL_HOST"] = self._host_name()
        with (self._place.folder / f"host-{self._node:04d}.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=str(PROGRAM_FOLDER),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,
            )
        reason = ""
        try:
            self._until_it_ends()
        except _EndedError as ended:
            reason = str(ended)
        return self._wind_up(reason)

    def _until_it_ends(self) -> None:
        assert self._process is not None
        while self._process.poll() is None:
            message = self._lifeline.next(_POLL_S) or {}
            if "stacks" in message:
                self._voice.say({"stacks": dump_stacks(self._place.folder)})
            self._end_if_asked(message)
            self._ship()

    def _wind_up(self, reason: str) -> int:
        assert self._process is not None
        code = None if reason else self._process.poll()
        end_descendants(_GRACE_S)  # from here on the system has forgotten how torchrun ended
        if reason.startswith((GONE, UNHEARD)) and self._node == 0 and self._place.shared:
            self._place.leave_word(reason)
        self._ship()
        self._voice.say(
            {
                "ended": {
                    "exit_code": code,
                    "reason": reason,
                    "files": self._place.manifest(),
                    "free_bytes": self._place.free_bytes,
                }
            }
        )
        if not self._place.shared:
            self._clear_when_told()
        return 1 if code is None else code

    def _ship(self) -> None:
        for piece in self._place.pieces():
            self._voice.say(piece)

    def _clear_when_told(self) -> None:
        """Remove what was written here, when the session says that it has all of it."""
        deadline_s = time.monotonic() + _DONE_WAIT_S
        while time.monotonic() < deadline_s and not self._lifeline.lost(self._order.silence_s):
            message = self._lifeline.next(_POLL_S) or {}
            if "done" in message:
                self._place.clear(again=bool(message["done"].get("again")))
                return

    def _end_if_asked(self, message: Mapping[str, Any]) -> None:
        if "stop" in message:
            raise _EndedError(str(message["stop"]))
        why = self._lifeline.lost(self._order.silence_s) or self._told_to_end()
        if why:
            raise _EndedError(why)

    def _told_to_end(self) -> str:
        return f"its agent was told to end by {self._signal}" if self._signal else ""

    def _host_name(self) -> str:
        name = socket.gethostname()
        return f"{name}-simulated-{self._node}" if self._order.simulated_hosts else name


def main(argv: Sequence[str]) -> int:
    """Be the agent of host `--node`; Slurm tells it by SLURM_NODEID."""
    parser = argparse.ArgumentParser(
        prog="python -m trainer.launch.agent", description="Started by the suite's launchers."
    )
    parser.add_argument("--node", type=int, default=int(os.environ.get("SLURM_NODEID") or 0))
    node = parser.parse_args(list(argv)).node
    adopt_orphans()
    return Agent(node, Lifeline(sys.stdin.buffer)).run()


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the thread that reads the lifeline cannot be interrupted
