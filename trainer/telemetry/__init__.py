"""Samplers of devices and hosts. Every module here is imported, and so registers its sources and tools."""

from __future__ import annotations

import importlib
import pkgutil

from trainer.errors import DeviceError
from trainer.telemetry.base import SMI_TOOLS, Smi

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

SMI_NAMES = tuple(sorted(SMI_TOOLS))
"""The tools that a device of the shared backend `cuda` may name in its table."""


def load_smi(name: str) -> Smi:
    """Return the tool of that name, not asked anything yet. Raises DeviceError for an unknown name."""
    if name not in SMI_TOOLS:
        raise DeviceError(f"there is no tool {name!r}; trainer/telemetry has {', '.join(SMI_NAMES)}")
    return SMI_TOOLS[name]()
