"""Iluvatar's `ixsmi`, which by public documentation takes the queries of `nvidia-smi`; never tried on a card here."""

from __future__ import annotations

from trainer.samplers.base import Smi
from trainer.samplers.csv_query import CsvQuery
from trainer.samplers.metrics import card_metrics

SOURCE = "ixsmi"
METRICS = card_metrics(
    "memory_used_gib",
    "memory_total_gib",
    "power_w",
    "temperature_c",
    "use_percent",
    "core_clock_mhz",
    "memory_clock_mhz",
    "throttle",
    "clock_reasons",
)


def open_smi() -> Smi:
    """Return the tool."""
    query = CsvQuery(SOURCE, ("ixsmi",))
    return Smi(SOURCE, METRICS, query.read, query.driver)
