"""Sets one rank up - device, process group, data, model - and hands it to its protocol."""

from __future__ import annotations

import gc
import os
import platform
import sys
from typing import Any

import numpy
import torch
import torchvision

from evidence import events
from evidence.files import SCHEMA, telemetry_file
from evidence.rank_file import EventLog
from trainer.data import scoring
from trainer.devices import Backend, Card
from trainer.loop import exchange, staging
from trainer.loop.checkpoint import FOLDER, Checkpoints, file_name
from trainer.loop.loaders import Loaders, build_loaders
from trainer.loop.position import Position
from trainer.loop.protocol import Protocol, peak_resident_gib
from trainer.loop.resume import resume
from trainer.loop.steps import Trainee
from trainer.model.networks import build_model, count_parameters
from trainer.model.optim import build_optimizer
from trainer.optimizations import ledger
from trainer.placement import card_numa_node, placement
from trainer.probes.clocks import probe_clock
from trainer.probes.environment import gather
from trainer.ranks import HostGroup, Ranks
from trainer.settings import Settings
from trainer.telemetry.watch import Watch, stop_all


def run_rank(settings: Settings, ranks: Ranks, backend: Backend, log: EventLog, started_ns: int) -> None:
    """Run this rank from set-up to its `end` event. `started_ns` is the time when its imports were done.

    Raises TrainerError for what a person can mend; anything else is a defect.
    """
    backend.check_precision(settings.precision)
    card = backend.open(ranks.local_rank, ranks.local_world_size)
    backend.set_tf32(settings.tf32)
    log.write(_introduction(settings, ranks, backend, card), started_ns)
    group = HostGroup(ranks)
    group.join(backend)
    # Together: while others still import their frameworks, a busy host makes an honest clock look like a lying one.
    group.barrier()
    log.write(probe_clock(backend))
    backend.release_memory()
    watches = _watches(settings, ranks, backend, card, group)
    for watch in watches:
        watch.start()
    try:
        if ranks.local_rank == 0:
            log.write(gather(settings, backend, card))
        reason = _prepare(settings, ranks, backend, log, group).run()
    finally:
        stop_all(watches)
    allocated_gib, reserved_gib = backend.allocator_peak_gib()
    log.write(events.Memory(allocated_gib, reserved_gib, peak_resident_gib()))
    # The last rank's end is the run's end, so no rank leaves before the others are done.
    group.barrier()
    log.write(events.End(reason))
    # Not after a failure: taking a group down can wait for ranks that will never come, and the reason must get out.
    group.leave()


def _watches(settings: Settings, ranks: Ranks, backend: Backend, card: Card, group: HostGroup) -> list[Watch]:
    """Return a watch for the memory of this rank's card, and for whatever else this rank is to sample of its host."""
    labels = {"host": backend.host_name(), "rank": ranks.rank}
    path, interval_s = settings.run_dir / telemetry_file(ranks.node), settings.sample_interval_s
    read = backend.sampler(ranks.local_rank, group.processes_of_this_node())
    places = group.cards_of_this_node(card.index, card.pci)
    others = backend.samplers(ranks.local_rank, places, settings.smi)
    return [
        Watch(path, read, interval_s=interval_s, source=backend.sampler_source, clock=backend.clock, **labels),
        *(
            Watch(
                path,
                one.read,
                interval_s=max(interval_s, one.least_interval_s),
                source=one.source,
                clock=backend.clock,
                **labels,
            )
            for one in others
        ),
    ]


