"""Peak memory of devices, and whether anybody watched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import pytest

from evidence.bundle import read_run
from evidence.verdict import Verdict
from expected import Recipe, Topology
from tests.verdict.bundles import CPU, STEADY, Bundle, Plan, a_cell, build
from verdict.judge import judge_run
from verdict.metrics.activity import idle, throttled
from verdict.metrics.measure import measure
from verdict.metrics.memory import (
    DeviceMemory,
    LeastMemory,
    device_memories,
    disagreeing,
    least_memory,
    mem,
    still_rising,
    unwatched,
)

SHORT = Plan(steps=40, maps=(0.4,))
LONG = Plan(steps=40, maps=(0.4,), eval_ns=2_000_000_000_000)


def first(bundle: Bundle, folder: Path) -> DeviceMemory:
    return device_memories(read_run(bundle.write(folder / "run")))[0]


def test_the_peak_is_the_largest_sample(tmp_path: Path) -> None:
    bundle = build(SHORT)
    bundle.telemetry[1]["memory_used_gib"] = 25.5

    memory = first(bundle, tmp_path)

    assert memory.peak == memory.sampled == 25.5
    assert memory.sources == ("xpu_smi",)
    assert memory.ranks == (0,)
    assert str(memory) == "device 0 of node0"


def reserved(bundle: Bundle) -> None:
    bundle.one("memory")["reserved_gib"] = 26.0


def share_a_device(bundle: Bundle) -> None:
    bundle.one("start", rank=1)["card"] = 0


def test_a_peak_of_the_allocator_between_two_samples_counts_and_is_named(tmp_path: Path) -> None:
    bundle = build(SHORT)
    reserved(bundle)

    found = mem(read_run(bundle.write(tmp_path / "run")))

    assert (found.value, found.note) == (26.0, "")
    assert "the allocator's counts, as its peak lay between two samples" in found.method


def test_a_number_of_one_source_says_so_beside_its_verdict(tmp_path: Path) -> None:
    bundle = build(SHORT)
    for rank in bundle.ranks:
        bundle.one("memory", rank).update(allocated_gib=None, reserved_gib=None)
    evidence = read_run(bundle.write(tmp_path / "run"))

    for cell, verdict in (
        (a_cell(SHORT, mem=20.0), "pass"),
        (a_cell(SHORT), "recorded"),
        (a_cell(SHORT, mem=5.0), "fail"),
    ):
        judged = judge_run(evidence, cell).metrics["mem"]
        assert judged.verdict == verdict
        assert judged.note.startswith("read by xpu_smi alone, with no second source")
        assert judged.reason.endswith(judged.note)


@pytest.mark.parametrize(("published", "noted"), [(31.0, True), (30.0, False)])
def test_a_bound_of_all_the_memory_says_that_it_cannot_fail(published: float, noted: bool, tmp_path: Path) -> None:
    judged = judge_run(read_run(build(SHORT).write(tmp_path / "run")), a_cell(SHORT, mem=published)).metrics["mem"]

    assert judged.verdict == Verdict.PASS
    assert judged.reason.endswith("; the bound is all the memory that the device has, so it cannot fail") is noted


def test_the_least_memory_is_weights_gradients_momentum_and_a_batch(tmp_path: Path) -> None:
    bundle = build(replace(SHORT, recipe=Recipe(epochs=1), batch_size=16))

    needed = least(bundle, tmp_path / "run")

    weights, trained, image = 41_755_286 * 4 / 2**30, 41_532_886 * 4 / 2**30, 800 * 1088 * 3 * 4 / 2**30
    assert needed.parts == pytest.approx(
        {"weights": weights, "gradients": trained, "momentum": trained, "a batch": 15.9 * image}
    )
    assert needed.gib == pytest.approx(0.620, abs=0.001)


def test_without_momentum_its_memory_is_not_expected(tmp_path: Path) -> None:
    bundle = build(SHORT)
    bundle.run["recipe"]["momentum"] = 0.0

    needed = least(bundle, tmp_path / "run")

    assert needed.parts["momentum"] == 0


def test_of_older_evidence_only_the_weights_and_a_batch_are_known(tmp_path: Path) -> None:
    bundle = build(SHORT)
    del bundle.one("model")["trained"]
    counted = least(bundle, tmp_path / "counted")
    bundle.drop("model")

    assert list(counted.parts) == ["weights", "a batch"]
    assert least(bundle, tmp_path / "older still") is None


def least(bundle: Bundle, folder: Path) -> LeastMemory | None:
    evidence = read_run(bundle.write(folder))
    return least_memory(evidence, evidence.ranks[0])


@pytest.mark.parametrize("allocated", [21.0, None])
def test_what_a_tool_may_miss_of_the_allocators_peak_is_no_disagreement(
    allocated: float | None, tmp_path: Path
) -> None:
    bundle = build(SHORT)
    bundle.one("memory")["allocated_gib"] = allocated

    assert disagreeing(read_run(bundle.write(tmp_path / "run"))) == ()


def test_a_tool_that_ended_early_is_not_held_against_the_allocator(tmp_path: Path) -> None:
    bundle = build(LONG)
    first = bundle.telemetry[0]
    bundle.telemetry.append({**first, "source": "another-smi", "memory_used_gib": 0.4})

    assert disagreeing(read_run(bundle.write(tmp_path / "run"))) == ()


def with_readings(plan: Plan, use: float | None, watts: tuple[float, float], samples: int = 1000) -> Bundle:
    """Card 0 with this use in its first samples of the training, and this power before and in it."""
    bundle = build(plan)
    begin = bundle.one("train_begin")["t_ns"]
    inside = 0
    for sample in (one for one in bundle.telemetry if one["card"] == 0):
        sample["power_w"] = watts[sample["t_ns"] >= begin]
        inside += sample["t_ns"] >= begin
        if use is not None and 0 < inside <= samples:
            sample["use_percent"] = use
    return bundle


@pytest.mark.parametrize(
    ("use", "watts", "samples", "idles"),
    [
        (97.0, (60.0, 280.0), 1000, False),
        (0.0, (60.0, 280.0), 1000, True),
        (97.0, (60.0, 61.0), 1000, True),
        (97.0, (60.0, 60.0), 1000, False),  # a sensor that is fixed tells nothing
        (97.0, (0.0, 0.0), 1000, False),
        (0.0, (60.0, 60.0), 1000, True),
        (97.0, (60.0, 64.0), 1000, False),
        (None, (60.0, 280.0), 0, False),
        (0.0, (60.0, 280.0), 4, False),  # all of them may have come between two steps
        (0.0, (60.0, 280.0), 5, True),
    ],
)
def test_use_and_power_have_to_show_work(
    use: float | None, watts: tuple[float, float], samples: int, idles: bool, tmp_path: Path
) -> None:
    evidence = read_run(with_readings(RUN, use, watts, samples).write(tmp_path / "run"))

    assert bool(idle(evidence)) is idles


def test_a_device_that_waits_for_data_need_not_be_used_much(tmp_path: Path) -> None:
    evidence = read_run(with_readings(replace(RUN, wait_ns=360_000_000), 2.0, (60.0, 90.0)).write(tmp_path / "run"))

    assert idle(evidence) == ()


def without_samples(bundle: Bundle) -> None:
    bundle.telemetry.clear()


def smaller(bundle: Bundle) -> None:
    bundle.one("start")["capacity_gib"] = 31.5


@pytest.mark.parametrize(
    ("plan", "change", "expected"),
    [
        (SHORT, reserved, {"peak": 26.0}),  # in use, though no sample saw it
        (SHORT, share_a_device, {"ranks": (0, 1), "reserved": 36.0}),
        (replace(CPU, used_gib=1.0), lambda bundle: None, {"peak": 1.5}),  # resident memory of the rank's process
        (replace(SHORT, used_gib=1.0), lambda bundle: None, {"resident": None, "peak": 1.0}),
        (SHORT, without_samples, {"reserved": 18.0, "peak": None}),  # whatever the allocator reports
        (SHORT, smaller, {"capacity": 32.0}),  # the largest that was reported
    ],
)
def test_memory_is_that_of_samples_allocator_and_process(
    plan: Plan, change: Callable[[Bundle], None], expected: dict[str, Any], tmp_path: Path
) -> None:
    bundle = build(plan)
    change(bundle)

    memory = first(bundle, tmp_path)

    assert {name: getattr(memory, name) for name in expected} == expected


def test_samples_without_memory_prove_nothing_about_it(tmp_path: Path) -> None:
    bundle = build(SHORT)
    for sample in bundle.telemetry:
        del sample["memory_used_gib"]
        sample["power_w"] = 80.0

    evidence = read_run(bundle.write(tmp_path / "run"))

    assert device_memories(evidence)[0].peak is None
    assert [fault.partition(":")[0] for fault in unwatched(evidence)] == ["device 0 of node0", "device 1 of node0"]


def test_of_samples_with_and_without_memory_the_former_count(tmp_path: Path) -> None:
    bundle = build(SHORT)
    del bundle.telemetry[0]["memory_used_gib"]
    bundle.telemetry[0]["power_w"] = 80.0

    memory = first(bundle, tmp_path)

    assert memory.sampled == 20.0
    assert memory.samples == sum(one["rank"] == 0 for one in bundle.telemetry) - 1


def test_a_rank_without_introduction_has_no_device(tmp_path: Path) -> None:
    bundle = build(SHORT)
    bundle.drop("start", rank=0)

    memories = device_memories(read_run(bundle.write(tmp_path / "run")))

    assert [memory.card for memory in memories] == [("node0", 1)]


def test_a_watched_run_lacks_nothing(tmp_path: Path) -> None:
    assert unwatched(read_run(build(LONG).write(tmp_path / "run"))) == ()


def test_one_rank_may_watch_all_devices_of_its_host(tmp_path: Path) -> None:
    bundle = build(replace(SHORT, topology=Topology(2, 2)))
    clock = {rank: bundle.one("start", rank)["t_ns"] for rank in bundle.ranks}
    for sample in bundle.telemetry:
        watcher = sample["rank"] // 2 * 2
        sample["t_ns"] += clock[watcher] - clock[sample["rank"]]
        sample["rank"] = watcher

    assert unwatched(read_run(bundle.write(tmp_path / "run"))) == ()


def test_a_sampler_that_stopped_half_way_may_have_missed_the_peak(tmp_path: Path) -> None:
    bundle = build(LONG)
    middle = bundle.all("eval_begin")[1]["t_ns"] + 10**12
    bundle.telemetry = [one for one in bundle.telemetry if one["rank"] == 1 or one["t_ns"] < middle]

    assert unwatched(read_run(bundle.write(tmp_path / "run"))) == (
        "device 0 of node0: 1001 s of the training passed without a memory sample, expected at most 200 s; "
        "a peak may have been missed",
    )


def paused(train_ns: int, from_share: float, folder: Path) -> tuple[str, ...]:
    """What is said of samples of device 0 that end at a share of a training of about so long, but for a last one."""
    bundle = build(replace(SHORT, eval_ns=train_ns))
    begin = bundle.one("train_begin")["t_ns"]
    end = bundle.one("train_end")["t_ns"]
    last_ns = begin + from_share * (end - begin)
    kept = [one for one in bundle.telemetry if one["rank"] == 1 or one["t_ns"] <= last_ns]
    bundle.telemetry = [*kept, {**kept[0], "t_ns": end}]
    return unwatched(read_run(bundle.write(folder / "run")))


@pytest.mark.parametrize(
    ("train_s", "from_share", "allowed"),
    [
        (3, 0.0, True),  # five seconds always
        (12, 0.7, True),  # a third of a short training
        (12, 0.4, False),
        (200, 0.87, True),  # half a minute of a longer one
        (200, 0.8, False),
        (1000, 0.91, True),  # a tenth of a long one
        (1000, 0.88, False),
    ],
)
def test_a_sampler_may_pause_for_a_share_of_the_training(
    train_s: int, from_share: float, allowed: bool, tmp_path: Path
) -> None:
    assert (paused(train_s * 10**9, from_share, tmp_path) == ()) is allowed


@pytest.mark.parametrize("watcher", [7, 1])
def test_samples_of_a_rank_without_a_training_prove_nothing(watcher: int, tmp_path: Path) -> None:
    bundle = build(SHORT)
    bundle.drop("train_end", rank=1)
    bundle.telemetry = [dict(one, rank=watcher) for one in bundle.telemetry if one["card"] == 0]

    assert (
        f"device 0 of node0: its samples were taken by rank {watcher}, expected a rank that reported train_begin and "
        "train_end"
    ) in unwatched(read_run(bundle.write(tmp_path / "run")))


def test_one_good_watcher_of_a_device_is_enough(tmp_path: Path) -> None:
    bundle = build(SHORT)
    bundle.telemetry.append(dict(bundle.telemetry[0], rank=7))

    assert unwatched(read_run(bundle.write(tmp_path / "run"))) == ()


def test_the_order_of_the_samples_does_not_matter(tmp_path: Path) -> None:
    bundle = build(LONG)
    bundle.telemetry.reverse()

    assert unwatched(read_run(bundle.write(tmp_path / "run"))) == ()


RUN = Plan(steps=240)
"""About twenty seconds of training."""


def creeping(plan: Plan, gib_per_sample: float, first_gib: float = 20.0) -> Bundle:
    bundle = build(plan)
    mine = [sample for sample in bundle.telemetry if sample["card"] == 0]
    for at, sample in enumerate(mine):
        sample["memory_used_gib"] = first_gib + gib_per_sample * at
    return bundle


def test_memory_that_rises_to_the_end_has_no_known_peak(tmp_path: Path) -> None:
    evidence = read_run(creeping(RUN, 0.2).write(tmp_path / "run"))

    (text,) = still_rising(evidence)
    verdict = judge_run(evidence, a_cell(RUN, mem=30.0))

    assert text.startswith("device 0 of node0: 2")
    assert text.endswith("GiB in four parts of the training")
    assert verdict.metrics["mem"].verdict == Verdict.INCONCLUSIVE
    assert "memory was still rising at the end, so its peak is not known" in verdict.metrics["mem"].reason


def test_memory_that_rises_above_its_bound_fails(tmp_path: Path) -> None:
    verdict = judge_run(read_run(creeping(RUN, 0.2).write(tmp_path / "run")), a_cell(RUN, mem=20.0))

    assert verdict.metrics["mem"].verdict == "fail"


@pytest.mark.parametrize("gib_per_sample", [0.0, 0.002, -0.2])
def test_memory_that_stays_falls_or_hardly_moves_has_its_peak(gib_per_sample: float, tmp_path: Path) -> None:
    evidence = read_run(creeping(RUN, gib_per_sample).write(tmp_path / "run"))

    assert still_rising(evidence) == ()
    assert judge_run(evidence, a_cell(RUN, mem=30.0)).metrics["mem"].verdict == Verdict.PASS


def test_memory_that_went_up_once_is_not_rising(tmp_path: Path) -> None:
    bundle = build(RUN)
    mine = [sample for sample in bundle.telemetry if sample["card"] == 0]
    for sample in mine[len(mine) // 2 :]:
        sample["memory_used_gib"] = 25.0

    assert still_rising(read_run(bundle.write(tmp_path / "run"))) == ()


@pytest.mark.parametrize(
    ("gib", "rising"),
    [
        ((20.0, 21.0, 22.0, 23.0), True),
        ((20.0, 21.0, 21.8, 22.5), True),
        ((10.0, 20.0, 20.02, 20.04), False),  # it was taken at the beginning
        ((16.0, 20.0, 21.0, 21.5), False),  # ever slower
        ((20.0, 20.1, 25.0, 25.0), False),  # a step
        ((20.0, 19.0, 20.0, 21.0), False),  # it fell at first
    ],
)
def test_only_memory_that_goes_on_to_rise_is_rising(gib: tuple[float, ...], rising: bool, tmp_path: Path) -> None:
    bundle = build(RUN)
    begin, end = bundle.one("train_begin")["t_ns"], bundle.one("train_end")["t_ns"]
    for sample in bundle.telemetry:
        if sample["card"] == 0 and begin <= sample["t_ns"] < end:
            sample["memory_used_gib"] = gib[(sample["t_ns"] - begin) * 4 // (end - begin)]

    assert bool(still_rising(read_run(bundle.write(tmp_path / "run")))) is rising


@pytest.mark.parametrize("steps", [30, 100])  # two samples in training, and six
def test_too_few_samples_do_not_show_a_rise(steps: int, tmp_path: Path) -> None:
    evidence = read_run(creeping(Plan(steps=steps, maps=(0.4,)), 1.0).write(tmp_path / "run"))

    assert still_rising(evidence) == ()


def test_a_rise_is_not_told_without_the_clock_of_the_rank_that_saw_it(tmp_path: Path) -> None:
    bundle = creeping(RUN, 0.2)
    bundle.drop("train_end", rank=0)

    assert still_rising(read_run(bundle.write(tmp_path / "run"))) == ()


def test_throttling_before_and_after_the_training_does_not_count(tmp_path: Path) -> None:
    bundle = build(SHORT)
    begin, end = bundle.one("train_begin")["t_ns"], bundle.one("train_end")["t_ns"]
    for sample in bundle.telemetry:
        if sample["card"] == 0 and not begin <= sample["t_ns"] <= end:
            sample["throttle"] = "power"

    assert throttled(read_run(bundle.write(tmp_path / "run"))) == ()


@pytest.mark.parametrize(("samples", "invalid"), [(1, False), (2, False), (3, True)])
def test_throttling_in_a_hundredth_of_the_training_is_told_and_more_of_it_is_invalid(
    samples: int, invalid: bool, tmp_path: Path
) -> None:
    plan = replace(STEADY, steps=6000)  # 258 s, with a sample a second
    bundle = build(plan)
    begin = bundle.one("train_begin")["t_ns"]
    inside = [sample for sample in bundle.telemetry if sample["card"] == 0 and sample["t_ns"] > begin]
    for sample in inside[100 : 100 + samples]:
        sample["throttle"] = "power"

    evidence = read_run(bundle.write(tmp_path / "run"))
    rates = {name: measured.value for name, measured in measure(evidence).items() if name in ("p_core", "p_train")}
    verdict = judge_run(evidence, a_cell(plan, **rates, mem=30.0))

    assert verdict.outcome == "invalid" if invalid else verdict.metrics["p_core"].verdict == "pass"
    (said,) = verdict.reasons if invalid else verdict.notes
    assert said.startswith("device 0 of node0: throttled (power) in ")
    assert throttled(evidence)[0].share == pytest.approx(samples / 258.3, rel=0.01)


def test_throttling_at_a_time_that_nobody_can_place_counts(tmp_path: Path) -> None:
    bundle = build(SHORT)
    bundle.drop("train_end")
    bundle.telemetry[0]["throttle"] = "power"

    assert len(throttled(read_run(bundle.write(tmp_path / "run")))) == 1


def test_an_allocators_highest_peak_so_far_grows_ever_slower_and_is_no_leak(tmp_path: Path) -> None:
    bundle = build(RUN)
    mine = [sample for sample in bundle.telemetry if sample["card"] == 0]
    for at, sample in enumerate(mine, start=1):
        sample["memory_used_gib"] = 16 * (1 + 0.12 * (1 - 1 / at))

    assert still_rising(read_run(bundle.write(tmp_path / "run"))) == ()
