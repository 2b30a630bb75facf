"""The environment variables that explain a run, declared once; recording, carrying, checks, docs and tox.ini follow.

A family is a pattern of names and what its variables change:

- ARITHMETIC: what the device computes. Recorded on every rank, carried to every host, the same on all ranks.
- SPEED: how the same is computed. Recorded on every rank and carried; a difference between ranks is noted.
- PLACE: what belongs to one host or process. Recorded by the session only.

To add a variable, add its family here and run `python -m trainer.docs`; tests hold tox.ini's `pass_env` against it.
"""

from __future__ import annotations

import fnmatch
import functools
from dataclasses import dataclass
from typing import Mapping, Sequence

ARITHMETIC = "arithmetic"
SPEED = "speed"
PLACE = "place"


@dataclass(frozen=True)
class Family:
    """Variables whose names match `pattern` (as of a shell); of several families that match, the first one counts."""

    pattern: str
    changes: str
    meaning: str


FAMILIES: tuple[Family, ...] = (
    Family("*_VISIBLE_DEVICES", PLACE, "the devices that a process may use"),
    Family("XDNN_*", ARITHMETIC, "Kunlunxin's convolutions and other operators: formats of their products"),
    Family("XBLAS_*", ARITHMETIC, "Kunlunxin's matrix products: formats"),
    Family("XACC*", ARITHMETIC, "Kunlunxin's compiler: what it replaces and fuses"),
    Family("XMLIR_*", ARITHMETIC, "Kunlunxin's framework: operators, fallbacks to the host"),
    Family("METAX_*", ARITHMETIC, "MetaX's TF32"),
    Family("NVIDIA_TF32_OVERRIDE", ARITHMETIC, "TF32 of NVIDIA's libraries, whatever the program asks for"),
    Family("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", ARITHMETIC, "TF32 of torch's matrix products"),
    Family("CUBLAS*_LOG*", SPEED, "logs of cuBLAS"),
    Family("CUDNN_LOG*", SPEED, "logs of cuDNN"),
    Family("CUBLAS*", ARITHMETIC, "algorithms of cuBLAS and cuBLASLt, emulation of formats"),
    Family("CUDNN_*", ARITHMETIC, "algorithms of cuDNN"),
    Family("ONEDNN_*", ARITHMETIC, "oneDNN on the host: formats, instruction sets"),
    Family("DNNL_*", ARITHMETIC, "the same by oneDNN's older name"),
    Family("MKL_CBWR", ARITHMETIC, "MKL on the host: reproducible code paths"),
    Family("MKL_ENABLE_INSTRUCTIONS", ARITHMETIC, "MKL on the host: instruction sets"),
    Family("MKL_*", SPEED, "threads of MKL on the host"),
    Family("XPU_*", SPEED, "Kunlunxin's runtime"),
    Family("MACA_*", SPEED, "MetaX's runtime"),
    Family("CUDA_*", SPEED, "NVIDIA's runtime and what vendors provide as such"),
    Family("NVIDIA_*", SPEED, "NVIDIA's driver and container tools"),
    Family("BKCL*", SPEED, "Kunlunxin's collectives"),
    Family("XCCL_*", SPEED, "collectives of that name"),
    Family("NCCL_*", SPEED, "NVIDIA's collectives and what vendors provide as such"),
    Family("MCCL_*", SPEED, "MetaX's collectives"),
    Family("IXCCL_*", SPEED, "Iluvatar's collectives"),
    Family("GLOO_*", SPEED, "torch's collectives of the host"),
    Family("UCX_*", SPEED, "transport below collectives"),
    Family("TORCHELASTIC_*", PLACE, "torchrun's own"),
    Family("TORCHINDUCTOR_*", SPEED, "torch's compiler, which the suite does not use"),
    Family("TORCH_*", SPEED, "torch"),
    Family("PYTORCH_*", SPEED, "torch's allocators and fallbacks"),
    Family("OMP_*", SPEED, "threads of the host"),
    Family("GOMP_*", SPEED, "threads of the host"),
    Family("KMP_*", SPEED, "threads of the host"),
    Family("OPENBLAS_*", SPEED, "matrix products of the host"),
    Family("ASCEND_*", SPEED, "Huawei's runtime"),
    Family("PYTHON*", PLACE, "where Python finds what"),
    Family("LD_LIBRARY_PATH", PLACE, "where libraries are"),
    Family("LD_PRELOAD", PLACE, "libraries that come before others"),
    Family("SLURM_*", PLACE, "the place in an allocation"),
    Family("ACCELERATOR_CONFORMANCE_*", PLACE, "the suite's own"),
    Family("CONFORMANCE_*", PLACE, "the suite's own: image, cache"),
    *(Family(name, PLACE, "torchrun's own") for name in ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE")),
    *(Family(name, PLACE, "torchrun's own") for name in ("RANK", "LOCAL_RANK")),
)
"""Whatever else is set is not recorded, not even by name: names alone can give away which services a site uses."""


@functools.lru_cache(maxsize=None)
def family_of(name: str) -> Family | None:
    """Return the family of a variable; None if it explains nothing of a run."""
    return next((one for one in FAMILIES if fnmatch.fnmatchcase(name, one.pattern)), None)


def changes(name: str) -> str:
    """Return ARITHMETIC, SPEED or PLACE; "" for a variable of no family.

    >>> changes("XDNN_CONV_GEMM_DTYPE"), changes("NCCL_DEBUG"), changes("HOME")
    ('arithmetic', 'speed', '')
    """
    family = family_of(name)
    return "" if family is None else family.changes


@dataclass(frozen=True)
class Lowering:
    """Variables by which fp32 products get a shorter format, unless their value is one of `harmless` (small letters).

    `is_tf32`: the format is TF32, which a row may declare by `tf32 = true` instead of by name. `source` is where the
    variable is documented or used.
    """

    pattern: str
    harmless: tuple[str, ...]
    is_tf32: bool
    what: str
    source: str


_OFF = ("", "0", "off", "false", "no")
_FP32 = ("", "float", "float32", "fp32")

LOWERING: tuple[Lowering, ...] = (
    Lowering(
        "XDNN_*_GEMM_DTYPE",
        _FP32,
        False,
        "convolutions and linear layers multiply in that format (int16, float16, ...)",
        "XDNN_CONV_GEMM_DTYPE=int16 in FlagPerf's configurations of other cases for Kunlunxin's devices",
    ),
    Lowering(
        "XBLAS_*_GEMM_DTYPE",
        _FP32,
        False,
        "matrix products multiply in that format",
        "the same variables of the library below; not in a published configuration that we know",
    ),
    Lowering(
        "METAX_USE_TF32", _OFF, True, "fp32 products use TF32", "FlagPerf's configuration of this case for the C500"
    ),
    Lowering(
        "NVIDIA_TF32_OVERRIDE",
        _OFF,
        True,
        "fp32 products of NVIDIA's libraries use TF32; 0 forbids it",
        "NVIDIA cuBLAS and cuDNN documentation",
    ),
    Lowering(
        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
        _OFF,
        True,
        "torch's matrix products use TF32, whatever its switches say",
        "PyTorch, CUDA environment variables",
    ),
    Lowering(
        "*_DEFAULT_FPMATH_MODE",
        ("", "strict"),
        False,
        "oneDNN (ONEDNN_, DNNL_) may multiply fp32 in BF16, F16 or TF32 on the host",
        "oneDNN, floating-point math mode",
    ),
)
"""The variables that are known to lower the precision of fp32 products; there may be others."""


def lowering(name: str, value: str) -> Lowering | None:
    """Return how a variable of this value lowers precision; None if it is not known to.

    >>> lowering("XDNN_CONV_GEMM_DTYPE", "float32") is None
    True
    """
    if changes(name) != ARITHMETIC:
        return None
    known = next((one for one in LOWERING if fnmatch.fnmatchcase(name, one.pattern)), None)
    return None if known is None or value.strip().lower() in known.harmless else known


def recipe_problems(variables: Mapping[str, str], lowered: Sequence[str], tf32: bool, row: str) -> list[str]:
    """Return in which variables a rank's precision is not that of a row, "found ..., expected ...".

    `lowered` and `tf32` are what the row's recipe declares, `row` is the id of the cell.
    """
    problems, declared = [], dict(one.split("=", 1) for one in lowered)
    for name, value in sorted(variables.items()):
        known = lowering(name, value)
        if known is None or name in declared or (known.is_tf32 and tf32):
            continue
        remedy = f'lowered = {{ {name} = "{value}" }}' + (" or tf32 = true" if known.is_tf32 else "")
        problems.append(
            f"found {name}={value}, by which {known.what}, expected only variables that {row} declares; unset it, or "
            f"declare it in a row of its own ([recipe] {remedy})"
        )
    for name, value in declared.items():
        if variables.get(name) != value:
            found = f"{name}={variables[name]}" if name in variables else f"no {name}"
            problems.append(f"found {found}, expected {name}={value}, which belongs to the recipe of {row}")
    return problems


def of_rank(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a rank records and that are carried to other hosts, sorted by name; not redacted."""
    return {name: environment[name] for name in sorted(environment) if changes(name) in (ARITHMETIC, SPEED)}
