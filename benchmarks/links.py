"""Measured beside set: python -m benchmarks.links [--mbit 400 800], as root.

Two network namespaces of this machine, a cable between them that `tc` shapes to the rate at both ends (token bucket
filter), and the links probe of two ranks over gloo. What is set counts Ethernet frames, of which TCP's payload is
95.6 % at an MTU of 1500.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Iterator

from evidence.events.links import ALL_REDUCE, shown_bytes
from evidence.files import Problems, rank_file
from evidence.rank_file import read_rank
from verdict.metrics.links import pair_rates, timed

ROOT = Path(__file__).resolve().parents[1]
_PAYLOAD = 1448 / 1514  # of a frame
_LIMIT_S = 300.0
_ADDRESSES = ("10.84.0.1", "10.84.0.2")
_SPACES = tuple(f"links-{os.getpid()}-{number}" for number in range(2))
_CABLE = "cable0"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextlib.contextmanager
def cable() -> Iterator[None]:
    """Two namespaces with a cable between them, gone at the end."""
    with contextlib.ExitStack() as ends:
        for space in _SPACES:
            _ip("netns", "add", space)
            ends.callback(_ip, "netns", "delete", space)
        peer = ["type", "veth", "peer", "name", _CABLE, "netns", _SPACES[1]]
        _ip("link", "add", _CABLE, "netns", _SPACES[0], *peer)
        for space, address in zip(_SPACES, _ADDRESSES):
            _ip("-n", space, "address", "add", f"{address}/30", "dev", _CABLE)
            _ip("-n", space, "link", "set", _CABLE, "up")
            _ip("-n", space, "link", "set", "lo", "up")
        yield


def shape(mbit: float) -> None:
    """Let each end send at most so many megabits a second."""
    rule = ["root", "tbf", "rate", f"{mbit:g}mbit", "burst", "32kb", "latency", "100ms"]
    for space in _SPACES:
        subprocess.run(["tc", "-n", space, "qdisc", "replace", "dev", _CABLE, *rule], check=True)


def probe(folder: Path) -> Any:
    """Make the links probe with a rank in each namespace; return what verdicts take for evidence."""
    flags = [f"--run-dir={folder}", f"--data={os.devnull}", "--protocol=probes", "--links=full"]
    flags += ["--model=fasterrcnn_tiny", "--pretrained-backbone=False"]
    started = []
    for rank, space in enumerate(_SPACES):
        numbers = {"RANK": rank, "LOCAL_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 1, "GROUP_RANK": rank}
        meeting = {"MASTER_ADDR": _ADDRESSES[0], "MASTER_PORT": 29500, "GLOO_SOCKET_IFNAME": _CABLE}
        added = {name: str(value) for name, value in {**numbers, **meeting}.items()}
        command = ["ip", "netns", "exec", space, sys.executable, "-u", "-m", "trainer", *flags]
        started.append(subprocess.Popen(command, cwd=str(ROOT), env={**os.environ, **added}))
    try:
        codes = [one.wait(_LIMIT_S) for one in started]
    finally:
        for one in started:
            one.kill()
    if any(codes):
        raise SystemExit("".join((folder / f"rank-{rank:04d}.log").read_text() for rank in range(2)))
    files = [rank_file(rank) for rank in range(2)]
    ranks = [read_rank((folder / name).read_bytes(), rank, Problems(name)) for rank, name in enumerate(files)]
    return SimpleNamespace(ranks=ranks)


def main() -> None:
    """Print a row for each rate."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--mbit", type=float, nargs="+", default=[400.0, 800.0])
    chosen = options.parse_args().mbit
    print("| set, Mb/s | payload, Mb/s | all-reduce, bus bandwidth | send and receive |")
    print("| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder, cable():
        for mbit in chosen:
            shape(mbit)
            evidence = probe(Path(folder) / f"run-{mbit:g}")
            largest, (pair,) = timed(evidence, ALL_REDUCE)[-1], pair_rates(evidence)
            found = [
                f"{rate * 8e3:.1f} Mb/s, {rate * 8e3 / mbit / _PAYLOAD:.1%} of the payload ({shown_bytes(size)})"
                for rate, size in ((largest.gb_per_s, largest.case.bytes), (pair.gb_per_s, pair.bytes))
            ]
            print(f"| {mbit:g} | {mbit * _PAYLOAD:.1f} | {found[0]} | {found[1]} |", flush=True)


if __name__ == "__main__":
    main()
