"""A stand-in for Kunlunxin's torch_xmlir where there is no XPU: the calls are the real ones, the device is the CPU.

Imitated, as the benchmark's adaption for the R300 uses them: `torch_xmlir.device("xpu:N")`,
`torch_xmlir.xpu.manual_seed_all`, `torch_xmlir.xpu.xpu_synchronize()`, the collectives `xccl`, and XACC_ENABLE,
XACC_ARGS and BKCL_PCIE_RING being read when the module is imported; `__version__`, an OrderedDict that has the
revision, and `python -m torch_xmlir --doctor`, which prints it. Every call is appended to the file that FAKE_XPU_CALLS
names.
"""

from __future__ import annotations

import json
import os
import sys
from collections import OrderedDict
from typing import Any

if __name__ == "__main__":  # before torch is imported, which takes seconds
    print("XPYTORCH: " + os.environ.get("FAKE_XMLIR_DOCTOR", "XMLIR--e70db8f6") if "--doctor" in sys.argv else "")
    sys.exit()

import torch
import torch.distributed as dist

__version__ = OrderedDict([("XPYTORCH", os.environ.get("FAKE_XMLIR_VERSION", "XMLIR--e70db8f6"))])


def _note(call: str, **facts: Any) -> None:
    with open(os.environ["FAKE_XPU_CALLS"], "a", encoding="utf-8") as file:
        file.write(json.dumps({"call": call, "rank": os.environ.get("RANK"), **facts}) + "\n")


def device(name: str) -> torch.device:
    """Return the CPU under the name of a device."""
    kind, _, index = name.partition(":")
    if kind != "xpu" or not index.isdigit():
        raise ValueError(name)
    _note("device", name=name)
    return torch.device("cpu")


class xpu:  # noqa: N801 - the real module's name
    """The device's own functions."""

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        """Note the seed."""
        _note("manual_seed_all", seed=seed)

    @staticmethod
    def xpu_synchronize() -> None:
        """Note the barrier; on a CPU everything has finished."""
        _note("xpu_synchronize")


def _xccl(store: Any, rank: int, size: int, timeout: Any) -> Any:
    return dist.ProcessGroupGloo(store, rank, size, timeout)


_note("import", environment={key: os.environ.get(key) for key in ("XACC_ENABLE", "XACC_ARGS", "BKCL_PCIE_RING")})
if not hasattr(dist.Backend, "XCCL"):
    dist.Backend.register_backend("xccl", _xccl)
else:  # newer versions of torch keep the name for Intel's; then nccl is hooked, as the framework also can
    _init_process_group = dist.init_process_group

    def _hooked(backend: Any = None, *arguments: Any, **options: Any) -> Any:
        return _init_process_group("gloo" if backend == "nccl" else backend, *arguments, **options)

    dist.init_process_group = _hooked
