"""The templates of the pages: text from outside is escaped, and what cannot be seen is made visible."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports.escapes import visible
from reports.html.charts import Chart

FOLDER = Path(__file__).resolve().parent


def render(template: str, **values: Any) -> Markup:
    """The HTML of a template of `templates/`; every text among `values` that is no Markup is escaped."""
    return Markup(_environment().get_template(template).render(**values))  # noqa: S704 - escaped by the template


def figure(chart: Chart) -> Markup:
    """The place where a page draws `chart`, with its title above and its summary below."""
    return render("figure.html", chart=chart)


@functools.lru_cache(maxsize=None)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(str(FOLDER / "templates")),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["figure"] = figure
    environment.filters["told"] = told
    return environment


def told(text: str) -> Markup:
    """A text that may have several lines, for an element of class "told", which shows them as such."""
    return Markup("\n").join(visible(line) for line in text.split("\n"))


def _finalize(value: Any) -> Any:
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return visible(value)
