"""What a machine lacks, without importing torch here; and how many classes a model of a given data set has."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from tests.trainer.data.sample import good, write
from trainer.errors import DataError
from trainer.preflight import backbone_problems, classes_of, device_problems, framework_problems


@pytest.mark.parametrize(("numbers", "classes"), [([1], 2), ([1, 2, 3], 4), ([90, 1], 91), ([9999], 10_000)])
def test_a_model_has_the_classes_that_the_categories_number(tmp_path: Path, numbers: list[int], classes: int) -> None:
    write(tmp_path, {**good(), "categories": [{"id": number} for number in numbers]})

    assert classes_of(tmp_path) == classes


@pytest.mark.parametrize("categories", [[], [{"id": 0}], [{"id": "1"}], [{"id": 2**60}], [{}], None, {}])
def test_categories_that_no_model_can_have_are_refused(tmp_path: Path, categories: Any) -> None:
    file = write(tmp_path, {**good(), "categories": categories})

    with pytest.raises(DataError, match="its categories are not numbered from 1 to 9999") as caught:
        classes_of(tmp_path)

    assert str(caught.value).startswith(f"{file}: ")


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    write(tmp_path, good()).write_text("<html>")

    with pytest.raises(DataError, match="is an HTML page"):
        classes_of(tmp_path)


@pytest.fixture
def devices(monkeypatch: Any) -> Any:
    """A function that puts xpu_smi with its listing of so many devices on PATH, and sets XPU_VISIBLE_DEVICES."""
    monkeypatch.delenv("XPU_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(ROOT / "tests" / "fake_kunlunxin"), prepend=os.pathsep)

    def put(listed: int, visible: str = "") -> None:
        monkeypatch.setenv("FAKE_XPU_CARDS", str(listed))
        monkeypatch.setenv("XPU_VISIBLE_DEVICES", visible)

    return put


@pytest.mark.parametrize(("visible", "needed"), [("2,3", 2), ("0,1", 2), ("", 2), ("3", 1)])
def test_a_container_may_list_two_of_eight(tmp_path: Path, monkeypatch: Any, visible: str, needed: int) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("XPU_VISIBLE_DEVICES", visible)
    lines = [
        f"0000:{index}3:00.0 {index} {index} 02K 38 0 0 0 74 1450 1450 1450 1450 1450 1450 2 63 0 32768 0 1.0 R300"
        for index in (2, 3)
    ]
    (tmp_path / "xpu_smi").write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
    (tmp_path / "xpu_smi").chmod(0o755)

    assert device_problems("kunlunxin", "", needed) == []
    assert len(device_problems("kunlunxin", "", 3)) == 1
    assert device_problems("kunlunxin", "", 1, [2]) == []
    assert len(device_problems("kunlunxin", "", 1, [5])) == 1


@pytest.mark.parametrize(
    ("listed", "visible"), [(8, ""), (8, "0,1,2,3,4,5,6,7"), (16, "8,9,10,11,12,13,14,15"), (9, "")]
)
def test_enough_devices_are_no_problem(devices: Any, listed: int, visible: str) -> None:
    devices(listed, visible)

    assert device_problems("kunlunxin", "", 8) == []


@pytest.mark.parametrize(
    ("listed", "visible", "says"),
    [
        (4, "", "the vendor's tool lists 4 devices on this host, expected at least 8"),
        (8, "0,1", "XPU_VISIBLE_DEVICES=0,1 names, of those that the vendor's tool lists, 2 devices on this host"),
        (4, "0,1,2,3,4,5,6,7", "names, of those that the vendor's tool lists, 4 devices on this host"),
    ],
)
def test_too_few_devices_are_counted_by_the_tool_and_the_variable(
    devices: Any, listed: int, visible: str, says: str
) -> None:
    devices(listed, visible)

    (found,) = device_problems("kunlunxin", "", 8)

    assert says in found
    assert found.endswith("expected at least 8; choose another --topo or XPU_VISIBLE_DEVICES")


def test_a_device_beyond_the_listed_ones_is_named(devices: Any) -> None:
    devices(8)

    assert device_problems("kunlunxin", "", 1, [0, 7]) == []
    (found,) = device_problems("kunlunxin", "", 1, [0, 8, 9])
    assert found.startswith("device 8 is asked for, and the vendor's tool lists 8 on this host, from 0 on")


def test_a_tool_that_lists_nothing_is_a_problem_where_a_rank_needs_it(devices: Any) -> None:
    devices(0)

    assert device_problems("kunlunxin", "", 8) == ["xpu_smi -m printed no device"]


@pytest.mark.parametrize("smi", ["mx-smi", "ixsmi"])
def test_a_tool_that_the_table_names_has_to_be_there(tmp_path: Path, monkeypatch: Any, smi: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    (found,) = device_problems("cuda", smi, 8)

    assert found.startswith(f"none of {smi}")


def test_a_listing_that_cannot_be_read_is_left_to_torch(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "mx-smi").write_text("#!/bin/sh\necho another form\n")
    (tmp_path / "mx-smi").chmod(0o755)

    assert device_problems("cuda", "mx-smi", 8) == []


@pytest.mark.parametrize("backend", ["cpu", "virtual", "cuda"])
def test_without_a_tool_devices_are_not_counted(monkeypatch: Any, backend: str) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    assert device_problems(backend, "", 8) == []


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("class xpu: manual_seed_all = xpu_synchronize = print\ndevice = print", []),
        ("class xpu: manual_seed_all = print\ndevice = print", ["lacks xpu.xpu_synchronize"]),
        (
            "import atexit, os; atexit.register(os.write, 2, b'runtime closed')\nclass xpu: manual_seed_all = print",
            ["lacks device, xpu.xpu_synchronize"],
        ),
        ("import os; os.abort()", ["ended with code -6"]),
        ("raise OSError('libxpurt.so: cannot open shared object file')", ["OSError: libxpurt.so: cannot open shared"]),
    ],
)
def test_a_framework_is_imported_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: Any, module: str, says: list[str]
) -> None:
    (tmp_path / "torch_xmlir.py").write_text(module)
    monkeypatch.syspath_prepend(str(tmp_path))

    found = framework_problems("kunlunxin")

    assert len(found) == len(says)
    assert [word for word, text in zip(says, found) if word not in text] == []
    assert "torch_xmlir" not in sys.modules


def test_a_backend_of_torch_alone_has_no_framework_to_import() -> None:
    assert [framework_problems(name) for name in ("cpu", "cuda", "virtual")] == [[], [], []]


@pytest.mark.parametrize("content", [b"<html>login</html>", b"version https://git-lfs.github.com/spec/v1", b""])
def test_a_backbone_of_other_bytes_is_found_before_a_rank_has_asked_its_probes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "resnet50-0676ba61.pth"
    path.write_bytes(content)

    (problem,) = backbone_problems(path)

    assert problem.startswith(f"{path}: its SHA-256 begins with ")
    assert "expected 0676ba61" in problem
    assert "fetch it again" in problem
