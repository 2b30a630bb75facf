"""The environment of a run: read from a made-up root, absent with a reason; and where in its host a rank runs."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evidence.codec import decode, dumps, encode
from evidence.events.host import Environment, Interface, Port
from trainer.devices import load_backend
from trainer.devices.base import DeviceInfo, Inventory
from trainer.probes.environment import (
    container_sign,
    device_numa_node,
    ethernet_speeds,
    format_list,
    gather,
    infiniband_ports,
    machine,
    operating_system,
    parse_list,
    parse_os_release,
    placement,
)
from trainer.settings import Settings

UBUNTU = 'NAME="Ubuntu"\nVERSION_ID="20.04"\nPRETTY_NAME="Ubuntu 20.04.6 LTS"\nHOME_URL=https://example\n'


def put(root: Path, **files: str) -> Path:
    """Write files below a root; in names, `__` stands for a slash and `DOT` for a point."""
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("DOT", ".").replace("DASH", "-")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def port(root: Path, device: str = "mlx5_0", number: str = "1", **facts: str) -> Path:
    folder = root / "sys/class/infiniband" / device / "ports" / number
    folder.mkdir(parents=True)
    for name, text in facts.items():
        (folder / name).write_text(text + "\n")
    return root


class FakeBackend:
    """As much of a backend as an inventory needs."""

    def __init__(self, answer: Any, framework: Any = None) -> None:
        self._answer = answer
        self._framework = framework or {}

    def framework_versions(self) -> dict[str, str]:
        if isinstance(self._framework, Exception):
            raise self._framework
        found: dict[str, str] = self._framework
        return found

    def inventory(self, device: DeviceInfo, smi: str) -> Inventory:
        if isinstance(self._answer, Exception):
            raise self._answer
        found: Inventory = self._answer() if callable(self._answer) else self._answer
        return found


def gathered(root: Path, answer: Any = None, framework: Any = None, **changes: Any) -> Environment:
    settings = Settings(run_dir=root, data=root, pretrained_backbone=False, **changes)
    backend: Any = FakeBackend(Inventory() if answer is None else answer, framework)
    return gather(settings, backend, DeviceInfo("XPU", 0, 32.0, "4.0.25"), root)


def test_a_machine_is_what_its_firmware_calls_it(tmp_path: Path) -> None:
    put(tmp_path, sys__class__dmi__id__sys_vendor="Kunlunxin\n", sys__class__dmi__id__product_name="R480-X8\n")

    assert machine(tmp_path) == {"vendor": "Kunlunxin", "product": "R480-X8"}


def test_what_nobody_filled_in_is_no_name(tmp_path: Path) -> None:
    names = {"sys_vendor": "To Be Filled By O.E.M.", "product_name": "System Product Name"}
    put(tmp_path, **{f"sys__class__dmi__id__{name}": text for name, text in names.items()})

    assert machine(tmp_path) == {}
    assert gathered(tmp_path).absent["machine"] == "nothing found"


def test_the_rate_of_infiniband_is_the_kernels_word(tmp_path: Path) -> None:
    port(tmp_path, link_layer="InfiniBand", rate="200 Gb/sec (4X HDR)", state="4: ACTIVE")
    port(tmp_path, "mlx5_1", link_layer="Ethernet", rate="100 Gb/sec (4X EDR)")

    assert infiniband_ports(tmp_path) == (
        Port("mlx5_0", "1", "InfiniBand", "200 Gb/sec (4X HDR)", "4: ACTIVE"),
        Port("mlx5_1", "1", "Ethernet", "100 Gb/sec (4X EDR)"),
    )


def test_interfaces_without_a_device_or_a_speed_are_left_out(tmp_path: Path) -> None:
    put(tmp_path, sys__class__net__eth0__device__x="", sys__class__net__eth0__speed="25000\n")
    put(tmp_path, sys__class__net__eth1__device__x="", sys__class__net__eth1__speed="-1\n")
    put(tmp_path, sys__class__net__docker0__speed="10000\n")

    assert ethernet_speeds(tmp_path) == (Interface("eth0", 25000),)


@pytest.mark.parametrize(
    ("files", "sign"),
    [
        ({}, ""),
        ({"DOTdockerenv": ""}, "/.dockerenv"),
        ({"run__DOTcontainerenv": ""}, "/run/.containerenv"),
        ({"proc__1__cgroup": "0::/kubepods/pod1\n"}, "/proc/1/cgroup: kubepods"),
        ({"proc__1__cgroup": "0::/init.scope\n"}, ""),
    ],
)
def test_a_container_shows_in_its_files(tmp_path: Path, files: dict[str, str], sign: str) -> None:
    assert container_sign(put(tmp_path, **files)) == sign


def test_the_system_of_a_container_is_its_images_unless_the_hosts_was_put_there(tmp_path: Path) -> None:
    put(tmp_path, etc__osDASHrelease=UBUNTU.replace("20.04", "18.04"))

    inside = operating_system(tmp_path, inside=True)
    outside = operating_system(tmp_path, inside=False)
    put(tmp_path, run__host__osDASHrelease=UBUNTU)
    found = operating_system(tmp_path, inside=True)

    assert (inside["version"], inside["of"]) == ("18.04", "image")
    assert (outside["version"], outside["of"]) == ("18.04", "host")
    assert found == {"name": "Ubuntu", "version": "20.04", "pretty": "Ubuntu 20.04.6 LTS", "of": "host"}


def test_os_release_is_unquoted_and_other_lines_are_left_out() -> None:
    text = '# a comment\nNAME=\'It\'\nVERSION_ID=12\nPRETTY_NAME="a \\"b\\""\nnonsense\nlower=1\n'

    assert parse_os_release(text) == {"NAME": "It", "VERSION_ID": "12", "PRETTY_NAME": 'a "b"'}


def test_an_empty_root_gives_reasons_and_no_exception(tmp_path: Path) -> None:
    facts = gathered(tmp_path)

    assert {"machine", "network", "ethernet", "os", "image", "container"} <= set(facts.absent)
    assert "No such file or directory" in facts.absent["machine"]
    assert facts.kernel
    assert facts.driver == "4.0.25"
    assert facts.card_memory_gib == (32.0,)
    assert facts.packages["torch"] == torch.__version__


def test_judging_reads_what_is_written(tmp_path: Path) -> None:
    port(tmp_path, link_layer="InfiniBand", rate="200 Gb/sec (4X HDR)", state="4: ACTIVE")
    put(tmp_path, etc__osDASHrelease=UBUNTU, sys__class__dmi__id__sys_vendor="V", sys__class__dmi__id__product_name="P")

    written = gathered(tmp_path, Inventory(8, ("R300",), (32.0,) * 8, "4.0.31"))
    facts = decode(Environment, json.loads(dumps(encode(written))))

    assert facts == written
    assert (facts.machine_name, facts.os["pretty"], facts.driver) == ("V P", "Ubuntu 20.04.6 LTS", "4.0.31")
    assert (facts.card_count, facts.cards) == (8, ("R300", "XPU"))
    assert facts.network[0].rate == "200 Gb/sec (4X HDR)"


def test_a_tool_that_fails_leaves_its_reason_and_the_rest(tmp_path: Path) -> None:
    facts = gathered(tmp_path, OSError("the tool is gone"))

    assert facts.absent["card_count"] == "the tool is gone"
    assert facts.driver == "4.0.25"


def test_the_frameworks_own_version_stands_beside_those_of_the_packages(tmp_path: Path) -> None:
    facts = gathered(tmp_path, framework={"torch_xmlir": "XPYTORCH: XMLIR--e70db8f6"})
    broken = gathered(tmp_path, framework=OSError("no --doctor"))

    assert facts.packages["torch_xmlir"] == "XPYTORCH: XMLIR--e70db8f6"
    assert facts.packages["torch"] == broken.packages["torch"] == torch.__version__
    assert broken.absent["framework"] == "no --doctor"
    assert facts.architecture


def test_a_library_that_hangs_is_left_behind(tmp_path: Path, monkeypatch: Any) -> None:
    never = threading.Event()
    monkeypatch.setattr("trainer.probes.environment._PATIENCE_S", 0.05)

    facts = gathered(tmp_path, lambda: never.wait() and Inventory())
    never.set()

    assert facts.absent["card_count"] == "the devices' tool did not answer within 0.05 s"


def test_of_the_variables_only_the_one_that_names_the_image_is_read(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("CONFORMANCE_IMAGE", "pytorch1.12.1-cpu-ubuntu18.04:v0.04")
    monkeypatch.setenv("SOME_TOKEN", "a-secret-value")
    monkeypatch.setenv("USER", "somebody-by-name")

    written = dumps(encode(gathered(tmp_path)))

    assert json.loads(written)["image"] == "pytorch1.12.1-cpu-ubuntu18.04:v0.04"
    assert "a-secret-value" not in written
    assert "somebody-by-name" not in written


def test_the_backbone_is_known_by_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "resnet50.pth"
    path.write_bytes(b"weights")

    assert gathered(tmp_path, backbone=path).backbone_sha256 == hashlib.sha256(b"weights").hexdigest()
    assert "No such file" in gathered(tmp_path, backbone=tmp_path / "gone").absent["backbone_sha256"]


def test_a_name_that_is_no_text_can_be_written(tmp_path: Path) -> None:
    device = os.fsencode(str(tmp_path)) + b"/sys/class/infiniband/mlx\xff"
    os.makedirs(device + b"/ports/1")

    dumps(encode(gathered(tmp_path)), indent=1).encode("utf-8")


def test_the_simulated_devices_are_those_of_the_ranks(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.delenv("VIRTUAL_VISIBLE_DEVICES", raising=False)
    backend = load_backend("virtual")
    threads = torch.get_num_threads()
    card = backend.open(0, 4)
    torch.set_num_threads(threads)

    found = backend.inventory(card)

    assert (found.count, found.names, found.driver) == (4, ("Virtual accelerator",), "simulated")


CPUS = st.sets(st.integers(0, 4096))


def numa_machine(folder: Path, nodes: dict[str, str], memory: str = "0-1") -> Path:
    """Return the root of a machine whose nodes have these CPUs."""
    for name, cpus in nodes.items():
        node = folder / "sys" / "devices" / "system" / "node" / name
        node.mkdir(parents=True)
        (node / "cpulist").write_text(cpus + "\n", encoding="ascii")
    status = folder / "proc" / "self" / "status"
    status.parent.mkdir(parents=True)
    status.write_text(f"Name:\tpython\nMems_allowed:\t3\nMems_allowed_list:\t{memory}\n", encoding="ascii")
    return folder


def pci(folder: Path, address: str, node: str) -> Path:
    device = folder / "sys" / "bus" / "pci" / "devices" / address
    device.mkdir(parents=True)
    (device / "numa_node").write_text(node + "\n", encoding="ascii")
    return folder


@given(CPUS)
def test_a_list_that_was_written_reads_the_same(cpus: set[int]) -> None:
    assert parse_list(format_list(cpus)) == sorted(cpus)


@given(CPUS)
def test_a_list_is_as_short_as_it_can_be(cpus: set[int]) -> None:
    begins = sum(cpu - 1 not in cpus for cpu in cpus)

    assert len(list(filter(None, format_list(cpus).split(",")))) == begins


@pytest.mark.parametrize(
    ("text", "numbers"), [("", []), ("\n", []), ("7\n", [7]), ("0-3,8", [0, 1, 2, 3, 8]), ("8,0-1", [0, 1, 8])]
)
def test_a_list_reads_as_the_kernel_means_it(text: str, numbers: list[int]) -> None:
    assert parse_list(text) == numbers


@pytest.mark.parametrize("text", ["a", "0-", "-1", "0-3-5", "0 1", "0-99999999999999", "٣"])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is neither a number nor a range"):
        parse_list(text)


def test_the_nodes_are_those_of_the_ranks_own_cpus(tmp_path: Path) -> None:
    root = numa_machine(tmp_path, {"node0": "0-3,16-19", "node1": "4-7", "node10": "8-15", "node2": ""})

    assert placement(root, [2, 3, 8]) == {"cpus": "2-3,8", "numa_nodes": [0, 10], "memory_nodes": [0, 1]}


def test_a_machine_that_tells_nothing_has_no_nodes(tmp_path: Path) -> None:
    assert placement(tmp_path, [0]) == {"cpus": "0", "numa_nodes": [], "memory_nodes": []}


def test_files_that_hold_something_else_are_passed_over(tmp_path: Path) -> None:
    root = numa_machine(tmp_path, {"node0": "0-1", "node1": "what?"}, memory="what?")

    assert placement(root, [0]) == {"cpus": "0", "numa_nodes": [0], "memory_nodes": []}


def test_on_this_machine_the_cpus_are_those_that_the_kernel_grants() -> None:
    assert parse_list(placement()["cpus"]) == sorted(os.sched_getaffinity(0))


def test_a_devices_node_is_found_by_its_address_as_tools_write_it(tmp_path: Path) -> None:
    root = pci(tmp_path, "0000:1b:00.0", "1")

    for address in ("0000:1b:00.0", "00000000:1B:00.0", " 0000:1B:00.0\n"):
        assert device_numa_node(address, root) == 1


def test_an_address_in_another_domain_is_another_device(tmp_path: Path) -> None:
    root = pci(pci(tmp_path, "0000:1b:00.0", "0"), "10000:1b:00.0", "1")

    assert (device_numa_node("00010000:1b:00.0", root), device_numa_node("00000000:1b:00.0", root)) == (1, 0)


@pytest.mark.parametrize("node", ["-1", "", "none"])
def test_a_device_whose_node_is_not_told_has_none(tmp_path: Path, node: str) -> None:
    assert device_numa_node("0000:1b:00.0", pci(tmp_path, "0000:1b:00.0", node)) is None


@pytest.mark.parametrize("address", [None, "", "0000:1b:00.9", "../../../../etc", "0000:ff:00.0", "0000:1b:00.0/.."])
def test_what_is_no_address_of_a_device_here_has_no_node(tmp_path: Path, address: str | None) -> None:
    assert device_numa_node(address, pci(tmp_path, "0000:1b:00.0", "1")) is None
