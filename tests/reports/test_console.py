"""The closing table says what was measured, what decided, and how to run it again."""

from __future__ import annotations

from typing import Any

from reports.terminal.console import run_lines

CELL = {
    "id": "r300-1x8-fp32-bs16",
    "device": "r300",
    "topology": "1x8",
    "precision": "fp32",
    "batch_size": 16,
    "learning_rate": 0.16,
}
COMMANDS = {"rerun": "pytest -m r300 --topo 1x8", "again": "pytest -m r300 --topo 1x8 --replay=runs/x"}


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


def verdict_of(*metrics: dict[str, Any], **facts: Any) -> dict[str, Any]:
    verdict: dict[str, Any] = {
        "cell": CELL,
        "simulated": False,
        "restarts": 0,
        "protocol": "full",
        "outcome": "pass",
        "reasons": [],
        "metrics": {one["metric"]: {k: v for k, v in one.items() if k != "metric"} for one in metrics},
        "changed": [],
        "workload": None,
    }
    verdict.update(facts)
    return verdict


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
    assert " lr0.16 · without boxes_only, static_graph · full" in shown(without=["boxes_only", "static_graph"])[0]
    assert " lr0.16 · 3 optimizations off · full · " in shown(without=["a", "b", "c"])[0]
    assert shown(without=[])[0] == shown()[0]


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
    lines = shown(changed=["map: published 0.3 when the run was made; now unpublished"], notes=["mem: waived"])

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

    assert "55.1 images/s (accepted)   pass" in lines[3]
    assert "accepted" not in lines[4]


def test_what_the_steps_worked_on_is_told_below_the_table() -> None:
    seen = {"images": 8, "pixels_per_image": 9216.0, "proposals_per_image": 300.0, "positives_per_image": 7.5}

    lines = shown(metric("map", "pass"), workload={**seen, "first_loss": 1.5, "last_loss": 0.5})

    assert "workload  an image: 9216 padded pixels, 300 proposals, 7.5 positives; loss 1.5 to 0.5" in lines
