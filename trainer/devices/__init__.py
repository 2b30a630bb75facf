"""Accelerator backends by name: every module here is one, but for the helpers."""

from __future__ import annotations

import importlib
import pkgutil

from trainer.devices.base import Backend, Card
from trainer.devices.timers import StepTimer, StepTimes
from trainer.errors import DeviceError

__all__ = ["Backend", "Card", "StepTimer", "StepTimes", "backend_names", "is_simulated", "load_backend"]

_HELPERS = ("arrivals", "base", "scenario", "simulation", "streams", "timers")


def backend_names() -> tuple[str, ...]:
    """Return the names that `load_backend` takes, sorted."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in _HELPERS))


def is_simulated(name: str) -> bool:
    """Return whether the backend of that name only imitates a device; one that does not exist imitates nothing."""
    return name in backend_names() and load_backend(name).simulated


def load_backend(name: str) -> Backend:
    """Return a fresh backend; torch and the vendor's framework are not imported yet. Raises DeviceError."""
    if name not in backend_names():
        raise DeviceError(f"there is no backend {name!r}; trainer/devices has {', '.join(backend_names())}")
    backend: Backend = importlib.import_module(f"trainer.devices.{name}").BACKEND()
    return backend
