"""The table of how often `compare` is right, in small: what it counts, and that its rates are in the right place."""

from __future__ import annotations

import numpy as np

from benchmarks.judging.comparing import RUNS, compared, detections, false_alarms, table


def test_false_alarms_are_rare_and_a_large_shift_is_found() -> None:
    generator = np.random.default_rng(1)

    assert false_alarms(generator, 4, 0.02, trials=40) <= 0.15
    assert detections(generator, 4, 0.01, 0.10, trials=20) == 1.0
    assert detections(generator, 4, 0.05, 0.03, trials=40) < 0.3


def test_one_run_a_side_is_compared_by_its_steps() -> None:
    generator = np.random.default_rng(1)

    assert compared(generator, 1, 0.0, 0.10).error is not None
    assert detections(generator, 1, 0.01, 0.10, trials=20) >= 0.9


def test_the_table_has_a_row_for_each_number_of_runs() -> None:
    lines = list(table(trials=1))

    assert lines[0].startswith("| runs a side | noise 1 %: false / 3 % / 5 % / 10 % | noise 2 %: ")
    assert [line.split(" | ")[0] for line in lines[2:]] == [f"| {runs}" for runs in RUNS]
