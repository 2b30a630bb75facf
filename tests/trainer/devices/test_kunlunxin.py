"""The Kunlunxin backend calls torch_xmlir in the form that is installed, R300's or newer, and says what is missing."""

from __future__ import annotations

import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.devices.conftest import FAKES
from trainer.devices import load_backend
from trainer.devices.kunlunxin import device_at, shows_cuda
from trainer.errors import DeviceError
from trainer.telemetry.base import DevicePlace


def opened(local_rank: int = 0, local_world_size: int = 1) -> Any:
    backend: Any = load_backend("kunlunxin")
    backend.set_environment()
    backend.import_framework()
    backend.card = backend.open(local_rank, local_world_size)
    return backend


def calls(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_environment_is_set_before_the_framework_is_imported(fake_kunlunxin: Path) -> None:
    opened()

    first = calls(fake_kunlunxin)[0]
    assert first["call"] == "import"
    assert first["environment"] == {"XACC_ENABLE": "1", "XACC_ARGS": "-L O0", "BKCL_PCIE_RING": "1"}


def test_what_the_user_set_stays(fake_kunlunxin: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XACC_ARGS", "-L O1")

    opened()

    assert calls(fake_kunlunxin)[0]["environment"]["XACC_ARGS"] == "-L O1"


def test_the_device_is_chosen_by_local_rank_and_told_by_its_index_in_the_host(
    fake_kunlunxin: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("XPU_VISIBLE_DEVICES", "4,6")

    backend = opened(local_rank=1, local_world_size=2)

    assert {"call": "device", "rank": os.environ.get("RANK"), "name": "xpu:1"} in calls(fake_kunlunxin)
    assert (backend.card.index, backend.card.capacity_gib, backend.card.driver) == (6, 32.0, "4.0.25")


def test_seed_and_barrier_are_torch_xmlirs(fake_kunlunxin: Path) -> None:
    backend = opened()

    backend.seed(11)
    backend.synchronise()

    noted = [call["call"] for call in calls(fake_kunlunxin)]
    assert noted[-2:] == ["manual_seed_all", "xpu_synchronize"]
    assert calls(fake_kunlunxin)[-2]["seed"] == 11


def test_a_devices_generator_whose_state_nobody_can_tell_begins_anew(fake_kunlunxin: Path) -> None:
    backend = opened()
    states = backend.random_states()

    backend.set_random_states(states, 23)

    assert list(states) == ["host"]
    assert [call["seed"] for call in calls(fake_kunlunxin) if call["call"] == "manual_seed_all"] == [23]


def test_gradients_go_over_xccl_unless_that_is_intels(fake_kunlunxin: Path) -> None:
    intels = hasattr(torch.distributed, "is_xccl_available")

    assert opened().collectives() == ("nccl" if intels else "xccl")


def test_memory_comes_from_xpu_smi_at_full_rate_for_the_devices_of_this_hosts_ranks(
    fake_kunlunxin: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("FAKE_XPU_USED_MIB", "17408,15360")

    sampler = opened().samplers(0, places=[DevicePlace(1), DevicePlace(4)])[0]
    samples = sampler.read()

    assert [(sample["card"], sample["memory_used_gib"]) for sample in samples] == [(1, 15.0), (4, 17.0)]
    assert {sample["source"] for sample in samples} == {"xpu_smi"}
    assert sampler.least_interval_s == 0


def test_temperature_power_and_use_come_with_it(fake_kunlunxin: Path) -> None:
    sample = opened().samplers(0)[0].read()[0]

    assert (sample["temperature_c"], sample["power_w"], sample["use_percent"]) == (45.0, 81.0, 97.0)


def test_the_inventory_is_that_of_the_host_whoever_uses_the_devices(fake_kunlunxin: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XPU_VISIBLE_DEVICES", "4,6")
    backend = opened(local_rank=1, local_world_size=2)

    found = backend.inventory(backend.card)

    assert (found.count, set(found.memory_gib), found.driver) == (8, {32.0}, "4.0.25")


def test_the_model_is_the_one_in_the_tools_table(fake_kunlunxin: Path) -> None:
    backend = opened()

    assert backend.inventory(backend.card).names == ("R300",)


def test_the_frameworks_revision_is_in_its_version(fake_kunlunxin: Path) -> None:
    assert opened().framework_versions() == {"torch_xmlir": "XPYTORCH: XMLIR--e70db8f6"}


def test_of_several_parts_the_frameworks_own_comes_first(fake_kunlunxin: Path, monkeypatch: Any) -> None:
    backend = opened()
    parts = {"XDNN": "1.2--0a1b2c3d", "XPYTORCH": "XMLIR--e70db8f6"}
    monkeypatch.setattr(sys.modules["torch_xmlir"], "__version__", parts)

    assert backend.framework_versions() == {"torch_xmlir": "XPYTORCH: XMLIR--e70db8f6, XDNN: 1.2--0a1b2c3d"}


@pytest.mark.parametrize("version", ["XMLIR--20230706", "main"])
def test_a_version_without_a_revision_is_asked_of_the_doctor(
    fake_kunlunxin: Path, monkeypatch: Any, version: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(FAKES))
    monkeypatch.setenv("FAKE_XMLIR_VERSION", version)
    monkeypatch.setenv("FAKE_XMLIR_DOCTOR", "XMLIR--1a2b3c4d")

    assert opened().framework_versions() == {"torch_xmlir": "XPYTORCH: XMLIR--1a2b3c4d"}


def test_where_neither_names_a_revision_the_version_is_kept(fake_kunlunxin: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PYTHONPATH", str(FAKES))
    monkeypatch.setenv("FAKE_XMLIR_VERSION", "XMLIR--main")
    monkeypatch.setenv("FAKE_XMLIR_DOCTOR", "")

    assert opened().framework_versions() == {"torch_xmlir": "XPYTORCH: XMLIR--main"}


def test_only_one_rank_of_a_host_asks_xpu_smi(fake_kunlunxin: Path) -> None:
    assert opened(local_rank=1, local_world_size=2).samplers(1) == []


def test_without_torch_xmlir_it_says_where_to_get_it(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "torch_xmlir", None)

    with pytest.raises(DeviceError, match=r"torch_xmlir cannot be imported.*container image"):
        load_backend("kunlunxin").import_framework()


def test_a_module_of_that_name_without_the_interface_is_refused(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "torch_xmlir", types.ModuleType("torch_xmlir"))

    with pytest.raises(DeviceError, match="has nothing and lacks device, "):
        load_backend("kunlunxin").import_framework()


def test_intels_torch_xpu_is_never_asked(fake_kunlunxin: Path, monkeypatch: Any) -> None:
    class Intel:
        @staticmethod
        def _is_in_bad_fork() -> bool:
            return True  # torch.manual_seed asks this, and then leaves the module alone

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"torch.xpu.{name} was asked")

    monkeypatch.setattr(torch, "xpu", Intel(), raising=False)

    backend = opened()
    backend.seed(1)
    backend.synchronise()


def test_too_few_devices_are_counted(fake_kunlunxin: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("FAKE_XPU_CARDS", "4")

    with pytest.raises(DeviceError, match="8 devices are needed on this host and 4 are visible"):
        opened(local_world_size=8)


def test_a_visible_device_that_the_host_does_not_have_is_named(fake_kunlunxin: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XPU_VISIBLE_DEVICES", "9")

    with pytest.raises(
        DeviceError, match=r"names device 9, .* and xpu_smi lists 0, 1, 2, 3, 4, 5, 6, 7; name devices by"
    ):
        opened()


def test_without_xpu_smi_the_memory_could_not_be_measured_so_the_device_is_refused(
    fake_kunlunxin: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    with pytest.raises(DeviceError, match="none of xpu_smi, xpu-smi is on PATH"):
        opened()


def test_a_tool_that_fails_does_not_end_the_run(fake_kunlunxin: Path, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "xpu_smi").write_text("#!/bin/sh\necho the driver is stuck >&2\nexit 3\n")
    (tmp_path / "bin" / "xpu_smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setenv("XPU_VISIBLE_DEVICES", "4,6")

    backend = opened(local_rank=1, local_world_size=2)

    assert (backend.card.index, backend.card.capacity_gib, backend.card.driver) == (6, None, None)
    with pytest.raises(DeviceError, match="ended with code 3: the driver is stuck"):
        backend.samplers(0)[0].read()


# ---- which devices ----

TWO_OF_EIGHT = [{"card": 2, "pci": "0000:59:00.0"}, {"card": 3, "pci": "0000:5c:00.0"}]


@pytest.mark.parametrize(
    ("names", "cards"),
    [(["2", "3"], [2, 3]), (["3", "2"], [3, 2]), (["0", "1"], [2, 3]), (["1"], [3]), ([], [2, 3])],
)
def test_a_container_with_two_of_eight_is_named_by_the_hosts_indexes_or_by_positions(
    names: list[str], cards: list[int]
) -> None:
    ranks = range(len(cards))

    assert [device_at(TWO_OF_EIGHT, names, rank, "XPU_VISIBLE_DEVICES")["card"] for rank in ranks] == cards


@pytest.mark.parametrize("names", [["2", "0"], ["4"], ["0", "1", "2"], ["GPU-1"], ["-1"], ["2"]])
def test_names_that_are_neither_are_refused(names: list[str]) -> None:
    with pytest.raises(DeviceError, match="and xpu_smi lists 2, 3; name devices by these indexes"):
        device_at(TWO_OF_EIGHT, names, 1, "XPU_VISIBLE_DEVICES")


def test_a_device_that_the_tool_has_lost_is_never_taken_for_the_next_one() -> None:
    seven = [{"card": card} for card in range(8) if card != 1]

    assert device_at(seven, ["0", "2"], 1, "XPU_VISIBLE_DEVICES")["card"] == 2
    with pytest.raises(DeviceError, match="names device 1"):
        device_at(seven, ["0", "1"], 1, "XPU_VISIBLE_DEVICES")


def test_a_tool_that_listed_nothing_has_no_record_of_a_device() -> None:
    assert device_at([], ["4"], 0, "XPU_VISIBLE_DEVICES") == {}


@pytest.mark.parametrize("variable", ["XPU_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"])
def test_either_variable_names_the_devices_and_both_are_set(
    fake_kunlunxin: Path, monkeypatch: Any, variable: str
) -> None:
    monkeypatch.setenv(variable, "4, 6")

    backend = opened(local_rank=1, local_world_size=2)

    assert (backend.named_devices(), backend.card.index) == (["4", "6"], 6)
    assert {os.environ["XPU_VISIBLE_DEVICES"], os.environ["CUDA_VISIBLE_DEVICES"]} == {"4,6"}


def test_variables_that_contradict_each_other_are_refused(fake_kunlunxin: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XPU_VISIBLE_DEVICES", "2,3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")

    with pytest.raises(DeviceError, match="found XPU_VISIBLE_DEVICES=2,3 and CUDA_VISIBLE_DEVICES=0,1, expected the"):
        opened()


# ---- the form of the framework ----


def framework(*parts: str) -> Any:
    """A torch_xmlir that has these parts."""
    module, xpu = types.ModuleType("torch_xmlir"), types.SimpleNamespace()
    for part in parts:
        owner: Any = xpu if part.startswith("xpu.") else module
        setattr(owner, part.rpartition(".")[2], lambda *_: None)
    module.xpu = xpu  # type: ignore[attr-defined]
    return module


R300S = ("device", "xpu.manual_seed_all", "xpu.xpu_synchronize")


@pytest.mark.parametrize(
    ("parts", "in_cuda", "expected"),
    [
        (R300S, False, False),
        (R300S, True, False),
        ((*R300S, "xpu.synchronize"), True, False),
        (("xpu.synchronize",), True, True),
        (("device", "xpu.manual_seed_all", "xpu.synchronize"), True, True),
    ],
)
def test_the_form_is_that_whose_parts_are_all_there(
    parts: tuple[str, ...], in_cuda: bool, expected: bool, monkeypatch: Any
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: in_cuda)

    assert shows_cuda(framework(*parts)) is expected


@pytest.mark.parametrize(
    ("parts", "in_cuda", "says"),
    [
        (
            ("device", "xpu.manual_seed_all", "xpu.synchronize"),
            False,
            "has device, xpu.manual_seed_all, xpu.synchronize and lacks xpu.xpu_synchronize, devices in torch.cuda; ",
        ),
        (
            ("xpu.xpu_synchronize", "xpu.synchronize"),
            True,
            "has xpu.xpu_synchronize, xpu.synchronize, devices in torch.cuda and lacks device, xpu.manual_seed_all; ",
        ),
        ((), True, "has devices in torch.cuda and lacks device, xpu.manual_seed_all, xpu.xpu_synchronize, xpu.sync"),
    ],
)
def test_a_mixture_is_refused_with_what_it_has_and_lacks(
    parts: tuple[str, ...], in_cuda: bool, says: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: in_cuda)

    with pytest.raises(DeviceError) as raised:
        shows_cuda(framework(*parts))

    assert says in str(raised.value)


def newer(monkeypatch: Any, pci_bus: Any = None) -> Any:
    """The backend of a framework that shows eight XPUs as torch.cuda, on buses from `pci_bus` on if torch has any."""
    monkeypatch.setitem(sys.modules, "torch_xmlir", framework("xpu.synchronize"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)

    def facts(device: int) -> Any:
        place = {} if pci_bus is None else {"pci_domain_id": 0, "pci_bus_id": pci_bus + 3 * device, "pci_device_id": 0}
        return types.SimpleNamespace(name="GPU", total_memory=32 * 2**30, **place)

    monkeypatch.setattr(torch.cuda, "get_device_properties", facts)
    backend = load_backend("kunlunxin")
    backend.set_environment()
    return backend.import_framework()


def test_a_newer_framework_is_run_as_torch_cuda(fake_kunlunxin: Path, monkeypatch: Any) -> None:
    backend = newer(monkeypatch)

    card = backend.open(1, 2)

    assert (backend.name, backend.device_api, backend.visible_devices) == (
        "kunlunxin",
        "torch_xmlir as torch.cuda",
        "CUDA_VISIBLE_DEVICES",
    )
    assert (str(backend.device), card.index, card.name, card.pci) == ("cuda:1", 1, "R300", "0000:56:00.0")
    assert (str(card.serial)[:3], card.driver, card.capacity_gib) == ("02K", "4.0.25", 32.0)
    assert [one.source.name for one in backend.samplers(0, places=[DevicePlace(1)])] == ["driver", "host", "xpu_smi"]
    assert backend.inventory(card).count == 8
    assert backend.synchronise_note == ""


def test_what_is_the_r300s_is_not_left_set_for_a_newer_framework(fake_kunlunxin: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XACC_ARGS", "-L O1")

    newer(monkeypatch)

    assert [os.environ.get(name) for name in ("XACC_ENABLE", "XACC_ARGS", "BKCL_PCIE_RING")] == [None, "-L O1", None]


def test_where_torch_has_the_address_it_decides_which_device_it_is(fake_kunlunxin: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XPU_VISIBLE_DEVICES", "4,6")
    backend = newer(monkeypatch, pci_bus=0x5C)

    card = backend.open(1, 2)

    assert (card.index, card.pci) == (4, "0000:5f:00.0")


def test_a_device_that_the_tool_does_not_list_is_not_taken_for_another(fake_kunlunxin: Path, monkeypatch: Any) -> None:
    backend = newer(monkeypatch, pci_bus=0x90)

    card = backend.open(0, 1)

    assert (card.index, card.name, card.pci) == (0, "GPU", "0000:90:00.0")


def test_a_newer_framework_runs_without_the_tool(fake_kunlunxin: Path, monkeypatch: Any) -> None:
    backend = newer(monkeypatch)
    monkeypatch.setenv("PATH", "/nonexistent")

    card = backend.open(0, 1)

    assert (card.index, card.name, card.driver, card.capacity_gib) == (0, "GPU", None, 32.0)


def test_the_note_on_synchronise_says_whether_the_current_device_is_the_ranks(fake_kunlunxin: Path) -> None:
    backend = opened()
    assert "the framework's choice, as it has no torch_xmlir.xpu.set_device" in backend.synchronise_note

    chosen: list[int] = []
    sys.modules["torch_xmlir"].xpu.set_device = chosen.append
    try:
        backend.open(3, 4)
    finally:
        del sys.modules["torch_xmlir"].xpu.set_device

    assert chosen == [3]
    assert backend.synchronise_note.endswith("for the current one, which is this rank's")
