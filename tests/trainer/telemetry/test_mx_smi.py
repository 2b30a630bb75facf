"""`mx-smi` as it has been listed in public; no device is at hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.errors import DeviceError
from trainer.telemetry.base import DevicePlace, Smi, device_sampler
from trainer.telemetry.mx_smi import MX_SMI, parse_mx_driver, parse_mx_smi

OLDER = """\
Attached GPUs                                     : 2
+---------------------------------------------------------------------------------+
| MX-SMI 2.1.6                        Kernel Mode Driver Version: 2.2.0            |
| MACA Version: 2.18.0.8              BIOS Version: 1.13.4.0                      |
|------------------------------------+---------------------+----------------------+
| GPU         NAME                   | Bus-id              | GPU-Util             |
| Temp        Power                  | Memory-Usage        |                      |
|====================================+=====================+======================|
| 0           MXC500                 | 0000:1a:00.0        | 97%                  |
| 36C         60W                    | 858/65536 MiB       |                      |
+------------------------------------+---------------------+----------------------+
| 1           MXC500                 | 0000:1b:00.0        | 0%                   |
| 37C         61W                    | 32768/65536 MiB     |                      |
+------------------------------------+---------------------+----------------------+
| Process:                                                                        |
|  GPU                    PID         Process Name                 GPU Memory     |
|  0                  1234567         python                       842            |
+---------------------------------------------------------------------------------+
"""
NEWER = """\
| 0           MetaX C500             | 0           Off     | 0000:0f:00.0 | 5%    Disabled |
| 31C         43W / 350W       P0    | 858/65536 MiB       | Available                     |
"""


def test_two_lines_are_a_device() -> None:
    records = parse_mx_smi(OLDER)

    assert records[1] == {
        "card": 1,
        "name": "MXC500",
        "pci": "0000:1b:00.0",
        "memory_used_gib": 32.0,
        "memory_total_gib": 64.0,
        "temperature_c": 37.0,
        "power_w": 61.0,
        "use_percent": 0.0,
    }
    assert len(records) == 2
    assert set(records[0]) - {"card", "name", "pci"} == {metric.name for metric in MX_SMI.metrics}


def test_a_power_limit_is_not_the_power() -> None:
    (record,) = parse_mx_smi(NEWER)

    assert (record["power_w"], record["temperature_c"], record["use_percent"]) == (43.0, 31.0, 5.0)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("36C ", "36F ", "0 numbers that could be temperature_c, expected one"),
        ("60W ", "60W  70W ", "2 numbers that could be power_w, expected one"),
        ("858/65536 MiB", "858 MiB      ", "device 0: no memory that can be"),
        ("858/65536 MiB", "99999/65536 MiB", "device 0: no memory that can be"),
        ("97%", "--", "0 numbers that could be use_percent"),
    ],
)
def test_what_is_new_is_told_and_the_other_device_is_read(old: str, new: str, says: str) -> None:
    records = parse_mx_smi(OLDER.replace(old, new, 1))

    assert says in " ".join(record.get("error", "") for record in records)
    assert any(record.get("card") == 1 and record["memory_used_gib"] == 32.0 for record in records)


# Of 2.2.9, as users of the C500 list it; the board of two GPUs is made of the same columns.
BOARDS = """\
| MX-SMI 2.2.9                        Kernel Mode Driver Version: 3.3.12                |
|------------------+-----------------+---------------------+----------------------|
| Board       Name | GPU   Persist-M | Bus-id              | GPU-Util      sGPU-M |
| Pwr:Usage/Cap    | Temp       Perf | Memory-Usage        | GPU-State            |
|==================+=================+=====================+======================|
| 0         MXC500 | 0           Off | 0000:0e:00.0        | 0%          Disabled |
| 38W / 350W       | 35C          P9 | 662/65536 MiB       | Available            |
|                  | 1           Off | 0000:0f:00.0        | 3%          Disabled |
|                  | 36C          P9 | 1324/65536 MiB      | Available            |
+------------------+-----------------+---------------------+----------------------+
| 1         MXC500 | 2            On | 0000:10:00.0        | 7%          Disabled |
| 39W / 350W       | 37C          P0 | 1986/65536 MiB      | Available            |
+------------------+-----------------+---------------------+----------------------+
"""


def test_a_board_may_have_several_gpus_and_each_has_a_record() -> None:
    records = parse_mx_smi(BOARDS)

    assert [(one["card"], one["name"], one["pci"], one.get("power_w")) for one in records] == [
        (0, "MXC500", "0000:0e:00.0", 38.0),
        (1, "MXC500", "0000:0f:00.0", None),
        (2, "MXC500", "0000:10:00.0", 39.0),
    ]
    assert [one["temperature_c"] for one in records] == [35.0, 36.0, 37.0]
    assert records[1]["memory_used_gib"] == 1324 / 1024


@pytest.mark.parametrize("power", ["N/A / 350W", "ERR! / 350W", "-- / 350.0 W"])
def test_a_limit_without_a_power_is_no_power(power: str) -> None:
    records = parse_mx_smi(BOARDS.replace("38W / 350W", power))

    assert [one.get("power_w") for one in records if "error" not in one] == [None, None, 39.0]
    assert records[-1] == {"card": 0, "error": "mx-smi, device 0: 0 numbers that could be power_w, expected one"}


def test_a_gpu_without_memory_keeps_its_other_readings_and_is_reported_where_a_rank_uses_it() -> None:
    smi = Smi(MX_SMI, lambda: parse_mx_smi(BOARDS.replace("1986/65536 MiB", "N/A")), lambda: "")
    others, its_own = (device_sampler(smi, [DevicePlace(index)]).read() for index in (0, 2))

    assert [("error" in one, one.get("temperature_c")) for one in others] == [(False, 35.0)]
    assert [one.get("temperature_c") for one in its_own] == [None, 37.0]
    assert "device 2: no memory" in its_own[0]["error"]


def test_the_process_table_is_no_device() -> None:
    assert [record.get("card") for record in parse_mx_smi(OLDER)] == [0, 1]


@given(st.text(alphabet="0123456789 |:.%/CWMiBax\n", max_size=200))
def test_no_text_makes_the_parser_fail_in_another_way(text: str) -> None:
    try:
        records = parse_mx_smi(text)
    except DeviceError:
        return
    for record in records:
        assert 0 <= record.get("memory_used_gib", 0) <= record.get("memory_total_gib", 0)


def test_the_driver_is_read_from_its_words() -> None:
    assert parse_mx_driver(OLDER) == "2.2.0"
    with pytest.raises(DeviceError, match="Kernel Mode Driver Version"):
        parse_mx_driver("MX-SMI 2.1.6")
