"""Compares runs with each other: topologies, devices of a host, releases, and values over time."""

from __future__ import annotations
