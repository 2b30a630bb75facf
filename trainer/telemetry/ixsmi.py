"""Iluvatar's `ixsmi`, which by public documentation takes the queries of `nvidia-smi`; never tried on a card here."""

from __future__ import annotations

from trainer.telemetry.base import Smi
from trainer.telemetry.csv_query import QUERIED, CsvQuery

SOURCE = "ixsmi"
METRICS = QUERIED


def open_smi() -> Smi:
    """Return the tool."""
    query = CsvQuery(SOURCE, ("ixsmi",))
    return Smi(SOURCE, METRICS, query.read, query.driver)
