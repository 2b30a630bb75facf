"""The links of simulated devices: planted latency and bandwidth on the device's clock, and planted faults."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Callable, Sequence

from evidence.events.links import ALL_GATHER, ALL_TO_ALL, BROADCAST, bus_factor
from trainer.devices.scenario import Fault, Scenario
from trainer.devices.simulation import NS_PER_MS, Stream

if TYPE_CHECKING:
    import torch

    from trainer.clocks import Clock
    from trainer.links.exchange import Exchange, RoundTrip

_NS_PER_US = 1e3
_FASTEST = 0.1  # of the planted time: noise never brings an exchange below it
_CHUNK = 8  # a dropped chunk is so many-th part
_TIMES_TAG = 7


class SimulatedLinks:
    """The links of one rank's device to the others', and what is planted in them.

    A pair's latency and bandwidth are those of a host's own links, or of the network; a collective's the worst of a
    ring of all ranks, so that its planted bandwidth is a bus bandwidth.
    """

    def __init__(
        self, scenario: Scenario, rank: int, index: int, ranks: int, ranks_per_host: int, clock: Clock, stream: Stream
    ) -> None:
        self._scenario, self._rank, self._ranks, self._per_host = scenario, rank, ranks, ranks_per_host
        self._clock, self._stream = clock, stream
        self._faults = scenario.of_kind("links", rank, index)
        self._slow = [fault for fault in scenario.faults if fault.kind == "links" and fault["error"] == "slow"]
        self._before: dict[tuple[str, int], torch.Tensor] = {}
        self._calls = 0

    def communicate(self, exchange: Exchange | RoundTrip, run: Callable[[], None]) -> None:
        """Exchange by `run`, with what is planted, in the planted time: it begins when the last rank has come."""
        self._calls += 1
        mine = [fault for fault in self._faults if _is_on(fault, exchange)]
        for fault in mine:
            if fault["error"] == "hang":
                while True:
                    time.sleep(1.0)
            if fault["error"] == "late":
                self._clock.wait_until(self._clock.true_ns() + round(fault["ms"] * NS_PER_MS))
        came_ns = self._stream.reached_ns()
        for fault in mine:
            self._alter_sent(fault, exchange)
        run()
        for fault in mine:
            _alter_received(fault, exchange)
        begun_ns = self._last_arrival(exchange, came_ns)
        self._stream.queue(begun_ns + self.planted_ns(exchange) - came_ns)

    def planted_ns(self, exchange: Exchange | RoundTrip) -> float:
        """Return how long an exchange takes once all have come; of a round trip both ways."""
        ring = exchange.members
        ways = list(zip(ring, (*ring[1:], ring[0])))
        latency_ns = max(self._latency_us(*way) for way in ways) * _NS_PER_US
        slowest = min(self._gb_per_s(*way) for way in ways)  # GB/s are bytes a ns
        moved = exchange.bytes * bus_factor(exchange.collective, self._ranks)
        # Drawn alike on all members, for each call and pair anew.
        key = f"{self._scenario.seed} links {exchange.collective} {exchange.bytes} {ring} {exchange.call}"
        draw = random.Random(key)  # noqa: S311 - nothing secret
        factor = max(_FASTEST, 1 + self._scenario.link_noise * draw.gauss(0, 1))
        return (latency_ns + moved / slowest) * factor * (1 if exchange.peer is None else 2)

    def _is_network(self, one: int, other: int) -> bool:
        return one // self._per_host != other // self._per_host

    def _latency_us(self, one: int, other: int) -> float:
        return self._scenario.network_us if self._is_network(one, other) else self._scenario.link_us

    def _gb_per_s(self, one: int, other: int) -> float:
        network = self._is_network(one, other)
        rate = self._scenario.network_gb_per_s if network else self._scenario.link_gb_per_s
        for fault in self._slow:
            if set(fault["pair"]) == {one, other}:
                rate /= fault["factor"]
        return rate

    def _last_arrival(self, exchange: Exchange | RoundTrip, came_ns: int) -> int:
        """Return the latest of the times at which the members' devices had done all before this exchange."""
        import torch
        import torch.distributed as dist

        mine = torch.tensor([came_ns])
        if exchange.peer is None:
            dist.all_reduce(mine, op=dist.ReduceOp.MAX)
            return int(mine)
        other, peer = torch.zeros_like(mine), exchange.peer
        steps: Sequence[Callable[[], object]] = (
            lambda: dist.send(mine, peer, tag=_TIMES_TAG),
            lambda: dist.recv(other, peer, tag=_TIMES_TAG),
        )
        for step in steps if self._rank < peer else reversed(steps):
            step()
        return max(int(mine), int(other))

    def _alter_sent(self, fault: Fault, exchange: Exchange | RoundTrip) -> None:
        sent = exchange.sent
        if not sent.numel() or (exchange.collective == BROADCAST and exchange.root != self._rank):
            return
        if fault["error"] == "drop":
            sent[: -(-sent.numel() // _CHUNK)] = 0
        elif fault["error"] == "fp16":
            sent.copy_(sent.half().float())
        elif fault["error"] == "stale":
            key = (exchange.collective, sent.numel())
            before, self._before[key] = self._before.get(key), sent.clone()
            if before is not None:
                sent.copy_(before)


def _is_on(fault: Fault, exchange: Exchange | RoundTrip) -> bool:
    return fault["collective"] in ("", exchange.collective) and exchange.bytes >= fault["least_bytes"]


def _alter_received(fault: Fault, exchange: Exchange | RoundTrip) -> None:
    import torch

    received = exchange.received
    if fault["error"] == "bit" and received.numel():
        received.view(torch.int32)[received.numel() // 2] ^= 1 << fault["bit"]
    elif fault["error"] == "swap" and received.numel() and exchange.collective in (ALL_GATHER, ALL_TO_ALL):
        one, other = fault["pair"]
        parts = received.view(len(exchange.members), -1)
        parts[[one, other]] = parts[[other, one]]
