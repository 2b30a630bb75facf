"""Tools that answer as nvidia-smi does: what is not available is left out, what is new is told."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.errors import DeviceError
from trainer.telemetry.csv_query import _LISTS, CsvQuery, parse_csv
from trainer.telemetry.ixsmi import open_smi
from trainer.telemetry.metrics import CARD_METRICS

FULL = _LISTS[0]
LINE = "0, 00000000:1B:00.0, 33792, 40960, 250.5, 61, 98, 1410, 1215, 0x0000000000000004"

# Answers as nvidia-smi documents it: refuses fields that it does not know, with code 2 and a word on standard output.
FAKE = """#!{python}
import os, sys
query = next(word for word in sys.argv if word.startswith("--query-gpu="))
fields = query.partition("=")[2].split(",")
known = os.environ["FAKE_FIELDS"].split(",")
for field in fields:
    if field not in known:
        print('Field "%s" is not a valid field to query.' % field)
        sys.exit(2)
values = dict(zip(known, os.environ["FAKE_VALUES"].split(",")))
print(", ".join(values[field] for field in fields))
"""


@pytest.fixture
def fake_smi(tmp_path: Path, monkeypatch: Any) -> Any:
    """Put an ixsmi on PATH that knows some fields."""

    def install(values: dict[str, str]) -> None:
        path = tmp_path / "ixsmi"
        path.write_text(FAKE.format(python=sys.executable))
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        monkeypatch.setenv("FAKE_FIELDS", ",".join(values))
        monkeypatch.setenv("FAKE_VALUES", ",".join(values.values()))

    return install


def test_a_line_is_a_card_in_the_units_of_the_suite() -> None:
    assert parse_csv("nvidia-smi", FULL, LINE) == [
        {
            "card": 0,
            "pci": "0000:1b:00.0",
            "memory_used_gib": 33.0,
            "memory_total_gib": 40.0,
            "power_w": 250.5,
            "temperature_c": 61.0,
            "use_percent": 98.0,
            "core_clock_mhz": 1410.0,
            "memory_clock_mhz": 1215.0,
            "clock_reasons": "sw_power_cap",
        }
    ]


@pytest.mark.parametrize("absent", ["[N/A]", "N/A", "[Not Supported]", "[Unknown Error]"])
def test_what_is_not_available_is_left_out_in_silence(absent: str) -> None:
    (record,) = parse_csv("nvidia-smi", FULL, LINE.replace("250.5", absent))

    assert "power_w" not in record
    assert record["temperature_c"] == 61.0


@pytest.mark.parametrize("new", ["250.5 W", "low", "nan", "inf", ""])
def test_a_cell_of_a_new_form_is_told_and_the_rest_is_read(new: str) -> None:
    record, complaint = parse_csv("nvidia-smi", FULL, LINE.replace("250.5", new))

    assert "power_w" not in record
    assert record["memory_used_gib"] == 33.0
    assert complaint == {"error": f"nvidia-smi printed {new!r} for power.draw, which is not read"}


def test_a_line_of_a_new_form_is_told_beside_the_others() -> None:
    records = parse_csv("nvidia-smi", FULL, f"{LINE}\nGPU 1 is lost\n")

    assert records[0]["card"] == 0
    assert records[1]["error"].startswith("nvidia-smi printed 'GPU 1 is lost', expected 10 fields")


@pytest.mark.parametrize("text", ["", "\n", "No devices were found"])
def test_a_listing_without_a_card_is_refused(text: str) -> None:
    with pytest.raises(DeviceError, match="nvidia-smi printed"):
        parse_csv("nvidia-smi", FULL, text)


@given(st.text())
def test_no_text_makes_the_parser_fail_in_another_way(text: str) -> None:
    try:
        records = parse_csv("nvidia-smi", FULL, text)
    except DeviceError:
        return
    assert all("card" in record or "error" in record for record in records)


@given(st.lists(st.text(alphabet="0123456789.-[]NA /Wx", max_size=8), min_size=10, max_size=10))
def test_every_number_that_is_read_is_finite(cells: list[str]) -> None:
    try:
        records = parse_csv("nvidia-smi", FULL, ", ".join(cells))
    except DeviceError:
        return
    for record in records:
        for name in set(record) & set(CARD_METRICS) - {"throttle", "clock_reasons"}:
            assert abs(record[name]) < float("inf")


def test_a_tool_that_knows_all_fields_is_asked_for_all(fake_smi: Any) -> None:
    fake_smi(dict(zip(FULL, LINE.split(", "))))

    assert open_smi().read() == parse_csv("ixsmi", FULL, LINE)


def test_the_newer_name_of_the_reasons_is_tried(fake_smi: Any) -> None:
    fake_smi(dict(zip(_LISTS[1], LINE.replace("0x0000000000000004", "0x40").split(", "))))

    (record,) = open_smi().read()

    assert record["throttle"] == "hw_thermal"


def test_a_tool_that_knows_fewer_is_asked_for_those_and_the_others_are_told(fake_smi: Any) -> None:
    fake_smi({"index": "0", "memory.used": "1024", "memory.total": "32768"})
    smi = open_smi()

    record, complaint = smi.read()

    assert record == {"card": 0, "memory_used_gib": 1.0, "memory_total_gib": 32.0}
    assert complaint["error"] == (
        "ixsmi does not take the fields for power.draw, temperature.gpu, utilization.gpu, clocks.sm, clocks.mem, "
        "throttle reasons; they are not read"
    )
    assert smi.read() == [record, complaint]


def test_a_tool_that_takes_no_query_says_its_own_words(fake_smi: Any) -> None:
    fake_smi({"nothing": "0"})

    with pytest.raises(DeviceError, match='code 2: Field "index" is not a valid field'):
        open_smi().read()


def test_the_driver_is_one_version(fake_smi: Any) -> None:
    fake_smi({"driver_version": "3.1.0"})

    assert open_smi().driver() == "3.1.0"


def test_a_missing_tool_is_named() -> None:
    with pytest.raises(DeviceError, match="none of ixsmi is on PATH"):
        CsvQuery("ixsmi", ("ixsmi",)).read()
