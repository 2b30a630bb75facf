"""XPUs as newer frameworks of Kunlunxin show them: devices of `torch.cuda`, named "GPU". This one computes on the CPU.

A device `cuda` in a call of torch is replaced by the CPU, in every thread. Streams, events and memory of `torch.cuda`
answer as where all queued work is done. Sources: FlagPerf's cases for the vendor's newer cards, which call torch.cuda;
the vendor's documentation for the device's name and CUDA_VISIBLE_DEVICES. Needs torch 2, as those frameworks do.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from types import SimpleNamespace
from typing import Any, Iterator

import torch
from torch.overrides import TorchFunctionMode

_MIB = 2**20


def _count() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip()])
    return int(os.environ.get("FAKE_XPU_CARDS", "8"))


def _on_the_cpu(value: Any) -> Any:
    is_cuda = isinstance(value, (str, torch.device)) and str(value).partition(":")[0] == "cuda"
    return torch.device("cpu") if is_cuda else value


class _Computes(TorchFunctionMode):
    """Calls every function of torch with the CPU for a device `cuda`."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.device:
            return func(*args, **kwargs)
        kwargs = {name: _on_the_cpu(value) for name, value in kwargs.items()}
        return func(*map(_on_the_cpu, args), **kwargs)


class Event:
    """A moment at which all that was queued before is done."""

    def __init__(self, enable_timing: bool = False, **_: Any) -> None:
        self._recorded_s = 0.0

    def record(self, stream: Any = None) -> None:
        """Take the time."""
        self._recorded_s = time.perf_counter()

    def query(self) -> bool:
        """Everything is done."""
        return True

    def synchronize(self) -> None:
        """Nothing is left to wait for."""

    def elapsed_time(self, end: Event) -> float:
        """Return ms from this event to `end`."""
        return (end._recorded_s - self._recorded_s) * 1e3


class Stream:
    """A queue whose work is done when it is queued."""

    def __init__(self, device: Any = None, **_: Any) -> None: ...

    def record_event(self, event: Any = None) -> Event:
        """Return an event of now."""
        event = event or Event()
        event.record()
        return event

    def wait_event(self, event: Event) -> None:
        """It is done already."""

    def wait_stream(self, stream: Stream) -> None:
        """It is done already."""

    def synchronize(self) -> None:
        """It is done already."""


@contextlib.contextmanager
def _stream(stream: Any) -> Iterator[None]:
    yield


def put_in_place() -> None:
    """Make this process see `torch.cuda` devices."""
    total = int(os.environ.get("FAKE_XPU_TOTAL_MIB", "32768")) * _MIB
    used = int(float(os.environ.get("FAKE_XPU_USED_MIB", "0").split(",")[0])) * _MIB
    current = [0]
    shown = {
        "is_available": lambda: _count() > 0,
        "is_initialized": lambda: True,
        "init": lambda: None,
        "device_count": _count,
        "current_device": lambda: current[0],
        "set_device": lambda device: current.__setitem__(0, getattr(device, "index", device)),
        "get_device_name": lambda device=None: "GPU",
        "get_device_properties": lambda device=None: SimpleNamespace(name="GPU", total_memory=total),
        "mem_get_info": lambda device=None: (total - used, total),
        "synchronize": lambda device=None: None,
        "manual_seed": lambda seed: None,
        "manual_seed_all": lambda seed: None,
        "get_rng_state": lambda device=None: torch.get_rng_state(),
        "set_rng_state": lambda state, device=None: None,
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda device=None: None,
        "max_memory_allocated": lambda device=None: used,
        "max_memory_reserved": lambda device=None: used,
        "current_stream": lambda device=None: Stream(),
        "stream": _stream,
        "Stream": Stream,
        "Event": Event,
    }
    for name, answer in shown.items():
        setattr(torch.cuda, name, answer)
    torch.Tensor.record_stream = lambda self, stream: None  # type: ignore[method-assign,assignment]
    torch.Tensor.pin_memory = lambda self, device=None: self  # type: ignore[method-assign,assignment]

    run = threading.Thread.run

    def with_devices(thread: threading.Thread) -> None:
        with _Computes():
            run(thread)

    threading.Thread.run = with_devices  # type: ignore[method-assign]
    _Computes().__enter__()
