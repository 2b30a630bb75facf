"""Pages to look at: one HTML file for a run and one for a session, with their charts, styles and script inside."""

from __future__ import annotations
