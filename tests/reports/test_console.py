"""The closing tables: what was measured, what decided, what was compared, and how to run it again."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from evidence.verdict import (
    ComparedDevice,
    Comparison,
    Interval,
    MetricVerdict,
    RunVerdict,
    Verdict,
    Workload,
)
from reports.console import comparison_lines, environment_lines, run_lines
from tests.support import judged_cell
from verdict.environment.findings import EnvironmentFinding

CELL = judged_cell()
COMMANDS = {"rerun": "pytest -m r300 --topo 1x8", "again": "pytest -m r300 --topo 1x8 --replay=runs/x"}
ONE, EIGHT, SIXTEEN = "r300-1x1-fp32-bs16", "r300-1x8-fp32-bs16", "r300-2x8-fp32-bs16"


def metric(name: str, verdict: str, interval: Any = None, **facts: Any) -> MetricVerdict:
    """A verdict on a metric: no number unless `facts` has it."""
    values: dict[str, Any] = {
        **dict.fromkeys(("measured", "expected", "low", "high")),
        "unit": "images/s",
        "better": "higher",
        "method": "",
        "source": "",
        "reason": "because",
    }
    ends = None if interval is None else Interval(*interval)
    return MetricVerdict(metric=name, verdict=Verdict(verdict), interval=ends, **{**values, **facts})


def verdict_of(*metrics: MetricVerdict, **facts: Any) -> RunVerdict:
    """A verdict on a run of CELL."""
    values: dict[str, Any] = {"cell": CELL, "simulated": False, "protocol": "full", "reasons": ()}
    outcome = Verdict(facts.pop("outcome", "pass"))
    return RunVerdict(outcome=outcome, metrics={one.metric: one for one in metrics}, **{**values, **facts})


def compared(name: str, verdict: str = "pass", cell: str = EIGHT, **facts: Any) -> Comparison:
    """A verdict on a comparison."""
    others = {key: facts.pop(key) for key in ("than", "slowest", "devices") if key in facts}
    return Comparison(cell, metric(name, verdict, unit="", **facts), **others)


EFFICIENCY = compared("efficiency", measured=0.9, interval=[0.891, 0.909], low=0.85, than=ONE)
SKEW = compared("skew", measured=1.012, high=1.05, slowest="rank 3 (device 3 of node0)")


def shown(*metrics: dict[str, Any], notes: Any = (), **facts: Any) -> list[str]:
    verdict = verdict_of(*metrics, **facts)
    lines = run_lines(verdict, name="Kunlunxin R300", folder="runs/x", commands=COMMANDS, notes=notes)
    return [line.text for line in lines]


def test_the_title_names_cell_protocol_ranks_and_folder() -> None:
    assert shown()[0] == "Kunlunxin R300 1x8 fp32 bs16 lr0.16 · full · 8 ranks on 1 host · runs/x"


def test_the_title_says_that_a_device_is_simulated() -> None:
    assert " lr0.16 · simulated · full · " in shown(simulated=True)[0]


def test_the_title_says_that_a_run_was_restarted() -> None:
    assert " lr0.16 · restarted 2x · full · " in shown(restarts=2)[0]
    assert "restarted" not in shown()[0]


def test_the_title_says_what_was_switched_off() -> None:
    assert " lr0.16 · without boxes_only, static_graph · full" in shown(without=("boxes_only", "static_graph"))[0]
    assert " lr0.16 · 3 optimizations off · full · " in shown(without=("a", "b", "c"))[0]
    assert shown(without=())[0] == shown()[0]


def test_columns_are_aligned_and_carry_units() -> None:
    lines = shown(
        metric("e2e_time", "recorded", measured=40310.04, unit="s"),
        metric("p_core", "pass", measured=200.0, interval=[199.0, 201.0], expected=199.0, low=189.05),
        metric("map", "pass", measured=0.3652, unit="0..1", expected=0.364, low=0.36),
        metric("mem", "fail", measured=30.0, unit="GiB", expected=28.0, high=29.4),
    )

    columns = [lines[2].index(word) for word in ("measured", "bound", "published", "verdict")]
    for line in lines[3:7]:
        assert all(line[column - 1] == " " and line[column] != " " for column in columns), line


def test_a_row_says_by_how_much_its_number_passes_and_what_share_of_the_published_one_it_is() -> None:
    lines = shown(
        metric("p_core", "pass", measured=200.0, interval=[199.0, 201.0], expected=199.0, low=189.05),
        metric("mem", "fail", measured=30.0, unit="GiB", expected=28.0, high=29.4),
        metric("map", "recorded", measured=0.3652, unit="0..1"),
    )

    cells = [re.split(r" {3,}", line) for line in lines[3:6]]
    assert cells[0][1:5] == ["200.0 images/s ± 0.5 %", ">= 189.05 images/s, 5.8 % inside", "199.0", "100.5 %"]
    assert cells[1][1:5] == ["30.00 GiB", "<= 29.40 GiB, 2.0 % outside", "28.00", "107.1 %"]
    assert cells[2][1:5] == ["0.3652", "-", "-", "-"]


def test_only_what_did_not_go_well_is_explained() -> None:
    lines = shown(
        metric("p_core", "pass", measured=1.0, reason="fine"),
        metric("map", "fail", measured=0.1, unit="0..1", reason="map 0.1 is below 0.36"),
        metric("mem", "recorded", measured=1.0, unit="GiB", reason="unpublished"),
    )

    text = "\n".join(lines)
    assert "\nmap 0.1 is below 0.36\n" in text
    assert "fine" not in text
    assert "mem: unpublished" not in text


def test_an_invalid_run_gives_each_reason_once_and_no_numbers() -> None:
    lines = shown(
        metric("map", "invalid"), metric("mem", "invalid"), outcome="invalid", reasons=("rank 3 died", "no end")
    )

    assert lines.count("invalid: rank 3 died") == 1
    assert lines.count("invalid: no end") == 1


def test_the_last_lines_run_it_again_and_judge_it_again() -> None:
    assert shown()[-2:] == [
        "rerun   pytest -m r300 --topo 1x8",
        "again   pytest -m r300 --topo 1x8 --replay=runs/x",
    ]


def test_what_changed_since_the_run_and_what_was_waived_is_told_before_them() -> None:
    lines = shown(changed=("map: published 0.3 when the run was made; now unpublished",), notes=["mem: waived"])

    assert lines[-6:-2] == [
        "",
        "changed since the run: map: published 0.3 when the run was made; now unpublished",
        "mem: waived",
        "",
    ]


def test_a_number_that_the_site_accepted_is_not_shown_as_published() -> None:
    lines = shown(
        metric(
            "p_core", "pass", measured=55.0, expected=55.1, low=53.4, source="accepted in site.toml: mean of 3 runs"
        ),
        metric("p_train", "pass", measured=54.0, expected=54.1, low=53.4, source="a vendor's report"),
    )

    assert "55.10 (accepted)   99.8 %         pass" in lines[3]
    assert "accepted" not in lines[4]


def test_what_the_steps_worked_on_is_told_below_the_table() -> None:
    lines = shown(metric("map", "pass"), workload=Workload(8, 9216.0, 300.0, 7.5, 1.5, 0.5))

    assert "workload  an image: 9216 padded pixels, 300 proposals, 7.5 positives; loss 1.5 to 0.5" in lines


def texts(*values: Comparison) -> dict[str, list[str]]:
    return {title: [line.text for line in lines] for title, lines in comparison_lines(values).items()}


def test_nothing_compared_is_no_table() -> None:
    assert texts() == {}


def test_efficiency_and_skew_of_a_cell_stand_in_one_line() -> None:
    assert texts(SKEW, EFFICIENCY)["scaling"] == [
        "cell                 compared with        efficiency       bound       verdict   skew         slowest rank",
        f"{EIGHT}   {ONE}   0.9000 ± 1.0 %   >= 0.8500   pass      1.012 pass   rank 3 (device 3 of node0)",
    ]


def test_the_health_of_a_cells_devices_stands_in_a_line_of_its_own() -> None:
    faulty = compared("health", "fail", reason="device 1 of node0: PCIe x8")

    tables = comparison_lines([SKEW, faulty, compared("health", cell=ONE)])

    assert [(line.text, line.colour) for line in tables["health"]] == [
        (f"{EIGHT}   fail   device 1 of node0: PCIe x8", "red"),
        (f"{ONE}   pass   because", "green"),
    ]
    assert len(tables["scaling"]) == 2


def test_a_cell_that_was_compared_with_nothing_has_its_skew() -> None:
    (_, line) = texts(SKEW)["scaling"]

    assert line.split()[:7] == [EIGHT, "-", "-", "-", "-", "1.012", "pass"]
    assert line.endswith("rank 3 (device 3 of node0)")


def test_a_comparison_without_numbers_shows_none() -> None:
    bare = compared("efficiency", "invalid", than=ONE), compared("skew", "invalid", slowest="-")

    lines = comparison_lines(bare)["scaling"]

    assert lines[1].text.split() == [EIGHT, ONE, "-", "-", "invalid", "-", "-"]
    assert lines[1].colour == "red"
    assert [line.text for line in lines[2:]] == ["", "efficiency: because", "skew: because"]


def test_the_worse_verdict_of_a_line_colours_it() -> None:
    slow = replace(SKEW, judged=metric("skew", "fail"))

    assert comparison_lines([EFFICIENCY, slow])["scaling"][1].colour == "red"
    assert comparison_lines([EFFICIENCY, SKEW])["scaling"][1].colour == "green"


def test_cells_keep_their_order() -> None:
    larger = replace(EFFICIENCY, cell=SIXTEEN, than=EIGHT)

    assert [line.split()[0] for line in texts(EFFICIENCY, larger)["scaling"]] == ["cell", EIGHT, SIXTEEN]


def test_the_devices_of_a_host_stand_below_each_other() -> None:
    devices = (
        ComparedDevice("device 0", "S-0", 20.0, Interval(19.9, 20.1), 1.0, Verdict.PASS),
        ComparedDevice("device 11", "", None, None, None, Verdict.INVALID),
    )

    lines = comparison_lines([compared("siblings", "invalid", ONE, devices=devices)])[f"siblings of {ONE}"]

    assert [line.text for line in lines] == [
        "run on      serial or name   p_core                   of its siblings'   verdict",
        "device 0    S-0              20.00 images/s ± 0.5 %   100.0%             pass",
        "device 11   -                -                        -                  invalid",
        "",
        "siblings: because",
    ]
    assert [line.colour for line in lines] == ["", "green", "red", "", "red"]


def finding(host: str, verdict: str, found: str, reason: str = "", item: str = "driver") -> EnvironmentFinding:
    return EnvironmentFinding(item, host, "4.0.25", found, verdict, reason)


def test_what_matches_says_nothing() -> None:
    assert environment_lines([finding("a", "match", "4.0.25"), finding("a", "unstated", "x", item="kernel")]) == []


def test_an_item_has_one_line_and_hosts_of_one_finding_stand_together() -> None:
    lines = environment_lines(
        [
            finding("node-a", "differs", "4.0.31"),
            finding("node-b", "differs", "4.0.31"),
            finding("node-c", "match", "4.0.25"),
            finding("node-d", "unknown", "", "nothing found"),
        ]
    )

    assert [line.text for line in lines] == [
        "environment  driver: stated 4.0.25, found 4.0.31 on node-a, node-b (differs); "
        "found nothing on node-d (unknown: nothing found)"
    ]
    assert lines[0].colour == "red"


def test_what_is_only_unknown_is_no_failure() -> None:
    (line,) = environment_lines([finding("", "unknown", "")])

    assert (line.text, line.colour) == ("environment  driver: stated 4.0.25, found nothing (unknown)", "yellow")


def test_items_of_which_nothing_was_found_for_one_reason_are_one_line() -> None:
    why = "the evidence has no event 'environment' of this host"
    unread = [finding("", "unknown", "", why, item) for item in ("driver", "kernel")]

    (line,) = environment_lines(unread)

    assert line.text == f"environment  driver, kernel: found nothing (unknown: {why})"
