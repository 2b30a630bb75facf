"""Which runs make a baseline together, and which are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import pytest

from evidence.bundle import read_run
from evidence.errors import SuiteError
from expected import METRICS, Expectation
from tests.verdict.accepting import COMPUTE_NS, PLAN, Change, device_with, devices_of, write_runs
from tests.verdict.bundles import CPU, STEADY, Bundle, Plan, a_cell
from verdict.baseline.accept import accept_runs
from verdict.baseline.spread import AcceptError, accepted_value
from verdict.judge import judge_run
from verdict.metrics.measure import measure

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


def test_every_metric_that_nobody_publishes_is_accepted(tmp_path: Path) -> None:
    run_dirs = write_runs(tmp_path)

    found = accept_runs(run_dirs, devices_of(PLAN, map=0.3, p_train=100.0))

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


def test_a_copy_of_a_run_is_no_second_run(tmp_path: Path) -> None:
    run_dirs = [*write_runs(tmp_path)[:2], *write_runs(tmp_path / "copies")[:1]]

    assert "found the run run-0 of " in refused(run_dirs)


def test_a_restarted_run_is_refused(tmp_path: Path) -> None:
    run_dirs = [*write_runs(tmp_path)[:2], *write_runs(tmp_path / "broken", replace(PLAN, restarts=1))[2:]]

    assert refused(run_dirs) == f"{run_dirs[2]}: was restarted once, expected an unbroken run: only one is proof"


def test_a_run_without_an_optimization_is_refused(tmp_path: Path) -> None:
    def slowed(bundle: Bundle) -> None:
        bundle.run["without"] = ["boxes_only"]

    run_dirs = write_runs(tmp_path, change=only(1, slowed))

    assert "was made without boxes_only, expected one with every optimization" in refused(run_dirs)


def test_an_invalid_run_is_refused_with_its_reasons(tmp_path: Path) -> None:
    def crash(bundle: Bundle) -> None:
        bundle.run["boot"] = {"exit_code": 1, "failure": None}

    message = refused(write_runs(tmp_path, change=only(2, crash)))

    assert message.startswith("run-2: is invalid and proves nothing: the launch ended with exit code 1, expected 0")


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


def test_simulated_runs_are_refused_for_a_real_device(tmp_path: Path) -> None:
    plan = replace(PLAN, simulated=True)

    message = refused(write_runs(tmp_path, plan), plan)

    assert "run-0: is invalid and proves nothing: run.json: found a simulated device, expected a real r300" in message


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
        ({"device_name": "another card"}, "run-1: found card another card, expected a card as in run-0"),
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
    assert "a number that the site cannot reproduce is no baseline" in lines[3]


def test_one_more_run_heals_an_outlier(tmp_path: Path) -> None:
    run_dirs = write_runs(tmp_path, compute_ns=(*COMPUTE_NS, 60_000_000))

    found = accept_runs(run_dirs, devices_of(PLAN))

    assert {value.metric: value.trimmed for value in found.values} == {
        **dict.fromkeys(("e2e_time", "p_whole", "p_train", "p_core"), ("run-3",)),
        **dict.fromkeys(("map", "mem"), ()),
    }
    assert "another run may be off by" in refused([*run_dirs[:2], run_dirs[3]])


def test_nothing_to_accept_is_refused_with_the_reasons(tmp_path: Path) -> None:
    everything: dict[str, Any] = dict.fromkeys(METRICS, 0.5)
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


def test_a_run_of_no_known_cell_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="expected one of the shipped tables: cpu-1x2"):
        accept_runs(write_runs(tmp_path), devices_of(CPU))


def test_runs_that_were_made_beside_each_other_are_no_baseline(tmp_path: Path) -> None:
    run_dirs = write_runs(
        tmp_path, CPU, change=only(1, lambda bundle: bundle.run["cell"].update(id=f"{a_cell(CPU).id}-card3"))
    )

    with pytest.raises(AcceptError, match="was made by --each-card, beside runs on the other cards"):
        accept_runs(run_dirs, device_with(a_cell(CPU), "cpu"))
