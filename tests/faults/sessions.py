"""Sessions of the suite in processes of their own, to be broken, and what has to hold after that."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Mapping

import psutil

from evidence.bundle import read_run
from evidence.verdict import RunVerdict
from expected import Cell
from tests.labs.hosts import Host
from tests.support import ROOT, cell_of, device_of
from trainer.launch.leases import FOLDER_VARIABLE, Leases
from verdict.judge import judge_run

ENDS_WITHIN_S = 60.0
"""Whatever breaks, this much later everything has ended: the promise that the rows are held to."""

_STARTS_WITHIN_S = 240.0
_LEASE_WAIT_S = 1.0


class Session:
    """`pytest` with `arguments`, on `host` or on this machine; everything that it leaves lies in `folder`."""

    def __init__(
        self,
        folder: Path,
        cell: Cell,
        *arguments: Any,
        runs: Path | None = None,
        host: Host | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder, self.cell = folder, cell
        self.runs = runs or folder / "runs"
        self.leases = folder / "leases"
        self._output = folder / f"output-{time.monotonic_ns()}"
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", cell.device]
        # The probes cost as much as the rest, and no row is about them; a gate asks for all.
        command += [] if "--gate" in arguments else ["--numerics", "none", "--links", "none"]
        command += ["--topo", str(cell.topology), f"--runs={self.runs}", *map(str, arguments)]
        inherited = {key: text for key, text in os.environ.items() if not key.startswith(("PYTEST_", "COV_"))}
        inherited.update({FOLDER_VARIABLE: str(self.leases), "OMP_NUM_THREADS": "1"})
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                command if host is None else host.command(command, ROOT),
                cwd=str(ROOT),
                env={**inherited, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=_hear_signals,
            )

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._output.read_text(errors="replace")

    @property
    def run_dir(self) -> Path:
        """The run's folder; there has to be one."""
        (found,) = self.runs.glob("*Z-*")
        return found

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Return when a condition holds, while the session goes on."""
        deadline_s = time.monotonic() + _STARTS_WITHIN_S
        while not condition():
            assert self.process.poll() is None, f"ended before {what}:\n{self.output}"
            assert time.monotonic() < deadline_s, f"waited in vain for {what}:\n{self.output}"
            time.sleep(0.1)

    def until_event(self, event: str, *, rank: int = 0, count: int = 1) -> None:
        """Return when a rank has written an event so often."""
        self.until(lambda: self.said(rank).count(f'"event":"{event}"') >= count, f"{event} of rank {rank}")

    def said(self, rank: int) -> str:
        """What a rank has written."""
        found = list(self.runs.glob(f"*Z-*/rank-{rank:04d}.jsonl"))
        return found[0].read_text(errors="replace") if found else ""

    def rank(self, rank: int) -> psutil.Process:
        """The process of a rank that has said hello."""
        return psutil.Process(json.loads(self.said(rank).splitlines()[0])["pid"])

    def descendant(self, *words: str) -> psutil.Process:
        """The first process below the session's with these words in its command line."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if all(word in process.cmdline() for word in words):
                    return process
            except psutil.Error:
                continue
        raise AssertionError(f"no process with {words} below {self.process.pid}")

    def end(self) -> RunVerdict:
        """Wait for its end, as long as it may take; see that nothing is left, and return the verdict on its run."""
        deadline_s = time.monotonic() + ENDS_WITHIN_S
        try:
            self.process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still there after {ENDS_WITHIN_S:.0f} s:\n{self.output}") from None
        finally:
            self.kill()
        while self.alive() and time.monotonic() < deadline_s:
            time.sleep(0.2)
        assert self.alive() == []
        assert self.free_devices(), "a device is still leased"
        return self.verdict()

    def verdict(self) -> RunVerdict:
        """The verdict on what is in the run's folder now."""
        return judge_run(read_run(self.run_dir), self.cell, backend=device_of(self.cell.device).backend)

    def alive(self) -> list[str]:
        """The command lines of every process on this machine that belongs to the session."""
        mine = []
        for process in psutil.process_iter():
            try:
                own = process.environ().get(FOLDER_VARIABLE) == str(self.leases)
                if own and process.status() != psutil.STATUS_ZOMBIE:
                    mine.append(f"{process.pid}: {' '.join(process.cmdline())[:120]}")
            except psutil.Error:
                continue
        return mine

    def free_devices(self) -> bool:
        """Whether another run could have the devices now."""
        cards = [str(card) for card in range(self.cell.topology.devices)]
        with Leases(self.leases, device_of(self.cell.device).backend, {}) as leases:
            return leases.take(cards, cards, len(cards), wait_s=_LEASE_WAIT_S) == cards

    def kill(self) -> None:
        """End the session itself, should it still be there."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def simulated(folder: Path, *arguments: Any, topology: str = "1x2", clock: str = "real", **options: Any) -> Session:
    """A session of the virtual device that trains for minutes unless something happens to it."""
    folder.mkdir(parents=True, exist_ok=True)
    scenario = folder / "scenario.toml"
    scenario.write_text(f'clock = "{clock}"\n')
    steps = () if {"--epochs", "--steps"} & set(arguments) else ("--steps", 5000)
    return Session(folder, cell_of("virtual", topology), f"--scenario={scenario}", *steps, *arguments, **options)


def _hear_signals() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & has it ignored
