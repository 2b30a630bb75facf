"""Management tools: declared, started with a time limit, their devices matched to those of the run."""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.telemetry import DEVICE_READINGS, HOST_READINGS
from expected import load_devices
from trainer.errors import DeviceError
from trainer.telemetry import SMI_NAMES, load_smi
from trainer.telemetry.base import (
    SOURCES,
    AbsentError,
    DevicePlace,
    RefusedError,
    Smi,
    Source,
    checked,
    device_readings,
    device_sampler,
    matched,
    normal_pci,
    run_tool,
)
from trainer.telemetry.host import host_sampler


def smi(is_started: bool = True, records: Any = ()) -> Smi:
    metrics = device_readings("memory_used_gib", "power_w", "use_percent")
    source = Source("some-smi", metrics, "local rank 0", "nothing")
    return Smi(source, lambda: list(records), lambda: "1.0", is_started)


def record(card: int, pci: str | None = None, **change: Any) -> dict[str, Any]:
    return {"card": card, "pci": pci, "name": "a device", "power_w": 100.0 + card, **change}


def test_the_address_decides_where_both_know_it() -> None:
    records = [record(0, "00000000:1B:00.0"), record(1, "00000000:1A:00.0")]

    samples = matched(smi(), records, [DevicePlace(0, "0000:1a:00.0"), DevicePlace(1, "0000:1b:00.0")])

    assert samples == [
        {"source": "some-smi", "card": 0, "power_w": 101.0},
        {"source": "some-smi", "card": 1, "power_w": 100.0},
    ]


@pytest.mark.parametrize("place", [DevicePlace(1), DevicePlace(1, "no address")])
def test_else_the_index_decides(place: DevicePlace) -> None:
    (sample,) = matched(smi(), [record(0, "0000:1a:00.0"), record(1, "0000:1b:00.0")], [place])

    assert (sample["card"], sample["power_w"]) == (1, 101.0)


def test_the_uuid_decides_before_the_address_and_may_be_shortened() -> None:
    records = [record(0, "0000:1a:00.0", uuid="GPU-aa01-02"), record(1, "0000:1b:00.0", uuid="GPU-aa02-02")]

    def power(uuid: str, **more: Any) -> Any:
        return matched(smi(), records, [DevicePlace(0, uuid=uuid, **more)])[0].get("power_w")

    assert power("GPU-aa02-02") == power("GPU-AA02", is_numbered=False) == 101.0
    assert power("GPU-aa0") is None  # of two devices


def test_a_device_chosen_by_its_uuid_is_never_looked_up_by_its_local_rank() -> None:
    place = DevicePlace(0, uuid="GPU-aa02-02", is_numbered=False)

    assert matched(smi(), [record(0), record(1)], [place]) == [
        {"error": "some-smi lists no device GPU-aa02-02; it lists 0, 1"}
    ]


def test_a_complaint_about_a_device_is_told_where_a_rank_uses_it() -> None:
    records = [record(0, complaints=["device 0 is hot"]), record(1, complaints=["device 1 is lost"])]

    assert matched(smi(), records, [DevicePlace(0)])[0] == {"error": "device 0 is hot"}
    assert len(matched(smi(), records, [DevicePlace(0)])) == 2


def test_where_the_tool_tells_no_address_the_index_decides_too() -> None:
    (sample,) = matched(smi(), [record(0), record(1)], [DevicePlace(1, "0000:1b:00.0")])

    assert sample["power_w"] == 101.0


@pytest.mark.parametrize(
    ("place", "says"),
    [
        (DevicePlace(7), "some-smi lists no device 7; it lists 0000:1a:00.0"),
        (DevicePlace(0, "0000:99:00.0"), "some-smi lists no device at 0000:99:00.0; it lists 0000:1a:00.0"),
    ],
)
def test_a_device_that_the_tool_does_not_list_is_told_and_never_another_ones(place: DevicePlace, says: str) -> None:
    assert matched(smi(), [record(0, "0000:1a:00.0")], [place]) == [{"error": says}]


def test_complaints_pass_and_what_cannot_be_becomes_one() -> None:
    samples = matched(smi(), [record(0, use_percent=250.0), {"error": "a new line"}], [DevicePlace(0)])

    assert samples[0] == {"error": "a new line"}
    assert "use_percent 250 %, which cannot be" in samples[1]["error"]
    assert samples[2] == {"source": "some-smi", "card": 0, "power_w": 100.0}


def test_what_a_tool_does_not_declare_is_not_passed_on() -> None:
    assert matched(smi(), [record(0, throttle="made up")], [DevicePlace(0)])[0].keys() == {"source", "card", "power_w"}


def test_a_device_of_which_nothing_is_told_has_no_sample() -> None:
    assert matched(smi(), [{"card": 0}], [DevicePlace(0)]) == []


def test_a_program_is_started_less_often_than_a_library_is_asked() -> None:
    assert device_sampler(smi(is_started=True), ()).least_interval_s == 5.0
    assert device_sampler(smi(is_started=False), ()).least_interval_s == 0.0


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("00000000:1B:00.0", "0000:1b:00.0"),
        ("0000:1b:00.0", "0000:1b:00.0"),
        ("1b:00", "0000:1b:00.0"),
        ("00010000:01:00.0", "10000:01:00.0"),
        ("", None),
        ("GPU-1", None),
        (None, None),
        (7, None),
    ],
)
def test_addresses_are_brought_into_the_kernels_form(text: Any, normal: str | None) -> None:
    assert normal_pci(text) == normal


