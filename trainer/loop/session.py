"""Sets one rank up - device, process group, probes, data, model - and hands it to its protocol."""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import sys
from dataclasses import astuple

import numpy
import torch
import torchvision

from evidence.events.setup import Model, Optimizations, Resumed, Start
from evidence.events.state import AFTER, BEFORE, End, Memory, Progress
from evidence.files import SCHEMA, telemetry_file
from evidence.rank_file import EventLog
from evidence.run_file import BY_STEPS, PROBES
from evidence.variables.declared import of_rank
from evidence.variables.redact import redacted_environment
from trainer.data.loader import build_loaders
from trainer.data.scoring import fast_is_absent
from trainer.devices import Backend, DeviceInfo
from trainer.loop import staging
from trainer.loop.checkpoint import Checkpoints, Position, resume
from trainer.loop.protocol import Protocol, peak_resident_gib
from trainer.loop.trainee import Trainee, build_optimizer, distributed
from trainer.model.layers import LayerCount
from trainer.model.networks import build_model, count_parameters
from trainer.optimizations import ledger, unavailable
from trainer.probes.clocks import ClockWatch, probe_clock
from trainer.probes.environment import device_numa_node, gather, placement
from trainer.probes.links import ask_links
from trainer.probes.one_step import ask_one_step
from trainer.probes.operators import ask_operators
from trainer.probes.peaks import ask_peaks
from trainer.ranks import HostGroup, Ranks
from trainer.settings import NOT_ASKED, Settings
from trainer.telemetry.base import DevicePlace
from trainer.telemetry.health import HealthReader
from trainer.telemetry.watch import Watch, stop_all


def run_rank(settings: Settings, ranks: Ranks, backend: Backend, log: EventLog, started_ns: int) -> None:
    """Run this rank from set-up to its `end` event. `started_ns` is the time when its imports were done.

    Raises TrainerError for causes outside the program; any other exception is a defect.
    """
    backend.check_precision(settings.precision)
    device = backend.open(ranks.local_rank, ranks.local_world_size)
    backend.set_tf32(settings.tf32)
    backend.set_cudnn(deterministic=settings.deterministic, benchmark=settings.cudnn_benchmark)
    log.write(_introduction(settings, ranks, backend, device), started_ns)
    group = HostGroup(ranks)
    group.join(backend)
    # Together: while other ranks still import their frameworks, a busy host disturbs the clock probe.
    group.barrier()
    clock = probe_clock(backend)
    log.write(clock)
    health = HealthReader(device.place, lambda: backend.health(device, settings.smi))
    health.write(log, BEFORE)
    watches = _watches(settings, ranks, backend, device, group)
    for watch in watches:
        watch.start()
    try:
        if ranks.local_rank == 0:
            log.write(gather(settings, backend, device))
        # After the first samples: they show the device at rest, for comparison with the device at work.
        _probe(settings, backend, device, group, log)
        if settings.protocol == PROBES:
            reason = PROBES
        else:
            clocks = ClockWatch(backend, log, clock, settings.seed)
            reason = _prepare(settings, ranks, backend, log, group, clocks).run()
        health.write(log, AFTER)  # at once, while the link is as fast as in training
    except BaseException:
        with contextlib.suppress(Exception):  # the device may have caused it, and the reason counts
            health.write(log, AFTER)
        raise
    finally:
        stop_all(watches)
    allocated_gib, reserved_gib = backend.allocator_peak_gib()
    log.write(Memory(allocated_gib, reserved_gib, peak_resident_gib()))
    # The last rank's end is the run's end, so no rank leaves before the others are done.
    group.barrier()
    log.write(End(reason))
    # Not after a failure: destroying a group can wait for ranks that have ended, and would hide the reason.
    group.leave()


def _probe(settings: Settings, backend: Backend, device: DeviceInfo, group: HostGroup, log: EventLog) -> None:
    """Measure the device itself, before anything is trained on it, and log what each probe found.

    A further probe is a module of trainer/probes, and a line here.
    """
    if settings.numerics != NOT_ASKED:
        ask_operators(settings, backend, group, log)
        ask_one_step(settings, backend, group, log)
    if settings.links != NOT_ASKED:
        ask_links(settings, backend, group, log, device.capacity_gib)
        ask_peaks(settings, backend, device, group, log)
    backend.release_memory()


