"""The format of a run's evidence, declared once: typed events, files and their codec. No torch, no tables."""

from __future__ import annotations
