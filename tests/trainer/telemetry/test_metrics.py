"""Every tool takes its readings from the one table, and numbers that cannot be are left out."""

from __future__ import annotations

import math

import pytest

import expected.model
from trainer.telemetry import SMI_NAMES, host_sampler, load_smi
from trainer.telemetry.metrics import CARD_METRICS, HOST_METRICS, checked


def test_the_tables_of_devices_know_the_tools() -> None:
    assert SMI_NAMES == expected.model.SMI_NAMES


@pytest.mark.parametrize("name", SMI_NAMES)
def test_every_tool_declares_its_metrics_out_of_the_table(name: str) -> None:
    smi = load_smi(name)

    assert smi.name == name
    assert smi.metrics
    assert all(CARD_METRICS[metric.name] is metric for metric in smi.metrics)


def test_the_host_declares_its_own() -> None:
    assert host_sampler().metrics == tuple(HOST_METRICS.values())


@pytest.mark.parametrize("value", [-1.0, 101.0, math.nan, math.inf])
def test_a_number_that_cannot_be_is_taken_out_and_told(value: float) -> None:
    kept, complaints = checked({"use_percent": value, "card": 0}, [CARD_METRICS["use_percent"]], "nvml, card 0,")

    assert kept == {"card": 0}
    assert len(complaints) == 1
    assert complaints[0].startswith(f"nvml, card 0, gave use_percent {value:g} %, which cannot be")
