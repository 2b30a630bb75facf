"""Which runs are accepted together as a baseline: the value that they agree on, its tolerance, and what is refused."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Mapping

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from evidence.bundle import read_run
from expected import METRICS, Expectation, default_bounds
from expected.metrics import ABSOLUTE_TOLERANCE, LARGEST_TOLERANCE
from expected.site import MIN_RUNS
from tests.verdict.baseline.accepting import COMPUTE_NS, PLAN, Change, device_with, devices_of, write_runs
from tests.verdict.bundles import CPU, STEADY, Bundle, Plan, a_cell
from verdict.baseline.accept import (
    SMALLEST_TOLERANCE,
    AcceptedValue,
    AcceptError,
    accept_runs,
    accepted_value,
    in_words,
    outliers,
)
from verdict.judge import judge_run
from verdict.metrics.measure import measure
from verdict.metrics.statistics import t_quantile

LONG_STEADY = replace(STEADY, steps=240)


def refused(run_dirs: list[Path], plan: Plan = PLAN, **expectations: Any) -> str:
    with pytest.raises(AcceptError) as caught:
        accept_runs(run_dirs, devices_of(plan, **expectations))
    return str(caught.value)


def in_every_rank(bundle: Bundle, **facts: Any) -> None:
    for rank in bundle.ranks:
        bundle.one("start", rank).update(facts)


def only(number: int, change: Callable[[Bundle], None]) -> Change:
    """The change of one of the runs."""
    return lambda at, bundle: change(bundle) if at == number else None


@pytest.mark.parametrize("protocol", ["smoke", "probes"])
def test_runs_that_are_held_against_no_number_are_no_baseline(tmp_path: Path, protocol: str) -> None:
    run_dirs = write_runs(tmp_path, change=lambda number, bundle: bundle.run.update(protocol=protocol))

    assert f"run-0: is a run of protocol {protocol}, expected one that trains" in refused(run_dirs)


def test_every_metric_that_nobody_publishes_is_accepted(tmp_path: Path) -> None:
    run_dirs = write_runs(tmp_path)

    found = accept_runs(run_dirs, devices_of(PLAN, map=0.3, p_train=150.0))

    measured = [measure(read_run(run_dir)) for run_dir in run_dirs]
    assert found.cell.id == "r300-1x2-fp32-bs4"
    assert [one.run for one in found.runs] == ["run-0", "run-1", "run-2"]
    assert [value.metric for value in found.values] == ["e2e_time", "p_whole", "p_core", "mem"]
    for value in found.values:
        readings = {f"run-{number}": one[value.metric].value for number, one in enumerate(measured)}
        assert value == accepted_value(value.metric, readings)
    assert dict(found.left_out) == {}
    assert found.notes == ()


def test_p_core_is_the_devices_reading_whatever_the_vendors_table_was_timed_with(tmp_path: Path) -> None:
    run_dirs = write_runs(tmp_path)
    cell = replace(a_cell(PLAN), timing="host")

    found = accept_runs(run_dirs, device_with(cell))

    (p_core,) = (value for value in found.values if value.metric == "p_core")
    assert p_core.readings["run-0"] == pytest.approx(measure(read_run(run_dirs[0]))["p_core"].value, rel=1e-5)


def test_a_metric_that_does_not_apply_is_not_accepted(tmp_path: Path) -> None:
    found = accept_runs(write_runs(tmp_path), devices_of(PLAN, map=Expectation("not_applicable")))

    assert "map" not in [value.metric for value in found.values]
    assert "map" not in found.left_out


def test_what_the_protocol_does_not_measure_is_left_out_and_told(tmp_path: Path) -> None:
    found = accept_runs(write_runs(tmp_path, LONG_STEADY), devices_of(LONG_STEADY))

    assert [value.metric for value in found.values] == ["p_train", "p_core", "mem"]
    assert list(found.left_out) == ["e2e_time", "p_whole", "map"]
    assert found.left_out["map"] == "map is not measured: protocol steady does not measure it (run-0)"


def test_a_metric_can_be_left_out_on_demand(tmp_path: Path) -> None:
    devices = devices_of(PLAN)

    found = accept_runs(write_runs(tmp_path), devices, without=["e2e_time", "p_whole"])

    assert [value.metric for value in found.values] == ["p_train", "p_core", "map", "mem"]
    assert dict(found.left_out) == dict.fromkeys(("e2e_time", "p_whole"), "left out by --without")


def test_two_runs_are_too_few(tmp_path: Path) -> None:
    assert refused(write_runs(tmp_path)[:2]) == "found 2 runs, expected 3 or more of the same cell"


def test_the_same_run_twice_is_no_second_run(tmp_path: Path) -> None:
    run_dirs = write_runs(tmp_path)

    message = refused([*run_dirs, run_dirs[1]])

    assert message == f"{run_dirs[1]}: found the run run-1 of {run_dirs[1]} again, expected different runs"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"restarts": [{"phase": "run", "message": "m"}]}, "was restarted once, expected an unbroken run: only one is"),
        ({"without": ["boxes_only"]}, "was made without boxes_only, expected one with every optimization"),
        (
            {"boot": {"exit_code": 1, "failure": None}},
            "is invalid and proves nothing: the launch ended with exit code 1",
        ),
    ],
)
def test_a_run_that_proves_nothing_for_others_is_refused(tmp_path: Path, facts: dict[str, Any], words: str) -> None:
    message = refused(write_runs(tmp_path, change=only(2, lambda bundle: bundle.run.update(facts))))

    assert message.startswith(("run-2: ", f"{tmp_path / 'run-2'}: "))
    assert words in message


def test_of_many_reasons_some_are_quoted_and_the_rest_counted(tmp_path: Path) -> None:
    run_dirs = write_runs(tmp_path, change=only(1, lambda bundle: bundle.ranks.pop(1) and None))
    devices = devices_of(PLAN)
    reasons = judge_run(read_run(run_dirs[1]), devices["r300"].cells[0]).reasons
    assert len(reasons) > 3

    message = refused(run_dirs)

    assert message == (f"run-1: is invalid and proves nothing: {'; '.join(reasons[:3])}; and {len(reasons) - 3} more")


def test_the_backend_has_to_be_the_devices(tmp_path: Path) -> None:
    devices = device_with(a_cell(PLAN), backend="cuda")

    with pytest.raises(AcceptError, match="found backend kunlunxin, expected cuda for device r300"):
        accept_runs(write_runs(tmp_path), devices)


def test_simulated_runs_are_accepted_for_the_device_that_is_simulated(tmp_path: Path) -> None:
    plan = replace(PLAN, simulated=True, device="virtual", backend="virtual")

    found = accept_runs(write_runs(tmp_path, plan), devices_of(plan))

    assert all(one.simulated for one in found.runs)
    assert found.values


def test_runs_of_two_cells_are_refused(tmp_path: Path) -> None:
    other = replace(PLAN, batch_size=8)
    run_dirs = [*write_runs(tmp_path), *write_runs(tmp_path / "other", other, change=_renamed)]
    first, second = a_cell(PLAN), a_cell(other)
    devices = device_with(first)
    devices["r300"] = replace(devices["r300"], cells=(first, second))

    with pytest.raises(AcceptError) as caught:
        accept_runs(run_dirs, devices)

    assert str(caught.value).splitlines()[0] == (
        "other-0: found a run of r300-1x2-fp32-bs8, expected r300-1x2-fp32-bs4 as in run-0; accept one cell at a time"
    )


def _renamed(number: int, bundle: Bundle) -> None:
    bundle.run["id"] = f"other-{number}"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"driver": "4.1.0"}, "run-1: found driver 4.1.0, expected unknown as in run-0"),
        ({"versions": {"python": "3.9"}}, "run-1: found python 3.9, expected 3.8 as in run-0"),
        ({"versions": {"python": "3.8", "torch": "2.0"}}, "run-1: found torch 2.0, expected unknown as in run-0"),
        ({"versions": {}}, "run-1: found python unknown, expected 3.8 as in run-0"),
        ({"device_name": "another device"}, "run-1: found card another device, expected a device as in run-0"),
    ],
)
def test_runs_of_two_states_of_a_machine_are_refused(tmp_path: Path, facts: dict[str, Any], words: str) -> None:
    message = refused(write_runs(tmp_path, change=only(1, lambda bundle: in_every_rank(bundle, **facts))))

    assert message == f"{words}; a baseline is of one state of a machine"


def test_packages_of_the_launching_python_count_too_but_not_those_of_pytest(tmp_path: Path) -> None:
    def versions(number: int, bundle: Bundle) -> None:
        packages = {"Pillow": f"9.{number // 2}", "pytest": f"8.{number}", "pycocotools": None}
        bundle.run["environment"] = {"packages": packages}

    message = refused(write_runs(tmp_path, change=versions))

    assert message == "run-2: found pillow 9.1, expected 9.0 as in run-0; a baseline is of one state of a machine"


@pytest.mark.parametrize(
    ("plan", "other", "words"),
    [
        (
            PLAN,
            replace(LONG_STEADY, steps=120),
            "found protocol steady of 120 steps, expected full of at most 4 epochs",
        ),
        (PLAN, replace(PLAN, epochs=3), "found protocol full of at most 3 epochs, expected full of at most 4 epochs"),
        (LONG_STEADY, replace(LONG_STEADY, steps=250), "found protocol steady of 250 steps, expected steady of 240"),
    ],
)
def test_runs_of_two_protocols_are_refused(tmp_path: Path, plan: Plan, other: Plan, words: str) -> None:
    run_dirs = [*write_runs(tmp_path, plan), *write_runs(tmp_path / "other", other, COMPUTE_NS[:1], _renamed)]

    assert words in refused(run_dirs, plan)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    def differ(number: int, bundle: Bundle) -> None:
        bundle.run["boot"] = {"exit_code": number, "failure": None}
        in_every_rank(bundle, driver=str(number))

    lines = refused(write_runs(tmp_path, change=differ)).splitlines()

    assert [line[:15] for line in lines] == ["run-1: is inval", "run-2: is inval", "run-1: found dr", "run-2: found dr"]


def test_metrics_that_scatter_are_refused_all_of_them(tmp_path: Path) -> None:
    lines = refused(write_runs(tmp_path, compute_ns=(40_000_000, 48_000_000, 44_000_000))).splitlines()

    assert [line.split(":")[0] for line in lines] == ["e2e_time", "p_whole", "p_train", "p_core"]
    assert "a number that the site cannot reproduce is not a baseline" in lines[3]


def test_one_more_run_heals_an_outlier(tmp_path: Path) -> None:
    run_dirs = write_runs(tmp_path, compute_ns=(*COMPUTE_NS, 60_000_000))

    found = accept_runs(run_dirs, devices_of(PLAN))

    assert {value.metric: value.trimmed for value in found.values} == {
        **dict.fromkeys(("e2e_time", "p_whole", "p_train", "p_core"), ("run-3",)),
        **dict.fromkeys(("map", "mem"), ()),
    }
    assert "another run may be off by" in refused([*run_dirs[:2], run_dirs[3]])


def test_nothing_to_accept_is_refused_with_the_reasons(tmp_path: Path) -> None:
    everything: dict[str, Any] = {**dict.fromkeys(METRICS, 150.0), "map": 0.5, "mem": 20.0, "e2e_time": 10.0}
    run_dirs = write_runs(tmp_path)

    message = refused(run_dirs, **everything)
    assert message == (
        "r300-1x2-fp32-bs4: found nothing to accept, expected an unpublished metric that every run measured"
    )
    with pytest.raises(AcceptError, match="every run measured; mem: left out by --without"):
        accept_runs(run_dirs, devices_of(PLAN, **{**everything, "mem": Expectation("unpublished")}), without=["mem"])


def test_a_number_that_may_not_pass_itself_is_no_measure_of_others(tmp_path: Path) -> None:
    plan = replace(STEADY, steps=10)

    lines = refused(write_runs(tmp_path, plan), plan).splitlines()

    assert lines[:2] == [
        "p_train: run-0 comes from 10 steps, too few for a confidence interval",
        "p_train: run-1 comes from 10 steps, too few for a confidence interval",
    ]


def test_memory_that_was_still_rising_has_no_known_peak(tmp_path: Path) -> None:
    def creep(bundle: Bundle) -> None:
        for number, sample in enumerate(bundle.telemetry):
            sample["memory_used_gib"] = 20.0 + 0.1 * number

    lines = refused(write_runs(tmp_path, replace(PLAN, steps=400), change=only(1, creep))).splitlines()

    assert lines[0].startswith("mem: run-1 memory was still rising at the end")


def test_a_run_that_misses_the_vendors_own_numbers_is_noted(tmp_path: Path) -> None:
    found = accept_runs(write_runs(tmp_path), devices_of(PLAN, map=0.9))

    assert [note.split(" (")[0] for note in found.notes] == [
        f"run-{number}: map is fail: map 0.3800 is below 0.8960" for number in range(3)
    ]


def test_intervals_wider_than_the_tolerance_are_noted(tmp_path: Path) -> None:
    plan = replace(PLAN, jitter=80)

    found = accept_runs(write_runs(tmp_path, plan), devices_of(plan), without=["p_whole", "p_train"])

    (note,) = found.notes
    assert note.startswith("p_core: 3 of its 3 runs would be inconclusive themselves: their intervals reach below")


def test_a_run_with_data_of_its_own_is_refused_where_a_data_set_is_generated(tmp_path: Path) -> None:
    devices = device_with(a_cell(CPU), "cpu", {"train_images": 256})
    run_dirs = write_runs(tmp_path, CPU, change=only(1, lambda bundle: bundle.run.update(own_data=True)))

    with pytest.raises(AcceptError) as caught:
        accept_runs(run_dirs, devices)

    assert str(caught.value) == (
        f"{run_dirs[1]}: was given a data set with --data, expected the one that is generated for "
        f"{a_cell(CPU).id}: what a site accepts stands for that one"
    )


def test_runs_that_were_made_beside_each_other_are_no_baseline(tmp_path: Path) -> None:
    run_dirs = write_runs(
        tmp_path, CPU, change=only(1, lambda bundle: bundle.run["cell"].update(id=f"{a_cell(CPU).id}-card3"))
    )

    with pytest.raises(AcceptError, match="was made by --each-card, beside runs on the other devices"):
        accept_runs(run_dirs, device_with(a_cell(CPU), "cpu"))


RATES = [name for name, metric in METRICS.items() if metric.unit == "images/s"]


def named(*readings: float) -> dict[str, float]:
    """The readings by run: a, b, c, ..."""
    return {chr(ord("a") + number): reading for number, reading in enumerate(readings)}


def test_the_value_is_the_mean_and_the_tolerance_students_prediction_interval() -> None:
    found = accepted_value("p_core", named(100.0, 102.0, 104.0))

    half_width = 4.302653 * 2.0 * math.sqrt(4 / 3)  # t of two degrees of freedom, s = 2, n = 3
    assert found == AcceptedValue(
        "p_core", 102.0, math.ceil(half_width / 102.0 * 1e4) / 1e4, named(100.0, 102.0, 104.0), ()
    )
    assert found.tolerance == 0.0975
    assert found.bounds == (92.055, None)


def test_the_tolerance_of_map_is_absolute() -> None:
    found = accepted_value("map", named(0.3640, 0.3650, 0.3660))

    assert (found.value, found.tolerance) == (0.365, 0.005)
    assert found.bounds == (0.36, None)


@pytest.mark.parametrize(
    ("name", "readings", "tolerance"),
    [("p_core", (100.0, 100.0, 100.0), 0.01), ("e2e_time", (50.0, 50.01, 50.02), 0.01), ("map", (0.3,) * 3, 0.002)],
)
def test_few_runs_that_happen_to_agree_leave_a_smallest_tolerance(
    name: str, readings: tuple[float, ...], tolerance: float
) -> None:
    assert accepted_value(name, named(*readings)).tolerance == tolerance


def test_an_outlier_is_trimmed_and_kept_in_the_record() -> None:
    readings = named(100.0, 50.0, 102.0, 101.0)

    found = accepted_value("p_train", readings)

    assert (found.value, found.trimmed, found.kept) == (101.0, ("b",), (100.0, 102.0, 101.0))
    assert found.readings == readings


@pytest.mark.parametrize(
    ("name", "readings", "expected"),
    [
        # 3.5 / 0.6745 = 5.189 times the MAD, which is 2 here, from the median.
        ("p_core", (98.0, 98.0, 100.0, 102.0, 110.379), ("e",)),
        ("p_core", (98.0, 98.0, 100.0, 102.0, 110.378), ()),
        ("p_core", (98.0, 102.0, 100.0, 102.0, 89.6), ("e",)),
        # However near the others are: within 1 % of the median there is no outlier.
        ("p_core", (100.0, 100.0, 100.0, 101.0), ()),
        ("p_core", (100.0, 100.0, 100.0, 101.01), ("d",)),
        ("p_core", (100.0, 100.001, 99.999, 99.0), ()),
        ("map", (0.3, 0.3, 0.3, 0.3015), ()),
        ("map", (0.3, 0.3, 0.3, 0.3025), ("d",)),
        ("mem", (1.0, 1.0, 1.0, 1.5, 0.5), ("d", "e")),
    ],
)
def test_what_lies_too_far_from_the_median_is_an_outlier(
    name: str, readings: tuple[float, ...], expected: tuple[str, ...]
) -> None:
    assert outliers(name, named(*readings)) == expected


def test_of_three_runs_none_is_an_outlier_and_the_spread_refuses_them() -> None:
    with pytest.raises(AcceptError, match=r"another run may be off by 132\.97 %, expected at most 10\.00 %"):
        accepted_value("p_core", {"first": 100.0, "second": 100.5, "third": 60.0})

    accepted = accepted_value("p_core", {"first": 100.0, "second": 100.1, "third": 101.5})
    assert accepted.trimmed == ()


@pytest.mark.parametrize(
    ("name", "readings", "words"),
    [
        ("p_core", (90.0, 100.0, 110.0), "another run may be off by 49.69 %, expected at most 10.00 %"),
        ("e2e_time", (90.0, 100.0, 110.0), "a number that the site cannot reproduce is not a baseline"),
        ("map", (0.33, 0.36, 0.39), "another run may be off by 0.1491, expected at most 0.0200"),
        ("p_core", (0.0, 0.0, 0.0), "expected more than 0"),
        ("map", (0.001, 0.001, 0.001), "too little for a bound above 0 at the tolerance 0.002"),
    ],
)
def test_what_the_site_cannot_reproduce_is_no_baseline(name: str, readings: tuple[float, ...], words: str) -> None:
    with pytest.raises(AcceptError) as caught:
        accepted_value(name, named(*readings))

    assert str(caught.value).startswith(f"{name}: found ")
    assert words in str(caught.value)
    assert f"--without {name}" in str(caught.value)


def test_the_largest_tolerance_is_still_accepted() -> None:
    assert accepted_value("p_core", named(100.0, 102.0, 104.105)).tolerance == LARGEST_TOLERANCE["p_core"]


@pytest.mark.parametrize(("name", "words"), [("p_core", "2.13 %"), ("map", "0.0213")])
def test_a_tolerance_is_told_in_its_own_form(name: str, words: str) -> None:
    assert in_words(name, 0.0213) == words


def test_the_prediction_interval_of_many_runs_has_their_students_t() -> None:
    readings = {str(number): 100.0 + 3 * (number % 2) for number in range(60)}

    found = accepted_value("p_core", readings)

    half_width = t_quantile(59) * statistics.stdev(readings.values()) * math.sqrt(1 + 1 / 60)
    assert found.tolerance == math.ceil(half_width / 101.5 * 1e4) / 1e4 > 0.03


@st.composite
def readings_of(draw: st.DrawFn, name: str) -> dict[str, float]:
    centre = draw(st.floats(0.05, 1.0) if name == "map" else st.floats(1e-3, 1e6))
    parts = draw(st.lists(st.floats(-0.02, 0.02), min_size=MIN_RUNS, max_size=12))
    return {str(number): centre * (1 + part) for number, part in enumerate(parts)}


@given(st.data(), st.sampled_from(list(METRICS)))
def test_every_run_that_was_kept_passes_by_the_value_that_it_was_accepted_into(data: st.DataObject, name: str) -> None:
    readings: Mapping[str, float] = data.draw(readings_of(name))
    try:
        found = accepted_value(name, readings)
    except AcceptError:
        assume(False)

    low, high = default_bounds(METRICS[name], found.value, found.tolerance)
    assert len(found.kept) >= MIN_RUNS
    assert min(found.kept) <= found.value <= max(found.kept)
    assert low is None or low <= min(found.kept)
    assert high is None or high >= max(found.kept)
    assert SMALLEST_TOLERANCE[name] <= found.tolerance <= LARGEST_TOLERANCE[name]


@given(st.data(), st.sampled_from(RATES), st.floats(0.5, 2.0))
def test_a_relative_tolerance_does_not_depend_on_the_scale(data: st.DataObject, name: str, factor: float) -> None:
    readings: Mapping[str, float] = data.draw(readings_of(name))
    try:
        found = accepted_value(name, readings)
        scaled = accepted_value(name, {run: reading * factor for run, reading in readings.items()})
    except AcceptError:
        assume(False)
    assume(found.trimmed == scaled.trimmed)

    assert scaled.tolerance == pytest.approx(found.tolerance, abs=2.1e-4)  # readings are rounded to six digits


@given(st.lists(st.floats(0.1, 10.0), min_size=1, max_size=15), st.sampled_from(list(METRICS)))
def test_at_least_half_of_the_runs_are_no_outliers(readings: list[float], name: str) -> None:
    runs = {str(number): reading for number, reading in enumerate(readings)}

    found = outliers(name, runs)

    assert 2 * len(found) < len(runs)
    near = SMALLEST_TOLERANCE[name] * (1 if name in ABSOLUTE_TOLERANCE else statistics.median(readings))
    assert all(abs(runs[run] - statistics.median(readings)) > near for run in found)


def test_a_metric_of_no_table_is_accepted_if_it_is_asked_for(tmp_path: Path) -> None:
    run_dirs = write_runs(tmp_path)

    plain = accept_runs(run_dirs, devices_of(PLAN))
    found = accept_runs(run_dirs, devices_of(PLAN), further=["epochs_to_target"])

    assert "epochs_to_target" not in {value.metric for value in plain.values}
    (epochs,) = (value for value in found.values if value.metric == "epochs_to_target")
    assert epochs.tolerance == 1.0  # the smallest: three runs may happen to agree
    assert epochs.bounds == (None if epochs.value <= 1 else epochs.value - 1, epochs.value + 1)


def test_a_metric_of_no_table_that_a_run_did_not_measure_is_left_out(tmp_path: Path) -> None:
    plan = replace(PLAN, maps=(0.1,) * PLAN.limit)

    found = accept_runs(write_runs(tmp_path, plan), devices_of(plan), further=["epochs_to_target"])

    assert found.left_out["epochs_to_target"] == "not measured (run-0)"


def test_a_number_that_all_runs_exceed_by_far_is_accepted_beside_the_published_one(tmp_path: Path) -> None:
    run_dirs = write_runs(tmp_path)

    found = accept_runs(run_dirs, devices_of(PLAN, p_train=100.0, p_core=190.0))

    accepted = {value.metric: value.value for value in found.values}
    assert "p_core" not in accepted  # published, and reached
    assert accepted["p_train"] > 150.0


def test_one_of_three_runs_that_is_too_good_is_not_accepted_beside_a_published_number(tmp_path: Path) -> None:
    run_dirs = write_runs(tmp_path, compute_ns=(40_000_000, 40_000_000, 20_000_000))

    message = refused(run_dirs, p_train=130.0)

    assert "p_train" not in message


def test_runs_with_other_annotations_are_no_baseline_together(tmp_path: Path) -> None:
    def other(bundle: Bundle) -> None:
        for rank in bundle.ranks:
            bundle.one("data", rank)["train"]["annotations_sha256"] = "cd" * 32

    message = refused(write_runs(tmp_path, change=only(1, other)))

    assert "run-1: found SHA-256 of the annotations of train2017 cdcdcd" in message


def test_the_annotations_of_the_runs_are_part_of_where_a_baseline_comes_from(tmp_path: Path) -> None:
    found = accept_runs(write_runs(tmp_path), devices_of(PLAN))

    assert dict(found.runs[0].annotations) == {"train2017": "ab" * 32, "val2017": "ab" * 32}
