"""The session's end of a launch: starts the agents, lets them go when all are ready, and learns how each ended."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Sequence

from trainer.launch.channel import Channel
from trainer.launch.fitness import unfit
from trainer.launch.messages import BEAT_S, Hello, Order, line
from trainer.launch.network import meeting_address
from trainer.launch.shipping import Receiver
from trainer.launch.ssh import advice
from trainer.launch.starts import Start
from trainer.launch.workplace import SESSION_FILE

_ALL_ENDED_S = 60.0  # after the first host has, and well: its ranks took leave of the others' in the same barrier
_OWN_WORDS_S = 10.0  # after the first host's ranks have failed: time for the others' to say what they saw of it
_STOP_S = 20.0


@dataclass(frozen=True)
class Ending:
    """How a launch ended: `phase` is "" where every host's torchrun ended with code 0, else preflight, boot or run."""

    exit_code: int | None = None
    phase: str = ""
    message: str = ""
    disk_full: str = ""


def new_token() -> str:
    """Return what tells the messages of this launch from everything else."""
    return secrets.token_hex(16)


class Control:
    """One launch. `poll` moves it on; `ending` is None until it is over. Whatever happens, call `end` at last."""

    def __init__(
        self, starts: Sequence[Start], order: Order, run_dir: Path, *, rendezvous: tuple[str, int], timeout_s: float
    ) -> None:
        self._starts = starts
        self._order = order
        self._run_dir = run_dir
        self._rendezvous = rendezvous
        self._timeout_s = timeout_s
        self._channels: list[Channel] = []
        self._hellos: dict[int, Hello] = {}
        self._heard_utc_s: dict[int, float] = {}
        self._ended: dict[int, Mapping[str, Any]] = {}
        self._receivers: dict[int, Receiver] = {}
        self._failure: Ending | None = None
        self._gone = self._again = False
        self._stacks: dict[int, list[Mapping[str, Any]]] = {}
        self._first_end_s: float | None = None
        self._beats = threading.Event()
        self._begun_s = time.monotonic()

    @property
    def ending(self) -> Ending | None:
        """How it ended, None while it goes on."""
        return self._failure if self._failure is not None else self._finished()

    @property
    def started(self) -> bool:
        """Whether the ranks were let go."""
        return self._gone

    def begin(self, *, again: bool = False) -> None:
        """Start the processes, tell them their orders, and begin the heartbeat.

        `again`: should this launch break, another one follows, which needs the checkpoints of hosts with their own
        file system.
        """
        self._again = again
        (self._run_dir / SESSION_FILE).write_text(self._order.token, encoding="utf-8")
        log = self._run_dir / "launcher.log"
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
        """Take in what the agents said, and decide what follows from it."""
        for channel in self._channels:
            for message in channel.messages():
                self._take(message)
        if self._failure is None:
            self._notice_the_lost()
        if self._failure is None and not self._gone:
            self._go_when_all_are_ready()
        if self._failure is None and self._gone:
            self._notice_the_late()

    def stacks(self, wait_s: float = 45.0) -> list[Mapping[str, Any]]:
        """Have the agents write their ranks' stacks into the evidence; return rank, pid, state and problem of each."""
        self._stacks.clear()
        for channel in self._channels:
            channel.send(line({"stacks": True}))
        deadline_s = time.monotonic() + wait_s
        while len(self._stacks) + len(self._ended) < self._order.nodes and time.monotonic() < deadline_s:
            for channel in self._channels:
                for message in channel.messages():
                    self._take(message)
            time.sleep(0.1)
        return sorted((one for told in self._stacks.values() for one in told), key=lambda one: int(one["rank"]))

    def end(self, reason: str, *, again: bool = False, now: threading.Event | None = None) -> None:
        """See to it that nothing of this launch is left: ask the agents to stop, wait for them, then end them.

        `again` as for `begin`. `now`: set by somebody who does not want to wait any longer.
        """
        self._again = again
        stop = line({"stop": reason})
        deadline_s = time.monotonic() + _STOP_S
        for channel in self._channels:
            channel.send(stop)
        while any(one.process.poll() is None for one in self._channels) and time.monotonic() < deadline_s:
            if now is not None and now.is_set():
                break
            for channel in self._channels:
                for message in channel.messages():
                    self._take(message)
            time.sleep(0.05)
        self._beats.set()
        for channel in self._channels:
            # An agent whose lifeline ends, ends its ranks; killed, it takes them along.
            channel.close()
            if channel.process.poll() is None:
                channel.process.terminate()
        for channel in self._channels:
            try:
                channel.process.wait(0.0 if now is not None and now.is_set() else 5.0)
            except subprocess.TimeoutExpired:
                channel.kill()
        with contextlib.suppress(OSError):
            (self._run_dir / SESSION_FILE).unlink()

    def status(self) -> str:
        """Return what is being waited for, while nothing trains yet."""
        waiting = [self._name(node) for node in self._nodes() if node not in self._hellos]
        if not waiting:
            return "starting"
        words = [channel.last_words[-1] for channel in self._channels if channel.last_words]
        return f"waiting for {', '.join(waiting[:4])}{f' ({words[-1]})' if words else ''}"

    def _beat(self) -> None:
        while not self._beats.wait(BEAT_S):
            for channel in self._channels:
                channel.send("{}\n")

    def _take(self, message: Mapping[str, Any]) -> None:
        node = message.get("node")
        if type(node) is not int or node not in self._nodes():
            return
        if "hello" in message:
            try:
                self._hellos[node] = Hello.of(node, message["hello"])
                self._heard_utc_s[node] = time.time()
            except TypeError:
                self._fail("boot", f"{self._name(node)} has another version of the suite; bring all hosts to the same")
        elif "file" in message:
            self._receiver(node).take(message)
        elif "stacks" in message:
            self._stacks[node] = list(message["stacks"])
        elif "ended" in message and node not in self._ended:
            self._first_end_s = self._first_end_s or time.monotonic()
            self._ended[node] = message["ended"]
            self._check_evidence(node)

    def _check_evidence(self, node: int) -> None:
        missing = self._receiver(node).missing(self._ended[node].get("files") or {})
        if missing:
            self._fail("run", f"the evidence of {self._name(node)} is not complete: {'; '.join(missing)}")
            return
        for channel in self._channels:
            if node in channel.start.nodes and len(channel.start.nodes) == 1:
                channel.send(self._done(node))
        if len(self._starts) < self._order.nodes and len(self._ended) == self._order.nodes:
            self._channels[0].send(self._done(*self._nodes()))

    def _done(self, *nodes: int) -> str:
        broke = any(self._ended[node].get("exit_code") != 0 for node in nodes)
        return line({"done": {"again": self._again and broke}})

    def _receiver(self, node: int) -> Receiver:
        return self._receivers.setdefault(node, Receiver(self._run_dir, self._name(node)))

    def _notice_the_lost(self) -> None:
        for channel in self._channels:
            code = channel.process.poll()
            lost = [node for node in channel.start.nodes if node not in self._ended]
            if code is None or not lost:
                continue
            for message in channel.messages():
                self._take(message)
            if not [node for node in lost if node not in self._ended]:
                continue
            said = " | ".join(channel.last_words[-3:]) or "it said nothing"
            what = advice(said)
            known = any(node in self._hellos for node in channel.start.nodes)
            lead = "the connection to its agent was lost" if known else "no agent could be started"
            self._fail(
                "run" if self._gone else "boot",
                f"{channel.start.name}: {lead}: {channel.start.command[0]} ended with code {code}: {said}"
                f"{f' ({what})' if what else ''}",
            )

    def _notice_the_late(self) -> None:
        if self._first_end_s is None or self._finished() is not None:
            return
        late_s = time.monotonic() - self._first_end_s
        broken = self._first_broken()
        if broken is not None and late_s > _OWN_WORDS_S:
            self._failure = self._broken(broken)
        elif late_s > _ALL_ENDED_S:
            waiting = ", ".join(self._name(node) for node in self._nodes() if node not in self._ended)
            self._fail("run", f"{waiting} did not end although the other hosts had; its ranks were ended")

    def _go_when_all_are_ready(self) -> None:
        if len(self._hellos) < self._order.nodes:
            ended = next(iter(self._ended.items()), None)
            if ended is not None:
                self._fail("boot", f"{self._name(ended[0])}: {ended[1].get('reason') or 'its agent ended'}")
            elif time.monotonic() - self._begun_s > self._timeout_s:
                self._fail("boot", f"no answer within {self._timeout_s:.0f} s (--launch-timeout): {self.status()}")
            return
        hellos = [self._hellos[node] for node in self._nodes()]
        alone = self._order.nodes == 1 and self._name(0) == "this host"
        names = {} if alone else {node: self._name(node) for node in self._nodes()}
        problems = unfit(hellos, self._heard_utc_s, names)
        if problems:
            self._fail("preflight", "; ".join(problems))
            return
        address, port = self._rendezvous
        meeting = {"address": address or meeting_address(hellos), "port": port or hellos[0].port}
        self._gone = True
        for channel in self._channels:
            channel.send(line({"go": meeting}))

    def _finished(self) -> Ending | None:
        if len(self._ended) < self._order.nodes:
            return None
        broken = self._first_broken()
        return Ending(0) if broken is None else self._broken(broken)

    def _first_broken(self) -> int | None:
        """Return the host to ask why: one whose agent has a reason of its own, or the first that did not end well."""
        broken = [node for node in self._nodes() if node in self._ended and self._ended[node].get("exit_code") != 0]
        return min(broken, key=lambda node: (not self._ended[node].get("reason"), node), default=None)

    def _broken(self, node: int) -> Ending:
        ended = self._ended[node]
        who = "the rank" if self._order.nodes * self._order.ranks_per_node == 1 else "torchrun"
        why = ended.get("reason") or f"{who} ended with code {ended.get('exit_code')}"
        where = "" if self._order.nodes == 1 else f"{self._name(node)}: "
        full = next((text for other in self._ended for text in [self._full_disk(other)] if text), "")
        return Ending(ended.get("exit_code"), "run" if self._gone else "boot", f"{where}{why}", full)

    def _full_disk(self, node: int) -> str:
        free = self._ended[node].get("free_bytes")
        if free is None or free >= 64 * 1024:
            return ""
        return f"the disk that holds {self._order.run_dir} on {self._name(node)} is full ({free} bytes are free)"

    def _fail(self, phase: str, message: str) -> None:
        if self._failure is None:
            self._failure = Ending(None, phase, message)

    def _nodes(self) -> range:
        return range(self._order.nodes)

    def _name(self, node: int) -> str:
        hello = self._hellos.get(node)
        for start in self._starts:
            if node in start.nodes and len(start.nodes) == 1 and start.name != "this host":
                return start.name
        if self._order.nodes == 1:
            return "this host" if hello is None or self._starts[0].name == "this host" else hello.host
        return f"host {node}" if hello is None else hello.host
