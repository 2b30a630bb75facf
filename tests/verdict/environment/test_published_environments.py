"""The four published environments, each on a machine made to match it (fake_machine.py), read by the real probe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Mapping

import pytest

from evidence.bundle import read_run
from evidence.codec import encode
from expected import Device
from tests.fake_machine import MACHINES, FakeMachine
from tests.suite.stored import bundle_of
from tests.support import device_of
from verdict.environment.claims import Claims
from verdict.environment.findings import EnvironmentFinding, environment_findings
from verdict.environment.items import BACKBONE_SHA256

AMPERE_TORCH = Claims(under_test={"torch": "1.12.1+cu113"})
"""The A100's torch is older than what this suite runs on."""

# As FlagPerf's documents print an environment: one item for machine and device, the engine's version, an architecture
# behind the kernel, a wheel's file name, and "none". What the tables do not have is made up.
PRINTED: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "r300": {
        "hardware": {
            "machine_and_card": "昆仑芯AI加速器组R480-X8、昆仑芯AI加速卡R300",
            "network": "InfiniBand，200Gb/s",
        },
        "software": {
            "kernel": "5.4.0-26-generic x86_64",
            "docker": "20.10.8",
            "framework": "xmlir+e70db8f6",
            "dependencies": "无",
        },
    },
    "a100": {
        "hardware": {"machine_and_card": "NVIDIA_A100-SXM4-40GB", "network": "InfiniBand，200Gb/s"},
        "software": {
            "os": "Ubuntu 18.04",
            "kernel": "5.4.0-113-generic",
            "driver": "470.129.06",
            "docker": "20.10.16",
            "framework": "pytorch-1.8.0a0+52ea372",
            "dependencies": "无",
        },
    },
    "c500": {
        "hardware": {"machine_and_card": "MetaX C500 64G", "network": "无"},
        "software": {
            "os": "Ubuntu 20.04",
            "kernel": "Linux 5.4.0-26-generic x86_64",
            "driver": "2.2.0",
            "docker": "20.10.8",
            "framework": "pytorch-2.0.0+mc2.18.0.8-cp38-cp38-linux_x86_64.whl",
            "dependencies": "无",
        },
    },
    "bi_v100": {
        "hardware": {"machine_and_card": "Iluvatar BI-V100 32GB", "network": "无"},
        "software": {
            "kernel": "5.4.0-26-generic",
            "driver": "3.1.0",
            "docker": "20.10.8",
            "framework": "torch-1.13.1+corex.3.1.0-cp38-cp38-linux_x86_64.whl",
            "dependencies": "无",
        },
    },
}


def findings(
    machine: FakeMachine, device: Device, folder: Path, monkeypatch: Any, claims: Claims
) -> dict[str, EnvironmentFinding]:
    """What comes of a machine's environment, beside what is stated of `device`, by item."""
    environment = encode(machine.environment(folder / "machine", monkeypatch))
    bundle = bundle_of(device.marker, "1x1", steps=40)
    bundle.run["cell"]["topology"] = "2x8"  # where the network between machines is asked about; one rank says enough
    bundle.one("start").update(device_name=machine.name, capacity_gib=machine.memory_mib / 1024)
    bundle.one("environment").update({**environment, "backbone_sha256": BACKBONE_SHA256 + "0" * 56})
    evidence = read_run(bundle.write(folder / "run"))
    return {one.item: one for one in environment_findings(evidence, device, claims) if one.stated}


@pytest.mark.parametrize("marker", MACHINES)
def test_every_item_of_a_shipped_table_matches_on_its_machine(marker: str, tmp_path: Path, monkeypatch: Any) -> None:
    claims = AMPERE_TORCH if marker == "a100" else Claims()

    found = findings(MACHINES[marker], device_of(marker), tmp_path, monkeypatch, claims)

    assert {item: (one.verdict, one.reason) for item, one in found.items() if one.verdict != "match"} == {}
    assert {"card", "card_count", "card_memory", "driver", "torch"} <= set(found)


@pytest.mark.parametrize("marker", MACHINES)
def test_every_item_as_documents_print_it_matches_on_its_machine(marker: str, tmp_path: Path, monkeypatch: Any) -> None:
    shipped = device_of(marker)
    printed = replace(shipped, environment=PRINTED[marker])
    stated = {"docker": PRINTED[marker]["software"]["docker"]}
    claims = Claims(AMPERE_TORCH.under_test if marker == "a100" else {}, stated)

    found = findings(MACHINES[marker], printed, tmp_path, monkeypatch, claims)

    assert {item: (one.verdict, one.reason) for item, one in found.items() if one.verdict != "match"} == {}
    assert {"card", "kernel", "framework", "docker"} <= set(found)
    assert "dependencies" not in found
    assert found["docker"].declared == stated["docker"]


@pytest.mark.parametrize(
    ("change", "item", "verdict"),
    [
        ({"product": "NF5468M6"}, "machine", "unknown"),
        ({"model": "R200"}, "card", "differs"),
        ({"model": "----"}, "card", "unknown"),
        ({"devices": 4}, "card_count", "differs"),
        ({"memory_mib": 16384}, "card_memory", "differs"),
        ({"rate": "100 Gb/sec (4X EDR)"}, "network", "differs"),
        ({"link_layer": "Ethernet"}, "network", "differs"),
        ({"system": "Ubuntu 22.04"}, "os", "differs"),
        ({"kernel": "5.15.0-1-generic"}, "kernel", "differs"),
        ({"driver": "4.0.31"}, "driver", "differs"),
        ({"driver": "4.0"}, "driver", "unknown"),
        ({"image": ""}, "image", "unknown"),
        ({"revision": "1a2b3c4d"}, "framework", "differs"),
        ({"revision": "main"}, "framework", "match"),  # --doctor has the revision
        ({"python": "3.9.1"}, "python", "differs"),
        ({"torch": "1.13.1"}, "torch", "differs"),
        ({"torch": "1.13.1"}, "dependencies", "differs"),
        ({"torchvision": "0.14.1"}, "torchvision", "differs"),
        ({"packages": {"numpy": "1.24.0", "Pillow": "9.5.0", "xmlir": "0.0.1"}}, "numpy", "differs"),
    ],
)
def test_a_machine_that_is_not_as_the_table_says_is_found_out(
    change: Mapping[str, Any], item: str, verdict: str, tmp_path: Path, monkeypatch: Any
) -> None:
    machine = replace(MACHINES["r300"], **change)

    found = findings(machine, device_of("r300"), tmp_path, monkeypatch, Claims())

    assert found[item].verdict == verdict


def test_a_kernel_of_another_architecture_differs(tmp_path: Path, monkeypatch: Any) -> None:
    machine = replace(MACHINES["r300"], architecture="aarch64")
    device = replace(device_of("r300"), environment=PRINTED["r300"])

    found = findings(machine, device, tmp_path, monkeypatch, Claims())

    assert (found["kernel"].verdict, found["kernel"].reason) == ("differs", "the architecture is aarch64")
