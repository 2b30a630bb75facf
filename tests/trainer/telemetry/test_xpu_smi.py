"""`xpu_smi` is read by the form that is known of it; what a device's line does not have is missing of it alone."""

from __future__ import annotations

from typing import Any, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evidence.telemetry import DEVICE_READINGS
from trainer.errors import DeviceError
from trainer.telemetry import load_smi
from trainer.telemetry.base import DevicePlace, checked, matched
from trainer.telemetry.xpu_smi import XPU_SMI, Row, XpuSmi, parse_xpu_driver, parse_xpu_table

# `xpu_smi -m` on two P800, and plain `xpu_smi` on a machine of R300, as captured but for the serials.
P800 = """\
00000000:53:00.0 0 0 02K00P800S0001 38 0 0 0 74 1450 1450 1450 1450 1450 1450 2 63 28653 98304 94 1.0:2.6:1.39.1.7 "P800 OAM" 0 0 0 0 0 0 0 0 0 0
00000000:56:00.0 1 1 02K00P800S0002 39 0 0 0 74 1450 1450 1450 1450 1450 1450 2 63 0 98304 0 1.0:2.6:1.39.1.7 "P800 OAM" 0 0 0 0 0 0 0 0 0 0
"""  # noqa: E501
R300 = """\
Runtime Version: 4.31
Driver Version: 4.0
  DEVICES
-------------------------------------------------------------------------------------------
| DevID |   PCI Addr   | Model |   SN   |    INODE   | UseRate |    L3     |    Memory    |
-------------------------------------------------------------------------------------------
|     0 | 0000:53:00.0 | R300  | 02Kxxx | /dev/xpu0  |     0 % | 0 / 63 MB | 0 / 32768 MB |
|     1 | 0000:56:00.0 | R300  | 02Kxxx | /dev/xpu1  |     0 % | 0 / 63 MB | 0 / 32768 MB |
-------------------------------------------------------------------------------------------
"""
_COLUMNS = {"place": 1, "other_place": 2, "serial": 3, "fifth": 4, "seventh": 6, "power": 8, "used": 17, "total": 18}


def device_line(index: int = 0, *, model: str = '"R300"', **changes: str) -> str:
    """A line with an address, columns as in P800."""
    words = f"0000:{0x53 + 3 * index:02x}:00.0 {index} {index} S{index} 45 0 0 0 81".split()
    words += [*["1450"] * 6, "2", "63", "17408", "32768", "97", "1.0:2.6:1.39.1.7"]
    for name, word in changes.items():
        words[_COLUMNS[name]] = word
    return " ".join([*words, model, "0", "0"])


def old_line(fifth: str = "45", seventh: str = "45", **changes: str) -> str:
    """A line of an older tool, of which the columns of power, memory and use alone are known."""
    words = [f"{900 + column}" for column in range(24)]
    found = {"fifth": fifth, "seventh": seventh, "power": "81", "used": "17408", "total": "32768", **changes}
    words[19] = "97"
    for name, word in found.items():
        words[_COLUMNS[name]] = word
    return "  ".join(words)


def parsed(*lines: str, rows: Sequence[Row] = (), smi: XpuSmi | None = None) -> tuple[list[dict[str, Any]], list[str]]:
    found = (smi or XpuSmi()).parse("\n".join(lines) + "\n", rows)
    return [one for one in found if "error" not in one], [one["error"] for one in found if "error" in one]


def test_a_captured_listing_is_read_whole() -> None:
    records, complaints = parsed(P800)

    assert complaints == []
    assert records == [
        {
            "card": 0,
            "pci": "0000:53:00.0",
            "serial": "02K00P800S0001",
            "name": "P800 OAM",
            "memory_used_gib": 28653 / 1024,
            "memory_total_gib": 96.0,
            "power_w": 74.0,
            "use_percent": 94.0,
            "temperature_c": 38.0,
        },
        {
            "card": 1,
            "pci": "0000:56:00.0",
            "serial": "02K00P800S0002",
            "name": "P800 OAM",
            "memory_used_gib": 0.0,
            "memory_total_gib": 96.0,
            "power_w": 74.0,
            "use_percent": 0.0,
            "temperature_c": 39.0,
        },
    ]


def test_a_captured_table_has_indexes_addresses_models_and_serials() -> None:
    assert parse_xpu_table(R300) == (
        Row(0, "0000:53:00.0", "R300", "02Kxxx"),
        Row(1, "0000:56:00.0", "R300", "02Kxxx"),
    )
    assert parse_xpu_driver(R300) == "4.0"


