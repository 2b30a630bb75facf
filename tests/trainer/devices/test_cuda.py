"""What the cuda backend makes of the facts that a version of torch, or a vendor's build of it, has or lacks."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trainer.devices import load_backend
from trainer.devices.base import DeviceInfo, visible_index, visible_name
from trainer.devices.cuda import _pci_address, device_uuid
from trainer.preflight import device_problems
from trainer.telemetry.base import DevicePlace


def test_the_address_of_a_device_is_written_as_the_kernel_writes_it() -> None:
    facts = SimpleNamespace(pci_domain_id=0, pci_bus_id=0x1B, pci_device_id=0)

    assert _pci_address(facts) == "0000:1b:00.0"


@pytest.mark.parametrize(
    "facts", [{}, {"pci_bus_id": 3}, {"pci_domain_id": 0, "pci_bus_id": "0000:1b:00.0", "pci_device_id": 0}]
)
def test_a_device_without_an_address_has_none(facts: dict[str, Any]) -> None:
    assert _pci_address(SimpleNamespace(**facts)) is None


@pytest.mark.parametrize(
    ("facts", "name", "uuid"),
    [
        ({}, "", None),
        ({}, "7", None),
        ({}, "GPU-8932f937", "GPU-8932f937"),
        ({"uuid": "8932f937-d72c"}, "7", "GPU-8932f937-d72c"),
        ({"uuid": "8932f937-d72c"}, "GPU-8932", "GPU-8932f937-d72c"),
        ({"uuid": "8932f937-d72c"}, "MIG-1a2b", "MIG-1a2b"),
    ],
)
def test_the_uuid_is_torchs_or_that_of_the_variable(facts: dict[str, Any], name: str, uuid: Any) -> None:
    assert device_uuid(SimpleNamespace(**facts), name) == uuid


def test_the_variable_names_devices_by_number_or_uuid(monkeypatch: Any) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,GPU-8932f937")

    assert [visible_name("CUDA_VISIBLE_DEVICES", rank) for rank in range(3)] == ["7", "GPU-8932f937", ""]
    assert [visible_index("CUDA_VISIBLE_DEVICES", rank) for rank in range(3)] == [7, 1, 2]


@pytest.mark.parametrize("text", ["'0,1'", "[0,1]", "0 1", "0-7", "0,0", "all", "NoDevFiles", "0,-1", "cuda:0", "１"])
def test_a_variable_that_names_no_devices_is_refused_before_anything_starts(monkeypatch: Any, text: str) -> None:
    """Such as a value in quotes of docker's --env-file, or that of a Slurm job without devices."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)

    (problem,) = device_problems("cuda", "", 1)

    assert problem == f"CUDA_VISIBLE_DEVICES is {text!r}, expected indexes or UUIDs of devices, as in 0,1, each once"


@pytest.mark.parametrize("text", ["", "0", " 0 , 1 ", "GPU-8932f937,GPU-1", "MIG-GPU-8932f937-d72c/1/0", "MIG-1a2b-3c"])
def test_a_variable_that_names_devices_is_taken(monkeypatch: Any, text: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)

    assert load_backend("cuda").named_devices() == [name.strip() for name in text.split(",") if name]


@pytest.mark.parametrize(
    ("local_rank", "smi", "sources"),
    [(0, "ixsmi", ["driver", "host", "ixsmi"]), (0, "", ["driver", "host"]), (1, "ixsmi", ["driver"])],
)
def test_the_first_rank_of_a_host_watches_it_with_the_tool_of_the_table(
    local_rank: int, smi: str, sources: list[str]
) -> None:
    watching = load_backend("cuda").samplers(local_rank, places=[DevicePlace(0), DevicePlace(1)], smi=smi)

    assert [one.source.name for one in watching] == sources


def test_without_a_tool_it_is_not_known_which_devices_the_host_has() -> None:
    found = load_backend("cuda").inventory(DeviceInfo("NVIDIA A100", 0, 40.0))

    assert found.count is None
    assert "names no management tool" in found.absent["card_count"]


@pytest.mark.parametrize("asked", [(True, False), (False, True), (False, False)])
def test_the_recipe_decides_how_cudnn_chooses(asked: tuple[bool, bool], monkeypatch: Any) -> None:
    cudnn = SimpleNamespace(deterministic=None, benchmark=None)
    monkeypatch.setattr(torch.backends, "cudnn", cudnn)

    load_backend("cuda").set_cudnn(deterministic=asked[0], benchmark=asked[1])

    assert (cudnn.deterministic, cudnn.benchmark) == asked


def test_amp_scales_by_an_interface_that_this_torch_does_not_deprecate() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # there is no CUDA device
        warnings.simplefilter("error", FutureWarning)
        warnings.simplefilter("error", DeprecationWarning)
        scaler: Any = load_backend("cuda").gradient_scaler("amp")

    assert type(scaler).__name__ == "GradScaler"
    assert load_backend("cuda").gradient_scaler("bf16") is None


def test_a_torch_without_the_new_scaler_has_the_old_one(monkeypatch: Any) -> None:
    monkeypatch.delattr(torch.amp, "GradScaler", raising=False)
    monkeypatch.setattr(torch.cuda.amp, "GradScaler", lambda: "the old one")

    assert load_backend("cuda").gradient_scaler("amp") == "the old one"


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_tf32_is_a_mode_of_fp32_without_autocast(precision: str) -> None:
    with load_backend("cuda").autocast(precision):
        assert not torch.is_autocast_enabled()
