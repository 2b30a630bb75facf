"""Peak memory of cards, and whether anybody watched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from expected import Topology
from tests.verdict.bundles import CPU, Bundle, Plan, build
from verdict import read_run
from verdict.memory import CardMemory, card_memories, unwatched

SHORT = Plan(steps=40, maps=(0.4,))
LONG = Plan(steps=40, maps=(0.4,), eval_ns=2_000_000_000_000)


def first(bundle: Bundle, folder: Path) -> CardMemory:
    return card_memories(read_run(bundle.write(folder / "run")))[0]


def test_the_peak_is_the_largest_sample(tmp_path: Path) -> None:
    bundle = build(SHORT)
    bundle.telemetry[1]["memory_used_gib"] = 25.5

    memory = first(bundle, tmp_path)

    assert memory.peak == memory.sampled == 25.5
    assert memory.sources == ("xpu_smi",)
    assert memory.ranks == (0,)
    assert str(memory) == "card 0 of node0"


def test_what_the_allocator_had_reserved_was_in_use_though_no_sample_saw_it(tmp_path: Path) -> None:
    bundle = build(SHORT)
    bundle.one("memory")["reserved_gib"] = 26.0

    assert first(bundle, tmp_path).peak == 26.0


def test_ranks_of_one_card_share_it(tmp_path: Path) -> None:
    bundle = build(SHORT)
    bundle.one("start", rank=1)["card"] = 0

    memory = first(bundle, tmp_path)

    assert memory.ranks == (0, 1)
    assert memory.reserved == 36.0


def test_the_resident_memory_of_a_rank_counts_on_the_hosts_own_backend(tmp_path: Path) -> None:
    bundle = build(replace(CPU, used_gib=1.0))

    assert first(bundle, tmp_path).peak == 1.5


def test_the_resident_memory_of_a_rank_does_not_count_on_a_card(tmp_path: Path) -> None:
    bundle = build(replace(SHORT, used_gib=1.0))

    memory = first(bundle, tmp_path)

    assert memory.resident is None
    assert memory.peak == 1.0


def test_a_card_without_samples_has_no_peak_whatever_the_allocator_says(tmp_path: Path) -> None:
    bundle = build(SHORT)
    bundle.telemetry.clear()

    memory = first(bundle, tmp_path)

    assert memory.reserved == 18.0
    assert memory.peak is None


def test_the_capacity_is_the_largest_that_was_reported(tmp_path: Path) -> None:
    bundle = build(SHORT)
    bundle.one("start")["capacity_gib"] = 31.5

    assert first(bundle, tmp_path).capacity == 32.0


def test_a_rank_without_introduction_has_no_card(tmp_path: Path) -> None:
    bundle = build(SHORT)
    bundle.drop("start", rank=0)

    memories = card_memories(read_run(bundle.write(tmp_path / "run")))

    assert [memory.card for memory in memories] == [("node0", 1)]


def test_a_watched_run_lacks_nothing(tmp_path: Path) -> None:
    assert unwatched(read_run(build(LONG).write(tmp_path / "run"))) == ()


def test_one_rank_may_watch_all_cards_of_its_host(tmp_path: Path) -> None:
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
        "card 0 of node0: 1001 s of the training passed without a memory sample, expected at most 200 s; "
        "a peak may have been missed",
    )


def test_a_sampler_may_pause_for_half_a_minute(tmp_path: Path) -> None:
    plan = replace(SHORT, eval_ns=28_000_000_000)
    bundle = build(plan)
    begin = bundle.one("train_begin")["t_ns"]
    end = bundle.one("train_end")["t_ns"]
    bundle.telemetry = [one for one in bundle.telemetry if one["rank"] == 1 or not begin < one["t_ns"] < end]
    bundle.telemetry.append(dict(bundle.telemetry[0], t_ns=end))

    assert unwatched(read_run(bundle.write(tmp_path / "run"))) == ()


@pytest.mark.parametrize("watcher", [7, 1])
def test_samples_of_a_rank_without_a_training_prove_nothing(watcher: int, tmp_path: Path) -> None:
    bundle = build(SHORT)
    bundle.drop("train_end", rank=1)
    bundle.telemetry = [dict(one, rank=watcher) for one in bundle.telemetry if one["card"] == 0]

    assert (
        f"card 0 of node0: its samples were taken by rank {watcher}, expected a rank that reported train_begin and "
        "train_end"
    ) in unwatched(read_run(bundle.write(tmp_path / "run")))


def test_one_good_watcher_of_a_card_is_enough(tmp_path: Path) -> None:
    bundle = build(SHORT)
    bundle.telemetry.append(dict(bundle.telemetry[0], rank=7))

    assert unwatched(read_run(bundle.write(tmp_path / "run"))) == ()
