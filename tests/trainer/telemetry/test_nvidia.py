"""NVML, nvidia-smi and ixsmi against stand-ins for the library (names of nvidia-ml-py) and the program."""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.telemetry import DEVICE_READINGS
from tests.support import python_script
from trainer.devices.cuda import CudaBackend
from trainer.errors import DeviceError
from trainer.telemetry.base import DevicePlace, matched
from trainer.telemetry.nvidia import NVML, Library, open_ixsmi, open_nvml
from trainer.telemetry.query_gpu import HEALTH, READINGS, CsvQuery, clock_words, parse_csv

FULL = READINGS
UUID = "GPU-5c89f4ac-0001-0000-0000-000000000000"
LINE = f"0, {UUID}, 00000000:1B:00.0, 33792, 40960, 250.5, 61, 98, 1410, 1215, 0x0000000000000004"

# Answers as nvidia-smi documents it: refuses fields that it does not know, with code 2 and a word on standard output.
FAKE = """import os, sys
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
        path.write_text(python_script(FAKE))
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        monkeypatch.setenv("FAKE_FIELDS", ",".join(values))
        monkeypatch.setenv("FAKE_VALUES", ",".join(values.values()))

    return install


def test_a_line_is_a_device_in_the_units_of_the_suite() -> None:
    assert parse_csv("nvidia-smi", FULL, LINE) == [
        {
            "card": 0,
            "uuid": UUID,
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
    records = parse_csv("nvidia-smi", FULL, f"{LINE}\nGPU 1 is hot\n")

    assert records[0]["card"] == 0
    assert records[1]["error"].startswith("nvidia-smi printed 'GPU 1 is hot', expected 11 fields")


@pytest.mark.parametrize("text", ["", "\n", "No devices were found"])
def test_a_listing_without_a_device_is_refused(text: str) -> None:
    with pytest.raises(DeviceError, match="nvidia-smi printed"):
        parse_csv("nvidia-smi", FULL, text)


@given(st.text())
def test_no_text_makes_the_parser_fail_in_another_way(text: str) -> None:
    try:
        records = parse_csv("nvidia-smi", FULL, text)
    except DeviceError:
        return
    assert all({"card", "error", "complaints"} & set(record) for record in records)


@given(st.lists(st.text(alphabet="0123456789.-[]NA /Wx", max_size=8), min_size=11, max_size=11))
def test_every_number_that_is_read_is_finite(cells: list[str]) -> None:
    try:
        records = parse_csv("nvidia-smi", FULL, ", ".join(cells))
    except DeviceError:
        return
    for record in records:
        for name in set(record) & set(DEVICE_READINGS) - {"throttle", "clock_reasons"}:
            assert abs(record[name]) < float("inf")


def test_a_tool_that_knows_all_fields_is_asked_for_all(fake_smi: Any) -> None:
    fake_smi(dict(zip(FULL, LINE.split(", "))))

    assert open_ixsmi().read() == parse_csv("ixsmi", FULL, LINE)


def test_the_newer_name_of_the_reasons_is_tried(fake_smi: Any) -> None:
    newer = [name.replace("throttle", "event") for name in FULL]
    fake_smi(dict(zip(newer, LINE.replace("0x0000000000000004", "0x40").split(", "))))

    (record,) = open_ixsmi().read()

    assert record["throttle"] == "hw_thermal"


def test_a_tool_that_knows_fewer_is_asked_for_those_and_the_others_are_told(fake_smi: Any) -> None:
    fake_smi({"index": "0", "memory.used": "1024", "memory.total": "32768"})
    smi = open_ixsmi()

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
        open_ixsmi().read()


def test_the_driver_is_one_version(fake_smi: Any) -> None:
    fake_smi({"driver_version": "3.1.0"})

    assert open_ixsmi().driver() == "3.1.0"


def test_a_missing_tool_is_named() -> None:
    with pytest.raises(DeviceError, match="none of ixsmi is on PATH"):
        CsvQuery("ixsmi", ("ixsmi",)).read()


class FakeError(Exception):
    """As NVMLError: it carries the library's code."""

    def __init__(self, value: int) -> None:
        super().__init__(f"code {value}")
        self.value = value


