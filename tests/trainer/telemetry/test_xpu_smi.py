"""`xpu_smi` is read by the form that is known of it or refused, and a temperature only where its column is certain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.telemetry import DEVICE_READINGS
from trainer.errors import DeviceError
from trainer.telemetry.base import checked
from trainer.telemetry.xpu_smi import XPU_SMI, XpuSmi, parse_xpu_driver, parse_xpu_models, parse_xpu_smi


def device_line(
    used: str = "17408", total: str = "32768", use: str = "97", power: str = "81", columns: int = 24
) -> str:
    words = [f"{900 + column}" for column in range(columns)]
    for index, word in ((8, power), (17, used), (18, total), (19, use)):
        if index < columns:
            words[index] = word
    return "  ".join(words)


def test_columns_are_read_where_the_vendor_puts_them() -> None:
    records = parse_xpu_smi(device_line() + "\n" + device_line(used="0", use="0", power="33.5") + "\n")

    assert records == [
        {"card": 0, "memory_used_gib": 17.0, "memory_total_gib": 32.0, "power_w": 81.0, "use_percent": 97.0},
        {"card": 1, "memory_used_gib": 0.0, "memory_total_gib": 32.0, "power_w": 33.5, "use_percent": 0.0},
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "printed no device"),
        ("\n  \n", "printed no device"),
        (device_line(columns=19), "not one device's twenty columns"),
        (device_line(used="N/A"), "not one device's twenty columns"),
        ("error: no device", "not one device's twenty columns"),
        (device_line(used="40000"), "cannot be"),
        (device_line(used="-1"), "cannot be"),
        (device_line(total="0", used="0"), "cannot be"),
        (device_line(use="101"), "cannot be"),
        (device_line(used="nan"), "cannot be"),
    ],
)
def test_a_line_of_another_form_is_refused(text: str, says: str) -> None:
    with pytest.raises(DeviceError, match=says):
        parse_xpu_smi(text)


@given(st.text())
def test_no_text_makes_the_parser_fail_in_another_way(text: str) -> None:
    try:
        records = parse_xpu_smi(text)
    except DeviceError:
        return
    assert all(0 <= record["memory_used_gib"] <= record["memory_total_gib"] for record in records)


def test_the_driver_is_read_from_its_line() -> None:
    assert parse_xpu_driver("| XPU-SMI    Driver Version: 4.0.25       |\n") == "4.0.25"


def test_a_listing_without_the_driver_is_refused() -> None:
    with pytest.raises(DeviceError, match="Driver Version"):
        parse_xpu_driver("XPU-SMI\nDriver Version:\n")


def test_a_power_that_cannot_be_is_refused() -> None:
    with pytest.raises(DeviceError, match="power -1 W, which cannot be"):
        parse_xpu_smi(device_line(power="-1"))


def with_temperatures(fifth: str, seventh: str) -> str:
    words = device_line().split()
    words[4], words[6] = fifth, seventh
    return "  ".join(words)


def temperatures(smi: XpuSmi, *lines: str) -> tuple[list[float | None], list[str]]:
    samples = smi.parse("\n".join(lines))
    told = [one.get("temperature_c") for one in samples if "error" not in one]
    return told, [one["error"] for one in samples if "error" in one]


@pytest.mark.parametrize(("fifth", "seventh"), [("45", "45"), ("45", "1350"), ("0", "45"), ("P0", "45")])
def test_a_temperature_is_read_where_only_one_column_can_be_it_or_both_agree(fifth: str, seventh: str) -> None:
    assert temperatures(XpuSmi(), with_temperatures(fifth, seventh)) == ([45.0], [])


def test_where_either_column_could_be_it_the_temperature_is_reported_as_unread() -> None:
    told, errors = temperatures(XpuSmi(), with_temperatures("45", "61"))

    assert told == [None]
    assert errors == ["temperature not read: columns 5 and 7 of xpu_smi -m differ, and either could be it"]


def test_one_devices_line_settles_the_column_of_all() -> None:
    told, errors = temperatures(XpuSmi(), with_temperatures("45", "61"), with_temperatures("50", "900"))

    assert (told, errors) == ([45.0, 50.0], [])


def test_a_column_that_was_once_none_is_never_read_again() -> None:
    smi = XpuSmi()
    temperatures(smi, with_temperatures("0", "45"))

    assert temperatures(smi, with_temperatures("40", "50")) == ([50.0], [])
    assert temperatures(smi, with_temperatures("40", "900")) == (
        [None],
        ["temperature not read: neither column 5 nor 7 of xpu_smi -m can be one"],
    )


def test_the_rest_is_read_whether_or_not_there_is_a_temperature() -> None:
    (sample, complaint) = XpuSmi().parse(with_temperatures("45", "61"))

    assert (sample["memory_used_gib"], sample["power_w"], sample["source"]) == (17.0, 81.0, "xpu_smi")
    assert list(complaint) == ["error"]


@given(st.lists(st.sampled_from(["45", "0", "900", "x", "-5", "1e3", "nan", "inf", "130.5"]), min_size=2, max_size=2))
def test_what_is_read_is_declared_and_lies_in_its_range(columns: list[str]) -> None:
    for sample in XpuSmi().parse(with_temperatures(*columns)):
        assert set(sample) <= {"source", "card", "error", *(metric.name for metric in XPU_SMI.metrics)}
        assert checked(sample, DEVICE_READINGS.values(), "it")[1] == []


def test_models_are_the_words_of_their_form() -> None:
    listing = "| 0 | 0000:4f:00.0 | R300 | 02K06Y |\n| 1 | 0000:50:00.0 | R300 | X-R200 |"

    assert parse_xpu_models(listing) == ("R300",)
    assert parse_xpu_models("Driver Version: 4.0.25") == ()
