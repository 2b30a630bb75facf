"""The operators probe on this host as a device: what it writes, what it keeps, and where it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
import torch

import trainer.probes.operators
from evidence.rank_file import EventLog
from tests.trainer.small import small_settings
from trainer.devices.cpu import CpuBackend
from trainer.numerics.cases import Case, case
from trainer.numerics.operators import Tensors
from trainer.probes.operators import ask_operators
from trainer.ranks import HostGroup, Ranks

LARGE = case("relu", "forward", "fp32", {"n": 9000}, seed=1)
CASES = (case("linear", "fprop", "fp32", {"n": 4, "k": 64, "m": 8}, seed=1), LARGE)


class FakeDevice(CpuBackend):
    """This host, which gets the last number of relu wrong if it is told to."""

    def __init__(self, *, wrong: bool) -> None:
        super().__init__()
        self.device = torch.device("cpu")
        self._wrong = wrong

    def compute(self, case: Case, inputs: Tensors, compute: Callable[[Tensors], torch.Tensor]) -> torch.Tensor:
        result = super().compute(case, inputs, compute)
        if self._wrong and case.operator == "relu":
            result[-1] += 1
        return result


@pytest.fixture(autouse=True)
def few_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.probes.operators, "quick_cases", lambda *_: iter(CASES))


def asked(folder: Path, *, wrong: bool = False, budget_s: float = 300.0) -> list[dict[str, Any]]:
    log = EventLog(folder, 0)
    settings = small_settings(folder, folder, numerics="quick")
    ask_operators(settings, FakeDevice(wrong=wrong), HostGroup(Ranks()), log, budget_s)
    log.close()
    return [json.loads(line) for line in log.path.read_text().splitlines()]


def test_each_case_is_an_event_and_a_sound_answer_is_not_kept(tmp_path: Path) -> None:
    *answers, done = asked(tmp_path)

    assert [(one["operator"], one["kept_from"]) for one in answers] == [("linear", None), ("relu", None)]
    assert (done["cases"], done["unasked"]) == (2, {})
    assert not list(tmp_path.glob("*.npz"))


def test_of_a_wrong_answer_the_part_around_the_worst_element_is_kept(tmp_path: Path) -> None:
    _, wrong, _ = asked(tmp_path, wrong=True)

    with np.load(str(tmp_path / "operators-0000.npz")) as arrays:
        (kept,) = arrays.values()
    assert (wrong["kept_from"], len(kept)) == (9000 - 4096, 4096)
    assert kept[wrong["at"] - wrong["kept_from"]] == pytest.approx(wrong["found"])
    assert wrong["found"] == pytest.approx(wrong["expected"] + 1)


def test_when_its_time_is_over_it_says_what_it_has_not_asked(tmp_path: Path) -> None:
    first, done = asked(tmp_path, budget_s=0.0)

    assert first["operator"] == "linear"
    assert (done["cases"], done["unasked"]) == (1, {"relu-forward-fp32": 1})