def fake_nvml(cards: int = 2, **failing: int) -> Any:
    """A library of devices that tell everything, but for what `failing` gives an error code for."""

    def report(what: str, value: Any) -> Any:
        if what in failing:
            raise FakeError(failing[what])
        return value

    fake = SimpleNamespace(NVML_TEMPERATURE_GPU=0, NVML_CLOCK_SM=1, NVML_CLOCK_MEM=2, opened=0)

    def init() -> None:
        fake.opened += 1
        report("init", None)

    fake.nvmlInit = init
    fake.nvmlDeviceGetCount = lambda: cards
    fake.nvmlDeviceGetHandleByIndex = lambda index: report(f"handle_{index}", index)
    fake.nvmlDeviceGetUUID = lambda card: f"GPU-{card}"
    fake.nvmlSystemGetDriverVersion = lambda: report("driver", b"470.129.06")
    fake.nvmlDeviceGetPciInfo = lambda card: SimpleNamespace(busId=f"00000000:1{card}:00.0".encode())
    fake.nvmlDeviceGetName = lambda card: b"NVIDIA A100-SXM4-40GB"
    fake.nvmlDeviceGetMemoryInfo = lambda card: report("memory", SimpleNamespace(used=3 * 2**30, total=40 * 2**30))
    fake.nvmlDeviceGetPowerUsage = lambda card: report("power", 250_500)
    fake.nvmlDeviceGetTemperature = lambda card, sensor: report("temperature", 61)
    fake.nvmlDeviceGetUtilizationRates = lambda card: report("use", SimpleNamespace(gpu=98, memory=50))
    fake.nvmlDeviceGetClockInfo = lambda card, kind: report("clock", {1: 1410, 2: 1215}[kind])
    fake.nvmlDeviceGetCurrentClocksThrottleReasons = lambda card: report("reasons", 0x48)
    return fake


def test_a_device_is_read_in_the_units_of_the_suite() -> None:
    records = Library(fake_nvml()).read()

    assert records[1] == {
        "card": 1,
        "pci": "0000:11:00.0",
        "uuid": "GPU-1",
        "name": "NVIDIA A100-SXM4-40GB",
        "memory_used_gib": 3.0,
        "memory_total_gib": 40.0,
        "power_w": 250.5,
        "temperature_c": 61.0,
        "use_percent": 98.0,
        "core_clock_mhz": 1410.0,
        "memory_clock_mhz": 1215.0,
        "throttle": "hw_slowdown, hw_thermal",
    }
    assert {metric.name for metric in NVML.metrics} - set(records[1]) == {"clock_reasons"}


def test_what_a_device_does_not_have_is_left_out_in_silence() -> None:
    records = Library(fake_nvml(power=3)).read()

    assert not any("power_w" in record or "error" in record for record in records)


def test_what_a_device_fails_to_tell_is_told_beside_the_rest() -> None:
    (record,) = Library(fake_nvml(cards=1, power=999)).read()

    assert record["memory_used_gib"] == 3.0
    assert record["complaints"] == ["NVML could not read the power of device 0: code 999"]


@pytest.mark.parametrize("fake", [fake_nvml(init=9), fake_nvml(cards=0)])
def test_a_library_without_its_driver_or_devices_is_refused(fake: Any) -> None:
    with pytest.raises(DeviceError, match="NVML"):
        Library(fake)


def test_the_driver_is_told() -> None:
    assert Library(fake_nvml()).driver() == "470.129.06"
    with pytest.raises(DeviceError, match="could not read the driver's version: code 1"):
        Library(fake_nvml(driver=1)).driver()


def test_the_library_is_opened_once_and_not_before_it_is_asked(monkeypatch: Any) -> None:
    fake = fake_nvml()
    monkeypatch.setattr(importlib, "import_module", lambda name: fake)
    smi = open_nvml()

    assert fake.opened == 0
    smi.read()
    smi.read()
    assert fake.opened == 1


