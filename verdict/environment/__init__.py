"""Compares the machine that was found with the one that the vendor's document states."""

from __future__ import annotations
