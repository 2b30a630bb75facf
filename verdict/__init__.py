"""Measures and judges a run from its evidence alone: no hardware, no clock, no torch."""

from __future__ import annotations