def test_without_library_and_program_both_are_named(monkeypatch: Any) -> None:
    def missing(name: str) -> Any:
        raise ImportError(f"no module {name}")

    monkeypatch.setattr(importlib, "import_module", missing)
    monkeypatch.setenv("PATH", "/nonexistent")
    smi = open_nvml()

    with pytest.raises(DeviceError, match=r"none of nvidia-smi is on PATH.*nvidia-ml-py help: no module pynvml"):
        smi.read()
    with pytest.raises(DeviceError, match="none of nvidia-smi is on PATH"):
        smi.driver()


def test_a_lost_device_takes_only_its_own_readings() -> None:
    smi = open_nvml()
    records = Library(fake_nvml(cards=3, handle_1=15)).read()

    others = matched(smi, records, [DevicePlace(0, "0000:10:00.0"), DevicePlace(2, "0000:12:00.0")])
    (lost, listed) = matched(smi, records, [DevicePlace(1, "0000:11:00.0")]), matched(smi, records, [DevicePlace(1)])

    assert [one.get("card") for one in others] == [0, 2]
    assert lost == [{"error": "nvml lists no device at 0000:11:00.0; it lists 0000:10:00.0, 1, 0000:12:00.0"}]
    assert listed == [{"error": "NVML has no handle of device 1: code 15"}]


def test_a_device_that_is_lost_in_the_run_is_asked_no_more() -> None:
    records = Library(fake_nvml(power=15)).read()

    assert records[0]["complaints"] == ["NVML could not read the power of device 0: code 15"]
    assert "temperature_c" not in records[0]


@pytest.mark.parametrize(
    "lost",
    [
        "Unable to determine the device handle for GPU 0000:1C:00.0: GPU is lost.  Reboot the system to recover it",
        "Unable to determine the device handle for GPU1: 0000:1C:00.0: Unknown Error",
        "1, [GPU is lost]" + 9 * ", [GPU is lost]",
    ],
)
def test_a_lost_devices_line_is_about_that_device_alone(lost: str) -> None:
    records = parse_csv("nvidia-smi", FULL, f"{LINE}\n{lost}\n")
    smi = open_nvml()

    (sample,) = matched(smi, records, [DevicePlace(0, "0000:1b:00.0")])

    assert sample["power_w"] == 250.5
    assert "lost" in records[1]["complaints"][0] or "Unknown Error" in records[1]["complaints"][0]


