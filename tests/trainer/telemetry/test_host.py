"""The host's own readings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import psutil

from evidence.telemetry import HOST_READINGS
from trainer.telemetry.host import host_sampler, hottest_processor


def test_this_host_is_read_and_its_use_is_that_since_the_reading_before() -> None:
    sampler = host_sampler()

    (first,), (second,) = sampler.read(), sampler.read()

    assert "host_cpu_percent" not in first
    assert {"host_memory_used_gib", "host_memory_total_gib", "host_cpu_percent", "host_load_1m"} <= set(second)
    assert set(second) <= {"source", *HOST_READINGS}
    assert second["source"] == sampler.source.name == "host"
    assert 0 < second["host_memory_used_gib"] < second["host_memory_total_gib"]


def test_only_processors_sensors_count_and_the_hottest_of_them() -> None:
    sensors = {
        "coretemp": [SimpleNamespace(current=51.0), SimpleNamespace(current=63.5), SimpleNamespace(current=None)],
        "nvme": [SimpleNamespace(current=90.0)],
    }

    assert hottest_processor(sensors) == 63.5
    assert hottest_processor({"nvme": sensors["nvme"]}) is None


def test_a_system_without_sensors_has_no_temperature(monkeypatch: Any) -> None:
    def broken() -> Any:
        raise OSError("no sensors")

    monkeypatch.setattr(psutil, "sensors_temperatures", broken, raising=False)

    assert "host_temperature_c" not in host_sampler().read()[0]


def test_a_sensor_that_tells_nonsense_is_told(monkeypatch: Any) -> None:
    monkeypatch.setattr(
        psutil, "sensors_temperatures", lambda: {"k10temp": [SimpleNamespace(current=999.0)]}, raising=False
    )

    record, complaint = host_sampler().read()

    assert "host_temperature_c" not in record
    assert "psutil gave host_temperature_c 999 C, which cannot be" in complaint["error"]