def _watches(settings: Settings, ranks: Ranks, backend: Backend, device: DeviceInfo, group: HostGroup) -> list[Watch]:
    """Return a watch for each sampler of this rank."""
    here = group.of_this_node([os.getpid(), *astuple(device.place)])
    samplers = backend.samplers(
        ranks.local_rank,
        rank_pids=[one[0] for one in here],
        places=[DevicePlace(*one[1:]) for one in here],
        smi=settings.smi,
    )
    return [
        Watch(
            settings.run_dir / telemetry_file(ranks.node),
            one.read,
            interval_s=max(settings.sample_interval_s, one.least_interval_s),
            source=one.source.name,
            clock=backend.clock,
            host=backend.host_name(),
            rank=ranks.rank,
        )
        for one in samplers
    ]


def _introduction(settings: Settings, ranks: Ranks, backend: Backend, device: DeviceInfo) -> Start:
    return Start(
        schema=SCHEMA,
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
        device_api=backend.device_api,
        device_name=device.name,
        card=device.index,
        serial=device.serial,
        placement={**placement(), "card_pci": device.pci, "card_numa_node": device_numa_node(device.pci)},
        capacity_gib=device.capacity_gib,
        driver=device.driver,
        collectives=backend.collectives(),
        environment={key: os.environ.get(key) for key in (*backend.environment, *backend.visible_variables)},
        timing=backend.step_timer().method,
        **settings.recorded(),
        variables=redacted_environment(of_rank(os.environ)),
        versions={
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "numpy": numpy.__version__,
            "os": platform.platform(),
        },
    )


def _prepare(
    settings: Settings,
    ranks: Ranks,
    backend: Backend,
    log: EventLog,
    group: HostGroup,
    clocks: ClockWatch | None = None,
) -> Protocol:
    log.write(Progress("data", 0, 1))
    unable = staging.other_floats(backend.device) if settings.uses("bytes_on_device") else ""
    loaders = build_loaders(
        settings,
        rank=ranks.rank,
        world_size=ranks.world_size,
        pin_memory=backend.pin_memory,
        group=group,
        decode_delay_s=backend.decode_delay_s,
        floats=bool(unable),
    )
    log.write(loaders.data_set)
    # Hosts differ in room for a cache, devices in arithmetic: collect the reasons of all ranks.
    whose = f"rank {ranks.rank}: {unable}" if unable and ranks.world_size > 1 else unable
    missing = group.all_gather_json({**loaders.unavailable, **({"bytes_on_device": whose} if unable else {})})
    if ranks.rank == 0:
        absent = unavailable(settings, backend, ranks.world_size)
        if settings.uses("fast_scoring") and "fast_scoring" not in absent:
            missing.append({"fast_scoring": fast_is_absent()})
        absent.update({name: why for reasons in missing for name, why in reasons.items() if why})
        log.write(Optimizations(ledger(settings, absent)))
    # The same seed on every rank for the weights, then one per rank for the sampling of proposals.
    backend.seed(settings.seed)
    bare_model = build_model(settings).to(backend.device)
    log.write(Model(settings.model, *count_parameters(bare_model)))
    if settings.links != NOT_ASKED:
        LayerCount(bare_model, log.write)
    backend.attend(bare_model)
    backend.seed(settings.seed + 1 + ranks.rank)
    model = distributed(bare_model, settings, backend, ranks.world_size)
    trainee = Trainee(settings, backend, model, build_optimizer(bare_model, settings))
    backend.attend_training(model, trainee.optimizer)
    checkpoints = Checkpoints(settings.run_dir)
    begin = _begin(trainee, bare_model, group, log, checkpoints, len(loaders.train_plan))
    # Loader workers are forks of this process, and a full garbage collection in one writes to every inherited object,
    # which would copy the heap. The collector ignores frozen objects.
    gc.collect()
    gc.freeze()
    return Protocol(trainee, bare_model, loaders, group, log, checkpoints, begin, clocks)


def _begin(
    trainee: Trainee,
    bare_model: torch.nn.Module,
    group: HostGroup,
    log: EventLog,
    checkpoints: Checkpoints,
    steps_per_epoch: int,
) -> Position | None:
    """Restore model, optimizer and RNG from the last checkpoint and return its position; None on a fresh start."""
    settings = trainee.settings
    if not settings.attempt or settings.protocol in BY_STEPS:
        return None
    position = resume(trainee, bare_model, group, checkpoints, steps_per_epoch)
    for problem in checkpoints.skipped:
        print(f"trainer: passed over a checkpoint: {problem}", file=sys.stderr, flush=True)
    if position is not None:
        log.write(
            Resumed(
                epoch=position.epoch,
                step=position.step,
                steps_left=position.left,
                first_step=position.taken,
                file=position.file,
                skipped=tuple(checkpoints.skipped),
            )
        )
    return position
