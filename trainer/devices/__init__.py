"""Accelerator backends: every module here with an attribute BACKEND is one, of the module's name."""

from __future__ import annotations

import functools
import importlib
import pkgutil

from trainer.devices.base import Backend, DeviceInfo, Inventory
from trainer.devices.timers import StepTimer, StepTimes
from trainer.errors import DeviceError

__all__ = [
    "Backend",
    "DeviceInfo",
    "Inventory",
    "StepTimer",
    "StepTimes",
    "backend_names",
    "is_simulated",
    "load_backend",
]


@functools.lru_cache(maxsize=None)
def backend_names() -> tuple[str, ...]:
    """Return the names that `load_backend` takes, sorted."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    return tuple(sorted(module.BACKEND.name for module in modules if hasattr(module, "BACKEND")))


def is_simulated(name: str) -> bool:
    """Return whether the backend of that name simulates a device; False for an unknown name."""
    return name in backend_names() and load_backend(name).simulated


def load_backend(name: str) -> Backend:
    """Return a new backend; torch and the vendor's framework are not imported yet. Raises DeviceError.

    >>> load_backend("virtual").simulated
    True
    """
    if name not in backend_names():
        raise DeviceError(f"there is no backend {name!r}; trainer/devices has {', '.join(backend_names())}")
    backend: Backend = importlib.import_module(f"{__name__}.{name}").BACKEND()
    return backend
