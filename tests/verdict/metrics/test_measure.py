"""The metrics against their definitions, by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence.bundle import read_run
from evidence.errors import SuiteError
from evidence.verdict import Interval
from expected import METRICS, Topology
from tests.verdict.bundles import CPU, EPOCH, STEADY, Bundle, Plan, build
from verdict.metrics.measure import compared_value, measure, metrics_of, protocol_metrics, shortened_run, unmeasured
from verdict.metrics.measurement import Measurement
from verdict.metrics.throughput import _window_samples

FULL = Plan(slower={1: 1.25}, jitter=10)


def measured(bundle: Bundle, folder: Path) -> Mapping[str, Measurement]:
    return measure(read_run(bundle.write(folder / "run")))


def images(bundle: Bundle) -> int:
    return sum(
        sum(window["images"]) for rank in bundle.ranks for window in bundle.all("window", rank) if not window["warmup"]
    )


def spent(bundle: Bundle, column: str, rank: int) -> int:
    found = [window[column] for window in bundle.all("window", rank) if not window["warmup"]]
    return sum(sum(one) if isinstance(one, list) else one for one in found)


def wall(bundle: Bundle, rank: int, first: str = "train_begin", last: str = "train_end") -> int:
    ns: int = bundle.one(last, rank)["t_ns"] - bundle.one(first, rank)["t_ns"]
    return ns


def test_e2e_time_is_the_longest_rank_from_start_to_end(tmp_path: Path) -> None:
    bundle = build(FULL)
    metric = measured(bundle, tmp_path)["e2e_time"]

    assert metric.value == wall(bundle, 1, "start", "end") / 1e9
    assert metric.value > wall(bundle, 0, "start", "end") / 1e9
    assert (metric.unit, metric.interval, metric.n, metric.source) == ("s", None, 2, "rank-0001.jsonl")
    assert metric.method == "trainer's start to its end, longest of 2 ranks"


def test_p_whole_is_all_images_over_the_longest_training(tmp_path: Path) -> None:
    bundle = build(FULL)
    metric = measured(bundle, tmp_path)["p_whole"]

    assert metric.value == pytest.approx(images(bundle) / (wall(bundle, 1) / 1e9), rel=1e-12)
    assert metric.unit == "images/s"


def test_p_train_leaves_the_evaluations_out(tmp_path: Path) -> None:
    bundle = build(FULL)
    metric = measured(bundle, tmp_path)["p_train"]

    training = wall(bundle, 1) - bundle.one("train_end", 1)["ledger"]["evaluation_ns"]
    assert metric.value == pytest.approx(images(bundle) / (training / 1e9), rel=1e-12)
    assert metric.source == "rank-0001.jsonl"
    assert "slowest, rank 1" in metric.method


def test_p_core_is_all_images_over_the_compute_time_of_the_slowest_rank(tmp_path: Path) -> None:
    bundle = build(FULL)
    metric = measured(bundle, tmp_path)["p_core"]

    assert metric.value == pytest.approx(images(bundle) / (spent(bundle, "compute_ns", 1) / 1e9), rel=1e-12)
    assert metric.n == 240
    assert "synchronised" in metric.method


def test_of_equally_slow_ranks_the_first_is_named(tmp_path: Path) -> None:
    metric = measured(build(Plan()), tmp_path)["p_core"]

    assert "slowest, rank 0" in metric.method
    assert metric.source == "rank-0000.jsonl"


@pytest.mark.parametrize("window", [10, 60])
def test_what_a_window_waited_for_scatters_too(window: int, tmp_path: Path) -> None:
    bundle = build(replace(Plan(), window=window))
    for rank in bundle.ranks:
        for at, one in enumerate(bundle.all("window", rank)):
            one["wall_ns"] += at % 4 // 2 * one["wall_ns"] // 5

    found = measured(bundle, tmp_path)

    core, train = found["p_core"].interval, found["p_train"].interval
    assert train.high / train.low > 1.02 * core.high / core.low


@pytest.mark.parametrize("windows", [8, 7])
def test_samples_have_the_time_of_the_windows_and_no_more(windows: int, tmp_path: Path) -> None:
    bundle = build(replace(STEADY, warmup=0, steps=10 * windows))
    (rank, _) = read_run(bundle.write(tmp_path / "run")).ranks

    samples = _window_samples(rank.windows, rank.windows.wall_ns)

    assert samples.images.sum() == rank.windows.images.sum()
    assert samples.time_ns.sum() == pytest.approx(rank.windows.wall_ns.sum(), rel=1e-12)
    assert len(samples.images) == len(samples.time_ns) == (windows if windows >= 8 else 18)


def test_p_core_host_reads_the_same_region_by_the_hosts_clock(tmp_path: Path) -> None:
    bundle = build(FULL)
    metric = measured(bundle, tmp_path)["p_core_host"]

    assert metric.value == pytest.approx(images(bundle) / (spent(bundle, "compute_host_ns", 1) / 1e9), rel=1e-12)
    assert "the device not waited for" in metric.method


def test_warmup_counts_neither_as_images_nor_as_time(tmp_path: Path) -> None:
    bundle = build(STEADY)
    metric = measured(bundle, tmp_path)["p_core"]

    assert metric.value == pytest.approx(images(bundle) / (spent(bundle, "compute_ns", 0) / 1e9), rel=1e-12)
    assert metric.n == 120


@settings(deadline=None, max_examples=25)
@given(times=st.lists(st.integers(10**6, 10**9), min_size=100, max_size=140), batch=st.integers(1, 32))
def test_p_core_is_never_a_mean_of_rates(
    times: list[int], batch: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plan = replace(STEADY, warmup=0, steps=len(times), topology=Topology(1, 1), batch_size=batch, window=7)
    bundle = build(plan)
    left = list(times)
    for window in bundle.all("window"):
        window["compute_ns"] = [left.pop() for _ in window["compute_ns"]]

    metric = measured(bundle, tmp_path_factory.mktemp("run"))["p_core"]

    assert metric.value == pytest.approx(images(bundle) * 1e9 / sum(times), rel=1e-12)
    assert metric.interval.low <= metric.value <= metric.interval.high


@pytest.mark.parametrize("name", ["p_whole", "p_train", "p_core", "p_core_host"])
@pytest.mark.parametrize("window", [10, 120])
def test_rates_have_an_interval_about_their_value(name: str, window: int, tmp_path: Path) -> None:
    metric = measured(build(replace(FULL, window=window)), tmp_path)[name]

    assert metric.interval.low < metric.value < metric.interval.high
    assert metric.interval.high - metric.interval.low < 0.1 * metric.value


@pytest.mark.parametrize(("steps", "has_one"), [(99, False), (100, True)])
def test_a_steady_run_needs_enough_steps_to_show_its_steady_state(steps: int, has_one: bool, tmp_path: Path) -> None:
    metric = measured(build(replace(STEADY, steps=steps)), tmp_path)["p_core"]

    assert (metric.interval is not None) is has_one
    assert (metric.n, metric.least) == (steps, 100)


def test_the_rate_of_a_real_device_may_differ_by_one_percent_from_boot_to_boot(tmp_path: Path) -> None:
    real, simulated = (
        measured(build(replace(STEADY, simulated=simulated)), tmp_path / str(simulated))["p_core"]
        for simulated in (False, True)
    )

    assert real.within == simulated.within == simulated.interval
    for end, inner in ((real.interval.low, real.within.low), (real.interval.high, real.within.high)):
        assert abs(end - real.value) == pytest.approx(
            math.hypot(inner - real.value, 1.959964 * 0.01 * real.value), rel=1e-9
        )
    assert real.method.endswith("and 1% between runs, assumed")
    assert "between runs" not in simulated.method


@pytest.mark.parametrize(
    ("plan", "decisive"),
    [
        (STEADY, 2500),  # two ranks
        (replace(STEADY, topology=Topology(1, 1)), 5000),
        (replace(STEADY, topology=Topology(1, 8)), 625),
        (replace(STEADY, simulated=True), 0),
        (EPOCH, 0),
    ],
)
def test_a_steady_run_of_a_real_device_takes_thousands_of_steps_to_show_rare_stalls(
    plan: Plan, decisive: int, tmp_path: Path
) -> None:
    assert measured(build(plan), tmp_path)["p_core"].decisive == decisive


def test_too_few_steps_have_a_rate_without_an_interval(tmp_path: Path) -> None:
    metrics = measured(build(replace(EPOCH, steps=15)), tmp_path)

    assert metrics["p_core"].interval is None
    assert metrics["p_train"].interval is None
    assert metrics["p_core"].value > 0


def test_map_is_that_of_the_last_evaluation_not_the_best(tmp_path: Path) -> None:
    bundle = build(replace(FULL, maps=(0.1, 0.3, 0.2, 0.25)))
    metric = measured(bundle, tmp_path)["map"]

    assert metric.value == 0.25
    assert metric.method == "COCO box AP@[.50:.95] after epoch 4, over 128 images"
    assert (metric.n, metric.interval, metric.unit) == (128, None, METRICS["map"].unit)


def test_the_initial_evaluation_is_no_map(tmp_path: Path) -> None:
    bundle = build(FULL)
    for event in bundle.all("eval_begin")[1:] + bundle.all("eval_end")[1:]:
        bundle.ranks[0].remove(event)

    assert "map" not in measured(bundle, tmp_path)


def test_mem_is_the_peak_of_any_device_with_the_allocators_beside_it(tmp_path: Path) -> None:
    bundle = build(FULL)
    bundle.telemetry[-1]["memory_used_gib"] = 27.25

    metric = measured(bundle, tmp_path)["mem"]

    assert metric.value == 27.25
    assert metric.n == len(bundle.telemetry)
    assert metric.source == "telemetry.jsonl"
    assert metric.method == (
        "highest of 2 devices, device 1 of node0: sampled by xpu_smi 27.25 GiB; allocator's peak, allocated 16.00 GiB; "
        "allocator's peak, reserved 18.00 GiB"
    )


def test_mem_is_not_told_of_a_part_of_the_devices(tmp_path: Path) -> None:
    bundle = build(FULL)
    bundle.telemetry = [sample for sample in bundle.telemetry if sample["card"] == 0]

    assert "mem" not in measured(bundle, tmp_path)


def test_mem_on_the_hosts_own_backend_names_the_ranks_process(tmp_path: Path) -> None:
    metric = measured(build(replace(CPU, used_gib=1.0)), tmp_path)["mem"]

    assert metric.value == 1.5
    assert "resident in the rank's process 1.50 GiB" in metric.method


def test_what_samplers_complained_of_stands_beside_the_figure(tmp_path: Path) -> None:
    bundle = build(FULL)
    bundle.telemetry.append({"t_ns": 1, "source": "xpu_smi", "error": "it hung"})

    method = measured(bundle, tmp_path)["mem"].method

    assert method.endswith("; samplers reported 1 errors, first xpu_smi: it hung")


def test_devices_that_the_run_did_not_use_do_not_count(tmp_path: Path) -> None:
    bundle = build(FULL)
    bundle.telemetry.append(dict(bundle.telemetry[0], card=5, memory_used_gib=31.0))

    assert measured(bundle, tmp_path)["mem"].value == 20.0


@pytest.mark.parametrize("plan", [FULL, EPOCH, STEADY], ids=lambda plan: plan.protocol)
def test_a_protocol_measures_what_the_table_says_and_nothing_else(plan: Plan, tmp_path: Path) -> None:
    metrics = measured(build(plan), tmp_path)

    assert set(metrics) == {*metrics_of(plan.protocol), "p_core_host"}
    assert all(name == metric.metric for name, metric in metrics.items())


def test_every_metric_of_the_table_is_measured_by_the_full_protocol() -> None:
    assert metrics_of("full") == tuple(METRICS)
    assert metrics_of("epoch") == ("p_whole", "p_train", "p_core", "mem")
    assert metrics_of("steady") == ("p_train", "p_core", "mem")


@pytest.mark.parametrize(
    ("maps", "epochs", "expected"),
    [
        ((0.1,), 1, False),
        ((0.4,), 1, True),
        ((0.1, 0.1, 0.1, 0.1), 4, True),
        ((0.1, 0.4), 4, True),
    ],
)
def test_a_shortened_run_tells_map_and_e2e_time_only_if_it_reached_the_target(
    maps: Any, epochs: int, expected: bool, tmp_path: Path
) -> None:
    evidence = read_run(build(replace(FULL, maps=maps, epochs=epochs)).write(tmp_path / "run"))

    metrics = measure(evidence)

    assert bool(shortened_run(evidence)) is not expected
    assert ("e2e_time" in metrics, "map" in metrics) == (expected, expected)
    assert "p_whole" in metrics


@pytest.mark.parametrize(
    ("event", "lost"),
    [
        ("end", ["e2e_time"]),
        ("start", ["e2e_time", "p_whole", "p_train", "p_core", "p_core_host"]),
        ("train_begin", ["p_whole", "p_train", "p_core", "p_core_host"]),
        ("train_end", ["p_whole", "p_train", "p_core", "p_core_host"]),
    ],
)
def test_a_metric_that_one_rank_cannot_give_is_left_out(event: str, lost: list[str], tmp_path: Path) -> None:
    bundle = build(FULL)
    bundle.drop(event, rank=1)

    metrics = measured(bundle, tmp_path)

    assert not set(lost) & set(metrics)
    assert "map" in metrics


def test_a_run_without_ranks_measures_nothing(tmp_path: Path) -> None:
    bundle = build(FULL)
    bundle.ranks.clear()
    bundle.telemetry.clear()

    assert measured(bundle, tmp_path) == {}


def test_a_run_without_time_has_no_rate(tmp_path: Path) -> None:
    bundle = build(STEADY)
    for rank in bundle.ranks:
        for window in bundle.all("window", rank):
            window["compute_ns"] = [0] * len(window["compute_ns"])

    metrics = measured(bundle, tmp_path)

    assert "p_core" not in metrics
    assert "p_core_host" in metrics


def test_a_run_that_consumed_no_images_has_a_rate_of_zero(tmp_path: Path) -> None:
    bundle = build(STEADY)
    for rank in bundle.ranks:
        for window in bundle.all("window", rank):
            window["images"] = [0] * len(window["images"])

    metric = measured(bundle, tmp_path)["p_core"]

    assert (metric.value, metric.interval) == (0.0, Interval(0.0, 0.0))


def test_a_map_that_is_no_number_is_left_out(tmp_path: Path) -> None:
    bundle = build(FULL)
    bundle.all("eval_end")[-1]["map"] = "NaN"

    assert "map" not in measured(bundle, tmp_path)


@pytest.mark.parametrize("change", [{"protocol": "unknown"}, {"protocol": 5}])
def test_an_unknown_protocol_measures_nothing(change: dict[str, Any], tmp_path: Path) -> None:
    bundle = build(FULL)
    bundle.run.update(change)
    evidence = read_run(bundle.write(tmp_path / "run"))

    assert protocol_metrics(evidence) == ()
    assert measure(evidence) == {}


def test_like_is_compared_with_like(tmp_path: Path) -> None:
    metrics = measured(build(FULL), tmp_path)

    assert compared_value("host", metrics) is metrics["p_core_host"]
    assert compared_value("device", metrics) is metrics["p_core"]
    assert compared_value("host", {"p_core": metrics["p_core"]}) is None


def test_an_unknown_timing_is_an_error() -> None:
    with pytest.raises(SuiteError, match="'sundial'"):
        compared_value("sundial", {})


def epochs_of(plan: Plan, folder: Path) -> tuple[float | None, str]:
    """What a run measures of epochs_to_target, and why it does not."""
    evidence = read_run(build(plan).write(folder / "run"))
    found = measure(evidence, ["epochs_to_target"]).get("epochs_to_target")
    assert found is None or found.unit == "epochs"
    return None if found is None else found.value, unmeasured("epochs_to_target", evidence)


@pytest.mark.parametrize(
    ("plan", "epochs", "why"),
    [
        (FULL, 2.0, ""),
        (replace(FULL, maps=(0.5,)), 1.0, ""),
        (replace(FULL, maps=(0.1, 0.5), epochs=2), 2.0, ""),
        (replace(FULL, maps=(0.1,) * 4), None, "after epoch 4, the last one, the target mAP was not reached"),
        (replace(FULL, maps=(0.1, 0.2), epochs=2), None, "the run was shortened to 2 of 4 epochs"),
        (replace(FULL, restarts=1, resumed=(1, 40)), 2.0, ""),  # whichever attempt trained the first of them
        (EPOCH, None, "protocol epoch does not measure it"),
        (STEADY, None, "protocol steady does not measure it"),
    ],
)
def test_the_epochs_to_the_target_are_counted_where_it_was_reached(
    plan: Plan, epochs: float | None, why: str, tmp_path: Path
) -> None:
    found, recorded = epochs_of(plan, tmp_path)

    assert found == epochs
    assert why in recorded
    assert bool(recorded) is (epochs is None)
