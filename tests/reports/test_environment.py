"""The closing lines about the environment."""

from __future__ import annotations

from typing import Any

from reports.terminal.environment import environment_lines, telemetry_lines


def finding(host: str, verdict: str, found: str, reason: str = "", item: str = "driver") -> dict[str, Any]:
    told = {"item": item, "host": host, "stated": "4.0.25", "found": found, "verdict": verdict, "reason": reason}
    return dict(told)


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


def test_what_samplers_could_not_read_is_said() -> None:
    assert [line.text for line in telemetry_lines(["nvml: gone"])] == ["telemetry  nvml: gone"]
