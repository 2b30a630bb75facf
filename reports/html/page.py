"""A page as one file: its templates, with text from outside escaped, and its styles, scripts and data inside it."""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path
from typing import Any, Sequence

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from evidence.text import visible
from reports.html.charts import Chart, to_json
from reports.html.texts import language, text

_FOLDER = Path(__file__).resolve().parent
_STYLES = ("uplot/uPlot.min.css", "page.css")
_SCRIPTS = ("uplot/uPlot.iife.min.js", "page.js")


def render(template: str, **values: Any) -> Markup:
    """Return the HTML of a template of `templates/`; every text among `values` that is not Markup is escaped."""
    return Markup(_environment().get_template(template).render(**values))  # noqa: S704 - escaped by the template


def figure(chart: Chart) -> Markup:
    """Return the place where a page draws `chart`, with its title above and its summary below."""
    return render("figure.html", chart=chart)


def page(title: str, body: str, charts: Sequence[Chart] = (), *, refresh_s: int | None = None) -> str:
    """Return the whole file, to be written as UTF-8: `body` is HTML of `render` with a `figure` for each chart.

    A browser reads the file again every `refresh_s` seconds.

    The styles and scripts of the suite are the only ones that the page's content security policy allows, by their
    digests: a script that got into `body` is not run.
    """
    style = "".join(map(_asset, _STYLES))
    scripts = [_asset(name) for name in _SCRIPTS]
    html = render(
        "page.html",
        title=title,
        language=language(),
        refresh_s=refresh_s,
        body=Markup(body),  # noqa: S704 - HTML of templates that escape
        style=Markup(style),  # noqa: S704 - the suite's own file
        scripts=[Markup(script) for script in scripts],  # noqa: S704
        data=Markup(to_json(charts)),  # noqa: S704 - has no character of markup
        policy=_policy(style, scripts),
    )
    return f"{html}\n"


@functools.lru_cache(maxsize=None)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(str(_FOLDER / "templates")),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(figure=figure, text=text)
    environment.filters["lines"] = _lines
    return environment


def _lines(text: str) -> Markup:
    """Return a text that may have several lines, for an element of class "pre", which shows them as such."""
    return Markup("\n").join(visible(line) for line in text.split("\n"))


def _finalize(value: Any) -> Any:
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return visible(value)


def _policy(style: str, scripts: Sequence[str]) -> str:
    allowed = {
        "default-src": "'none'",
        "script-src": " ".join(map(_source, scripts)),
        "style-src": _source(style),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{kind} {sources}" for kind, sources in allowed.items())


def _source(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@functools.lru_cache(maxsize=None)
def _asset(name: str) -> str:
    return (_FOLDER / "assets" / name).read_text(encoding="utf-8")
