"""The session's end of a launch: starts the agents, gives the go when all are ready, and collects how each ended."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

from evidence.files import LAUNCHER_LOG
from trainer.launch.hosts import meeting_address, unfit
from trainer.launch.launchers import Start, ssh_advice
from trainer.launch.progress import HostProgress
from trainer.launch.protocol import BEAT_S, Channel, Ended, Hello, Order, line
from trainer.launch.workdir import SESSION_FILE, TRANSFER_S, Receiver

_ALL_ENDED_S = 60.0  # after the first host has, and well: its ranks left in the same barrier as the others'
_OWN_WORDS_S = 10.0  # after the first host's ranks have failed: time for the others to log what they saw of it
_STOP_S = 20.0  # for the agents to end their ranks, and again after each piece of evidence that they send


@dataclass(frozen=True)
class Ending:
    """How a launch ended: `phase` is "" if every host's torchrun ended with code 0, else preflight, boot or run."""

    exit_code: int | None = None
    phase: str = ""
    message: str = ""
    disk_full: str = ""


@dataclass
class _Host:
    """What is known of one host; `heard_utc_s` is this machine's time of day at its hello."""

    hello: Hello | None = None
    heard_utc_s: float = 0.0
    progress: HostProgress | None = None
    stacks: list[Mapping[str, Any]] | None = None
    receiver: Receiver | None = None
    ended: Ended | None = None
    incomplete: bool = False


