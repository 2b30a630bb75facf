"""The exchanges of the links probe: their data, the collectives, the sizes, and the time limit of each call."""

from __future__ import annotations