def test_the_head_of_the_table_may_be_in_another_language() -> None:
    text = R300.replace("DevID", "设备号").replace("Model", "型号").replace("Driver Version", "驱动版本")

    assert [row.model for row in parse_xpu_table(text)] == ["R300", "R300"]
    with pytest.raises(DeviceError, match="no line with a 'Driver Version'"):
        parse_xpu_driver(text)


def test_a_listing_without_a_table_has_no_rows() -> None:
    assert parse_xpu_table("Driver Version: 4.0.25\n| 0 | R300 |\n错误：没有设备\n") == ()


def test_lines_without_addresses_are_the_rows_of_the_table_in_order() -> None:
    rows = (Row(2, "0000:59:00.0", "R300", "S2"), Row(3, "0000:5c:00.0", "R300", "N/A"))

    records, complaints = parsed(old_line(), old_line(used="0"), rows=rows)

    assert complaints == []
    assert [(one["card"], one["pci"], one["name"], one.get("serial")) for one in records] == [
        (2, "0000:59:00.0", "R300", "S2"),
        (3, "0000:5c:00.0", "R300", None),
    ]
    assert [one["memory_used_gib"] for one in records] == [17.0, 0.0]


def test_without_addresses_and_table_devices_are_counted_from_0() -> None:
    records, _ = parsed(old_line(), old_line(power="33.5"))

    assert [(one["card"], one["power_w"]) for one in records] == [(0, 81.0), (1, 33.5)]


@pytest.mark.parametrize(("used", "total"), [("0", "0"), ("N/A", "N/A")])
def test_a_lost_device_keeps_its_place_in_a_listing_without_addresses(used: str, total: str) -> None:
    records, complaints = parsed(old_line(), old_line(used=used, total=total), old_line(used="0"))

    assert [(one["card"], one.get("memory_used_gib")) for one in records] == [(0, 17.0), (1, None), (2, 0.0)]
    assert len(complaints) == 1
    assert complaints[0].startswith("device 1: memory ")


def test_a_device_that_vanishes_from_a_listing_without_addresses_gives_its_place_to_no_other() -> None:
    smi = XpuSmi()
    parsed(old_line(), old_line(), smi=smi)

    with pytest.raises(DeviceError, match="1 lines without addresses for 2 devices"):
        parsed(old_line(), smi=smi)


def test_a_container_that_lists_two_of_eight_has_their_indexes() -> None:
    records, complaints = parsed(device_line(2), device_line(3))

    assert (complaints, [one["card"] for one in records]) == ([], [2, 3])


def test_the_tables_index_counts_where_the_columns_differ() -> None:
    rows = (Row(2, "0000:53:00.0", "", ""), Row(3, "0000:56:00.0", "", ""))
    lines = device_line(0, other_place="6"), device_line(1, other_place="7")

    assert [one["card"] for one in parsed(*lines, rows=rows)[0]] == [2, 3]
    records, complaints = parsed(*lines)
    assert ([one["card"] for one in records], complaints) == (
        [0, 1],
        ["columns 2 and 3 of xpu_smi -m differ; 2 is taken for the index"],
    )
    records, complaints = parsed(device_line(0), device_line(1, place="0"))
    assert ([one["card"] for one in records], complaints) == (
        [0, 1],
        ["columns 2 and 3 of xpu_smi -m differ; 3 is taken for the index"],
    )


def test_devices_that_no_column_numbers_are_refused() -> None:
    with pytest.raises(DeviceError, match="numbers its devices neither in column 2 nor in 3"):
        parsed(device_line(0), device_line(1, place="0", other_place="0"))


