"""Pages to look at: one file for a run and one for a session, with their charts, styles and script in them."""

from __future__ import annotations

from reports.html.run import run_page
from reports.html.session import session_page

__all__ = ["run_page", "session_page"]