def test_the_others_are_read_where_a_lost_device_ends_the_tool_with_an_error(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "ixsmi"
    lost = "Unable to determine the device handle for GPU 0000:1C:00.0"
    path.write_text(f"#!/bin/sh\necho '{LINE}'\necho '{lost}'\nexit 15\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    assert open_ixsmi().read()[0]["power_w"] == 250.5
    path.write_text(f"#!/bin/sh\necho 3.1.0\necho 3.1.0\necho '{lost}'\nexit 15\n")
    assert open_ixsmi().driver() == "3.1.0"


@pytest.mark.parametrize("where", ["before", "behind"])
def test_devices_are_read_beside_a_warning_that_ends_the_tool_with_an_error(
    tmp_path: Path, monkeypatch: Any, where: str
) -> None:
    # nvidia-smi(1): return code 14, infoROM is corrupted.
    warning = "WARNING: infoROM is corrupted at gpu 0000:1B:00.0"
    path = tmp_path / "ixsmi"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def prints(line: str) -> None:
        lines = (warning, line) if where == "before" else (line, warning)
        path.write_text("#!/bin/sh\n" + "".join(f"echo '{one}'\n" for one in lines) + "exit 14\n")
        path.chmod(0o755)

    prints(LINE)
    device, complaint = open_ixsmi().read()

    assert device["power_w"] == 250.5
    assert warning in complaint["error"]
    prints("470.129.06")
    assert open_ixsmi().driver() == "470.129.06"


def test_a_lost_device_is_not_among_those_that_a_run_can_use(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "ixsmi"
    path.write_text(f"#!/bin/sh\necho 'Unable to determine the device handle for GPU 0000:1C:00.0'\necho '{LINE}'\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    assert CudaBackend().listed_devices("ixsmi") == [0]


def test_a_refusal_in_words_counts_without_an_exit_code_and_another_name_is_tried(
    tmp_path: Path, monkeypatch: Any
) -> None:
    # Corex 4 is listed by its users with gpu.power.draw; that it refuses with exit code 0 too.
    script = python_script(FAKE.replace("sys.exit(2)", "sys.exit(0)"))
    path = tmp_path / "ixsmi"
    path.write_text(script)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    values = {"index": "0", "memory.used": "1024", "memory.total": "32768", "gpu.power.draw": "55.0"}
    monkeypatch.setenv("FAKE_FIELDS", ",".join(values))
    monkeypatch.setenv("FAKE_VALUES", ",".join(values.values()))

    record, complaint = open_ixsmi().read()

    assert record == {"card": 0, "memory_used_gib": 1.0, "memory_total_gib": 32.0, "power_w": 55.0}
    assert "temperature.gpu, utilization.gpu" in complaint["error"]
    assert "power.draw" not in complaint["error"]


def fake_mig() -> Any:
    """The library with device 1 cut into two instances; handles of instances have memory and UUID alone."""
    fake = fake_nvml()
    fake.nvmlDeviceGetMigMode = lambda card: (int(card == 1), 0)
    fake.nvmlDeviceGetMaxMigDeviceCount = lambda card: 7

    def instance(card: int, at: int) -> str:
        if at > 1:
            raise FakeError(6)
        return f"{at}"

    fake.nvmlDeviceGetMigDeviceHandleByIndex = instance
    fake.nvmlDeviceGetUUID = lambda handle: f"MIG-{handle}" if isinstance(handle, str) else f"GPU-{handle}"
    fake.nvmlDeviceGetMemoryInfo = lambda handle: SimpleNamespace(
        used=2**30 if isinstance(handle, str) else 3 * 2**30, total=40 * 2**30
    )
    return fake


def test_a_mig_instance_is_read_by_its_uuid_and_what_is_not_its_own_is_said_once() -> None:
    smi, records = open_nvml(), Library(fake_mig()).read()

    complaint, sample = matched(smi, records, [DevicePlace(0, "0000:11:00.0", "MIG-1", False)])

    assert complaint["error"].startswith("NVML reads the memory of a MIG instance; power, temperature")
    assert sample == {"source": "nvml", "card": 0, "memory_used_gib": 1.0, "memory_total_gib": 40.0}
    assert [record.get("instance_of") for record in records] == [None, None, 1, 1]
    assert "error" not in matched(smi, records, [DevicePlace(0, "0000:10:00.0", "GPU-0")])[0]


def healthy_nvml(**changes: Any) -> Any:
    """A library with the functions of health, of an A100's kind: rows are remapped and no pages retired."""
    fake = fake_nvml(cards=1)

    def unsupported(*_: Any) -> Any:
        raise FakeError(3)

    functions = {
        "nvmlDeviceGetTotalEccErrors": lambda card, kind, counter: {0: 7, 1: 0}[kind],
        "nvmlDeviceGetRetiredPages": unsupported,
        "nvmlDeviceGetRetiredPagesPendingStatus": unsupported,
        "nvmlDeviceGetRemappedRows": lambda card: (1, 2, 0, 0),
        "nvmlDeviceGetCurrPcieLinkWidth": lambda card: 16,
        "nvmlDeviceGetMaxPcieLinkWidth": lambda card: 16,
        "nvmlDeviceGetCurrPcieLinkGeneration": lambda card: 4,
        "nvmlDeviceGetMaxPcieLinkGeneration": lambda card: 4,
        "nvmlDeviceGetNvLinkState": lambda card, link: int(link < 2),
        "nvmlDeviceGetNvLinkErrorCounter": lambda card, link, kind: 5 if kind == 0 else 0,
    }
    for name, function in {**functions, **changes}.items():
        setattr(fake, name, function)
    return fake


def test_the_library_reads_a_devices_health() -> None:
    (record,) = Library(healthy_nvml()).health()

    assert record == {
        "card": 0,
        "pci": "0000:10:00.0",
        "uuid": "GPU-0",
        "ecc_corrected": 7,
        "ecc_uncorrected": 0,
        "remapped_rows": 3,
        "retirement_pending": False,
        "pcie_width": 16,
        "pcie_width_max": 16,
        "pcie_generation": 4,
        "pcie_generation_max": 4,
        "link_errors": {"nvlink replay": 10, "nvlink recovery": 0, "nvlink crc flit": 0, "nvlink crc data": 0},
    }


def test_the_program_is_asked_for_remapped_rows_too(tmp_path: Path, monkeypatch: Any) -> None:
    def missing(name: str) -> Any:
        raise ImportError(f"no module {name}")

    answers = {
        "--query-gpu=*": f"0, {UUID}, 00000000:1B:00.0, 3, 0, [N/A], [N/A], [N/A], 4, 4, 16, 16",
        "--query-remapped-rows=*": f"00000000:1B:00.0, {UUID}, 1, 2, Yes",
    }
    cases = "".join(f"{option}) echo '{answer}' ;;\n" for option, answer in answers.items())
    path = tmp_path / "nvidia-smi"
    path.write_text(f'#!/bin/sh\ncase "$1" in\n{cases}esac\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(importlib, "import_module", missing)
    health = open_nvml().health
    assert health is not None

    (record,) = health()

    assert (record["card"], record["ecc_corrected"], record["pcie_width"]) == (0, 3.0, 16.0)
    assert (record["remapped_rows"], record["retirement_pending"]) == (3.0, True)
    assert "retired_pages" not in record


def test_a_library_without_functions_of_health_reads_none_and_says_nothing() -> None:
    assert Library(fake_nvml(cards=1)).health() == [{"card": 0, "pci": "0000:10:00.0", "uuid": "GPU-0"}]


def test_the_program_reads_a_devices_health() -> None:
    (record,) = parse_csv("nvidia-smi", HEALTH, f"0, {UUID}, 00000000:1B:00.0, 3, 0, 1, 2, No, 4, 4, 8, 16")

    assert record == {
        "card": 0,
        "uuid": UUID,
        "pci": "0000:1b:00.0",
        "ecc_corrected": 3.0,
        "ecc_uncorrected": 0.0,
        "retired_pages": 3.0,
        "retirement_pending": False,
        "pcie_generation": 4.0,
        "pcie_generation_max": 4.0,
        "pcie_width": 8.0,
        "pcie_width_max": 16.0,
    }


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (0x00, {}),
        (0x01, {}),
        (0x04, {"clock_reasons": "sw_power_cap"}),
        (0x02, {"clock_reasons": "clocks_setting"}),
        (0x08, {"throttle": "hw_slowdown"}),
        (0x20, {"throttle": "sw_thermal"}),
        (0x48, {"throttle": "hw_slowdown, hw_thermal"}),
        (0x84, {"throttle": "power_brake", "clock_reasons": "sw_power_cap"}),
        (0x800, {"clock_reasons": "unknown 0x800"}),
    ],
)
def test_heat_and_a_power_brake_slow_a_device_down_and_a_power_cap_does_not(bits: int, words: dict[str, str]) -> None:
    assert clock_words(bits) == words


@pytest.mark.skipif(importlib.util.find_spec("pynvml") is None, reason="needs nvidia-ml-py (extra: nvidia)")
def test_the_bits_are_those_of_the_library() -> None:
    import pynvml

    names = {
        "HwSlowdown": "hw_slowdown",
        "SwThermalSlowdown": "sw_thermal",
        "HwThermalSlowdown": "hw_thermal",
        "HwPowerBrakeSlowdown": "power_brake",
    }
    for name, word in names.items():
        assert clock_words(getattr(pynvml, f"nvmlClocksThrottleReason{name}")) == {"throttle": word}
    assert clock_words(pynvml.nvmlClocksThrottleReasonSwPowerCap) == {"clock_reasons": "sw_power_cap"}
    assert clock_words(pynvml.nvmlClocksThrottleReasonGpuIdle) == {}
