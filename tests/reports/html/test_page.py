"""The file that a page is."""

from __future__ import annotations

import base64
import hashlib
import json
import re

from reports.html.charts import Chart, Series
from reports.html.page import figure, page, render

CHART = Chart("one", "Loss <of> it", [1, 2, 3], [Series("rank 0", [3.0, 2.0, 1.0])], summary="It falls & falls.")
ELEMENT = r"<{0}>(.*?)</{0}>"


def digest(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode() + "'"


def test_the_policy_allows_the_scripts_and_styles_of_the_page_and_nothing_else() -> None:
    html = page("A page", str(figure(CHART)), [CHART])

    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert found is not None
    policy = dict(part.split(" ", 1) for part in found.group(1).replace("&#39;", "'").split("; "))
    scripts = re.findall(ELEMENT.format("script"), html, re.DOTALL)
    (style,) = re.findall(ELEMENT.format("style"), html, re.DOTALL)
    assert policy["default-src"] == "'none'"
    assert policy["script-src"].split() == [digest(script) for script in scripts]
    assert policy["style-src"] == digest(style)
    assert len(scripts) == 2


def test_the_data_stand_in_the_page() -> None:
    html = page("A page", str(figure(CHART)), [CHART])

    (data,) = re.findall(r'<script type="application/json" id="charts">(.*?)</script>', html, re.DOTALL)
    assert json.loads(data)["one"]["series"][0]["values"] == [3, 2, 1]


def test_a_figure_has_its_title_and_its_summary_as_text_and_for_screen_readers() -> None:
    html = str(figure(CHART))

    assert "Loss &lt;of&gt; it" in html
    assert "It falls &amp; falls." in html
    assert 'aria-labelledby="one-title"' in html
    assert 'aria-describedby="one-summary"' in html


def test_the_title_is_escaped_and_what_cannot_be_seen_is_made_visible() -> None:
    html = page("</title><script>1</script>\x00\u2028\udc80", "", [])

    assert "<title>&lt;/title&gt;&lt;script&gt;1&lt;/script&gt;\\x00\\u2028\\udc80</title>" in html
    assert html.encode("utf-8")


def test_a_text_of_several_lines_keeps_them() -> None:
    row = {"label": "Cause", "text": "c\nd", "kind": "", "href": ""}
    head = {"title": "t", "outcome": "", "answer": [row], "facts": [("folder", "a\nb")], "flags": []}

    assert "a\\x0ab" in render("run.html", head=head, body="")
