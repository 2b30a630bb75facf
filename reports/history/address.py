"""Where a history is: its URL, and how that is shown without the password."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator
from urllib.parse import quote, quote_plus, unquote

import sqlalchemy as sa
from sqlalchemy.engine import URL

from evidence.text import visible
from reports.history import HistoryError, is_file_path

_FILE_SCHEMES = ("sqlite", "sqlite+pysqlite")
_DRIVERS = {"postgresql": "postgresql+psycopg"}  # the driver that the project installs; others have to be named
_EXPECTED = "expected FOLDER/history.sqlite or postgresql://USER:PASSWORD@HOST:PORT/DATABASE"


@dataclass(frozen=True, repr=False)
class Address:
    """A history's place: `path` of an SQLite file, or the `url` of a server, with its password."""

    path: Path | None
    url: URL | None

    def __str__(self) -> str:
        """The place as messages and reports may show it: no password, no parameter."""
        if self.url is None:
            return visible(str(self.path))
        return visible(self.url.set(query={}).render_as_string(hide_password=True))

    __repr__ = __str__

    def without_secrets(self, text: str) -> str:
        """Return `text` without the secrets of the URL, any of which a driver's message may quote."""
        for secret in self._secrets():
            for form in (secret, quote(secret), quote(secret, safe=""), quote_plus(secret)):
                text = text.replace(form, "***")
        return text

    def _secrets(self) -> Iterator[str]:
        if self.url is not None:
            if self.url.password:
                yield str(self.url.password)
            for name, value in self.url.query.items():
                values = [value] if isinstance(value, str) else list(value)
                yield from (one for one in values if "pass" in name.lower() and one)


def parse_url(text: str) -> Address:
    """Return the place that a URL, or the path of an SQLite file, names.

    Raises HistoryError, which does not quote what may be a password.

    >>> parse_url("lab.sqlite").path, parse_url("sqlite:////data/lab.sqlite").path
    (PosixPath('lab.sqlite'), PosixPath('/data/lab.sqlite'))
    """
    scheme, found, rest = text.partition("://")
    if not found:
        if not is_file_path(text):
            raise HistoryError(f"--history: found neither a file nor a URL, {_EXPECTED}")
        try:
            return Address(Path(text).expanduser(), None)
        except (RuntimeError, KeyError) as error:  # no home; before Python 3.10 a KeyError
            raise HistoryError(f"--history {text!r}: {error}; give the path in full") from None
    if scheme in _FILE_SCHEMES:
        return Address(_file(rest), None)
    try:
        url = sa.make_url(text)
        _require_dialect(url)
    except (sa.exc.ArgumentError, ValueError):
        raise HistoryError(f"--history: found a {visible(scheme)} URL that cannot be read, {_EXPECTED}") from None
    return Address(None, url.set(drivername=_DRIVERS.get(url.drivername, url.drivername)))


def _file(rest: str) -> Path:
    path, asked, _ = rest.partition("?")
    if asked or not path.startswith("/") or not path[1:]:
        raise HistoryError(
            "--history: found an sqlite URL without a file, or with parameters, expected sqlite:///history.sqlite or, "
            "with the whole path, sqlite:////FOLDER/history.sqlite"
        )
    return Path(unquote(path[1:], errors="surrogateescape"))


def _require_dialect(url: URL) -> Any:
    try:
        return url.get_dialect()
    except sa.exc.NoSuchModuleError:
        raise HistoryError(
            f"--history: found a {visible(url.drivername)} URL, a kind of database that is not known here; {_EXPECTED}"
        ) from None
    except ImportError:
        return None  # a driver that is missing is said when the database is opened
