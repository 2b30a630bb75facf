"""Faults of a launch, one function each: done for real to a session that runs, which has to end well all the same.

Each returns the verdict on what the session left. That it ended in time, and left no process and no lease behind, is
seen to in sessions.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Iterator, NamedTuple

from evidence.verdict import RunVerdict
from tests.faults.sessions import Session, simulated
from tests.labs import disks, hosts
from tests.labs.hosts import Hosts, two_hosts
from tests.support import cell_of
from trainer.data.shapes import ensure

MIB = 2**20


class Launch(NamedTuple):
    """`words` are in the reasons of the verdict `outcome`; `needs` says why it cannot be done here, "" where it can."""

    name: str
    outcome: str
    words: str
    break_it: Callable[[Path], RunVerdict]
    needs: Callable[[], str]


LAUNCHES: list[Launch] = []


def nothing() -> str:
    """What most faults need."""
    return ""


def _fault(
    name: str, words: str, outcome: str = "invalid", needs: Callable[[], str] = nothing
) -> Callable[[Callable[[Path], RunVerdict]], Callable[[Path], RunVerdict]]:
    def note(break_it: Callable[[Path], RunVerdict]) -> Callable[[Path], RunVerdict]:
        LAUNCHES.append(Launch(name, outcome, words, break_it, needs))
        return break_it

    return note


@_fault("`kill -9` of a rank", "rank 1 (SIGKILL) ended without a message")
def _kill_rank(folder: Path) -> RunVerdict:
    session = simulated(folder)
    session.until_event("window", rank=1)
    session.rank(1).kill()
    verdict = session.end()
    boot = json.loads((session.run_dir / "run.json").read_text())["boot"]
    assert boot["exit_code"] not in (0, None)
    assert boot["failure"]["phase"] == "run"
    return verdict


@_fault("SIGSTOP of a rank (`--stall-timeout 25`)", "rank 1 is stopped (SIGSTOP)")
def _stop_rank(folder: Path) -> RunVerdict:
    session = simulated(folder, "--stall-timeout", 25)
    session.until_event("window", rank=1)
    session.rank(1).suspend()
    verdict = session.end()
    stack = (session.run_dir / "rank-0000.stack.log").read_text()
    assert "MainThread" in stack, stack
    return verdict


@_fault("`kill -9` of torchrun", "torchrun was ended by SIGKILL")
def _kill_torchrun(folder: Path) -> RunVerdict:
    session = simulated(folder)
    session.until_event("window")
    session.descendant("torch.distributed.run").kill()
    return session.end()


@_fault("`kill -9` of a host's agent", "the connection to its agent was lost")
def _kill_agent(folder: Path) -> RunVerdict:
    session = simulated(folder)
    session.until_event("window")
    session.descendant("trainer.launch.agent").kill()
    return session.end()


def _signalled(folder: Path, number: int, times: int) -> RunVerdict:
    # One rank needs no torchrun and costs a third; two where what is left of them is the question.
    session = simulated(folder, topology="1x1" if number == signal.SIGTERM or times == 2 else "1x2")
    session.until_event("window", rank=session.cell.topology.ranks - 1)
    for _ in range(times):
        session.process.send_signal(number)
        time.sleep(0.7)
    verdict = session.end()
    assert session.process.returncode not in (0, None)
    if number != signal.SIGKILL:  # after which nobody is left to write it
        assert json.loads((session.run_dir / "run.json").read_text())["boot"]["exit_code"] is None
    return verdict


@_fault("SIGINT of pytest (Ctrl-C)", "the session was interrupted by Ctrl-C")
def _interrupt(folder: Path) -> RunVerdict:
    return _signalled(folder, signal.SIGINT, 1)


@_fault("SIGINT of pytest, twice", "the session was interrupted by Ctrl-C")
def _interrupt_twice(folder: Path) -> RunVerdict:
    return _signalled(folder, signal.SIGINT, 2)


@_fault("SIGTERM of pytest", "the session was interrupted by SIGTERM")
def _terminate(folder: Path) -> RunVerdict:
    return _signalled(folder, signal.SIGTERM, 1)


@_fault("SIGTERM of pytest, twice", "the session was interrupted by SIGTERM")
def _terminate_twice(folder: Path) -> RunVerdict:
    return _signalled(folder, signal.SIGTERM, 2)


@_fault("`kill -9` of pytest", "the session that started this run is gone")
def _kill_pytest(folder: Path) -> RunVerdict:
    return _signalled(folder, signal.SIGKILL, 1)


@_fault(
    "the system ends a rank for want of memory", "rank 1 (SIGKILL) ended without a message", needs=lambda: _no_cgroups()
)
def _no_memory(folder: Path) -> RunVerdict:
    data = ensure(folder / "data", seed=1, train_images=32, val_images=12)
    session = Session(folder, cell_of("cpu", "1x2"), f"--data={data}")
    session.until_event("start", rank=1)
    with _limited_memory(session.rank(1).pid, 16 * MIB):  # the model's weights alone are more
        return session.end()


_CGROUPS = Path("/sys/fs/cgroup/memory")


def _no_cgroups() -> str:
    there = (_CGROUPS / "memory.limit_in_bytes").exists() and os.geteuid() == 0
    return "" if there else f"needs root and the memory controller of cgroups, version 1, at {_CGROUPS}"


@contextlib.contextmanager
def _limited_memory(pid: int, limit_bytes: int) -> Iterator[None]:
    """Have the kernel end a process as soon as it takes so much more memory than it has now."""
    group = _CGROUPS / f"test-{pid}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(limit_bytes))
        (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        # What the process had is charged here until the kernel has taken it back.
        deadline_s = time.monotonic() + 10.0
        while group.exists() and time.monotonic() < deadline_s:
            with contextlib.suppress(OSError):
                group.rmdir()
            time.sleep(0.1)


@_fault("two sessions want the same device", "device 0 of virtual is in use by pid")
def _same_device(folder: Path) -> RunVerdict:
    cards = {"VIRTUAL_VISIBLE_DEVICES": "0"}  # of the eight that a host has
    first = simulated(folder, topology="1x1", environment=cards)
    try:
        first.until_event("start")
        second = Session(folder / "second", first.cell, "--steps", 20, f"--leases={first.leases}", environment=cards)
        second.process.wait(120)
        verdict = second.verdict()
        assert first.process.poll() is None, "the first session was disturbed"
    finally:
        first.process.send_signal(signal.SIGTERM)
        first.end()
    return verdict


@_fault("the disk is full, while events are written", "is full", needs=disks.requirements)
def _full_disk_events(folder: Path) -> RunVerdict:
    with disks.small_disk(folder / "disk", 4 * MIB) as disk:
        data = ensure(folder / "data", seed=1, train_images=32, val_images=12)
        session = simulated(folder, f"--data={data}", runs=disk / "runs")
        session.until_event("window", rank=1)
        _fill(disk)
        return _kept(session)


@_fault("the disk is full, while a checkpoint is written", "rank 0: disk: ", needs=disks.requirements)
def _full_disk_checkpoint(folder: Path) -> RunVerdict:
    with disks.small_disk(folder / "disk", 400 * MIB) as disk:  # room for the checkpoints, when the session begins
        data = ensure(folder / "data", seed=1, train_images=32, val_images=12)
        session = Session(folder, cell_of("cpu", "1x1"), "--epochs", 2, f"--data={data}", runs=disk / "runs")
        session.until_event("train_begin")
        _fill(disk, but=4 * MIB)
        session.until_event("epoch_end")
        return _kept(session)


def _kept(session: Session) -> RunVerdict:
    try:
        return session.end()
    finally:
        print(session.output)  # the disk is gone when the test fails


def _fill(disk: Path, but: int = 0) -> None:
    """Leave `but` bytes of a disk free."""
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            file.truncate(file.tell() - but)


@_fault("the newest checkpoint is cut in half, and a rank killed (`--max-restarts 1`)", "", "pass")
def _torn_checkpoint(folder: Path) -> RunVerdict:
    words = ("--epochs", 2, "--checkpoint-steps", 4, "--max-restarts", 1, "--gate")
    session = simulated(folder, *words, clock="simulated")
    session.until_event("checkpoint", count=3)
    rank = session.rank(1)
    rank.suspend()  # so that nobody writes another one
    time.sleep(1.0)
    newest = sorted(session.run_dir.glob("checkpoints/*.pt"))[-1]
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    rank.kill()
    session.until(lambda: '"event":"resumed"' in session.said(0), "a second attempt")
    events = [json.loads(line) for line in session.said(0).splitlines() if '"event":"resumed"' in line]
    assert newest.name not in events[0]["file"]
    assert newest.name in str(events[0]["skipped"])
    verdict = session.end()
    last = session.output.rstrip().splitlines()[-1]
    assert last.startswith("GATE: INCOMPLETE"), last
    assert "restarted once" in last, last
    assert verdict.restarts == 1
    return verdict


_FORKED = {"PYTEST_PLUGINS": "tests.forked_ranks"}
"""Of sessions whose data are at fault, not their launch: the rank is forked."""


def _own_data(folder: Path) -> Path:
    """A data set to be broken."""
    data = folder / "own-data"
    shutil.copytree(str(ensure(folder / "data", seed=1, train_images=32, val_images=12)), str(data))
    return data


@_fault(
    "val numbers the categories otherwise than train", "category 1 is 'square', and in instances_train2017.json it is"
)
def _other_categories(folder: Path) -> RunVerdict:
    data = _own_data(folder)
    file = data / "annotations" / "instances_val2017.json"
    file.write_text(
        file.read_text().replace('"circle"', '""').replace('"square"', '"circle"').replace('""', '"square"')
    )
    return simulated(folder, f"--data={data}", topology="1x1", environment=_FORKED).end()


@_fault("a FIFO in place of a picture", "it is not a plain file, but a FIFO")
def _fifo(folder: Path) -> RunVerdict:
    data = _own_data(folder)
    for picture in (data / "train2017").iterdir():
        picture.unlink()
        os.mkfifo(picture)
    return simulated(folder, f"--data={data}", topology="1x1", environment=_FORKED).end()


@_fault("the data folder disappears", "data: ")
def _no_data(folder: Path) -> RunVerdict:
    data = _own_data(folder)
    session = simulated(folder, f"--data={data}", topology="1x1", environment=_FORKED)
    session.until_event("window")
    shutil.rmtree(str(data))
    return session.end()


@_fault("`--exec-prefix` ends at once", "no agent could be started: sh ended with code 125: no such container")
def _prefix_ends(folder: Path) -> RunVerdict:
    return simulated(folder, "--exec-prefix", "sh -c 'echo no such container >&2; exit 125'").end()


@_fault("`--exec-prefix` does not hand on standard input", "it has to hand it on, as `docker exec -i NAME` does")
def _prefix_without_input(folder: Path) -> RunVerdict:
    return simulated(folder, "--exec-prefix", """sh -c 'exec "$@" </dev/null' prefix""").end()


def _over_ssh(
    lab: Hosts, folder: Path, *arguments: object, others: str | None = None, topology: str = "2x1"
) -> Session:
    return Session(
        folder,
        cell_of("cpu", topology),
        "--launcher=ssh",
        f"--hosts={lab.a.address},{others or lab.b.address}",
        f"--ssh-config={lab.ssh_config}",
        "--leases=/run/conformance",  # where each host of the lab has a folder of its own
        "--epochs=8",
        *arguments,
        host=lab.a,
    )


def _on_hosts(folder: Path, act: Callable[[Hosts], Session]) -> RunVerdict:
    with two_hosts(folder / "lab") as lab:
        verdict = act(lab).end()
        deadline_s = time.monotonic() + 45.0  # a host that was cut off has to notice by itself
        while (lab.leftovers(lab.a) or lab.leftovers(lab.b)) and time.monotonic() < deadline_s:
            time.sleep(0.5)
        assert lab.leftovers(lab.a) == []
        assert lab.leftovers(lab.b) == []
        return verdict


def _prepared(folder: Path, prepare: Callable[[Hosts], None]) -> RunVerdict:
    """The verdict on a session that begins after something was done to its hosts."""

    def act(lab: Hosts) -> Session:
        prepare(lab)
        return _over_ssh(lab, folder)

    return _on_hosts(folder, act)


@_fault("a host cannot be reached", "it cannot be reached", needs=hosts.requirements)
def _unreachable(folder: Path) -> RunVerdict:
    return _on_hosts(folder, lambda lab: _over_ssh(lab, folder, others="10.99.0.9"))


@_fault("a host's sshd is down", "no sshd listens there", needs=hosts.requirements)
def _no_sshd(folder: Path) -> RunVerdict:
    return _prepared(folder, lambda lab: lab.stop_sshd(lab.b))


@_fault("a host's key is not known", "this machine does not know the host's key", needs=hosts.requirements)
def _unknown_key(folder: Path) -> RunVerdict:
    return _prepared(folder, lambda lab: lab.forget_key(lab.b))


@_fault("a host refuses the login", "the login was refused", needs=hosts.requirements)
def _refused(folder: Path) -> RunVerdict:
    return _prepared(folder, lambda lab: lab.refuse_login(lab.b))


@_fault("the rendezvous' port is taken", "Address already in use", needs=hosts.requirements)
def _port_taken(folder: Path) -> RunVerdict:
    def act(lab: Hosts) -> Session:
        listen = "import socket, time; s = socket.create_server(('', 29500)); print('.', flush=True); time.sleep(600)"
        taker = lab.popen(lab.a, [sys.executable, "-c", listen], stdout=subprocess.PIPE)
        assert taker.stdout is not None
        taker.stdout.readline()
        session = _over_ssh(lab, folder, f"--rendezvous={lab.a.address}:29500")
        session.process.wait(120)
        taker.kill()
        taker.wait()
        return session

    return _on_hosts(folder, act)


@_fault(
    "a host's clock is an hour off", "its clock is 36", needs=lambda: hosts.requirements() or hosts.clock_requirements()
)
def _clock_off(folder: Path) -> RunVerdict:
    return _prepared(folder, lambda lab: lab.shift_clock(lab.b, "+1h"))


@_fault(
    "the network is cut in the middle of training", "the connection was lost in the middle", needs=hosts.requirements
)
def _cut(folder: Path) -> RunVerdict:
    def act(lab: Hosts) -> Session:
        session = _over_ssh(lab, folder)
        session.until_event("window", rank=1)
        lab.cut()
        return session

    return _on_hosts(folder, act)


def lines() -> list[str]:
    """The table as Markdown."""
    rows = [("fault", "verdict", "what it says")]
    for launch in LAUNCHES:
        outcome = "pass, and `GATE: INCOMPLETE`" if launch.outcome == "pass" else launch.outcome
        rows.append((launch.name, outcome, f"... {launch.words} ..." if launch.words else "... restarted once ..."))
    shown = [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return [shown[0], "| --- | --- | --- |", *shown[1:]]


if __name__ == "__main__":
    print("\n".join(lines()))
