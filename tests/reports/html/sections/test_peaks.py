"""The page's part about peaks: rates by rank, the explanation as a bar, and the layers below the roofline."""

from __future__ import annotations

from typing import Any

import pytest

from reports.html.sections.peaks import peaks_part
from tests.verdict.probes.fake_step import SPECIFIED, Device, evidence


def part_of(device: Device) -> tuple[dict[str, Any], list[Any]]:
    return peaks_part(evidence(device), SPECIFIED, None, "a-")


def test_the_parts_of_a_step_are_a_bar_beside_their_sentence() -> None:
    part, _ = part_of(Device(memory_gb_per_s=400.0))

    assert "bound by memory" in part["explained"]
    assert "rank 0" in part["explained"]
    assert "most is lost in memory" in part["words"]


def test_no_layer_is_above_the_roof() -> None:
    _, (chart,) = part_of(Device())

    roof, layers = chart.series
    ridge = 120e3 / 1400
    seen = [(x, y) for x, y in zip(chart.x, layers.values) if y is not None]
    assert max(value for value in roof.values if value is not None) == pytest.approx(120)
    assert len(seen) > 5
    assert all(y <= 1.001 * min(120, 120 * x / ridge) for x, y in seen)
    assert chart.id == "a-roofline"


def test_rates_have_a_column_for_each_rank() -> None:
    part, _ = part_of(Device())

    assert [rank["name"] for rank in part["rates"]["ranks"]] == [str(rank) for rank in range(8)]
    first = part["rates"]["rows"][0]
    assert (first["name"], first["unit"], len(first["cells"])) == ("memory-copy", "GB/s", 8)
    assert not any(cell["wrong"] for cell in first["cells"])


def test_a_run_without_the_probes_has_no_such_part() -> None:
    given = evidence(Device())
    for rank in given.ranks:
        rank.rates, rank.layers = (), None

    part, charts = peaks_part(given, SPECIFIED, None, "")

    assert (part["rates"]["rows"], part["explained"], charts) == ([], "", [])
