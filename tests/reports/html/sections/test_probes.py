"""The operators as a heat map, and the devices' health before and after training."""

from __future__ import annotations

import math
import re
from pathlib import Path

from evidence.bundle import read_run
from reports.html.pages import run_page
from reports.html.sections.probes import operators_map, probes_part
from tests.reports.html.runs import page_of
from tests.reports.html.test_run import text_of
from tests.verdict.bundles import HEALTHY, Plan, build
from tests.verdict.probes.test_operators import answer, evidence
from verdict.compare.health import judge_health
from verdict.probes.operators import judge_operators


def test_operators_stand_by_dtype_and_pass_with_the_nearest_to_its_bound_first() -> None:
    answers = [
        answer(worst=1.0, operator="linear", direction="fprop"),
        answer(worst=12.0, direction="dgrad"),
        answer(worst=40.0, dtype="bf16", at=5, found=1.5, expected=1.0),
        answer("watched", operator="denormals", direction="forward"),
    ]

    found = operators_map(judge_operators(evidence(answers)), "ops")

    assert found.rows == ["conv2d", "linear", "denormals"]
    assert found.columns == ["wgrad", "forward", "fprop", "dgrad"]
    assert found.groups == [("bf16", 1), ("fp32", 3)]
    assert {at: (tile.text, tile.failed) for at, tile in found.tiles.items()} == {
        (0, 0): ("250%", True),
        (0, 3): ("75%", False),
        (1, 2): ("6%", False),
        (2, 1): ("recorded", False),
    }
    assert "1 of 4 are wrong: conv2d-wgrad-bf16." in found.summary
    details = found.tiles[0, 0].details
    assert details["largest error, of the device / of honest fp32"] == "40.00 / 0"
    assert "element 5 is 1.5, expected 1" in details["why"]


def test_an_answer_that_never_came_is_a_tile_that_fails() -> None:
    found = operators_map(judge_operators(evidence([answer(error="not implemented")])), "ops")

    (tile,) = found.tiles.values()
    assert (tile.text, tile.share, tile.failed) == ("∞", math.inf, True)


def test_a_run_without_the_probe_says_how_to_ask(tmp_path: Path) -> None:
    assert "The operators were not asked for in this run (--numerics quick)." in text_of(run_page(page_of(tmp_path)))


def test_health_is_shown_before_and_after_with_what_grew(tmp_path: Path) -> None:
    bundle = build(Plan())
    bundle.all("health", 1)[-1].update(ecc_uncorrected=2, link_errors={"pcie correctable": 5})
    found = read_run(bundle.write(tmp_path))

    part = probes_part(found, judge_health([found]), None, "")

    assert part["failed"]
    first, second = part["health"]["rows"]
    assert [cell["text"] for cell in first["cells"]] == ["3", "0", "1", "-", "x16/16 gen 4/4", "2", "0"]
    assert [cell["text"] for cell in second["cells"]][1] == "0 → 2"
    assert [cell["grown"] for cell in second["cells"]] == [False, True, *[False] * 5]
    assert second["cells"][5]["text"] == "2 → 5"
    assert first["pci"] == HEALTHY["pci"]


def test_a_failed_probe_comes_right_after_the_verdict(tmp_path: Path) -> None:
    bundle = build(Plan())
    sound = text_of(run_page(page_of(tmp_path / "sound", bundle=bundle)))
    bundle.all("health", 1)[-1].update(retired_pages=4)
    ill = text_of(run_page(page_of(tmp_path / "ill", bundle=bundle)))

    assert sound.index("Operators and health") > sound.index("How it went")
    assert ill.index("Operators and health") < ill.index("How it went")
    assert re.match(r" ✗ fail ", ill)
    assert "3 new retired pages in the run" in ill[: ill.index("Verdict")]
