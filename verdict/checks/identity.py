"""Checks that a run was of this cell, on this device, by all of its ranks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Iterator, Mapping, Sequence

from evidence.events.clocks import SIMULATED_CLOCK
from evidence.events.setup import HOST_BACKENDS, SWITCHED_OFF
from evidence.run_file import PROBES
from expected import PUBLISHED, Recipe
from verdict.checks.invariants import Case, check

VIRTUAL_DEVICE = "virtual"
"""The marker of the one device that may be simulated."""

_OF_RECIPE = ("model", "seed", "tf32")
_ADDED = ("deterministic", "cudnn_benchmark")
_LATER = (*_ADDED, "lowered")
"""Fields of the recipe that bundles of schema 3 may lack."""

CAPACITY_TOLERANCE = 0.1  # drivers reserve some of the memory; another model differs by more


@check("booted", cause=True, at_end=True)
def booted(case: Case) -> Iterator[str]:
    """The launch succeeded and ended."""
    run = case.evidence.run
    if run is None:
        return
    boot = run.boot
    if boot.phase == "aborted":
        yield f"the run was aborted: {boot.message or 'no message was recorded'}"
    elif boot.failed:
        yield f"the run failed in phase {boot.phase or 'unknown'}: {boot.message or 'no message was recorded'}"
    elif boot.exit_code is None:
        yield "run.json has no exit code, expected 0: the launch was cut short or is still running"
    elif boot.exit_code != 0:
        yield f"the launch ended with exit code {boot.exit_code}, expected 0; see the ranks' logs"


@check("no-failures", cause=True)
def no_failures(case: Case) -> Iterator[str]:
    """No rank failed."""
    run = case.evidence.run
    for rank in case.evidence.ranks:
        if rank.start is None and run is not None and run.boot.failed:
            continue  # it did not get to open its device, and `booted` has said why
        for failure in rank.failures:
            if case.evidence.stopped and failure.kind == "crash":
                continue  # it saw another rank being ended
            yield f"rank {rank.rank}: failed ({failure.kind}): {failure.message}"


@check("all-ranks-reported", at_end=True)
def all_ranks_reported(case: Case) -> Iterator[str]:
    """Every rank of the topology, and no other, has a file with the events that frame a run of its protocol."""
    world = case.cell.topology.ranks
    reported = {rank.rank: rank for rank in case.evidence.ranks}
    for number in sorted(reported.keys() - set(range(world))):
        yield f"rank {number}: found a file, expected only ranks 0 to {world - 1} of {case.cell.topology}"
    for number in range(world):
        if number not in reported:
            yield f"rank {number}: found no file, expected rank-{number:04d}.jsonl: the rank never started"
            continue
        of_training = 0 if case.protocol == PROBES else 1
        for event in ("start", "data", "train_begin", "train_end", "end"):
            count, expected = reported[number].seen.get(event, 0), 1 if event in ("start", "end") else of_training
            if count != expected:
                yield f"rank {number}: found {count} {event!r} events, expected {expected}"


@check("world-size", at_end=True)
def world_is_the_topology(case: Case) -> Iterator[str]:
    """World size, hosts, and ranks on each host are the topology's."""
    topology, starts = case.cell.topology, case.evidence.starts
    local_ranks: dict[str, list[int]] = {}
    for rank, start in starts:
        local_ranks.setdefault(start.host, []).append(start.local_rank)
        for name, found, expected in (
            ("world size", start.world_size, topology.ranks),
            ("local world size", start.local_world_size, topology.devices),
        ):
            if found != expected:
                yield f"rank {rank}: found {name} {found}, expected {expected} for topology {topology}"
    if not starts:
        return
    if len(local_ranks) != topology.nodes:
        hosts = ", ".join(sorted(local_ranks))
        yield f"found {len(local_ranks)} hosts ({hosts}), expected {topology.nodes} for topology {topology}"
    for host, found_ranks in sorted(local_ranks.items()):
        if sorted(found_ranks) != list(range(topology.devices)):
            yield (
                f"host {host}: found local ranks {sorted(found_ranks)}, expected each of 0 to {topology.devices - 1} "
                f"once for topology {topology}"
            )


@check("one-device-per-rank")
def one_device_per_rank(case: Case) -> Iterator[str]:
    """No two ranks share a device."""
    users: dict[tuple[str, int], int] = {}
    for rank, start in case.evidence.starts:
        if start.backend in HOST_BACKENDS:
            continue
        other = users.setdefault((start.host, start.card), rank)
        if other != rank:
            yield f"rank {rank}: found device {start.card} of {start.host} in use by rank {other}, expected its own"


@check("device-index")
def device_index_is_the_asked_one(case: Case) -> Iterator[str]:
    """A run that was to use one device of the host (`--each-card`) used that one."""
    if case.cell.card is None:
        return
    for rank, start in case.evidence.starts:
        if start.card != case.cell.card:
            yield f"rank {rank}: found device {start.card} of {start.host}, expected device {case.cell.card}"


@check("cell")
def cell_is_this_one(case: Case) -> Iterator[str]:
    """run.json and every rank name this cell, and trained with its hyper-parameters."""
    cell, run = case.cell, case.evidence.run
    fields = ("precision", "batch_size", "learning_rate", "device", "topology")
    expected: dict[str, Any] = {"cell": cell.id, **{name.replace("_", " "): getattr(cell, name) for name in fields}}
    expected["topology"] = str(cell.topology)
    if run is not None:
        found = {"cell": run.cell.id, **{name.replace("_", " "): getattr(run.cell, name) for name in fields}}
        yield from _differences("run.json", found, expected)
        expected.update({"protocol": run.protocol, "optimizations switched off": _listed(run.without)})
        expected["schema"] = run.schema
    expected.update({name.replace("_", " "): getattr(cell.recipe, name) for name in (*_OF_RECIPE, *_ADDED)})
    of_rank = ("schema", "cell", "precision", "batch_size", "learning_rate", "protocol", *_OF_RECIPE, *_ADDED)
    for rank, start in case.evidence.starts:
        named = {name.replace("_", " "): getattr(start, name) for name in of_rank}
        named["optimizations switched off"] = None if start.without is None else _listed(start.without)
        # A rank may leave a field out: run.json and the events have it too.
        found = {name: value for name, value in named.items() if value is not None and name in expected}
        yield from _differences(f"rank {rank}", found, expected)