class Control:
    """One launch. `poll` moves it on; `ending` is None until it is over. Whatever happens, call `end` at last.

    `started` says whether the ranks were started. `rendezvous` is the (address, port) where the ranks of several hosts
    meet; "" and 0 let the hosts choose.

        control = Control(local_starts([], None), order, run_dir, rendezvous=("", 0), timeout_s=120.0)
        try:
            control.begin()
            while control.ending is None:
                control.poll()
        finally:
            control.end("the run is over")
    """

    def __init__(
        self, starts: Sequence[Start], order: Order, run_dir: Path, *, rendezvous: tuple[str, int], timeout_s: float
    ) -> None:
        self._order = order
        self.started = False
        self._starts = starts
        self._run_dir = run_dir
        self._rendezvous = rendezvous
        self._timeout_s = timeout_s
        self._hosts = [_Host() for _ in range(order.nodes)]
        self._channels: list[Channel] = []
        self._again = False
        self._failure: Ending | None = None
        self._begun_s = time.monotonic()
        self._first_end_s = self._heard_s = 0.0
        self._stop_beats = threading.Event()

    @property
    def ending(self) -> Ending | None:
        """How it ended, None while it goes on."""
        return self._failure if self._failure is not None else self._finished()

    @property
    def progress(self) -> list[HostProgress]:
        """The latest progress of each host that has reported any."""
        return [host.progress for host in self._hosts if host.progress is not None]

    @property
    def left_behind(self) -> str:
        """Where evidence is that was not transferred, "" if all is here. For the time after `end`."""
        if not self.started:
            return ""
        hosts = [
            self._name(node)
            for node, host in enumerate(self._hosts)
            if host.hello is not None and not host.hello.shared and (host.ended is None or host.incomplete)
        ]
        return f"the evidence of {', '.join(hosts)} is still there, in {self._order.run_dir}" if hosts else ""

    def begin(self, *, again: bool = False) -> None:
        """Start the processes, send the order, and begin the heartbeat.

        `again`: if this launch fails, another one follows, which needs the checkpoints of hosts with a file system of
        their own.
        """
        self._again = again
        (self._run_dir / SESSION_FILE).write_text(self._order.token, encoding="utf-8")
        log = self._run_dir / LAUNCHER_LOG
        log.touch()
        for start in self._starts:
            try:
                self._channels.append(Channel(start, self._order.token, log))
            except OSError as error:
                self._fail("boot", f"{start.command[0]!r} cannot be started on this machine: {error.strerror}")
                return
            self._channels[-1].send(self._order.line())
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def poll(self) -> None:
        """Take in the agents' messages, and act on them."""
        self._take_messages()
        if self._failure is None:
            self._notice_the_lost()
        if self._failure is None and not self.started:
            self._go_when_all_are_ready()
        if self._failure is None and self.started:
            self._notice_the_late()

    def stacks(self, wait_s: float = 45.0) -> list[Mapping[str, Any]]:
        """Have the agents write their ranks' stacks into the evidence; return rank, pid, state and problem of each."""
        for host in self._hosts:
            host.stacks = None
        self._send({"stacks": True})
        self._wait(wait_s, lambda: all(host.stacks is not None or host.ended for host in self._hosts))
        return sorted((one for host in self._hosts for one in host.stacks or ()), key=lambda one: int(one["rank"]))

    def end(self, reason: str, *, again: bool = False, now: threading.Event | None = None) -> None:
        """End all of this launch: have the agents stop and transfer their evidence, wait for them, then kill them.

        `again` as for `begin`. Setting `now` cuts the waiting short.
        """
        self._again = again
        hurried = now.is_set if now is not None else lambda: False
        self._send({"stop": reason})
        self._heard_s = time.monotonic()
        self._wait(TRANSFER_S, lambda: self._all_exited() or hurried() or time.monotonic() - self._heard_s > _STOP_S)
        self._stop_beats.set()
        for channel in self._channels:
            # An agent whose standard input is closed ends its ranks; a killed agent takes them along.
            channel.close()
            if channel.process.poll() is None:
                channel.process.terminate()
        for channel in self._channels:
            try:
                channel.process.wait(0.0 if hurried() else 5.0)
            except subprocess.TimeoutExpired:
                channel.kill()
        self._take_messages()
        with contextlib.suppress(OSError):
            (self._run_dir / SESSION_FILE).unlink()

    def status(self) -> str:
        """Return which hosts are being waited for before the ranks start."""
        waiting = [self._name(node) for node, host in enumerate(self._hosts) if host.hello is None]
        if not waiting:
            return "starting"
        words = [channel.last_words[-1] for channel in self._channels if channel.last_words]
        return f"waiting for {', '.join(waiting[:4])}{f' ({words[-1]})' if words else ''}"

    def _beat(self) -> None:
        while not self._stop_beats.wait(BEAT_S):
            self._send({})

    def _send(self, message: Mapping[str, Any]) -> None:
        for channel in self._channels:
            channel.send(line(message))

    def _wait(self, wait_s: float, condition: Callable[[], object]) -> None:
        deadline_s = time.monotonic() + wait_s
        while not condition() and time.monotonic() < deadline_s:
            self._take_messages()
            time.sleep(0.05)

    def _all_exited(self) -> bool:
        return all(channel.process.poll() is not None for channel in self._channels)

    def _take_messages(self) -> None:
        for channel in self._channels:
            for message in channel.messages():
                node = message.get("node")
                if type(node) is int and 0 <= node < self._order.nodes:
                    self._take(node, message)

    def _take(self, node: int, message: Mapping[str, Any]) -> None:
        host = self._hosts[node]
        try:
            if "hello" in message:
                host.hello, host.heard_utc_s = Hello(**{**message["hello"], "node": node}), time.time()
            elif "progress" in message:
                host.progress = HostProgress(**message["progress"])
            elif "stacks" in message:
                host.stacks = list(message["stacks"])
            elif "evidence" in message:
                self._heard_s = time.monotonic()
                if host.receiver is None:
                    host.receiver = Receiver(self._run_dir)
                host.receiver.take(message["evidence"])
            elif "ended" in message and host.ended is None:
                host.ended = Ended(**message["ended"])
                self._first_end_s = self._first_end_s or time.monotonic()
                self._check_evidence(node, host.ended)
        except TypeError:
            self._fail("boot", f"{self._name(node)} has another version of the suite; bring all hosts to the same")
        except OSError as error:
            self._fail("run", f"the evidence of {self._name(node)} cannot be written here: {error.strerror}")

    def _check_evidence(self, node: int, ended: Ended) -> None:
        """Unpack the evidence that a host has sent, and let it remove its own copy."""
        host = self._hosts[node]
        if ended.sent is not None:
            problem = (host.receiver or Receiver(self._run_dir)).unpack(ended.sent)
            if problem:
                host.incomplete = True
                self._fail("run", f"the evidence of {self._name(node)} is not complete: {problem}")
                return
        for channel in self._channels:
            if channel.start.nodes == (node,):
                channel.send(self._done([node]))
        if len(self._starts) < self._order.nodes and all(host.ended and not host.incomplete for host in self._hosts):
            self._channels[0].send(self._done(range(self._order.nodes)))  # srun sends it to all

    def _done(self, nodes: Sequence[int]) -> str:
        ended = [self._hosts[node].ended for node in nodes]
        return line({"done": {"again": self._again and any(one is None or one.exit_code != 0 for one in ended)}})

    def _notice_the_lost(self) -> None:
        for channel in self._channels:
            code = channel.process.poll()
            if code is None or all(self._hosts[node].ended for node in channel.start.nodes):
                continue
            self._take_messages()
            if all(self._hosts[node].ended for node in channel.start.nodes):
                continue
            said = " | ".join(channel.last_words[-3:]) or "it said nothing"
            advice = ssh_advice(said)
            known = any(self._hosts[node].hello for node in channel.start.nodes)
            lead = "the connection to its agent was lost" if known else "no agent could be started"
            self._fail(
                "run" if self.started else "boot",
                f"{channel.start.name}: {lead}: {channel.start.command[0]} ended with code {code}: {said}"
                f"{f' ({advice})' if advice else ''}",
            )

    def _notice_the_late(self) -> None:
        if not self._first_end_s or self._finished() is not None:
            return
        late_s = time.monotonic() - max(self._first_end_s, self._heard_s)
        broken = self._first_broken()
        if broken is not None and late_s > _OWN_WORDS_S:
            self._failure = self._broken(broken)
        elif late_s > _ALL_ENDED_S:
            waiting = ", ".join(self._name(node) for node, host in enumerate(self._hosts) if host.ended is None)
            self._fail("run", f"{waiting} did not end although the other hosts had; its ranks were ended")

    def _go_when_all_are_ready(self) -> None:
        hellos = [host.hello for host in self._hosts if host.hello is not None]
        if len(hellos) < self._order.nodes:
            ended = next((node for node, host in enumerate(self._hosts) if host.ended), None)
            if ended is not None:
                self._fail("boot", f"{self._name(ended)}: {self._reason(ended) or 'its agent ended'}")
            elif time.monotonic() - self._begun_s > self._timeout_s:
                self._fail("boot", f"no answer within {self._timeout_s:.0f} s (--launch-timeout): {self.status()}")
            return
        alone = self._order.nodes == 1 and self._name(0) == "this host"
        names = {} if alone else {node: self._name(node) for node in range(self._order.nodes)}
        problems = unfit(hellos, {node: host.heard_utc_s for node, host in enumerate(self._hosts)}, names)
        if problems:
            self._fail("preflight", "; ".join(problems))
            return
        address, port = self._rendezvous
        self.started = True
        self._send({"go": {"address": address or meeting_address(hellos), "port": port or hellos[0].port}})

    def _finished(self) -> Ending | None:
        if not all(host.ended for host in self._hosts):
            return None
        broken = self._first_broken()
        return Ending(0) if broken is None else self._broken(broken)

    def _first_broken(self) -> int | None:
        """Return the host that failed: one whose agent gives a reason, else the first without exit code 0."""
        broken = [node for node, host in enumerate(self._hosts) if host.ended and host.ended.exit_code != 0]
        return min(broken, key=lambda node: (not self._reason(node), node), default=None)

    def _reason(self, node: int) -> str:
        ended = self._hosts[node].ended
        return "" if ended is None else ended.reason

    def _broken(self, node: int) -> Ending:
        ended = self._hosts[node].ended
        assert ended is not None
        program = "the rank" if self._order.nodes * self._order.ranks_per_node == 1 else "torchrun"
        why = ended.reason or f"{program} ended with code {ended.exit_code}"
        where = "" if self._order.nodes == 1 else f"{self._name(node)}: "
        full = next(filter(None, map(self._full_disk, range(self._order.nodes))), "")
        return Ending(ended.exit_code, "run" if self.started else "boot", f"{where}{why}", full)

    def _full_disk(self, node: int) -> str:
        ended = self._hosts[node].ended
        if ended is None or ended.free_bytes is None or ended.free_bytes >= 64 * 1024:
            return ""
        where = f"{self._order.run_dir} on {self._name(node)}"
        return f"the disk that holds {where} is full ({ended.free_bytes} bytes are free)"

    def _fail(self, phase: str, message: str) -> None:
        if self._failure is None:
            self._failure = Ending(None, phase, message)

    def _name(self, node: int) -> str:
        start = next(one for one in self._starts if node in one.nodes)
        hello = self._hosts[node].hello
        if len(start.nodes) == 1 and start.name != "this host":
            return start.name
        if self._order.nodes == 1 and start.name == "this host":
            return "this host"
        if hello is None:
            return "this host" if self._order.nodes == 1 else f"host {node}"
        return hello.host


def new_token() -> str:
    """Return the token of a launch, which marks its agents' messages."""
    return secrets.token_hex(16)
