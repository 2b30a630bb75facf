"""The kinds of lines of a rank's event log, each declared once as a typed class."""

from __future__ import annotations
