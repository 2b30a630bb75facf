"""What is planted in the simulated links is found, with rank, pair and size; sound links are left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from evidence.verdict import Verdict
from expected import load_devices
from tests.trainer.links.probing import evidence_in, probe, simulated
from trainer.devices.scenario import FAULTS, Fault, Scenario
from verdict.metrics.links import line_through, pair_rates, timed
from verdict.probes.links import judge_latency, judge_pairs, judge_results

CELL = {str(cell.topology): cell for cell in load_devices()["virtual"].cells}
SIZES = (8, 1 << 10, 1 << 16, 1 << 20, 1 << 24, 1 << 27, 1 << 30)


def slow_pair(one: int, other: int, factor: float = 3.0) -> Fault:
    values = {name: key.default for name, key in FAULTS["links"].items() if name != "error"}
    return Fault("links", {**values, "error": "slow", "pair": (one, other), "factor": factor})


@pytest.mark.parametrize(("ranks", "per_host", "planted_us", "planted"), [(8, 8, 20.0, 100.0), (16, 8, 40.0, 25.0)])
def test_planted_latency_and_bandwidth_are_read_back_within_two_percent(
    ranks: int, per_host: int, planted_us: float, planted: float
) -> None:
    evidence = simulated(Scenario(), ranks, per_host, SIZES)

    line = line_through(timed(evidence, "all-reduce"))

    assert line is not None
    assert line.latency_us == pytest.approx(planted_us, rel=0.02)
    assert line.gb_per_s == pytest.approx(planted, rel=0.02)
    assert line.latency.low <= planted_us <= line.latency.high
    assert timed(evidence, "all-reduce")[-1].gb_per_s == pytest.approx(planted, rel=0.02)
    for pair in pair_rates(evidence):
        assert pair.gb_per_s == pytest.approx(25.0 if pair.between == "hosts" else 100.0, rel=0.04)
    latency = judge_latency(evidence)
    assert latency is not None
    assert latency.verdict is Verdict.PASS


def test_a_slow_pair_is_named_with_each_of_a_hundred_seeds() -> None:
    for seed in range(100):
        one, other = seed % 8, (seed % 8 + 1 + seed // 8 % 7) % 8
        scenario = Scenario(seed=seed, link_noise=0.02, faults=(slow_pair(one, other),))

        answer = judge_pairs(simulated(scenario, 8, 8, ()), CELL["1x8"])

        assert answer is not None
        low, high = sorted((one, other))
        assert answer.verdict is Verdict.FAIL, seed
        assert answer.reason.startswith(
            f"rank {low} (device {low} of host-0) and rank {high} (device {high} of host-0) fall behind"
        )


def test_sound_pairs_raise_no_alarm_with_any_of_a_thousand_seeds() -> None:
    for seed in range(1000):
        answer = judge_pairs(simulated(Scenario(seed=seed, link_noise=0.02), 8, 8, ()), CELL["1x8"])

        assert answer is not None
        assert answer.verdict is Verdict.PASS, (seed, answer.reason)


def test_a_slow_device_is_named_instead_of_each_of_its_pairs() -> None:
    faults = tuple(slow_pair(3, other) for other in range(8) if other != 3)

    answer = judge_pairs(simulated(Scenario(faults=faults), 8, 8, ()), CELL["1x8"])

    assert answer is not None
    assert answer.verdict is Verdict.FAIL
    assert answer.reason.startswith("rank 3 (device 3 of host-0) is slow with every other")


def test_the_network_is_held_against_nine_tenths_of_the_stated_rate() -> None:
    cell = next(cell for cell in load_devices()["r300"].cells if str(cell.topology) == "2x8")

    slow = judge_pairs(simulated(Scenario(network_gb_per_s=21.4), 16, 8, ()), cell)
    sound = judge_pairs(simulated(Scenario(network_gb_per_s=24.0), 16, 8, ()), cell)

    assert slow is not None
    assert sound is not None
    assert (slow.verdict, sound.verdict) == (Verdict.FAIL, Verdict.PASS)
    assert "expected >= 180 Gb/s (0.9 x the stated 200 Gb/s)" in slow.reason


@pytest.mark.integration
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ('error = "drop"', "; wrong are the data of rank 2 (device 2 of host-0)"),
        ('error = "stale"', "; wrong are the data of rank 2 (device 2 of host-0)"),
        ('error = "fp16"', "; wrong are the data of rank 2 (device 2 of host-0)"),
        ('error = "bit"', "all-reduce of 4 B on rank 2 (device 2 of host-0): "),
        ('error = "swap"\npair = [0, 3]', "all-gather of 16 B on rank 2 (device 2 of host-0): "),
        (
            'error = "bit"\nleast_bytes = 1048576\ncollective = "all-reduce"',
            "all-reduce of 1 MiB on rank 2 (device 2 of host-0): ",
        ),
        ('error = "bit"\ncollective = "send-recv"', "send-recv of 1 MiB between rank 2 "),
    ],
)
def test_wrong_data_are_found_with_rank_and_size(tmp_path: Path, fault: str, expected: str) -> None:
    assert probe(tmp_path, 4, 4, f'[[fault]]\nkind = "links"\n{fault}\nranks = [2]\n') == [0] * 4

    answer = judge_results(evidence_in(tmp_path, 4, 4))

    assert answer is not None
    assert answer.verdict is Verdict.FAIL
    assert expected in answer.reason


@pytest.mark.integration
def test_a_rank_that_does_not_come_is_named_by_the_others(tmp_path: Path) -> None:
    fault = '[[fault]]\nkind = "links"\nerror = "hang"\ncollective = "all-gather"\nleast_bytes = 4096\nranks = [1]\n'

    codes = probe(tmp_path, 3, 3, fault)

    assert codes == [3] * 3
    said = {(tmp_path / f"said-{rank}.txt").read_text() for rank in range(3)}
    assert said == {"all-gather of 12252 B did not end within 4 s: ranks 0, 2 arrived, rank 1 did not"}


@pytest.mark.integration
def test_planted_times_are_measured_by_the_probe_itself(tmp_path: Path) -> None:
    scenario = '[[fault]]\nkind = "links"\nerror = "late"\nms = 0.5\nranks = [5]\n'
    assert probe(tmp_path, 8, 4, scenario) == [0] * 8

    evidence = evidence_in(tmp_path, 8, 4)
    results, pairs = judge_results(evidence), judge_pairs(evidence, CELL["1x8"])
    line = line_through(timed(evidence, "all-reduce"))

    assert results is not None
    assert results.verdict is Verdict.PASS, results.reason
    assert pairs is not None
    assert pairs.verdict is Verdict.FAIL
    assert pairs.reason.startswith("rank 5 (device 1 of host-1) is slow with every other")
    assert line is not None
    assert line.latency_us == pytest.approx(510.0, rel=0.03)  # of four calls, the last one waits for the device too


@pytest.mark.integration
def test_sound_links_pass(tmp_path: Path) -> None:
    assert probe(tmp_path, 4, 2) == [0] * 4

    evidence = evidence_in(tmp_path, 4, 2)
    answers = [judge_results(evidence), judge_latency(evidence), judge_pairs(evidence, replace(CELL["1x8"]))]

    assert [one and one.verdict for one in answers] == [Verdict.PASS] * 3
    line = line_through(timed(evidence, "all-reduce"))
    assert line is not None
    assert line.latency_us == pytest.approx(40.0, rel=0.02)
    assert line.gb_per_s == pytest.approx(25.0, rel=0.02)
