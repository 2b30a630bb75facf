"""The links probe: collectives and pairs of the run's devices, their results checked in every call, and timed."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import Callable, Sequence

import torch

from evidence.events.links import DEVICES, HOSTS, SEND_RECV, CollectiveResult, LinksDone, PairResult, shown_bytes
from evidence.rank_file import EventLog
from evidence.run_file import PROBES
from trainer.devices import Backend
from trainer.errors import first_line
from trainer.links.arrivals import Arrivals, end_rank
from trainer.links.exchange import FP32_BYTES, Case, Exchange, RoundTrip
from trainer.links.pattern import Pattern
from trainer.links.plan import BUDGET_S, PAIR_BYTES, bucket_bytes, cases, largest_bytes, rounds
from trainer.model.networks import build_model
from trainer.ranks import HostGroup
from trainer.settings import FULL, QUICK, Settings

_LEAST, _MOST = 5, {QUICK: 5, FULL: 40}  # samples
_NARROW = 0.02  # half of the 95 % interval, relative
_SMALL, _CALLS = 64 << 10, {QUICK: 4, FULL: 20}  # up to so many bytes, a sample is of so many calls
_LACKING = ("support", "implement")  # words of torch.distributed's backends for a collective that they lack


def ask_links(
    settings: Settings,
    backend: Backend,
    group: HostGroup,
    log: EventLog,
    memory_gib: float | None,
    arrivals: Arrivals | None = None,
) -> None:
    """Exchange what `--links` asks for and write an event for each case; a collective call of all ranks.

    `memory_gib` is what a rank has of its device. One rank has no links, and is not asked.
    """
    if group.ranks.world_size == 1:
        return
    buckets = bucket_bytes(_trained(settings), settings.bucket_mb)
    arrivals = arrivals or Arrivals(
        group.store, group.ranks.rank, group.ranks.world_size, end_rank(log, group.ranks.rank)
    )
    _Probe(settings, backend, group, log, arrivals).ask(buckets, largest_bytes(memory_gib, backend.probe_cut))


def _trained(settings: Settings) -> list[torch.Tensor]:
    """Return the parameters that DDP exchanges gradients of, of a model with seeded weights on the host."""
    model = build_model(replace(settings, protocol=PROBES, steps=None, backbone=None))
    return [one for one in model.parameters() if one.requires_grad]


class _Probe:
    def __init__(
        self, settings: Settings, backend: Backend, group: HostGroup, log: EventLog, arrivals: Arrivals
    ) -> None:
        self._amount = settings.links
        self._backend, self._group, self._log, self._arrivals = backend, group, log, arrivals
        self._rank, self._ranks = group.ranks.rank, group.ranks.world_size
        self._pattern = Pattern(self._ranks, backend.device, settings.seed)
        self._begun_ns = backend.clock.now_ns()
        self._call = 0
        self._not_asked: list[str] = []

    def ask(self, buckets: Sequence[int], most: int) -> None:
        """Ask all cases of up to `most` bytes and all pairs, as far as the budget goes."""
        begun_s = time.perf_counter()
        asked = 0
        for case in cases(self._amount, self._ranks, buckets, most):
            if self._is_in_budget(CollectiveResult(case.collective, case.bytes, case.root, _layout(case)).name):
                self._log.write(self._ask(case))
                asked += 1
        pairs = self._ask_pairs()
        seconds = round(time.perf_counter() - begun_s, 3)
        done = LinksDone(self._amount, asked, pairs, self._begun_ns, seconds, BUDGET_S[self._amount], tuple(buckets))
        self._log.write(replace(done, not_asked=tuple(self._not_asked)))

    def _is_in_budget(self, what: str) -> bool:
        spent_s = (self._backend.clock.now_ns() - self._begun_ns) / 1e9
        left = self._group.from_rank_0(BUDGET_S[self._amount] - spent_s) > 0
        if not left:
            self._not_asked.append(what)
        return left

    def _ask(self, case: Case) -> CollectiveResult:
        result = CollectiveResult(case.collective, case.bytes, case.root, _layout(case), bucket=case.bucket)
        try:
            with self._arrivals.limit(result.name, case.bytes):
                exchange = self._exchange(case)
                self._backend.communicate(exchange, lambda: self._begin(exchange.run))
                self._backend.synchronise()
        except (RuntimeError, NotImplementedError, ValueError) as error:
            if not any(word in str(error) for word in _LACKING):
                raise
            return replace(result, error=first_line(error))
        result = _with_check(result, exchange)
        if not case.timed:
            return result
        times: list[int] = []

        def sample() -> int:
            nonlocal result
            exchanges = [self._exchange(case) for _ in range(_CALLS[self._amount] if case.bytes <= _SMALL else 1)]
            with self._arrivals.limit(result.name, case.bytes * len(exchanges)):
                self._arrivals.arrive()
                self._group.barrier()
                took_ns = self._time([_communicating(self._backend, one) for one in exchanges])
            for one in exchanges:
                result = _with_check(result, one)
            return took_ns

        self._repeat(sample, times)
        return replace(result, times_ns=tuple(times))

    def _exchange(self, case: Case) -> Exchange:
        self._call += 1
        return Exchange(case, self._pattern, self._rank, self._ranks, self._call, self._backend.device)

    def _begin(self, run: Callable[[], None]) -> None:
        self._arrivals.arrive()
        run()

    def _time(self, calls: Sequence[Callable[[], None]]) -> int:
        """Return the time of a call in ns, by the step timer."""
        timer = self._backend.step_timer()
        timer.start()
        for call in calls:
            call()
        timer.forward_done()
        timer.stop()
        return timer.drain().compute_ns[0] // len(calls)

    def _repeat(self, sample: Callable[[], int], times: list[int]) -> None:
        """Add samples until rank 0's are close together, or many enough."""
        goal = _LEAST
        while True:
            while len(times) < goal:
                times.append(sample())
            close = _half_width(times) <= _NARROW or goal >= _MOST[self._amount]
            if self._group.from_rank_0(float(close or self._spent())):
                return
            goal *= 2

    def _spent(self) -> bool:
        return (self._backend.clock.now_ns() - self._begun_ns) / 1e9 > BUDGET_S[self._amount]

    def _ask_pairs(self) -> int:
        """Ask every pair of devices of each host, all hosts side by side, then one of each host's with the others'."""
        ranks, size = self._group.ranks, PAIR_BYTES[self._amount]
        first = ranks.rank - ranks.local_rank
        here = range(first, first + ranks.local_world_size)
        leaders = range(0, ranks.world_size, ranks.local_world_size)
        asked = 0
        for between, members in ((DEVICES, here), (HOSTS, leaders)):
            for number, pairs in enumerate(rounds(list(members)), start=1):
                if not self._is_in_budget(f"{SEND_RECV} of {shown_bytes(size)} between {between}, round {number}"):
                    continue
                mine = next((pair for pair in pairs if ranks.rank in pair), None)
                asked += self._ask_pair(mine, size, between)
        return asked

    def _ask_pair(self, pair: tuple[int, int] | None, size: int, between: str) -> int:
        """Measure the pair that this rank is in, and write it on its lower rank; return how many events that were."""
        peer = None if pair is None else pair[pair[0] == self._rank]
        wrong, times = 0, []
        base, self._call = self._call, self._call + _LEAST + 1
        if peer is None:
            return 0
        for number in range(_LEAST + 1):  # the first call makes the connection
            trip = RoundTrip(self._pattern, self._rank, peer, base + number, size // FP32_BYTES, self._backend.device)
            name = f"{SEND_RECV} of {shown_bytes(size)} between ranks {trip.members[0]} and {trip.members[1]}"
            with self._arrivals.limit(name, size):
                self._arrivals.arrive()
                took_ns = self._time([_communicating(self._backend, trip)])
            wrong += trip.check()
            times += [took_ns // 2] if number else []
        if peer < self._rank:
            return 0
        self._log.write(PairResult(peer, size, between, _LEAST + 1, wrong, tuple(times)))
        return 1


def _communicating(backend: Backend, exchange: Exchange | RoundTrip) -> Callable[[], None]:
    return lambda: backend.communicate(exchange, exchange.run)


def _with_check(result: CollectiveResult, exchange: Exchange) -> CollectiveResult:
    """Return the result with one more call in it; the first wrong element stays."""
    checked = exchange.check()
    result = replace(result, calls=result.calls + 1, guard=result.guard + checked.guard)
    if checked.wrong and not result.wrong:
        result = replace(result, at=checked.at, found=checked.found, expected=checked.expected, sources=checked.sources)
    return replace(result, wrong=result.wrong + checked.wrong)


def _half_width(times: Sequence[int]) -> float:
    """Half of the 95 % interval of the mean, relative to it."""
    return 1.96 * statistics.stdev(times) / len(times) ** 0.5 / max(1.0, statistics.mean(times))


def _layout(case: Case) -> str:
    return "unaligned" if case.unaligned else ""
