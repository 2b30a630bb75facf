"""The environment variables of a run: which are recorded, carried and compared; redaction of credentials."""

from __future__ import annotations
