"""What a step computes is recorded in the catalogue's words; needs torch 2."""

from __future__ import annotations

import json

import pytest
import torch

from trainer.numerics.catalogue import RECORDED

pytestmark = pytest.mark.skipif(not hasattr(torch.overrides, "TorchFunctionMode"), reason="torch 1 has no such modes")


def test_calls_are_noted_once_by_operator_and_size() -> None:
    from trainer.numerics.record import Recorder

    layer = torch.nn.Conv2d(3, 8, 3, stride=2)
    with Recorder() as recorder:
        for _ in range(2):
            torch.nn.functional.linear(layer(torch.rand(2, 3, 9, 7)).relu().flatten(1), torch.rand(5, 96))

    found = {name: sizes for name, sizes in recorder.sizes.items() if sizes}
    assert found == {
        "conv2d": [{"n": 2, "cin": 3, "h": 9, "w": 7, "cout": 8, "k": 3, "stride": 2}],
        "linear": [{"n": 2, "k": 96, "m": 5}],
    }


def test_the_file_has_what_a_step_with_one_picture_computes() -> None:
    from trainer.numerics.record import record

    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))["batch 1"]

    found = record(1)

    assert {name: recorded[name] for name in ("conv2d", "linear", "frozen-batch-norm")} == {
        name: found[name] for name in ("conv2d", "linear", "frozen-batch-norm")
    }
