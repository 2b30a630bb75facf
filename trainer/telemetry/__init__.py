"""What watches a run beside the trainer: one module a management tool, and one for the host itself."""

from __future__ import annotations

import importlib

from trainer.errors import DeviceError
from trainer.telemetry.base import CardPlace, Sampler, Samples, Smi, card_sampler
from trainer.telemetry.host import host_sampler

__all__ = ["SMI_NAMES", "CardPlace", "Sampler", "Samples", "Smi", "card_sampler", "host_sampler", "load_smi"]

_MODULES = {"nvml": "nvml", "mx-smi": "mx_smi", "ixsmi": "ixsmi"}

SMI_NAMES = tuple(_MODULES)
"""The tools that a device of the shared backend `cuda` may name in its table."""


def load_smi(name: str) -> Smi:
    """Return the tool of that name, not asked anything yet. Raises DeviceError for a name that is none."""
    if name not in _MODULES:
        raise DeviceError(f"there is no tool {name!r}; trainer/telemetry has {', '.join(SMI_NAMES)}")
    smi: Smi = importlib.import_module(f"trainer.telemetry.{_MODULES[name]}").open_smi()
    return smi
