"""What the vendors publish: one TOML file a device, read and checked here."""

from __future__ import annotations

from expected.load import load_device, load_devices
from expected.metrics import ALL_METRICS, FURTHER_METRICS, METRICS, Metric, default_bounds
from expected.model import (
    ACCEPTED,
    DERIVED,
    NOT_APPLICABLE,
    PUBLISHED,
    SMOKE,
    UNPUBLISHED,
    Cell,
    Device,
    Expectation,
    Recipe,
    Smoke,
    Topology,
    split_place,
)
from expected.site import Site, Waiver, load_site
from expected.toml_file import ExpectationError

__all__ = [
    "ACCEPTED",
    "ALL_METRICS",
    "DERIVED",
    "FURTHER_METRICS",
    "METRICS",
    "NOT_APPLICABLE",
    "PUBLISHED",
    "SMOKE",
    "UNPUBLISHED",
    "Cell",
    "Device",
    "Expectation",
    "ExpectationError",
    "Metric",
    "Recipe",
    "Site",
    "Smoke",
    "Topology",
    "Waiver",
    "default_bounds",
    "load_device",
    "load_devices",
    "load_site",
    "split_place",
]
