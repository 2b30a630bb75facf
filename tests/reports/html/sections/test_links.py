"""Bandwidth over size with the buckets marked, and the pairs as a heat map."""

from __future__ import annotations

from expected import load_devices
from reports.html.sections.links import bandwidth_chart, links_part, pair_map
from tests.trainer.links.probing import evidence_of
from tests.verdict.probes.test_links import MIB, R300, SOUND, pair, probed
from verdict.metrics.links import pair_rates


def test_a_run_that_was_not_asked_has_no_part() -> None:
    part, charts = links_part(evidence_of([[], []], 2), R300, "")

    assert not part["chart"]
    assert not part["pairs"]
    assert charts == []


def test_the_chart_marks_the_buckets() -> None:
    chart = bandwidth_chart(probed(*SOUND), "")

    assert chart is not None
    assert list(chart.x) == [8, MIB, 16 * MIB]
    assert [mark.begin for mark in chart.marks] == [MIB]
    assert [line.label for line in chart.series] == ["all-reduce"]


def test_pairs_stand_on_both_sides_of_the_diagonal_and_a_slow_one_stands_out() -> None:
    found = list(pair_rates(probed(*SOUND, pairs=(pair(1, 50.0), pair(2, 50.0), pair(3, 20.0)), ranks=4)))

    drawn = pair_map(found, R300, "node-a", "pairs")

    assert drawn.rows == drawn.columns == ["0", "1", "2", "3"]
    assert {at: tile.failed for at, tile in drawn.tiles.items()} == {
        **dict.fromkeys([(0, 1), (1, 0), (0, 2), (2, 0)], False),
        **dict.fromkeys([(0, 3), (3, 0)], True),
    }
    assert drawn.tiles[0, 3].details["at least"] == "40 GB/s"


def test_pairs_of_hosts_are_in_the_networks_unit_beside_its_bound() -> None:
    cell = next(cell for cell in load_devices()["r300"].cells if cell.topology.nodes == 2)

    drawn = pair_map(list(pair_rates(probed(*SOUND, pairs=(pair(1, 21.4, "hosts"),)))), cell, "", "pairs")

    assert drawn.tiles[0, 1].text == "171.2"
    assert drawn.tiles[0, 1].failed