@pytest.mark.parametrize(
    ("changes", "lost", "says"),
    [
        ({"power": "N/A"}, {"power_w"}, "power is 'N/A'"),
        ({"power": "74000"}, {"power_w"}, "power is not within 0 and 2000 W (some tools print mW)"),
        ({"power": "-1"}, {"power_w"}, "power is not within 0 and 2000 W (some tools print mW)"),
        ({"fifth": "N/A"}, {"temperature_c"}, "temperature is 'N/A'"),
        ({"used": "N/A"}, {"memory_used_gib", "memory_total_gib"}, "memory is 'N/A' of '32768' MiB"),
        ({"used": "nan"}, {"memory_used_gib", "memory_total_gib"}, "memory is 'nan' of '32768' MiB"),
        (
            {"used": "40000"},
            {"memory_used_gib", "memory_total_gib"},
            "memory is 40000 of 32768 MiB, which cannot be",
        ),
        (
            {"used": "0", "total": "0"},
            {"memory_used_gib", "memory_total_gib"},
            "memory is 0 of 0 MiB, which cannot be",
        ),
    ],
)
def test_a_reading_that_is_no_number_or_impossible_is_reported_and_the_others_stay(
    changes: dict[str, str], lost: set[str], says: str
) -> None:
    (whole, other), none = parsed(device_line(0), device_line(1))
    (first, second), complaints = parsed(device_line(0, **changes), device_line(1))

    assert none == []
    assert first == {name: value for name, value in whole.items() if name not in lost}
    assert second == other
    assert complaints == [f"device 0: {says}; not read"]


def test_a_lost_device_takes_only_its_own_readings() -> None:
    lost = " ".join(["0000:56:00.0", "1", "1", "S1", *["N/A"] * 16, "1.0", '"R300"', "0", "0"])

    records, complaints = parsed(device_line(0), lost, device_line(2))

    assert [(one["card"], one.get("memory_used_gib")) for one in records] == [(0, 17.0), (1, None), (2, 17.0)]
    assert records[1].keys() == {"card", "pci", "serial", "name"}
    assert complaints == [
        "device 1: memory is 'N/A' of 'N/A' MiB, power is 'N/A', use is 'N/A', temperature is 'N/A'; not read"
    ]


def test_a_lost_device_is_a_complaint_only_if_it_is_one_of_the_runs() -> None:
    lost = " ".join(["0000:56:00.0", "1", "1", "S1", *["N/A"] * 16, "1.0", '"R300"', "0", "0"])
    records = XpuSmi().parse("\n".join([device_line(0), lost]))
    smi = load_smi("xpu_smi")

    ours = matched(smi, records, [DevicePlace(0, "0000:53:00.0")])
    absent = matched(smi, records, [DevicePlace(7, "0000:68:00.0")])

    assert [sample for sample in ours if "error" not in sample] == [
        {
            "source": "xpu_smi",
            "card": 0,
            "memory_used_gib": 17.0,
            "memory_total_gib": 32.0,
            "power_w": 81.0,
            "use_percent": 97.0,
            "temperature_c": 45.0,
        }
    ]
    assert [sample["error"] for sample in absent][-1] == (
        "xpu_smi lists no device at 0000:68:00.0; it lists 0000:53:00.0, 0000:56:00.0"
    )


@pytest.mark.parametrize("cut_off", [' "P800 O', " 98304", " 28653 98304 9", ""])
def test_a_line_that_is_cut_off_is_reported_and_not_read(cut_off: str) -> None:
    first, second, *_ = P800.splitlines()
    whole_line = first.replace(":53:", ":59:").replace(" 0 0 02K", " 2 2 02K")
    cut = whole_line[: whole_line.index(cut_off) + len(cut_off)] if cut_off else "00000000:59:00.0"

    records, complaints = parsed(first, second, cut)

    assert [one["card"] for one in records] == [0, 1]
    assert complaints == [f"xpu_smi -m printed {cut[:120]!r}, which is not a whole line of a device"]


def test_lines_that_are_no_devices_are_reported() -> None:
    records, complaints = parsed("警告：驱动版本不一致", device_line(0))

    assert len(records) == 1
    assert complaints == ["xpu_smi -m printed '警告：驱动版本不一致', which is not a whole line of a device"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "printed no device"),
        ("\n  \n", "printed no device"),
        ("error: no device", "not a whole line of a device"),
        ("错误：没有设备", "not a whole line of a device"),
        ("00000000:53:00.0 0 0", "no whole line of a device"),
        (" ".join(old_line().split()[:19]), "not a whole line of a device"),
        (old_line(total="many"), "not a whole line of a device"),
        (old_line() + "\nerror", "not a whole line of a device"),
    ],
)
def test_a_listing_without_a_line_of_a_device_is_refused(text: str, says: str) -> None:
    with pytest.raises(DeviceError, match=says):
        parsed(text)


