"""`python -m trainer.launch.agent`: starts the ranks of one host, and ends them with the session.

Every launcher starts one agent on each host, directly or through ssh, srun or a container's command. It reads its order
and a heartbeat on standard input and answers on standard output (protocol.py). When the heartbeat ends, because the
session or the network to it is gone, it ends the ranks, so that they do not keep devices in use.
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
from dataclasses import asdict
from pathlib import Path
from typing import Any, Mapping, Sequence

from trainer.clocks import AGENT_CLOCK, AgentClock
from trainer.devices import load_backend
from trainer.devices.scenario import VIRTUAL_HOST
from trainer.errors import TrainerError
from trainer.launch.hosts import (
    free_port,
    interface_towards,
    name_leads_here,
    own_addresses,
    port_problem,
    source_digest,
)
from trainer.launch.launchers import PROGRAM_FOLDER
from trainer.launch.leases import Leases
from trainer.launch.processes import adopt_orphans, die_with_parent, end_descendants
from trainer.launch.progress import HostProgress, ProgressReader
from trainer.launch.protocol import GONE, SILENCE_S, UNHEARD, ControlReader, ControlWriter, Ended, Hello, Order
from trainer.launch.ranks import chosen_environment, dump_stacks, ranks_command
from trainer.launch.workdir import WorkDir, send_evidence
from trainer.preflight import backbone_problems, data_problems, missing_modules

_POLL_S = 0.1
_GRACE_S = 8.0
_LOOPBACK = "127.0.0.1"
_DONE_WAIT_S = 15.0
_PROGRESS_S = 1.0


class _EndedError(Exception):
    """The run has to end; the message is the reason."""


class Agent:
    """One host's part of a run."""

    def __init__(self, node: int, control: ControlReader) -> None:
        self._node = node
        self._control = control
        self._order: Order
        self._writer: ControlWriter
        self._work: WorkDir
        self._process: subprocess.Popen[bytes]
        self._signal = ""

    def run(self) -> int:
        """Receive the order, wait for `go`, run the ranks; return torchrun's exit code, 1 if no rank was started."""
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, lambda got, _: setattr(self, "_signal", signal.Signals(got).name))
        try:
            self._order = self._await_order()
        except (_EndedError, ValueError) as error:
            print(f"agent of host {self._node}: {error}", file=sys.stderr, flush=True)
            return 1
        try:
            self._work = WorkDir(self._order)
        except TrainerError as error:
            self._ended(Ended(reason=str(error)))
            return 1
        try:
            with self._leases() as leases:
                try:
                    return self._with_devices(leases)
                finally:
                    end_descendants(_GRACE_S)
        except _EndedError as ended:
            self._ended(Ended(reason=str(ended)))
            self._work.leave_as_found()
            return 1

    def _ended(self, ended: Ended) -> None:
        self._writer.send({"ended": asdict(ended)})

    def _await_order(self) -> Order:
        begun_s = time.monotonic()
        while True:
            message = self._control.next(_POLL_S)
            if message is not None and "order" in message:
                order = Order.of(message["order"])
                self._writer = ControlWriter(order.token, self._node, order.line_bytes)
                return order
            why = self._control.lost(SILENCE_S) or self._received_signal()
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

    def _with_devices(self, leases: Leases) -> int:
        order = self._order
        problems, devices, listed = self._problems(), [], []
        backend = None if problems else load_backend(order.backend)
        try:
            listed = [] if backend is None else backend.named_devices()
        except TrainerError as error:
            problems = [str(error)]
        if backend is not None and not problems:
            available = listed or [str(number) for number in range(order.device_count or order.ranks_per_node)]
            if order.devices is None and len(available) < order.ranks_per_node:
                where = backend.visible_devices or "the topology"
                problems = [f"{order.ranks_per_node} devices are needed, there are {len(available)}; check {where}"]
        if not problems:
            try:
                devices = leases.take(order.devices, available, order.ranks_per_node, wait_s=order.lease_wait_s)
            except TrainerError as error:
                problems = [str(error)]
        hello = Hello(
            node=self._node,
            host=self._host_name(),
            utc_s=time.time(),
            pid=os.getpid(),
            source=source_digest(),
            shared=self._work.shared,
            port=free_port(),
            devices=devices,
            addresses=own_addresses(),
            problems=problems,
        )
        self._writer.send({"hello": asdict(hello)})
        meeting = self._await_go()
        if backend is not None:
            backend.choose_devices(devices)
        self._start_ranks(str(meeting["address"]), int(meeting["port"]))
        reason = ""
        try:
            self._until_it_ends()
        except _EndedError as ended:
            reason = str(ended)
        return self._wind_up(reason, leases)

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
        if order.shapes is None and order.data is not None:
            problems += data_problems(Path(order.data))
        if order.backbone is not None:
            problems += backbone_problems(Path(order.backbone))
        return problems

    def _await_go(self) -> Mapping[str, Any]:
        while True:
            message = self._control.next(_POLL_S) or {}
            if "go" in message:
                meeting: Mapping[str, Any] = message["go"]
                problem = port_problem(int(meeting["port"])) if self._node == 0 and self._order.nodes > 1 else ""
                if problem:
                    raise _EndedError(problem)
                return meeting
            self._end_if_asked(message)

    def _start_ranks(self, address: str, port: int) -> None:
        order = self._order
        if order.nodes == 1:
            address = "" if order.ranks_per_node == 1 or name_leads_here() else _LOOPBACK
        command = ranks_command(
            sys.executable,
            order.flags,
            nodes=order.nodes,
            node=self._node,
            ranks_per_node=order.ranks_per_node,
            address=address,
            port=port,
        )
        # torchrun takes options from PET_*, which a pod of Kubeflow has for its own job.
        inherited = {key: text for key, text in os.environ.items() if not key.startswith("PET_")}
        environment = {**order.environment, **inherited}
        interface = (interface_towards(address) or "") if order.nodes > 1 else None
        environment.update(
            chosen_environment(order.backend, environment, ranks_per_node=order.ranks_per_node, interface=interface)
        )
        if order.simulated_hosts:
            environment[VIRTUAL_HOST] = self._host_name()
        environment[AGENT_CLOCK] = AgentClock().name  # answers until this process ends
        with (self._work.folder / f"host-{self._node:04d}.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=str(PROGRAM_FOLDER),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,
            )

    def _until_it_ends(self) -> None:
        first = self._node * self._order.ranks_per_node
        progress = ProgressReader(self._work.folder, range(first, first + self._order.ranks_per_node))
        sent: HostProgress | None = None
        due_s = 0.0
        while self._process.poll() is None:
            message = self._control.next(_POLL_S) or {}
            if "stacks" in message:
                self._writer.send({"stacks": dump_stacks(self._work.folder)})
            self._end_if_asked(message)
            if time.monotonic() >= due_s:
                due_s = time.monotonic() + _PROGRESS_S
                found = progress.poll()
                if found != sent:
                    self._writer.send({"progress": asdict(found)})
                    sent = found

    def _wind_up(self, reason: str, leases: Leases) -> int:
        """End what is left of the ranks, give the devices back, transfer the evidence, and report how it ended."""
        code = None if reason else self._process.poll()
        end_descendants(_GRACE_S)  # afterwards torchrun's exit code is no longer known to the system
        leases.release()  # the transfer may take minutes
        if reason.startswith((GONE, UNHEARD)) and self._node == 0 and self._work.shared:
            self._work.mark_aborted(reason)
        sent = None
        if not self._work.shared:
            sent = send_evidence(self._work.folder, self._writer.send, self._order.line_bytes)
        self._ended(Ended(code, reason, self._work.free_bytes, sent))
        if not self._work.shared:
            self._clear_when_received()
        return 1 if code is None else code

    def _clear_when_received(self) -> None:
        """Remove the evidence here when the session confirms that it has all of it."""
        deadline_s = time.monotonic() + _DONE_WAIT_S
        while time.monotonic() < deadline_s and not self._control.lost(self._order.silence_s):
            message = self._control.next(_POLL_S) or {}
            if "done" in message:
                self._work.clear(again=bool(message["done"].get("again")))
                return

    def _end_if_asked(self, message: Mapping[str, Any]) -> None:
        if "stop" in message:
            raise _EndedError(str(message["stop"]))
        why = self._control.lost(self._order.silence_s) or self._received_signal()
        if why:
            raise _EndedError(why)

    def _received_signal(self) -> str:
        return f"its agent was ended by {self._signal}" if self._signal else ""

    def _host_name(self) -> str:
        name = socket.gethostname()
        return f"{name}-simulated-{self._node}" if self._order.simulated_hosts else name


def main(argv: Sequence[str]) -> int:
    """Run the agent of host `--node`, by default Slurm's SLURM_NODEID; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m trainer.launch.agent", description="Started by the suite's launchers."
    )
    parser.add_argument("--node", type=int, default=int(os.environ.get("SLURM_NODEID") or 0))
    node = parser.parse_args(list(argv)).node
    adopt_orphans()
    return Agent(node, ControlReader(sys.stdin.buffer)).run()


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the thread that reads standard input cannot be interrupted
