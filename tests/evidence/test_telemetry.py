"""Reading the samples of the devices' memory."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from evidence.files import Problems
from evidence.telemetry import Telemetry, read_telemetry


def sample(**change: Any) -> dict[str, Any]:
    base = {
        "t_ns": 1,
        "host": "a",
        "rank": 0,
        "source": "xpu_smi",
        "card": 0,
        "memory_used_gib": 1.0,
        "memory_total_gib": 32.0,
        "power_w": 100,
    }
    return {**base, **change}


def read(samples: list[dict[str, Any]], folder: Path) -> tuple[Telemetry, tuple[str, ...]]:
    path = folder / "telemetry.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in samples))
    problems = Problems(path.name)
    return read_telemetry([(path.read_bytes(), problems)]), problems.all()


def test_samples_are_grouped_by_device_and_sampling_rank(tmp_path: Path) -> None:
    telemetry, problems = read(
        [sample(), sample(card=1), sample(t_ns=2, memory_used_gib=3), sample(host="b"), sample(rank=1)], tmp_path
    )

    assert problems == ()
    assert [(one.card, one.rank) for one in telemetry.cards] == [
        (("a", 0), 0),
        (("a", 0), 1),
        (("a", 1), 0),
        (("b", 0), 0),
    ]
    assert telemetry.cards[0].t_ns.tolist() == [1, 2]
    assert telemetry.cards[0].used_gib.tolist() == [1.0, 3.0]
    assert telemetry.cards[0].total_gib == 32.0
    assert telemetry.cards[0].sources == ("xpu_smi",)


def test_a_total_may_be_unknown(tmp_path: Path) -> None:
    assert read([sample(memory_total_gib=None)], tmp_path)[0].cards[0].total_gib is None


def test_of_several_totals_the_largest_counts(tmp_path: Path) -> None:
    samples = [sample(memory_total_gib=31.5), sample(memory_total_gib=32.0), sample(memory_total_gib=31.0)]

    assert read(samples, tmp_path)[0].cards[0].total_gib == 32.0


def test_a_samplers_error_is_no_damage(tmp_path: Path) -> None:
    telemetry, problems = read([{"source": "xpu_smi", "error": "not found"}, {"error": "timeout"}], tmp_path)

    assert problems == ()
    assert telemetry.errors == ("xpu_smi: not found", "sampler: timeout")
    assert telemetry.cards == ()


@pytest.mark.parametrize(
    ("name", "value"), [("memory_used_gib", "much"), ("card", "0"), ("power_w", "N/A"), ("memory_total_gib", True)]
)
def test_a_wrong_sample_is_a_problem_with_its_line(name: str, value: Any, tmp_path: Path) -> None:
    telemetry, problems = read([sample(), sample(**{name: value})], tmp_path)

    assert [problem.partition(", expected ")[0] for problem in problems] == [
        f"telemetry.jsonl line 2: {name!r} is {value!r}"
    ]
    assert len(telemetry.cards[0].t_ns) == 1


def test_readings_are_columns_as_long_as_the_times_with_nan_where_a_sample_has_none(tmp_path: Path) -> None:
    card = read([sample(power_w=90, temperature_c=40.5), sample(t_ns=2, power_w=None)], tmp_path)[0].cards[0]

    assert set(card.readings) == {"power_w", "temperature_c"}
    assert {column.dtype.name for column in card.readings.values()} == {"float64"}
    assert card.readings["power_w"].tolist() == pytest.approx([90.0, math.nan], nan_ok=True)
    assert card.readings["temperature_c"].tolist() == pytest.approx([40.5, math.nan], nan_ok=True)


def test_each_tool_that_saw_a_device_has_samples_of_its_own(tmp_path: Path) -> None:
    telemetry, _ = read([sample(source="driver"), sample(source="nvml"), sample(source="driver", t_ns=2)], tmp_path)

    assert [(one.sources, len(one.t_ns)) for one in telemetry.cards] == [(("driver",), 2), (("nvml",), 1)]


def test_a_sample_without_memory_keeps_its_readings(tmp_path: Path) -> None:
    bare = sample(t_ns=2, power_w=3.0)
    del bare["memory_used_gib"]

    card = read([sample(), bare], tmp_path)[0].cards[0]

    assert card.used_gib.tolist() == pytest.approx([1.0, math.nan], nan_ok=True)
    assert card.readings["power_w"].tolist() == [100.0, 3.0]


def test_a_sample_that_says_nothing_is_a_problem(tmp_path: Path) -> None:
    empty = {key: value for key, value in sample().items() if key not in ("memory_used_gib", "power_w")}

    telemetry, problems = read([empty], tmp_path)

    assert telemetry.cards == ()
    assert problems == ("telemetry.jsonl line 1: 'memory_used_gib' is missing, and so is every other reading",)


def test_samples_of_a_host_are_kept_apart(tmp_path: Path) -> None:
    of_host = {"t_ns": 5, "host": "a", "rank": 0, "source": "host", "host_memory_used_gib": 3, "host_load_1m": 1.5}

    telemetry, problems = read([sample(), of_host], tmp_path)

    assert problems == ()
    assert len(telemetry.cards) == 1
    (host,) = telemetry.hosts
    assert (host.host, host.rank, host.sources, host.t_ns.tolist()) == ("a", 0, ("host",), [5])
    assert {name: column.tolist() for name, column in host.readings.items()} == {
        "host_memory_used_gib": [3.0],
        "host_load_1m": [1.5],
    }