def read_or_refused(text: str) -> None:
    try:
        records = XpuSmi().parse(text)
    except DeviceError:
        return
    for record in records:
        assert checked(record, DEVICE_READINGS.values(), "it")[1] == []
        assert set(record) <= {"card", "pci", "serial", "name", "error", *(metric.name for metric in XPU_SMI.metrics)}
    cards = [record["card"] for record in records if "error" not in record]
    assert len(set(cards)) == len(cards) > 0


@given(st.text())
def test_no_text_makes_the_parser_fail_in_another_way(text: str) -> None:
    read_or_refused(text)
    parse_xpu_table(text)


_WORD = st.sampled_from(
    ["0", "1", "45", "130.5", "-1", "1e3", "nan", "inf", "N/A", "98304", "x", '"', '"P800 OAM"', "٣"]
)


@given(st.lists(st.lists(_WORD, min_size=18, max_size=24), max_size=3), st.booleans())
def test_no_words_in_the_place_of_numbers_make_it_fail_or_read_what_cannot_be(
    lines: list[list[str]], has_addresses: bool
) -> None:
    places = [[f"0000:{place:02x}:00.0"] if has_addresses else [] for place in range(len(lines))]
    read_or_refused("\n".join(" ".join([*place, *words]) for place, words in zip(places, lines)))


@example(place=94, other="")  # total and use of memory run into one number
@given(place=st.integers(0, len(P800) - 1), other=st.sampled_from(["", " ", "\n", "N/A", '"', "é"]))
def test_a_captured_listing_damaged_anywhere_never_gives_another_devices_numbers(place: int, other: str) -> None:
    read_or_refused(P800[:place] + other + P800[place + 1 :])


def test_a_driver_is_read_from_its_line_or_refused() -> None:
    assert parse_xpu_driver("| XPU-SMI    Driver Version: 4.0.25       |\n") == "4.0.25"
    for unknown in ("", " N/A", " - "):
        with pytest.raises(DeviceError, match="Driver Version"):
            parse_xpu_driver(f"XPU-SMI\nDriver Version:{unknown}\n")


def temperatures(*lines: str) -> tuple[list[float | None], list[str]]:
    records, complaints = parsed(*lines)
    return [one.get("temperature_c") for one in records], complaints


@pytest.mark.parametrize(("fifth", "seventh"), [("45", "45"), ("45", "1350"), ("0", "45"), ("P0", "45")])
def test_a_temperature_is_read_where_only_one_column_can_be_it_or_both_agree(fifth: str, seventh: str) -> None:
    assert temperatures(old_line(fifth, seventh)) == ([45.0], [])


def test_where_either_column_could_be_it_the_temperature_is_reported_as_unread() -> None:
    assert temperatures(old_line("45", "61")) == (
        [None],
        ["device 0: temperature is in column 5 or 7, which differ; not read"],
    )


def tool(monkeypatch: Any, **answers: Any) -> list[tuple[str, ...]]:
    """Put answers of xpu_smi in place, `m` and `plain`; the value lists the arguments that it was started with."""
    started: list[tuple[str, ...]] = []

    def run(names: Sequence[str], *arguments: str) -> str:
        started.append(arguments)
        answer = answers["m" if arguments else "plain"]
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr("trainer.telemetry.xpu_smi.run_tool", run)
    return started


def test_the_table_is_asked_once_and_readings_every_time(monkeypatch: Any) -> None:
    started = tool(monkeypatch, m=P800, plain=R300)
    smi = load_smi("xpu_smi")

    first, second = smi.read(), smi.read()

    assert first == second
    assert started == [("-m",), (), ("-m",)]
    assert smi.driver() == "4.0"


def test_without_the_table_readings_are_there_and_the_reason_is_reported_once(monkeypatch: Any) -> None:
    tool(monkeypatch, m=P800, plain=DeviceError("xpu_smi did not answer within 10 s"))
    smi = load_smi("xpu_smi")

    first, second = smi.read(), smi.read()

    assert first[-1] == {"error": "the table of devices was not read: xpu_smi did not answer within 10 s"}
    assert first[:-1] == second
    assert [one["card"] for one in second] == [0, 1]


def test_a_tool_that_hangs_raises_and_answers_again_later(monkeypatch: Any) -> None:
    smi = load_smi("xpu_smi")
    tool(monkeypatch, m=DeviceError("xpu_smi -m did not answer within 10 s"), plain=R300)
    with pytest.raises(DeviceError, match="did not answer"):
        smi.read()
    tool(monkeypatch, m=P800, plain=R300)

    assert [one["card"] for one in smi.read()] == [0, 1]
