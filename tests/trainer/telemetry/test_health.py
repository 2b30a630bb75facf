"""Health of a device, out of a root like the kernel's and a stand-in for the vendor's tool."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from evidence.rank_file import EventLog
from trainer.errors import DeviceError
from trainer.telemetry.base import DevicePlace, Smi, Source
from trainer.telemetry.health import HealthReader, aer_errors, health_of, kernel_log, lines_about, pcie_link

PCI = "0000:1b:00.0"
PLACE = DevicePlace(3, PCI)
# As Documentation/ABI/testing/dev-kmsg describes records, with a line of continuation.
XID = "3,1201,512000001,-;NVRM: Xid (PCI:0000:1b:00): 79, pid=1, GPU has fallen off the bus.\n SUBSYSTEM=pci\n"
OTHER = "6,1200,500000000,-;nvidia 0000:1c:00.0: enabling device\n"


def fake_kernel(root: Path, slot: Any = None, kmsg: str = OTHER, **link: str) -> Path:
    """A root with the device behind a port: sysfs's files of both, and the kernel's log."""
    port = root / "sys" / "devices" / "pci0000:00" / "0000:00:01.0"
    device = port / PCI
    device.mkdir(parents=True)
    files = {"current_link_width": "16", "max_link_width": "16"}
    files.update({"current_link_speed": "16.0 GT/s PCIe", "max_link_speed": "16.0 GT/s PCIe", **link})
    for folder, texts in (
        (device, files),
        (port, slot or {"max_link_width": "16", "max_link_speed": "32.0 GT/s PCIe"}),
    ):
        for name, text in texts.items():
            (folder / name).write_text(text + "\n")
    listed = root / "sys" / "bus" / "pci" / "devices"
    listed.mkdir(parents=True)
    (listed / PCI).symlink_to(device)
    (root / "dev").mkdir()
    (root / "dev" / "kmsg").write_text(kmsg)
    return root


def nothing() -> dict[str, Any]:
    return {}


@pytest.mark.parametrize(
    ("link", "slot", "found"),
    [
        ({}, None, (16, 16, 4, 4)),
        ({"current_link_width": "8"}, None, (8, 16, 4, 4)),
        ({"current_link_speed": "2.5 GT/s"}, None, (16, 16, 1, 4)),
        ({"current_link_speed": "8 GT/s"}, {"max_link_width": "8", "max_link_speed": "8.0 GT/s PCIe"}, (16, 8, 3, 3)),
        ({"max_link_width": "255"}, None, (None, None, 4, 4)),
        ({"current_link_width": "0", "current_link_speed": "Unknown"}, None, (None, None, None, None)),
    ],
)
def test_a_link_is_as_wide_and_fast_as_device_and_slot_can_be(
    link: dict[str, str], slot: Any, found: tuple[Any, ...], tmp_path: Path
) -> None:
    read = pcie_link(PCI, fake_kernel(tmp_path, slot, **link))

    names = ("pcie_width", "pcie_width_max", "pcie_generation", "pcie_generation_max")
    assert tuple(read.get(name) for name in names) == found


def test_errors_of_pcie_are_counted_by_their_kind(tmp_path: Path) -> None:
    texts = {
        "aer_dev_fatal": "Undefined 0\nDLP 0\nTOTAL_ERR_FATAL 0",
        "aer_dev_nonfatal": "Undefined 0\nTOTAL_ERR_NONFATAL 2",
        "aer_dev_correctable": "Receiver Error 2\nTOTAL_ERR_COR 2",
    }

    found = aer_errors(PCI, fake_kernel(tmp_path, **texts))

    assert found == {"link_errors": {"pcie fatal": 0, "pcie nonfatal": 2, "pcie correctable": 2}}
    assert aer_errors("0000:99:00.0", tmp_path) == {}


def test_the_kernels_log_has_a_line_a_record(tmp_path: Path) -> None:
    assert kernel_log(fake_kernel(tmp_path, kmsg=OTHER + XID)) == [
        "[  500.000000] nvidia 0000:1c:00.0: enabling device",
        "[  512.000001] NVRM: Xid (PCI:0000:1b:00): 79, pid=1, GPU has fallen off the bus.",
    ]


@pytest.mark.parametrize(
    ("line", "is_about"),
    [
        ("NVRM: Xid (PCI:0000:1b:00): 79", True),
        ("nvidia 0000:1B:00.0: PCIe Bus Error: severity=Uncorrected (Fatal)", True),
        ("AER: Corrected error received: 0000:1b:00.0", True),
        ("GPU 0000:1b:00 is lost", True),
        ("snd_hda_intel 0000:1b:00.1: no codec", False),
        ("nvidia 0000:1b:00.05: no such function", False),
        ("nvidia 0000:1b:001: no such device", False),
        ("nvidia 10000:1b:00.0: another domain", False),
        ("nvidia 0000:1c:00.0: another device", False),
    ],
)
def test_a_line_is_about_a_device_by_its_address(line: str, is_about: bool) -> None:
    assert lines_about(PCI, [line]) == [line] * is_about


def test_only_lines_that_came_since_the_first_reading_are_of_the_run(tmp_path: Path) -> None:
    root = fake_kernel(tmp_path, kmsg=OTHER + XID)
    reader = HealthReader(PLACE, nothing, root)

    before = reader.read("before")
    with (root / "dev" / "kmsg").open("a") as log:
        log.write(XID.replace("512000001", "900000000"))
    after = reader.read("after")

    assert before is not None
    assert after is not None
    assert before.kernel_log == ("[  512.000001] NVRM: Xid (PCI:0000:1b:00): 79, pid=1, GPU has fallen off the bus.",)
    assert after.kernel_log == ("[  900.000000] NVRM: Xid (PCI:0000:1b:00): 79, pid=1, GPU has fallen off the bus.",)


def test_many_lines_are_cut_and_escaped_and_hide_no_other(tmp_path: Path) -> None:
    lines = "".join(f"3,1,{at},-;nvidia {PCI}: \x1b[31m{at} {'x' * 400}\n" for at in range(30)) + XID

    found = HealthReader(PLACE, nothing, fake_kernel(tmp_path, kmsg=lines)).read("after")

    assert found is not None
    assert found.kernel_log is not None
    assert len(found.kernel_log) == 5
    assert "Xid" in found.kernel_log[3]
    assert found.kernel_log[-1] == "and 27 more lines"
    assert all(len(line) <= 300 and line.isprintable() for line in found.kernel_log)


def test_the_tool_has_the_last_word_and_its_name_is_among_the_sources(tmp_path: Path) -> None:
    recorded = {
        "source": "nvml",
        "card": 0,
        "ecc_uncorrected": 0.0,
        "pcie_width_max": 8,
        "link_errors": {"nvlink crc": 1},
    }

    found = HealthReader(PLACE, lambda: recorded, fake_kernel(tmp_path)).read("before")

    assert found is not None
    assert (found.card, found.pci, found.sources) == (3, PCI, ("sysfs", "nvml", "kernel log"))
    assert (found.ecc_uncorrected, found.pcie_width, found.pcie_width_max) == (0, 16, 8)
    assert found.link_errors == {"nvlink crc": 1}
    assert found.absent == {}


def test_a_tool_that_fails_leaves_its_words_and_the_rest_is_read(tmp_path: Path) -> None:
    def fail() -> dict[str, Any]:
        raise DeviceError("none of mx-smi is on PATH")

    found = HealthReader(PLACE, fail, fake_kernel(tmp_path)).read("before")

    assert found is not None
    assert found.absent == {"tool": "none of mx-smi is on PATH"}
    assert (found.pcie_width, found.kernel_log) == (16, ())


def test_an_answer_of_another_form_ends_no_run(tmp_path: Path) -> None:
    found = HealthReader(PLACE, lambda: {"retired_pages": "many", "pcie_width": 0}, fake_kernel(tmp_path)).read("after")

    assert found is not None
    assert "many" in found.absent["tool"]
    assert found.pcie_width == 16


def test_what_cannot_be_read_has_its_reason(tmp_path: Path) -> None:
    without_log, nowhere = HealthReader(PLACE, nothing, tmp_path), HealthReader(DevicePlace(0), nothing, tmp_path)

    found, lost = without_log.read("before"), nowhere.read("before")

    assert found is not None
    assert lost is not None
    assert "No such file" in found.absent["kernel_log"]
    assert found.kernel_log is None
    assert found.sources == ()
    assert lost.absent == {"pci": "neither framework nor tool gives the device's PCI address"}


def test_the_address_may_come_from_the_tool(tmp_path: Path) -> None:
    found = HealthReader(DevicePlace(0), lambda: {"pci": PCI}, fake_kernel(tmp_path)).read("before")

    assert found is not None
    assert (found.pci, found.pcie_width) == (PCI, 16)


def test_a_share_of_the_host_has_no_event(tmp_path: Path) -> None:
    log = EventLog(tmp_path, 0)

    HealthReader(DevicePlace(0), lambda: None).write(log, "before")

    assert log.path.read_text() == ""


def fake_smi(records: Any, health: Any = None) -> Smi:
    return Smi(
        Source("some-smi", (), "", ""), lambda: records, lambda: "1", health=None if health is None else lambda: health
    )


def test_a_device_is_found_among_the_tools_by_its_place() -> None:
    records = [{"card": 0, "pci": "0000:1a:00.0"}, {"card": 1, "pci": PCI, "ecc_uncorrected": 2}]

    assert health_of(fake_smi([], records), PLACE) == {**records[1], "complaints": [], "source": "some-smi"}
    assert health_of(fake_smi([], records), DevicePlace(0, PCI, "MIG-1", False))["ecc_uncorrected"] == 2
    lost = health_of(fake_smi([], records), DevicePlace(0, "0000:99:00.0"))
    assert lost == {"complaints": ["some-smi lists no device at 0000:99:00.0"]}


def test_a_tool_without_health_still_gives_the_address() -> None:
    smi = fake_smi([{"card": 0, "pci": PCI, "power_w": 3.0}])

    assert health_of(smi, DevicePlace(0)) == {"pci": PCI}
    assert health_of(smi, PLACE) == {}


@pytest.mark.skipif(not os.path.exists("/sys/bus/pci/devices"), reason="the kernel has no PCI devices")
def test_this_machines_own_files_are_read_without_a_fault() -> None:
    for path in Path("/sys/bus/pci/devices").iterdir():
        for name, value in pcie_link(path.name).items():
            assert value > 0, name