@given(st.text())
def test_no_text_makes_the_address_fail(text: str) -> None:
    found = normal_pci(text)

    assert found is None or normal_pci(found) == found


def tool(folder: Path, body: str) -> str:
    path = folder / "some_smi"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path.name


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: Any) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path


def test_the_first_name_on_path_is_used(on_path: Path) -> None:
    name = tool(on_path, "echo got $1")

    assert run_tool(("not-there-smi", name), "-m") == "got -m\n"


def test_a_missing_tool_is_named_with_the_places_where_it_was_looked_for() -> None:
    places = "/opt/xre/bin, /opt/mxdriver/bin, /usr/local/corex/bin"

    with pytest.raises(AbsentError, match=f"none of xpu_smi, xpu-smi is on PATH or in {places}; install"):
        run_tool(("xpu_smi", "xpu-smi"))


def test_a_vendors_own_folder_is_looked_into_after_path(tmp_path: Path, monkeypatch: Any) -> None:
    first, vendors = tmp_path / "first", tmp_path / "vendors"
    for folder in (first, vendors):
        folder.mkdir()
    monkeypatch.setenv("PATH", str(first), prepend=os.pathsep)
    monkeypatch.setattr("trainer.telemetry.base.TOOL_FOLDERS", (str(tmp_path / "none"), str(vendors)))
    name = tool(vendors, "echo of the vendor")

    assert run_tool((name,)) == "of the vendor\n"
    tool(first, "echo of PATH")
    assert run_tool((name,)) == "of PATH\n"


def test_a_failing_tools_code_and_last_words_are_told(on_path: Path) -> None:
    name = tool(on_path, "echo cannot open device >&2; exit 7")

    with pytest.raises(DeviceError, match="code 7: cannot open device"):
        run_tool((name,))


def test_a_tool_that_hangs_is_given_up(on_path: Path) -> None:
    name = tool(on_path, "exec sleep 60")

    with pytest.raises(DeviceError, match=r"did not answer within 0\.2 s"):
        run_tool((name,), timeout_s=0.2)


def test_what_a_tool_that_hangs_has_started_ends_with_it(on_path: Path) -> None:
    name = tool(on_path, f"sleep 60 & echo $! >{on_path}/pid; wait")

    with pytest.raises(DeviceError, match=r"did not answer within 0\.5 s"):
        run_tool((name,), timeout_s=0.5)

    started = int((on_path / "pid").read_text())
    assert psutil.wait_procs([psutil.Process(started)] if psutil.pid_exists(started) else [], timeout=10)[1] == []


def test_a_tool_that_cannot_be_killed_is_not_waited_for(on_path: Path, monkeypatch: Any) -> None:
    """A process in the kernel's uninterruptible sleep, as in a driver that hangs."""
    name = tool(on_path, f"echo $$ >{on_path}/pid; exec sleep 60")
    monkeypatch.setattr("os.killpg", lambda *_: None)

    with pytest.raises(DeviceError, match="did not answer"):
        run_tool((name,), timeout_s=0.5)

    still = psutil.Process(int((on_path / "pid").read_text()))
    assert still.is_running()
    still.kill()


def test_a_long_command_does_not_hide_the_reason(on_path: Path) -> None:
    name = tool(on_path, "echo 'ld.so: ignored' >&2; echo 'Driver/library version mismatch'; echo 535.183; exit 18")

    with pytest.raises(RefusedError) as refused:
        run_tool((name,), "--query-gpu=" + ",".join(["field"] * 100))

    assert "mismatch; 535.183; ld.so" in str(refused.value)[:200]


def test_a_byte_order_mark_and_colours_are_no_part_of_what_a_tool_says(on_path: Path) -> None:
    assert run_tool((tool(on_path, r"printf '\357\273\277a\033[1;32mb\033[0m\n'"),)) == "ab\n"


def test_a_tool_that_is_no_program_is_told(on_path: Path) -> None:
    path = on_path / "some_smi"
    path.write_bytes(b"\x7fnot a program")
    path.chmod(0o755)

    with pytest.raises(DeviceError, match="could not be started"):
        run_tool(("some_smi",))


def test_a_refusal_is_told_from_other_failures_and_said_in_the_tools_words(on_path: Path) -> None:
    name = tool(on_path, "echo 'Field \"x\" is not a valid field to query.'; exit 2")

    with pytest.raises(RefusedError, match='code 2: Field "x" is not a valid field'):
        run_tool((name,))


def test_the_shipped_tables_name_tools_that_exist() -> None:
    assert {device.smi for device in load_devices().values()} <= {"", *SMI_NAMES}


@pytest.mark.parametrize("name", SMI_NAMES)
def test_every_tool_declares_its_metrics_out_of_the_table(name: str) -> None:
    smi = load_smi(name)

    assert smi.source is SOURCES[name]
    assert smi.source.metrics
    assert all(DEVICE_READINGS[metric.name] is metric for metric in smi.source.metrics)


def test_the_host_declares_its_own() -> None:
    assert host_sampler().source.metrics == tuple(HOST_READINGS.values())


@pytest.mark.parametrize("value", [-1.0, 101.0, math.nan, math.inf])
def test_a_number_that_cannot_be_is_taken_out_and_told(value: float) -> None:
    kept, complaints = checked({"use_percent": value, "card": 0}, [DEVICE_READINGS["use_percent"]], "nvml, device 0,")

    assert kept == {"card": 0}
    assert len(complaints) == 1
    assert complaints[0].startswith(f"nvml, device 0, gave use_percent {value:g} %, which cannot be")
