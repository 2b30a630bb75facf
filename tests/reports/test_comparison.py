"""The closing tables of comparisons: one line for each cell or card, its numbers below each other."""

from __future__ import annotations

from typing import Any

from reports.terminal.comparison import comparison_lines

ONE, EIGHT, SIXTEEN = "r300-1x1-fp32-bs16", "r300-1x8-fp32-bs16", "r300-2x8-fp32-bs16"


def compared(metric: str, verdict: str = "pass", cell: str = EIGHT, **facts: Any) -> dict[str, Any]:
    values = {"metric": metric, "verdict": verdict, "reason": "because", "cell": cell}
    return {**values, "measured": None, "interval": None, "low": None, "high": None, **facts}


EFFICIENCY = compared("efficiency", measured=0.9, interval=[0.891, 0.909], low=0.85, than=ONE)
SKEW = compared("skew", measured=1.012, high=1.05, slowest="rank 3 (card 3 of node0)")


def texts(*values: dict[str, Any]) -> dict[str, list[str]]:
    return {title: [line.text for line in lines] for title, lines in comparison_lines(values).items()}


def test_nothing_compared_is_no_table() -> None:
    assert texts() == {}


def test_efficiency_and_skew_of_a_cell_stand_in_one_line() -> None:
    assert texts(SKEW, EFFICIENCY)["scaling"] == [
        "cell                 compared with        efficiency       bound       verdict   skew         slowest rank",
        f"{EIGHT}   {ONE}   0.9000 ± 1.0 %   >= 0.8500   pass      1.012 pass   rank 3 (card 3 of node0)",
    ]


def test_a_cell_that_was_compared_with_nothing_has_its_skew() -> None:
    (_, line) = texts(SKEW)["scaling"]

    assert line.split()[:7] == [EIGHT, "-", "-", "-", "-", "1.012", "pass"]
    assert line.endswith("rank 3 (card 3 of node0)")


def test_a_comparison_without_numbers_shows_none() -> None:
    bare = compared("efficiency", "invalid", than=ONE), compared("skew", "invalid", slowest="-")

    lines = comparison_lines(bare)["scaling"]

    assert lines[1].text.split() == [EIGHT, ONE, "-", "-", "invalid", "-", "-"]
    assert lines[1].colour == "red"
    assert [line.text for line in lines[2:]] == ["", "efficiency: because", "skew: because"]


def test_the_worse_verdict_of_a_line_colours_it() -> None:
    slow = {**SKEW, "verdict": "fail"}

    assert comparison_lines([EFFICIENCY, slow])["scaling"][1].colour == "red"
    assert comparison_lines([EFFICIENCY, SKEW])["scaling"][1].colour == "green"


def test_cells_keep_their_order() -> None:
    larger = {**EFFICIENCY, "cell": SIXTEEN, "than": EIGHT}

    assert [line.split()[0] for line in texts(EFFICIENCY, larger)["scaling"]] == ["cell", EIGHT, SIXTEEN]


def test_the_cards_of_a_host_stand_below_each_other() -> None:
    cards: list[dict[str, Any]] = [
        {"card": 0, "serial": "S-0", "p_core": 20.0, "interval": [19.9, 20.1], "share": 1.0, "verdict": "pass"},
        {"card": 11, "serial": "", "p_core": None, "interval": None, "share": None, "verdict": "invalid"},
    ]

    lines = comparison_lines([compared("siblings", "invalid", ONE, cards=cards)])[f"cards of {ONE}"]

    assert [line.text for line in lines] == [
        "card   serial   p_core                  of its siblings'   verdict",
        "0      S-0      20.0 images/s ± 0.5 %   100.0%             pass",
        "11     -        -                       -                  invalid",
        "",
        "siblings: because",
    ]
    assert [line.colour for line in lines] == ["", "green", "red", "", "red"]
