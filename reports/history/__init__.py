"""The history: every run in a database, so that releases can be looked at side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from evidence.errors import SuiteError

if TYPE_CHECKING:
    from verdict.judge import Judged

HISTORY_FILE = "history.sqlite"


class HistoryError(SuiteError):
    """The history cannot be read or written to; the message says why and what to do, and holds no password."""


def default_url(runs: Path) -> str:
    """Return the URL of the history in the runs folder, an SQLite file.

    >>> default_url(Path("/data/runs"))
    'sqlite:////data/runs/history.sqlite'
    """
    path = Path(runs).absolute() / HISTORY_FILE
    return "sqlite:///" + quote(str(path), errors="surrogateescape")


def is_file_path(text: str) -> bool:
    """Return whether `--history` names a file: with a folder or an ending, and no URL, mistyped ones included.

    >>> is_file_path("lab/history.sqlite"), is_file_path("sqlite:///history.sqlite"), is_file_path("postgresql")
    (True, False, False)
    """
    return ":" not in text and ("/" in text or "." in text)


def enter_run(url: str, run: Judged, *, release: str = "", gate: str = "") -> None:
    """Enter a judged run in the history at `url`; entered again, its rows are replaced.

    `release` is the label that the run is filed under, `gate` the outcome of the gate; "" leaves what it has. Raises
    HistoryError; the history is then as it was.
    """
    # Here, so that collecting tests does not import a database's library.
    from reports.history.database import open_history
    from reports.history.entry import read_entry

    with open_history(url, create=True) as history:
        history.enter([read_entry(run.evidence, run.verdict, run.environment, release=release, gate=gate)])
