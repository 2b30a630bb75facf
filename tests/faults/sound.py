"""Sound machines that an earlier version refused: where, the verdict that they get, and the tests that show it.

`python -m tests.faults.table` prints the table of docs/faults.md.
"""

from __future__ import annotations

from typing import NamedTuple

_ENVIRONMENT = "its environment's items"
_PUBLISHED = "tests/verdict/environment/test_published_environments.py::"
_THROUGHPUT = "tests/verdict/metrics/test_throughput.py::"


class Row(NamedTuple):
    """`tests` are node ids; without a parameter, all cases of the test."""

    name: str
    where: str
    verdict: str
    tests: tuple[str, ...]


def _as_published(marker: str, name: str) -> Row:
    shipped = f"{_PUBLISHED}test_every_item_of_a_shipped_table_matches_on_its_machine[{marker}]"
    printed = f"{_PUBLISHED}test_every_item_as_documents_print_it_matches_on_its_machine[{marker}]"
    return Row(f"a machine as the document of the {name} states it", _ENVIRONMENT, "match", (shipped, printed))


ROWS = (
    _as_published("r300", "R300"),
    _as_published("a100", "A100"),
    _as_published("c500", "C500"),
    _as_published("bi_v100", "BI-V100"),
    Row(
        "a new driver, named with `--under-test driver=4.0.31`",
        "a gated session",
        "`GATE: PASS`",
        ("tests/suite/test_environment.py::test_what_a_release_changes_is_held_against_its_own_name",),
    ),
    Row(
        "two topologies whose p_core pass, and whose ratio is below the published one's bound",
        "scaling efficiency",
        "recorded",
        (
            "tests/verdict/compare/test_scaling.py::test_beside_two_p_core_that_pass_a_ratio_below_the_bound_is_told_and_no_failure",
        ),
    ),
    Row(
        "a slow rank, timed by windows, beside sound ones",
        "stragglers",
        "the slow rank is named",
        (f"{_THROUGHPUT}test_a_slow_rank_is_found_from_the_forward_passes_that_were_timed",),
    ),
    Row(
        "a device timed by windows, on whose host single steps' times scatter",
        "interval of p_core",
        "pass, with an interval of less than 1 %",
        (f"{_THROUGHPUT}test_of_windows_the_sums_are_judged_and_not_the_shares_of_steps",),
    ),
    Row(
        "the target map one epoch later than published (A100 at batch size 2)",
        "e2e_time",
        "pass",
        ("tests/verdict/test_bounds.py::test_an_a100_that_takes_an_epoch_more_at_batch_size_2_passes",),
    ),
    Row(
        "eight devices that differ by 2 %, the slowest by 7 %",
        "straggler ratio",
        "inconclusive instead of fail",
        (
            f"{_THROUGHPUT}test_ranks_that_differ_by_two_percent_each_may_have_a_slowest_by_chance",
            "tests/verdict/compare/test_scaling.py::test_the_interval_of_the_straggler_ratio_decides",
        ),
    ),
    Row(
        "a device that waits for a slow host's kernel launches, of which most are the forward pass's",
        "check `backward-share`",
        "no violation",
        (
            "tests/verdict/checks/test_training.py::test_a_forward_pass_that_waits_for_the_host_is_no_missing_backward_pass",
        ),
    ),
    Row(
        "a throttled sample or two in minutes or hours of training",
        "check `not-throttled`",
        "pass, with a note",
        (
            "tests/verdict/metrics/test_memory.py::"
            "test_throttling_in_a_hundredth_of_the_training_is_told_and_more_of_it_is_invalid",
        ),
    ),
)


def lines() -> list[str]:
    """The table as Markdown."""
    rows = [(row.name, row.where, row.verdict, ", ".join(f"`{test}`" for test in row.tests)) for row in ROWS]
    shown = [f"| {' | '.join(cells)} |" for cells in (("machine or run", "where", "verdict", "test"), *rows)]
    return [shown[0], "| --- | --- | --- | --- |", *shown[1:]]
