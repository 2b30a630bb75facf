"""A vendor's words against a machine's: what agrees, what differs, and what nobody can tell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.events.host import Port
from verdict.environment.packages import compare_packages
from verdict.environment.stated import (
    Answer,
    compare_image,
    compare_kernel,
    compare_machine,
    compare_model,
    compare_network,
    compare_system,
    compare_version,
    is_demand,
    is_exact,
    split_machine,
    worst,
)


@pytest.mark.parametrize(
    ("stated", "found", "verdict"),
    [
        ("3.8", "3.8.18", "match"),
        ("3.8", "3.8", "match"),
        ("3.8", "3.80.1", "differs"),
        ("4.0.25", "4.0.25-1ubuntu1", "match"),
        ("4.0.25", "4.0.25-rc1", "differs"),
        ("4.0.25", "4.0.25.dev3", "differs"),
        ("4.0.25", "4.0.25~beta", "differs"),
        ("4.0.25", "4.0.25.RC2", "differs"),
        ("3.8", "3.9.1", "differs"),
        ("1.12.1+cpu", "1.12.1+cpu", "match"),
        ("1.12.1+cpu", "1.12.1", "differs"),
        ("1.12.1+cpu", "1.12.1+cpu.1", "differs"),
        ("1.12.1", "1.12.1+cpu", "match"),
        ("1.8.0a0+52ea372", "1.8.0", "differs"),
        ("1.8.0", "1.8.0a0+52ea372", "differs"),
        ("1.12 or later", "1.12.1+cpu", "match"),
        ("1.12 or later", "2.15.0", "match"),
        ("1.12 or later", "1.12", "match"),
        ("1.12 or later", "1.9.1", "differs"),
        (">= 1.12", "1.11", "differs"),
        ("1.12及以上", "1.13", "match"),
        ("1.12 or later", "unknown", "unknown"),
        ("5.4.0-26-generic", "5.4.0-26-generic", "match"),
        ("5.4.0-26-generic", "5.4.0-27-generic", "differs"),
        ("5.4.0", "5.4.0-26-generic", "match"),
        ("4.0.25", "4.0.31", "differs"),
        ("4.0.25", "4.0", "unknown"),
        ("４.０.25", "4.0.25", "match"),
        ("the newest", "4.0", "unknown"),
    ],
)
def test_versions_agree_as_far_as_stated(stated: str, found: str, verdict: str) -> None:
    assert compare_version(stated, found).verdict == verdict


@pytest.mark.parametrize(
    ("stated", "found", "verdict"),
    [
        ("昆仑芯AI加速卡R300", "R300", "match"),
        ("昆仑芯AI加速卡R300", "Kunlunxin R300", "match"),
        ("昆仑芯AI加速卡R300", "Kunlunxin XPU", "unknown"),
        ("昆仑芯AI加速卡R300", "Kunlunxin R200", "differs"),
        ("昆仑芯AI加速卡R300", "R3000", "unknown"),
        ("昆仑芯AI加速卡", "R300", "unknown"),
        ("NVIDIA A100 40G", "NVIDIA A100-SXM4-40GB", "match"),
        ("NVIDIA A100 40G", "NVIDIA A100-PCIE-40GB", "match"),
        ("NVIDIA A100 40G", "NVIDIA A100 80GB PCIe", "differs"),
        ("NVIDIA A100 40G", "NVIDIA H100 80GB HBM3", "differs"),
        ("NVIDIA A100 40G", "Graphics Device", "unknown"),
        ("Iluvatar BI-V100 32G", "Iluvatar BI-V100", "match"),
        ("Iluvatar BI-V100 32G", "Tesla V100-SXM2-32GB", "differs"),
        ("Tesla V100", "Iluvatar BI-V100", "unknown"),
        ("MetaX C500 64G", "MXC500", "match"),
        ("MetaX C500 64G", "MetaX C500", "match"),
        ("MetaX C500 64G", "MetaX C550", "differs"),
    ],
)
def test_a_device_is_of_the_model_that_its_name_has(stated: str, found: str, verdict: str) -> None:
    assert compare_model(stated, found).verdict == verdict


@pytest.mark.parametrize(
    ("found", "verdict"),
    [("Kunlunxin R480-X8", "match"), ("Inspur NF5468M6", "unknown"), ("R480-X16", "unknown"), ("R480", "unknown")],
)
def test_a_machine_by_another_name_may_be_the_stated_one(found: str, verdict: str) -> None:
    assert compare_machine("昆仑芯AI加速器组R480-X8", found).verdict == verdict


@pytest.mark.parametrize(
    ("stated", "name", "version", "verdict"),
    [
        ("Ubuntu 20.04", "Ubuntu", "20.04", "match"),
        ("Ubuntu 20.04", "Ubuntu", "20.04.6", "match"),
        ("Ubuntu 20.04 LTS", "Ubuntu", "20.04", "match"),
        ("Ubuntu 20.04.6", "Ubuntu", "20.04", "unknown"),
        ("Ubuntu 20.04", "Ubuntu", "22.04", "differs"),
        ("Ubuntu 20.04", "Debian GNU/Linux", "20.04", "differs"),
        ("Ubuntu", "Ubuntu", "22.04", "match"),
        ("Ubuntu 20.04", "Ubuntu", "", "unknown"),
        ("Ubuntu 20.04", "", "20.04", "unknown"),
        ("20.04", "Ubuntu", "20.04", "unknown"),
        ("CentOS 7.6", "CentOS Linux", "7", "unknown"),
    ],
)
def test_a_system_agrees_in_name_and_in_version_as_far_as_stated(
    stated: str, name: str, version: str, verdict: str
) -> None:
    assert compare_system(stated, name, [version]).verdict == verdict


def port(
    layer: str | None = "InfiniBand", rate: str | None = "200 Gb/sec (4X HDR)", state: str | None = "4: ACTIVE"
) -> Port:
    return Port("mlx5_0", "1", layer, rate, state)


@pytest.mark.parametrize(
    ("stated", "ports", "verdict"),
    [
        ("InfiniBand，200Gb/s", [port()], "match"),
        ("IB 200 Gbps", [port()], "match"),
        ("InfiniBand", [port(rate="100 Gb/sec (4X EDR)")], "match"),
        ("InfiniBand，200Gb/s", [port(rate="100 Gb/sec (4X EDR)")], "differs"),
        ("InfiniBand，200Gb/s", [port(rate="400 Gb/sec (4X NDR)")], "differs"),
        ("InfiniBand，200Gb/s", [port(rate="100 Gb/sec (4X EDR)"), port()], "match"),
        ("InfiniBand，200Gb/s", [port("Ethernet")], "differs"),
        ("RoCE 200Gb/s", [port("Ethernet")], "match"),
        ("RoCE v2, 100Gb/s", [port()], "differs"),
        ("InfiniBand，200Gb/s", [port(state="1: DOWN")], "differs"),
        ("InfiniBand，200Gb/s", [port(state="2: INIT"), port(rate="100 Gb/sec (4X EDR)")], "differs"),
        ("InfiniBand，200Gb/s", [port(state=None)], "unknown"),
        ("InfiniBand，200Gb/s", [port(rate=None)], "unknown"),
        ("InfiniBand，200Gb/s", [port(layer=None)], "unknown"),
        ("InfiniBand，200Gb/s", [], "unknown"),
        ("10 GbE", [port("Ethernet")], "unknown"),
    ],
)
def test_one_active_port_of_the_kind_has_the_rate(stated: str, ports: list[Port], verdict: str) -> None:
    assert compare_network(stated, ports).verdict == verdict


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ("pytorch1.12.1-cpu-ubuntu18.04:v0.04", "match"),
        ("registry.example:5000/klx/pytorch1.12.1-cpu-ubuntu18.04:v0.04@sha256:00ff", "match"),
        ("pytorch1.12.1-cpu-ubuntu18.04:v0.05", "differs"),
        ("other-pytorch1.12.1-cpu-ubuntu18.04:v0.04", "differs"),
    ],
)
def test_an_image_agrees_with_name_and_tag(found: str, verdict: str) -> None:
    assert compare_image("pytorch1.12.1-cpu-ubuntu18.04:v0.04", found).verdict == verdict


@pytest.mark.parametrize(
    ("stated", "installed", "found", "verdict"),
    [
        ("pytorch-1.12.1+cpu", {"torch": "1.12.1+cpu"}, "torch 1.12.1+cpu", "match"),
        ("pytorch-1.12.1+cpu", {"torch": "1.13.0"}, "torch 1.13.0", "differs"),
        ("pytorch-1.12.1+cpu", {}, "", "unknown"),
        ("xmlir+e70db8f6", {"torch_xmlir": "1.0+e70db8f6"}, "torch_xmlir 1.0+e70db8f6", "match"),
        ("xmlir+e70db8f6", {"torch_xmlir": "1.0+ffffffff"}, "torch_xmlir 1.0+ffffffff", "differs"),
        ("xmlir+e70db8f6", {"torch_xmlir": "1.0"}, "torch_xmlir 1.0", "unknown"),
        ("torch 1.12；numpy=1.23.5", {"torch": "1.12.1", "numpy": "1.23.4"}, "torch 1.12.1, numpy 1.23.4", "differs"),
        ("torch 1.12、gcc 9", {"torch": "1.12.1"}, "torch 1.12.1", "unknown"),
        ("/", {"torch": "1.12.1"}, "", "unknown"),
    ],
)
def test_every_package_of_a_list_has_to_agree(stated: str, installed: dict[str, str], found: str, verdict: str) -> None:
    shown, answer = compare_packages(stated, installed)

    assert (shown, answer.verdict) == (found, verdict)


@pytest.mark.parametrize(
    ("text", "demands"),
    [("any x86-64 machine", False), ("Any", False), (" ", False), ("anyway 3", True), ("R300", True)],
)
def test_a_text_that_fits_every_machine_demands_nothing(text: str, demands: bool) -> None:
    assert is_demand(text) is demands


def test_of_no_answer_nothing_is_known() -> None:
    assert worst([]) == Answer("unknown")


@given(st.text(), st.text())
def test_no_text_makes_a_rule_fail(stated: str, found: str) -> None:
    for compare in (compare_version, compare_model, compare_machine, compare_image):
        assert compare(stated, found).verdict in ("match", "differs", "unknown")
    assert compare_system(stated, found, [found]).verdict in ("match", "differs", "unknown")
    assert compare_network(stated, [port(found, found, found)]).verdict in ("match", "differs", "unknown")
    assert compare_packages(stated, {"torch": found})[1].verdict in ("match", "differs", "unknown")


@given(
    st.from_regex(r"[0-9]{1,2}(\.[0-9]{1,2}){0,3}", fullmatch=True),
    st.from_regex(r"(\.[0-9]{1,2}){0,2}", fullmatch=True),
)
def test_a_version_agrees_with_itself_and_with_all_below_it(stated: str, below: str) -> None:
    assert compare_version(stated, stated + below).verdict == "match"


@pytest.mark.parametrize("text", ["无", "无。", "None", "/", " - ", "N/A", "any x86-64 machine", ""])
def test_what_demands_nothing(text: str) -> None:
    assert not is_demand(text)
    assert not is_exact(text)


@pytest.mark.parametrize(("text", "exact"), [("4.0.31", True), ("1.12 or later", False), ("无线网卡", True)])
def test_what_demands_something(text: str, exact: bool) -> None:
    assert is_demand(text)
    assert is_exact(text) is exact


@pytest.mark.parametrize(
    ("text", "device", "parts"),
    [
        ("昆仑芯AI加速器组R480-X8、昆仑芯AI加速卡R300", "R300", ("昆仑芯AI加速器组R480-X8", "昆仑芯AI加速卡R300")),
        ("NVIDIA_A100-SXM4-40GB", "A100 40G", ("", "NVIDIA_A100-SXM4-40GB")),
        ("BI-V100，NF5468M6", "BI-V100 32G", ("NF5468M6", "BI-V100")),
        ("DGX A100 / A100 40G", "A100 40G", ("DGX A100", "A100 40G")),
    ],
)
def test_one_item_for_both_is_split(text: str, device: str, parts: tuple[str, str]) -> None:
    assert split_machine(text, device) == parts


@pytest.mark.parametrize(
    ("stated", "found", "architecture", "verdict"),
    [
        ("4.15.0-156-generic x86_64", "4.15.0-156-generic", "x86_64", "match"),
        ("4.15.0-156-generic x86_64", "4.15.0-156-generic", "amd64", "match"),
        ("4.15.0-156-generic x86_64", "4.15.0-156-generic", "aarch64", "differs"),
        ("4.15.0-156-generic x86_64", "4.15.0-156-generic", "", "unknown"),
        ("4.15.0-156-generic x86_64", "4.15.0-157-generic", "x86_64", "differs"),
        ("Linux 4.15.0 aarch64", "4.15.0-156-generic", "aarch64", "match"),
        ("3.10.0-957.el7.x86_64", "3.10.0-957.el7.x86_64", "x86_64", "match"),
        ("4.15.0 and 5.4.0", "4.15.0", "x86_64", "unknown"),
        ("4.15.0 x86_64 aarch64", "4.15.0", "x86_64", "unknown"),
    ],
)
def test_a_kernel_may_have_its_architecture_behind_it(stated: str, found: str, architecture: str, verdict: str) -> None:
    assert compare_kernel(stated, found, architecture).verdict == verdict


LISTED = {"xmlir": "0.0.1", "torch_xmlir": "XPYTORCH: XMLIR--e70db8f6"}


@pytest.mark.parametrize(
    ("stated", "installed", "verdict"),
    [
        ("xmlir+e70db8f6", LISTED, "match"),
        ("xmlir+e70db8f", LISTED, "match"),
        ("xmlir-0.0.1", LISTED, "match"),
        ("xmlir-0.0.2", LISTED, "differs"),
        ("xmlir-0.0.1", {"torch_xmlir": LISTED["torch_xmlir"]}, "unknown"),
        ("xmlir+1a2b3c4d", LISTED, "differs"),
        ("xmlir+e70db8f6", {"xmlir": "0.0.1"}, "unknown"),
        ("xmlir+e70db8f6", {"xmlir": "0.0.1", "torch_xmlir": "XPYTORCH: XMLIR--20230706"}, "unknown"),
        ("xmlir+e70db8f6", {"torch_xmlir": "XPYTORCH: XMLIR--e70db8f"}, "unknown"),
        ("xmlir+e70db8f6", {"xmlir": "0.0.1+e70db8f6"}, "match"),
        ("xmlir+e70db8f6", {"torch_xmlir": "1.0+e70db8f6"}, "match"),
        ("xmlir+e70db8f6", {}, "unknown"),
        ("pytorch-2.0.0+mc2-cp38-cp38-linux_x86_64.whl", {"torch": "2.0.0+mc2", "python": "3.8.18"}, "match"),
        ("pytorch-2.0.0+mc2-cp38-cp38-linux_x86_64.whl", {"torch": "2.0.0+mc3", "python": "3.8.18"}, "differs"),
        ("pytorch-2.0.0+mc2-cp38-cp38-linux_x86_64.whl", {"torch": "2.0.0+mc2", "python": "3.9.1"}, "differs"),
        ("torch-1.13.1-1-py3-none-any.whl", {"torch": "1.13.1"}, "match"),
        ("cuda 11.4", {"torch": "1.13.1"}, "unknown"),
    ],
)
def test_packages_are_found_by_version_revision_or_wheel(stated: str, installed: dict[str, str], verdict: str) -> None:
    assert compare_packages(stated, installed)[1].verdict == verdict


def test_a_version_under_test_is_named_in_full() -> None:
    assert compare_version("4.0.31", "4.0.31", exact=True) == Answer("match")
    assert compare_version("4.0", "4.0.31", exact=True) == Answer("differs", "a version under test is named in full")
    assert compare_version("4.0.31", "4.0.25", exact=True) == Answer("differs")
