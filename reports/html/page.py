"""A page as one file: styles, scripts and data are in it, and it may load and run nothing else."""

from __future__ import annotations

import base64
import functools
import hashlib
from typing import Sequence

from markupsafe import Markup

from reports.html.charts import Chart, to_json
from reports.html.templates import FOLDER, render

_STYLES = ("uplot/uPlot.min.css", "page.css")
_SCRIPTS = ("uplot/uPlot.iife.min.js", "page.js")


def page(title: str, body: str, charts: Sequence[Chart]) -> str:
    """The whole file, to be written as UTF-8: `body` is HTML (of `templates.render`) with a `figure` for each chart.

    The styles and scripts of the suite are the only ones that the page's policy allows, by their digests: whatever
    else got into `body` is not run.
    """
    style = "".join(map(_asset, _STYLES))
    scripts = [_asset(name) for name in _SCRIPTS]
    html = render(
        "page.html",
        title=title,
        body=Markup(body),  # noqa: S704 - HTML of templates that escape
        style=Markup(style),  # noqa: S704 - the suite's own file
        scripts=[Markup(script) for script in scripts],  # noqa: S704
        data=Markup(to_json(charts)),  # noqa: S704 - has no character of markup
        policy=_policy(style, scripts),
    )
    return f"{html}\n"


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
    return (FOLDER / "assets" / name).read_text(encoding="utf-8")