def _introduction(settings: Settings, ranks: Ranks, backend: Backend, card: Card) -> events.Start:
    return events.Start(
        schema=SCHEMA,
        cell=settings.cell,
        rank=ranks.rank,
        local_rank=ranks.local_rank,
        world_size=ranks.world_size,
        local_world_size=ranks.local_world_size,
        node=ranks.node,
        host=backend.host_name(),
        pid=os.getpid(),
        backend=backend.name,
        simulated=backend.simulated,
        clock=backend.clock.kind,
        device_name=card.name,
        card=card.index,
        serial=card.serial,
        placement={**placement(), "card_pci": card.pci, "card_numa_node": card_numa_node(card.pci)},
        capacity_gib=card.capacity_gib,
        driver=card.driver,
        collectives=backend.collectives(),
        environment={key: os.environ.get(key) for key in (*backend.environment, backend.visible_cards) if key},
        precision=settings.precision,
        tf32=settings.tf32,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        model=settings.model,
        seed=settings.seed,
        protocol=settings.protocol,
        attempt=settings.attempt,
        timing=backend.step_timer().method,
        host_clock=settings.host_clock,
        without=settings.without,
        bucket_mb=settings.bucket_mb,
        versions={
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "numpy": numpy.__version__,
            "os": platform.platform(),
        },
    )


def _prepare(settings: Settings, ranks: Ranks, backend: Backend, log: EventLog, group: HostGroup) -> Protocol:
    log.write(events.Progress("data", 0, 1))
    unable = staging.other_floats(backend.device) if settings.uses("bytes_on_device") else ""
    loaders: Loaders = build_loaders(
        settings,
        rank=ranks.rank,
        world_size=ranks.world_size,
        pin_memory=backend.pin_memory,
        group=group,
        decode_delay_s=backend.decode_delay_s,
        floats=bool(unable),
    )
    log.write(loaders.data_set)
    # A host of its own may have no room for a cache, and a card of its own its own arithmetic.
    whose = f"rank {ranks.rank}: {unable}" if unable and ranks.world_size > 1 else unable
    missing = group.all_gather_json({**loaders.not_here, **({"bytes_on_device": whose} if unable else {})})
    if ranks.rank == 0:
        not_here = {
            **staging.not_here(settings, backend),
            **exchange.not_here(settings, backend, ranks.world_size),
            **scoring.not_here(settings),
            **{name: why for reasons in missing for name, why in reasons.items()},
        }
        log.write(events.Optimizations(ledger(settings, not_here)))
    # One seed for the weights, so that every rank starts from the same; then one per rank, so that no two draw the
    # same proposals.
    backend.seed(settings.seed)
    bare_model = build_model(settings).to(backend.device)
    log.write(events.Model(settings.model, count_parameters(bare_model)))
    backend.attend(bare_model)
    backend.seed(settings.seed + 1 + ranks.rank)
    model = exchange.exchanging(bare_model, settings, backend, ranks.world_size)
    trainee = Trainee(settings, backend, model, build_optimizer(bare_model, settings))
    checkpoints = Checkpoints(settings.run_dir)
    begin = _begin(trainee, bare_model, group, log, checkpoints, len(loaders.train_plan))
    # Loader workers are forks of this process, and a full pass of the garbage collector in one of them writes to every
    # object that it was given: each would have its own copy of the heap. What is frozen the collector leaves alone.
    gc.collect()
    gc.freeze()
    return Protocol(trainee, bare_model, loaders, group, log, checkpoints, begin)


def _begin(
    trainee: Trainee, bare_model: Any, group: HostGroup, log: EventLog, checkpoints: Checkpoints, steps_per_epoch: int
) -> Position | None:
    """Return where an earlier attempt got to, all parts brought there; None where the run begins at its beginning."""
    settings = trainee.settings
    if not settings.attempt or settings.protocol == "steady":
        return None
    position = resume(trainee, bare_model, group, checkpoints, steps_per_epoch)
    for problem in checkpoints.skipped:
        print(f"trainer: passed over a checkpoint: {problem}", file=sys.stderr, flush=True)
    if position is not None:
        log.write(
            events.Resumed(
                epoch=position.epoch,
                step=position.step,
                steps_left=position.left,
                first_step=position.taken,
                file=f"{FOLDER}/{file_name(position)}",
                skipped=tuple(checkpoints.skipped),
            )
        )
    return position
