"""Short looks at host and device before training: what machine this is, and whether its clocks are right."""

from __future__ import annotations
