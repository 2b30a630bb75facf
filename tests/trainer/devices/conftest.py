"""Every backend, opened in this process: the hardware that cannot be had is replaced by the fakes beside the tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Iterator

import pytest

FAKES = Path(__file__).resolve().parents[2] / "fake_kunlunxin"


@pytest.fixture
def fake_kunlunxin(tmp_path: Path, monkeypatch: Any) -> Iterator[Path]:
    """Put fake torch_xmlir and xpu_smi in place; the value is the file in which the former notes its calls."""
    calls = tmp_path / "calls.jsonl"
    monkeypatch.setenv("FAKE_XPU_CALLS", str(calls))
    monkeypatch.setenv("PATH", str(FAKES), prepend=os.pathsep)
    monkeypatch.syspath_prepend(str(FAKES))
    for name in ("XACC_ENABLE", "XACC_ARGS", "BKCL_PCIE_RING", "XPU_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "")  # so that what the backend sets is undone afterwards
        monkeypatch.delenv(name)
    yield calls
    sys.modules.pop("torch_xmlir", None)
