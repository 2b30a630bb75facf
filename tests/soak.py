"""Boots in a row and kills at random moments: `python -m tests.soak --boots 50 --kills 20 --seed 1`.

After each, the bundle has to be readable, its verdict the right one, and nothing may be left: no process, no lease, no
port that somebody listens on, no shared memory, no temporary file. The first that breaks this ends it with an error.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, NamedTuple

import psutil

from evidence.verdict import RunVerdict
from tests.faults.sessions import Session, simulated

_STEPS_OF_A_BOOT, _STEPS_OF_A_KILL = 20, 5000
_LATEST_KILL_S = 30.0
_OTHERS_S = 20.0  # what belongs to other programs of this machine comes and goes


class Victim(NamedTuple):
    """Who is killed, and by which signal; `find` may find nobody yet, or nobody any more."""

    name: str
    number: signal.Signals
    find: Callable[[Session], psutil.Process]


def _rank(session: Session) -> psutil.Process:
    return session.descendant("-u", "-m", "trainer")  # torchrun has the last two words as well


VICTIMS = (
    Victim("a rank", signal.SIGKILL, _rank),
    Victim("a rank", signal.SIGTERM, _rank),
    Victim("torchrun", signal.SIGKILL, lambda session: session.descendant("torch.distributed.run")),
    Victim("torchrun", signal.SIGTERM, lambda session: session.descendant("torch.distributed.run")),
    Victim("the agent", signal.SIGKILL, lambda session: session.descendant("trainer.launch.agent")),
    Victim("the agent", signal.SIGTERM, lambda session: session.descendant("trainer.launch.agent")),
    Victim("pytest", signal.SIGKILL, lambda session: psutil.Process(session.process.pid)),
    Victim("pytest", signal.SIGTERM, lambda session: psutil.Process(session.process.pid)),
    Victim("pytest", signal.SIGINT, lambda session: psutil.Process(session.process.pid)),
)


def soak(folder: Path, *, boots: int, kills: int, seed: int, say: Callable[[str], None]) -> None:
    """Raise AssertionError for the first thing that is not as it has to be."""
    chance = random.Random(seed)
    turns = ["boot"] * boots + ["kill"] * kills
    chance.shuffle(turns)
    for turn, what in enumerate(turns, start=1):
        own = folder / f"{turn:03d}"
        before = _resources()
        found = _boot(own, turn) if what == "boot" else _kill(own, chance)
        _require_nothing_left(own, before)
        say(f"{turn}/{len(turns)}  {found}")
        shutil.rmtree(str(own))


def _boot(folder: Path, turn: int) -> str:
    session = _session(folder, "1x2" if turn % 2 else "1x1", _STEPS_OF_A_BOOT)
    session.process.wait(300)
    verdict = session.end()
    # Twenty steps are too few to be judged, and enough to be measured.
    assert verdict.outcome == "inconclusive", (verdict.reasons, session.output)
    return f"boot of {session.cell.topology}"


def _kill(folder: Path, chance: random.Random) -> str:
    victim, after_s = chance.choice(VICTIMS), chance.uniform(0.5, _LATEST_KILL_S)
    session = _session(folder, "1x2", _STEPS_OF_A_KILL)
    time.sleep(after_s)
    deadline_s = time.monotonic() + 120
    while True:
        try:
            victim.find(session).send_signal(victim.number)
            break
        except (AssertionError, psutil.Error):  # there is none yet
            assert session.process.poll() is None, session.output
            assert time.monotonic() < deadline_s, session.output
            time.sleep(0.1)
    if not list(session.runs.glob("*Z-*")):
        session.process.wait(60)  # pytest was ended before it had begun a run: there is nothing to judge
        return f"{victim.number.name} of {victim.name} after {after_s:.1f} s, before there was a run"
    verdict = session.end()
    assert verdict.outcome == "invalid", (verdict, session.output)
    return f"{victim.number.name} of {victim.name} after {after_s:.1f} s: {_first(verdict)}"


def _first(verdict: RunVerdict) -> str:
    reason = verdict.reasons[0]
    return reason if len(reason) <= 110 else f"{reason[:107]}..."


def _session(folder: Path, topology: str, steps: int) -> Session:
    temporary = _temporary(folder)
    temporary.mkdir(parents=True)
    return simulated(folder, "--steps", steps, topology=topology, environment={"TMPDIR": str(temporary)})


def _temporary(folder: Path) -> Path:
    # A short path: sockets are made there.
    return Path(tempfile.gettempdir()) / f"soak-{os.getpid()}-{folder.name}"


def _resources() -> dict[str, set[str]]:
    """Ports and shared memory that no living program of somebody else's accounts for."""
    listening = [one for one in psutil.net_connections("inet") if one.status == psutil.CONN_LISTEN]
    ports = {f"port {one.laddr.port}" for one in listening if one.pid is None or not psutil.pid_exists(one.pid)}
    # torch names its blocks after the process that made them.
    shared = {name for name in os.listdir("/dev/shm") if not any(map(_lives, re.findall(r"[0-9]+", name)))}
    return {"ports": ports, "shared memory": shared}


def _lives(digits: str) -> bool:
    return len(digits) < 10 and psutil.pid_exists(int(digits))


def _require_nothing_left(folder: Path, before: dict[str, set[str]]) -> None:
    deadline_s = time.monotonic() + _OTHERS_S
    while True:
        more = {kind: found - before[kind] for kind, found in _resources().items() if found - before[kind]}
        if not more or time.monotonic() > deadline_s:
            break
        time.sleep(0.5)
    assert not more, f"left behind: {more}"
    # pytest's own folders of the last sessions stay there on purpose.
    left = [path for path in _temporary(folder).rglob("*") if not path.name.startswith("pytest-") and path.is_file()]
    left = [path for path in left if not any(part.startswith("pytest-of-") for part in path.parts)]
    assert left == [], f"temporary files left behind: {left[:5]}"
    shutil.rmtree(str(_temporary(folder)))


def main() -> int:
    """Run it and say how it goes."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--boots", type=int, default=50)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        begun_s = time.monotonic()
        soak(
            Path(folder),
            boots=asked.boots,
            kills=asked.kills,
            seed=asked.seed,
            say=lambda text: print(text, flush=True),
        )
        print(f"{asked.boots} boots and {asked.kills} kills in {time.monotonic() - begun_s:.0f} s: nothing was left")
    return 0


if __name__ == "__main__":
    sys.exit(main())
