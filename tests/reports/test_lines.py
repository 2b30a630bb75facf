"""Lines are folded at spaces: tables within their cells, commands behind a backslash."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reports.console import run_lines
from reports.lines import Line, aligned, folded
from tests.reports.test_console import metric, verdict_of

FULL_ROWS = (
    metric("e2e_time", "recorded", measured=128_000.0, unit="s"),
    metric("p_whole", "inconclusive", measured=1239.5, interval=[1230.0, 1240.0], expected=1299.0, low=1234.05),
    metric("map", "pass", measured=0.3652, unit="0..1", expected=0.364, low=0.36),
    metric("epochs_to_target", "recorded", measured=13.0, unit="epochs", expected=13.0, low=12.0, high=14.0),
)


def test_a_table_of_80_columns_breaks_within_its_cells_and_at_spaces_only() -> None:
    whole = run_lines(verdict_of(*FULL_ROWS), name="Kunlunxin R300", folder="runs/x", commands={})

    lines = [line.text for line in folded(whole, 80)]

    assert max(map(len, lines)) <= 80 < max(len(line.text) for line in whole)
    assert "35 h 33 min" in "\n".join(lines)
    known = {word for line in whole for word in line.text.split()}
    assert {word for line in lines for word in line.split()} <= known
    assert any(re.search(r"± 0\.4 %", line) for line in lines)


def test_a_table_that_fits_is_left_as_it_is() -> None:
    whole = run_lines(verdict_of(*FULL_ROWS), name="Kunlunxin R300", folder="runs/x", commands={})

    assert folded(whole, 200) == whole


def test_a_table_whose_words_do_not_fit_beside_each_other_has_a_paragraph_a_row() -> None:
    rows = [("number", "cell", "run"), ("25", "cpu-1x1-fp32-bs8", "20261223T141341Z-cpu-1x1-fp32"), ("24", "-", "x")]

    assert [line.text for line in folded(aligned(rows), 40)] == [
        "number 25 · cell cpu-1x1-fp32-bs8 · run",
        "  20261223T141341Z-cpu-1x1-fp32",
        "number 24 · run x",
    ]


def test_a_command_goes_on_behind_a_backslash_and_is_the_same_to_a_shell() -> None:
    command = "pytest -m r300 --topo 1x8 --gate '--data=/mnt/a b/coco' --runs='it'\"'\"'s here' --replay=" + "x" * 30
    whole = run_lines(verdict_of(), name="R300", folder="runs/x", commands={"again": command})

    lines = [line.text for line in folded(whole, 60)]

    at = next(at for at, line in enumerate(lines) if line.startswith("again"))
    assert max(map(len, lines[at:])) <= 60
    assert all(line.endswith(" \\") for line in lines[at:-1])
    joined = "\n".join(lines[at:])[len("again") :]
    done = subprocess.run(["bash", "-c", f'printf "%s\\n" {joined}'], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == shlex.split(command)


@given(st.lists(st.text("ab ±%1.", max_size=40), min_size=1, max_size=4), st.integers(1, 60))
def test_folding_loses_no_word(texts: list[str], width: int) -> None:
    lines = [Line(text) for text in texts]

    assert " ".join(line.text for line in folded(lines, width)).split() == " ".join(texts).split()


@settings(max_examples=40)
@given(st.lists(st.tuples(*[st.text("ab ", max_size=20)] * 3), min_size=1, max_size=4), st.integers(8, 60))
def test_a_folded_table_is_as_wide_as_it_may_be_or_as_its_longest_words(rows: list[Any], width: int) -> None:
    lines = [line.text for line in folded(aligned(rows), width)]

    longest = max((len(word) for row in rows for cell in row for word in cell.split()), default=0)
    assert max(map(len, lines), default=0) <= max(width, longest + 2)
    said = " ".join(lines).split()
    assert all(said.count(word) >= 1 for row in rows[1:] for cell in row for word in cell.split())
