"""Verdicts on what a device was found to be before training: one module a probe, and the table of all of them."""

from __future__ import annotations
