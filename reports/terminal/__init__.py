"""What a person reads at the end of a session: closing tables, and the JUnit properties with the same numbers."""

from __future__ import annotations
