"""A short run of the importer's fuzzer, and proof that it sees a wrong number."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.expected.documents import fuzz
from tests.expected.documents.making import document, read, row


def test_a_few_hundred_mutated_documents_give_no_wrong_number(capsys: Any) -> None:
    assert fuzz.main(["--documents", "300", "--seed", "7"]) == 0
    assert capsys.readouterr().out.startswith("300 documents, no fault: ")


@pytest.mark.parametrize(("name", "other"), [("p_core", 299.0), ("map", 36.6), ("mem", 32.0)])
def test_the_fuzzer_sees_a_number_that_is_not_in_its_cell(name: str, other: float) -> None:
    text = document(row())
    (one,) = read(text).rows
    wrong = replace(one, metrics={**one.metrics, name: replace(one.metrics[name], value=other)})

    assert fuzz.violations(text, replace(read(text), rows=(one,))) == []
    assert len(fuzz.violations(text, replace(read(text), rows=(wrong,)))) == 1


def test_the_fuzzer_sees_a_number_from_another_column() -> None:
    text = document(row())
    (one,) = read(text).rows
    wrong = replace(one, metrics={**one.metrics, "p_core": one.metrics["p_train"]})

    assert fuzz.columns_of(replace(read(text), rows=(one,)), text) == []
    assert len(fuzz.columns_of(replace(read(text), rows=(wrong,)), text)) == 1


@pytest.mark.parametrize(
    "line", [row() + " [1]", row(config="R300+单机8卡（1x8）"), row(config="R300~~单机8卡（1x8）")]
)
def test_the_fuzzer_sees_a_row_that_should_not_have_been_read(line: str) -> None:
    found = read(document(row()))

    assert fuzz.violations(document(row()), found) == []
    assert len(fuzz.violations(document(line), found)) >= 1


def test_the_fuzzer_sees_hours_that_are_read_as_seconds() -> None:
    text = document(row(e2e_time="3.9h"))
    (one,) = read(text).rows
    metrics = {**one.metrics, "e2e_time": replace(one.metrics["e2e_time"], value=3.9)}

    assert fuzz.violations(text, read(text)) == []
    assert len(fuzz.violations(text, replace(read(text), rows=(replace(one, metrics=metrics),)))) == 1


def test_the_fuzzer_sees_a_lost_sentence() -> None:
    text = document(row(), after=f"\n{fuzz.SENTENCE}\n")

    assert fuzz.lost(text, "")
    assert not fuzz.lost(text, fuzz.SENTENCE)
