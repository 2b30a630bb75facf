"""The history: every run in a database, so that releases can be looked at side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping
from urllib.parse import quote

from reports.history.errors import HistoryError

if TYPE_CHECKING:
    from evidence.bundle import Evidence

HISTORY_FILE = "history.sqlite"

__all__ = ["HISTORY_FILE", "HistoryError", "default_url", "enter_run"]


def default_url(runs: Path) -> str:
    """Return the URL of the history that lies in the runs folder: an SQLite file."""
    path = Path(runs).absolute() / HISTORY_FILE
    return "sqlite:///" + quote(str(path), errors="surrogateescape")


def enter_run(
    url: str, run_dir: Path, verdict: Mapping[str, Any], *, release: str = "", evidence: Evidence | None = None
) -> None:
    """Enter the run in `run_dir` with its verdict.json in the history at `url`; entered again, its rows are replaced.

    `release` is the label that the run is filed under; "" leaves the one that it has. `evidence` spares reading the
    bundle where the caller has. Raises HistoryError, which says what to do; the history is then as it was.
    """
    # Here, so that nobody who only collects tests imports a database's library.
    from reports.history.database import open_history
    from reports.history.entry import read_entry

    entry = read_entry(run_dir, verdict, release=release, evidence=evidence)
    with open_history(url, create=True) as history:
        history.enter([entry])
