"""Computes the metrics of the vendor's table, and what stands beside them, from evidence."""

from __future__ import annotations
