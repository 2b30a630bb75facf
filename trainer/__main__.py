"""`python -m trainer`: the process of one rank, started by torchrun; exits with 0 if its evidence is complete."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import sys
import traceback
from typing import Sequence

from evidence.events.state import Failure
from evidence.rank_file import EventLog
from trainer.devices import load_backend
from trainer.errors import TrainerError
from trainer.launch.processes import die_with_parent
from trainer.ranks import Ranks
from trainer.settings import Settings, parse

_FAILED = 1


def main(argv: Sequence[str]) -> int:
    """Run one rank; return 0 when it wrote its `end` event, 1 after a `failure` event."""
    if "RANK" in os.environ:
        die_with_parent()  # started by torchrun: a rank that outlived it would occupy its device
    try:
        settings, ranks = parse(argv), Ranks.from_environment()
        settings.run_dir.mkdir(parents=True, exist_ok=True)
        log = EventLog(settings.run_dir, ranks.rank)
    except (TrainerError, OSError) as error:
        print(f"trainer: {error}", file=sys.stderr)
        return _FAILED
    _redirect_output(settings, ranks)
    try:
        _run(settings, ranks, log)
    except TrainerError as error:
        print(f"trainer: {error.kind}: {error}", file=sys.stderr, flush=True)
        with contextlib.suppress(OSError):
            log.write(Failure(error.kind, str(error)))
        return _FAILED
    except BaseException as error:  # every cause belongs in the evidence
        said = str(error).strip().splitlines()
        kind = "memory" if _out_of_memory(error) else "crash"
        traceback.print_exc()
        with contextlib.suppress(OSError):  # on a full disk there is no place for words either
            log.write(Failure(kind, f"{type(error).__name__}: {said[0] if said else ''}".rstrip(": ")))
        return _FAILED
    finally:
        with contextlib.suppress(OSError):
            log.close()
    return 0


def _run(settings: Settings, ranks: Ranks, log: EventLog) -> None:
    backend = load_backend(settings.device)
    backend.configure(settings.scenario, rank=ranks.rank, world_size=ranks.world_size)
    log.now_ns = backend.clock.now_ns
    for name, _, value in (one.partition("=") for one in settings.lowered):
        os.environ.setdefault(name, value)  # a published configuration's; what the user set is judged
    backend.set_environment()
    # The slow imports come before the run's clock starts. Nearly all of their objects stay, and garbage collection is a
    # good part of their time.
    gc.disable()
    from trainer.loop.session import run_rank

    backend = backend.import_framework()
    gc.freeze()
    gc.enable()
    run_rank(settings, ranks, backend, log, backend.clock.now_ns())


def _out_of_memory(error: BaseException) -> bool:
    # Python's, the devices', and that of torch's host allocator.
    said = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in said or "can't allocate memory" in said


def _redirect_output(settings: Settings, ranks: Ranks) -> None:
    """Send this process's output, and that of native code in it, to `rank-NNNN.log`."""
    path = settings.run_dir / f"rank-{ranks.rank:04d}.log"
    handle = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def _leave(code: int) -> None:
    """End this process at once, without tearing down interpreter and framework.

    That takes seconds, during which the device is occupied, and can fail in the framework. Output of native code is
    flushed already: ranks are started with -u, which C's streams follow too.
    """
    try:
        for worker in multiprocessing.active_children():  # after a failure there may be some
            worker.terminate()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _leave(main(sys.argv[1:]))
