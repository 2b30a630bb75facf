"""A stand-in for Kunlunxin's torch_xmlir where there is no XPU: the calls are the real ones, the device is the CPU.

FAKE_XMLIR_FORM names the framework that it is:

`xpu` (default), on torch 1.12.1, as FlagPerf's adaption for the R300 uses it: `torch_xmlir.device("xpu:N")`,
`torch_xmlir.xpu.manual_seed_all`, `torch_xmlir.xpu.xpu_synchronize()`, the collectives `xccl`; XACC_ENABLE, XACC_ARGS
and BKCL_PCIE_RING are read when the module is imported.

`cuda`, on torch 2, as newer frameworks (P800 and on; FlagPerf, the vendor's documentation): XPUs are `torch.cuda`
devices named "GPU", chosen by CUDA_VISIBLE_DEVICES, with the collectives `nccl`; `torch_xmlir.xpu.synchronize()`, and
neither `torch_xmlir.device` nor `xpu_synchronize`. See fake_cuda.py.

`mixed`, which no framework should be: `torch_xmlir.device` and `xpu.synchronize`, and no device in `torch.cuda`.

All have `__version__`, an OrderedDict with the revision, and `python -m torch_xmlir --doctor`, which prints it. Every
call is appended to the file that FAKE_XPU_CALLS names.
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

FORM = os.environ.get("FAKE_XMLIR_FORM", "xpu")
if FORM not in ("xpu", "cuda", "mixed"):
    raise ValueError(f"FAKE_XMLIR_FORM is {FORM!r}, expected xpu, cuda or mixed")

__version__ = OrderedDict([("XPYTORCH", os.environ.get("FAKE_XMLIR_VERSION", "XMLIR--e70db8f6"))])


def note(call: str, **facts: Any) -> None:
    """Append a call to the file."""
    with open(os.environ["FAKE_XPU_CALLS"], "a", encoding="utf-8") as file:
        file.write(json.dumps({"call": call, "rank": os.environ.get("RANK"), **facts}) + "\n")


def _device(name: str) -> torch.device:
    """Return the CPU under the name of a device."""
    kind, _, index = name.partition(":")
    if kind != "xpu" or not index.isdigit():
        raise ValueError(name)
    note("device", name=name)
    return torch.device("cpu")


class xpu:  # noqa: N801 - the real module's name
    """The device's own functions."""

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        """Note the seed."""
        note("manual_seed_all", seed=seed)


def _synchronise(name: str) -> Any:
    # On a CPU everything has finished.
    return staticmethod(lambda: note(name))


if FORM != "cuda":
    device = _device
if FORM == "xpu":
    xpu.xpu_synchronize = _synchronise("xpu_synchronize")  # type: ignore[attr-defined]
else:
    xpu.synchronize = _synchronise("synchronize")  # type: ignore[attr-defined]


def _xccl(store: Any, rank: int, size: int, timeout: Any) -> Any:
    return dist.ProcessGroupGloo(store, rank, size, timeout)


note("import", environment={key: os.environ.get(key) for key in ("XACC_ENABLE", "XACC_ARGS", "BKCL_PCIE_RING")})
if FORM == "cuda":
    import fake_cuda

    fake_cuda.put_in_place()
if FORM != "cuda" and not hasattr(dist.Backend, "XCCL"):
    dist.Backend.register_backend("xccl", _xccl)
else:  # newer versions of torch keep the name xccl for Intel's; then nccl is hooked, as the framework also can
    _init_process_group = dist.init_process_group

    def _hooked(backend: Any = None, *arguments: Any, **options: Any) -> Any:
        return _init_process_group("gloo" if backend == "nccl" else backend, *arguments, **options)

    dist.init_process_group = _hooked
