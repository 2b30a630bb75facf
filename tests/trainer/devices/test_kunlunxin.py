"""The Kunlunxin backend calls torch_xmlir as the R300's software provides it, and says what is missing."""

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
from trainer.errors import DeviceError


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


def test_memory_comes_from_xpu_smi_for_every_device_of_the_host(fake_kunlunxin: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("FAKE_XPU_USED_MIB", "17408,15360")

    samples = opened().samplers(0)[0].read()

    assert [sample["memory_used_gib"] for sample in samples[:2]] == [17.0, 15.0]
    assert {sample["source"] for sample in samples} == {"xpu_smi"}
    assert len(samples) == 8


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

    with pytest.raises(DeviceError, match="has no device"):
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

    with pytest.raises(DeviceError, match="names device 9 and xpu_smi lists 8"):
        opened()


def test_without_xpu_smi_the_memory_could_not_be_measured_so_the_device_is_refused(
    fake_kunlunxin: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    with pytest.raises(DeviceError, match="none of xpu_smi, xpu-smi is on PATH"):
        opened()
