"""The closing table says what was measured, what decided, and how to run it again."""

from __future__ import annotations

from typing import Any

from reports.console import run_lines

RECORD = {
    "cell": {
        "id": "r300-1x8-fp32-bs16",
        "topology": "1x8",
        "precision": "fp32",
        "batch_size": 16,
        "learning_rate": 0.16,
    },
    "device": {"name": "Kunlunxin R300"},
}


def metric(name: str, verdict: str, **facts: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "metric": name,
        "measured": None,
        "unit": "images/s",
        "interval": None,
        "expected": None,
        "low": None,
        "high": None,
        "better": "higher",
        "method": "",
        "source": "",
        "verdict": verdict,
        "reason": "because",
    }
    values.update(facts)
    return values


def shown(*metrics: dict[str, Any], outcome: str = "pass", reasons: Any = ()) -> list[str]:
    verdict = {
        "protocol": "full",
        "outcome": outcome,
        "reasons": list(reasons),
        "metrics": {one["metric"]: {k: v for k, v in one.items() if k != "metric"} for one in metrics},
    }
    lines = run_lines(RECORD, verdict, folder="runs/x", again="pytest -m r300 --topo 1x8")
    return [line.text for line in lines]


def test_the_title_names_cell_protocol_ranks_and_folder() -> None:
    assert shown()[0] == "Kunlunxin R300 1x8 fp32 bs16 lr0.16 · full · 8 ranks on 1 host · runs/x"


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


def test_only_what_did_not_go_well_is_explained() -> None:
    lines = shown(
        metric("p_core", "pass", measured=1.0, reason="fine"),
        metric("map", "fail", measured=0.1, unit="0..1", reason="map 0.1 is below 0.36"),
        metric("mem", "recorded", measured=1.0, unit="GiB", reason="unpublished"),
    )

    text = "\n".join(lines)
    assert "map: map 0.1 is below 0.36" in text
    assert "fine" not in text
    assert "mem: unpublished" not in text


def test_an_invalid_run_gives_each_reason_once_and_no_numbers() -> None:
    lines = shown(
        metric("map", "invalid"), metric("mem", "invalid"), outcome="invalid", reasons=["rank 3 died", "no end"]
    )

    assert lines.count("invalid: rank 3 died") == 1
    assert lines.count("invalid: no end") == 1


def test_the_last_line_runs_it_again() -> None:
    assert shown()[-1] == "again   pytest -m r300 --topo 1x8"
