"""Measured beside set: python -m benchmarks.links [--mbit 50 100 200], as root.

Two network namespaces of this machine, a cable between them that `tc` shapes to the rate at both ends (token bucket
filter), and the links probe of two ranks over gloo. What is set counts Ethernet frames, of which TCP's payload is
95.6 % at an MTU of 1500.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Iterator

from evidence.codec import decode
from evidence.events.links import ALL_REDUCE, CollectiveResult, PairResult, shown_bytes
from evidence.files import rank_file
from evidence.rank_file import EventLog
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
    folder.mkdir()
    started = []
    for rank, space in enumerate(_SPACES):
        meeting = {"MASTER_ADDR": _ADDRESSES[0], "MASTER_PORT": "29500", "GLOO_SOCKET_IFNAME": _CABLE}
        command = ["ip", "netns", "exec", space, sys.executable, "-m", "benchmarks.links", "--rank", str(rank)]
        command += ["--folder", str(folder)]
        started.append(subprocess.Popen(command, cwd=str(ROOT), env={**os.environ, **meeting}))
    try:
        codes = [one.wait(_LIMIT_S) for one in started]
    finally:
        for one in started:
            one.kill()
    if any(codes):
        raise SystemExit(f"the ranks ended with {codes}")
    return SimpleNamespace(ranks=[_found(folder / rank_file(rank)) for rank in range(2)], starts=())


def _found(file: Path) -> Any:
    records = [json.loads(line) for line in file.read_text().splitlines()]
    collectives = [decode(CollectiveResult, one) for one in records if one["event"] == "collective"]
    pairs = [decode(PairResult, one) for one in records if one["event"] == "link_pair"]
    return SimpleNamespace(rank=int(file.stem[-4:]), collectives=collectives, pairs=pairs)


def be_rank(rank: int, folder: Path) -> None:
    """Be one of two ranks: make the quick probe on the CPU."""
    from trainer.devices import load_backend
    from trainer.probes.links import ask_links
    from trainer.ranks import HostGroup, Ranks
    from trainer.settings import Settings

    backend, group = load_backend("cpu"), HostGroup(Ranks(rank, 0, 2, 1, rank))
    device = backend.open(0, 1)
    group.join(backend)
    settings = Settings(folder, folder, pretrained_backbone=False, model="fasterrcnn_tiny", links="quick")
    ask_links(settings, backend, group, EventLog(folder, rank), device.capacity_gib)
    group.barrier()
    group.leave()


def main() -> None:
    """Print a row for each rate."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--mbit", type=float, nargs="+", default=[50.0, 100.0, 200.0])
    options.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.rank is not None:
        be_rank(chosen.rank, chosen.folder)
        return
    print("| set, Mb/s | payload, Mb/s | all-reduce, bus bandwidth | send and receive |")
    print("| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder, cable():
        for mbit in chosen.mbit:
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