@check("optimization-ledger", at_end=True)
def ledger_is_the_runs(case: Case) -> Iterator[str]:
    """Rank 0 has a ledger of optimizations, and exactly those of `--without` were switched off."""
    run = case.evidence.run
    if case.protocol == PROBES:
        return
    for rank in case.evidence.ranks:
        silent = rank.start is None or rank.start.without is None  # as before there was a ledger
        if run is None or rank.rank != 0 or (silent and not rank.optimizations):
            continue
        if not rank.optimizations:
            yield "rank 0: found no ledger of optimizations, expected what was on and what was off"
            continue
        found = _listed([one.name for one in rank.optimizations if not one.on and one.why == SWITCHED_OFF])
        yield from _differences("rank 0: ledger", {SWITCHED_OFF: found}, {SWITCHED_OFF: _listed(run.without)})


@check("recipe")
def recipe_is_the_cells(case: Case) -> Iterator[str]:
    """run.json has the cell's recipe, every field of it."""
    run = case.evidence.run
    if run is None:
        return
    expected = _as_json(case.cell.recipe)
    missing = [name for name in expected if name not in complete(run.recipe)]
    if missing:
        yield f"run.json: the recipe lacks {', '.join(missing)}, expected every field of the cell's"
    found = {name: value for name, value in complete(run.recipe).items() if name in expected}
    yield from _differences("run.json: recipe", found, expected)


@check("host-clock")
def host_clock_is_the_published(case: Case) -> Iterator[str]:
    """For a p_core published from a host's clock, the run waits for the device after each step as that one did."""
    if case.cell.timing != "host" or case.cell.expectations["p_core"].state != PUBLISHED:
        return
    for rank, start in case.evidence.starts:
        if not start.host_clock:
            yield (
                f"rank {rank}: found host_clock {start.host_clock}, expected true: the published p_core was read by a "
                "host's clock with a wait after each step, and this run's was not; run it again with this table"
            )


@check("backend")
def backend_is_the_devices(case: Case) -> Iterator[str]:
    """Every rank used the device's own backend."""
    run = case.evidence.run
    if run is None:
        return
    if case.backend is not None and run.backend != case.backend:
        yield f"run.json: found backend {run.backend}, expected {case.backend} for device {case.cell.device}"
    for rank, start in case.evidence.starts:
        if start.backend != run.backend:
            yield f"rank {rank}: found backend {start.backend}, expected {run.backend}"


@check("device-is-real")
def device_is_real(case: Case) -> Iterator[str]:
    """The run is simulated if and only if the device is the virtual one."""
    run, device = case.evidence.run, case.cell.device
    wanted = device == VIRTUAL_DEVICE
    named = [] if run is None else [("run.json", run.simulated)]
    named += [(f"rank {rank}", start.simulated) for rank, start in case.evidence.starts]
    for where, simulated in named:
        if simulated != wanted:
            found, expected = ("a real", "the simulated device") if wanted else ("a simulated", "a real")
            yield f"{where}: found {found} device, expected {expected} {device}"
    for rank, start in case.evidence.starts:
        if start.clock == SIMULATED_CLOCK and not wanted:
            yield f"rank {rank}: found a simulated clock, expected the host's own on {device}"


@check("device-model")
def device_is_the_model(case: Case) -> Iterator[str]:
    """All devices are of one model, with the memory that the device's table states."""
    run = case.evidence.run
    starts = [(rank, start) for rank, start in case.evidence.starts if start.backend not in HOST_BACKENDS]
    for rank, start in starts:
        name = starts[0][1].device_name
        if start.device_name != name:
            yield f"rank {rank}: found a device {start.device_name}, expected {name} as on rank {starts[0][0]}"
        stated = None if run is None else run.card_memory_gib
        if stated is None or start.capacity_gib is None:
            continue
        if abs(start.capacity_gib - stated) > CAPACITY_TOLERANCE * stated:
            yield (
                f"rank {rank}: found a device of {start.capacity_gib:.1f} GiB ({start.device_name}), expected about "
                f"{stated:.1f} GiB for device {case.cell.device}: this is another model"
            )


@check("attempts-not-mixed")
def attempts_are_not_mixed(case: Case) -> Iterator[str]:
    """Every rank's file is of the attempt that came last."""
    run = case.evidence.run
    if run is None:
        return
    expected = len(run.restarts)
    for rank, start in case.evidence.starts:
        found = start.attempt or 0
        if found != expected:
            yield (
                f"rank {rank}: found attempt {found}, expected {expected}, as run.json lists {expected} restarts: "
                "mixed attempts prove nothing"
            )


def complete(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe of a run.json with the fields that came later: older runs were trained by their defaults."""
    return {**{name: value for name, value in _as_json(Recipe()).items() if name in _LATER}, **recipe}


def _as_json(recipe: Recipe) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(recipe).items()}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _differences(where: str, found: Mapping[str, object], expected: Mapping[str, object]) -> Iterator[str]:
    for name, value in found.items():
        if value != expected[name] or isinstance(value, bool) != isinstance(expected[name], bool):
            yield f"{where}: found {name} {value}, expected {expected[name]}"
