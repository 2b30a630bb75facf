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
