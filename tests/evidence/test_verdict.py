"""verdict.json: strict JSON in one piece, and back."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import pytest

from evidence.bundle import read_run
from evidence.errors import EvidenceError
from evidence.verdict import RunVerdict, encode_verdict, read_verdict, write_verdict
from expected import Expectation
from tests.verdict.bundles import STEADY, Plan, a_cell, build
from verdict.judge import judge_run


@pytest.fixture
def verdict(tmp_path: Path) -> RunVerdict:
    plan = Plan()
    cell = a_cell(plan, p_core=190.0, map=0.9, p_whole=Expectation("not_applicable"))
    return judge_run(read_run(build(plan).write(tmp_path / "run")), cell)


def test_the_object_has_the_documented_form(verdict: RunVerdict) -> None:
    record = encode_verdict(verdict)

    assert list(record) == [
        "schema",
        "cell",
        "simulated",
        "protocol",
        "outcome",
        "reasons",
        "metrics",
        "workload",
        "changed",
        "restarts",
        "without",
        "further",
        "notes",
    ]
    assert record["schema"] == 3
    assert record["cell"] == {
        "id": "r300-1x2-fp32-bs4",
        "device": "r300",
        "topology": "1x2",
        "precision": "fp32",
        "batch_size": 4,
        "learning_rate": 0.02,
        "timing": "device",
    }
    assert list(record["metrics"]) == ["e2e_time", "p_train", "p_core", "map", "mem"]
    assert list(record["metrics"]["p_core"]) == [
        "measured",
        "unit",
        "interval",
        "expected",
        "low",
        "high",
        "better",
        "method",
        "source",
        "verdict",
        "reason",
    ]
    assert record["metrics"]["p_core"]["interval"][0] < record["metrics"]["p_core"]["measured"]
    assert record["outcome"] == "fail"


def test_a_verdict_is_read_as_it_was_written(verdict: RunVerdict, tmp_path: Path) -> None:
    path = write_verdict(tmp_path, verdict)

    assert path == tmp_path / "verdict.json"
    assert read_verdict(tmp_path) == verdict


def test_how_a_run_was_made_is_written_and_read(verdict: RunVerdict, tmp_path: Path) -> None:
    made = replace(verdict, simulated=True, restarts=2, without=("boxes_only", "static_graph"))

    record = json.loads(write_verdict(tmp_path, made).read_text())

    assert (record["simulated"], record["restarts"], record["without"]) == (True, 2, ["boxes_only", "static_graph"])
    assert read_verdict(tmp_path) == made


def test_what_is_recorded_besides_and_noted_is_written_and_read(verdict: RunVerdict, tmp_path: Path) -> None:
    noted = replace(verdict.metrics["mem"], note="it cannot fail")
    full = replace(verdict, metrics={**verdict.metrics, "mem": noted}, further={"a": replace(noted, metric="a")})

    path = write_verdict(tmp_path, full)

    assert json.loads(path.read_text())["further"]["a"]["note"] == "it cannot fail"
    assert read_verdict(tmp_path) == full
    assert list(full.shown) == [*verdict.metrics, "a"]
    assert "further" not in encode_verdict(replace(verdict, further={}))


@pytest.mark.parametrize("name", ["restarts", "without"])
def test_a_verdict_from_before_there_was_a_key_has_none_of_it(verdict: RunVerdict, tmp_path: Path, name: str) -> None:
    record = encode_verdict(verdict)
    del record[name]
    (tmp_path / "verdict.json").write_text(json.dumps(record))

    assert read_verdict(tmp_path) == verdict


def test_a_verdict_without_numbers_is_read_as_it_was_written(tmp_path: Path) -> None:
    bundle = build(STEADY)
    bundle.ranks.clear()
    verdict = judge_run(read_run(bundle.write(tmp_path / "run")), a_cell(STEADY, map=0.3))

    write_verdict(tmp_path, verdict)

    assert read_verdict(tmp_path) == verdict


def test_the_file_is_strict_json_even_if_a_number_is_none(verdict: RunVerdict, tmp_path: Path) -> None:
    metrics = dict(verdict.metrics)
    metrics["map"] = replace(metrics["map"], low=math.nan, high=math.inf)

    write_verdict(tmp_path, replace(verdict, metrics=metrics))

    record = json.loads((tmp_path / "verdict.json").read_text("utf-8"), parse_constant=pytest.fail)
    assert (record["metrics"]["map"]["low"], record["metrics"]["map"]["high"]) == (None, None)


def test_an_older_verdict_is_replaced_and_nothing_is_left_beside_it(verdict: RunVerdict, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    write_verdict(folder, verdict)
    write_verdict(folder, replace(verdict, protocol="epoch"))

    assert read_verdict(folder).protocol == "epoch"
    assert os.listdir(folder) == ["verdict.json"]


def test_a_run_that_was_not_judged_has_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match=r"verdict\.json: cannot be read .*judge the run first"):
        read_verdict(tmp_path)


def _drop(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda record: record.pop(name)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_drop("outcome"), "'outcome' is missing"),
        (lambda record: record.update(schema=9), "schema 9, expected 3"),
        (lambda record: record.update(outcome="fine"), "'outcome' is 'fine', expected one of invalid, fail"),
        (lambda record: record.update(restarts="1"), "'restarts' is '1'"),
        (lambda record: record.update(reasons="none"), "'reasons' is 'none'"),
        (lambda record: record.update(reasons=[1]), "'reasons' is [1]"),
        (lambda record: record["cell"].pop("id"), "in 'cell': 'id' is missing"),
        (lambda record: record["cell"].update(batch_size="16"), "in 'cell': 'batch_size' is '16'"),
        (lambda record: record["metrics"].update(map=None), "an object"),
        (lambda record: record["metrics"]["map"].update(verdict=[]), "'verdict' is []"),
        (lambda record: record["metrics"]["map"].update(measured="1"), "'measured' is '1'"),
        (lambda record: record["metrics"]["p_core"].update(interval=[1]), "'interval' is [1], expected a list of two"),
        (lambda record: record["metrics"]["p_core"].update(interval=[1, 2, 3]), "'interval' is [1, 2, 3]"),
    ],
)
def test_what_is_no_verdict_is_an_error_that_says_why(
    damage: Callable[[dict[str, Any]], Any], words: str, verdict: RunVerdict, tmp_path: Path
) -> None:
    record = encode_verdict(verdict)
    damage(record)
    (tmp_path / "verdict.json").write_text(json.dumps(record))

    with pytest.raises(EvidenceError) as error:
        read_verdict(tmp_path)

    assert words in str(error.value)
    assert "judge the run again" in str(error.value)


def test_a_file_that_was_cut_off_is_no_verdict(verdict: RunVerdict, tmp_path: Path) -> None:
    path = write_verdict(tmp_path, verdict)
    path.write_bytes(path.read_bytes()[:-5])

    with pytest.raises(EvidenceError, match="found no verdict"):
        read_verdict(tmp_path)
