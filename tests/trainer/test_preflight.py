"""How many classes a model of a given data set has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.trainer.data.sample import good, write
from trainer.errors import DataError
from trainer.preflight import classes_of


@pytest.mark.parametrize(("numbers", "classes"), [([1], 2), ([1, 2, 3], 4), ([90, 1], 91), ([9999], 10_000)])
def test_a_model_has_the_classes_that_the_categories_number(tmp_path: Path, numbers: list[int], classes: int) -> None:
    write(tmp_path, {**good(), "categories": [{"id": number} for number in numbers]})

    assert classes_of(tmp_path) == classes


@pytest.mark.parametrize("categories", [[], [{"id": 0}], [{"id": "1"}], [{"id": 2**60}], [{}], None, {}])
def test_categories_that_no_model_can_have_are_refused(tmp_path: Path, categories: Any) -> None:
    file = write(tmp_path, {**good(), "categories": categories})

    with pytest.raises(DataError, match="its categories are not numbered from 1 to 9999") as caught:
        classes_of(tmp_path)

    assert str(caught.value).startswith(f"{file}: ")


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    write(tmp_path, good()).write_text("<html>")

    with pytest.raises(DataError, match="is an HTML page"):
        classes_of(tmp_path)
