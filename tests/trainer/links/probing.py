"""The links probe on simulated devices: in forked ranks over gloo, or as the events that its planted times give."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Sequence

from evidence.codec import decode, encode
from evidence.events.declare import EVENTS
from evidence.events.links import SEND_RECV, CollectiveResult, LinksDone, PairResult
from tests.forked import run_ranks


class Kept:
    """A log that keeps its events, for one rank."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def write(self, event: Any, t_ns: int | None = None) -> None:
        self.events.append(event)


def rank(number: int, port: int, ranks: int, per_host: int, folder: str, scenario: str, amount: str) -> None:
    """Be one rank: make the probe, and leave its events in a file."""
    from trainer.devices import load_backend
    from trainer.links.arrivals import Arrivals
    from trainer.probes.links import ask_links
    from trainer.ranks import HostGroup, Ranks
    from trainer.settings import Settings

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    backend = load_backend("virtual")
    backend.configure(Path(scenario) if scenario else None, rank=number, world_size=ranks)
    device = backend.open(number % per_host, per_host)
    group = HostGroup(Ranks(number, number % per_host, ranks, per_host, number // per_host))
    group.join(backend)
    settings = Settings(
        Path(folder), Path(folder), pretrained_backbone=False, model="fasterrcnn_tiny", num_classes=4, links=amount
    )
    log = Kept()
    said = Path(folder) / f"said-{number}.txt"

    def give_up(reason: str) -> None:
        said.write_text(reason)
        if number == 0:
            time.sleep(1)  # it keeps the store, which the others read
        os._exit(3)

    ask_links(settings, backend, group, log, device.capacity_gib, Arrivals(group.store, number, ranks, give_up, 4.0))
    events = [{"event": type(event).event, **encode(event)} for event in log.events]
    (Path(folder) / f"events-{number}.json").write_text(json.dumps(events))
    group.barrier()
    group.leave()


def probe(folder: Path, ranks: int, per_host: int, scenario: str = "", amount: str = "quick") -> list[int]:
    """Probe in so many forked ranks; return their exit codes."""
    file = folder / "scenario.toml"
    file.write_text(scenario)
    return run_ranks(
        ranks,
        "tests.trainer.links.probing:rank",
        *(ranks, per_host, str(folder), str(file), amount),
        folder=folder,
    )


def evidence_in(folder: Path, ranks: int, per_host: int) -> Any:
    """What the ranks found, as verdicts take it."""
    found = []
    for number in range(ranks):
        records = json.loads((folder / f"events-{number}.json").read_text())
        found.append([decode(EVENTS[record["event"]], record) for record in records])
    return evidence_of(found, per_host)


def evidence_of(events: Sequence[Sequence[Any]], per_host: int) -> Any:
    """Evidence with these events by rank."""
    ranks = [
        SimpleNamespace(
            rank=number,
            end=SimpleNamespace(t_ns=9),
            start=SimpleNamespace(t_ns=0),
            collectives=[one for one in own if isinstance(one, CollectiveResult)],
            pairs=[one for one in own if isinstance(one, PairResult)],
            links_done=next((one for one in own if isinstance(one, LinksDone)), None),
        )
        for number, own in enumerate(events)
    ]
    starts = [
        (one.rank, SimpleNamespace(card=one.rank % per_host, host=f"host-{one.rank // per_host}")) for one in ranks
    ]
    return SimpleNamespace(ranks=ranks, starts=starts, run=SimpleNamespace(links="full"))


def simulated(scenario: Any, ranks: int, per_host: int, sizes: Sequence[int]) -> Any:
    """Evidence of all-reduces and pairs in the times that the scenario plants, without exchanging anything."""
    from evidence.events.links import ALL_REDUCE, DEVICES, HOSTS
    from trainer.clocks import SimulatedClock
    from trainer.devices.simulated_links import SimulatedLinks
    from trainer.devices.simulation import Stream
    from trainer.links.plan import PAIR_BYTES, rounds

    clock = SimulatedClock()
    links = SimulatedLinks(scenario, 0, 0, ranks, per_host, clock, Stream(clock))

    def times(collective: str, size: int, members: Sequence[int], peer: int | None = None) -> tuple[int, ...]:
        exchanges = [
            SimpleNamespace(collective=collective, bytes=size, members=tuple(members), call=call, peer=peer)
            for call in range(5)
        ]
        return tuple(round(links.planted_ns(one) / (1 if peer is None else 2)) for one in exchanges)

    events: list[list[Any]] = [[] for _ in range(ranks)]
    for size in sizes:
        taken = times(ALL_REDUCE, size, range(ranks))
        for own in events:
            own.append(CollectiveResult(ALL_REDUCE, size, calls=6, times_ns=taken))
    hosts = [list(range(first, first + per_host)) for first in range(0, ranks, per_host)]
    for between, members in [*((DEVICES, one) for one in hosts), (HOSTS, list(range(0, ranks, per_host)))]:
        for pairs in rounds(members):
            for low, high in pairs:
                taken = times(SEND_RECV, PAIR_BYTES["full"], (low, high), high)
                events[low].append(PairResult(high, PAIR_BYTES["full"], between, 6, 0, taken))
    for own in events:
        own.append(LinksDone("full", len(sizes), 0, 1, 1.0, 240.0, buckets=tuple(sizes[:1])))
    return evidence_of(events, per_host)
