"""The declared variables: one list for recording, carrying, checks and tox."""

from __future__ import annotations

import configparser
import fnmatch
from pathlib import Path

import pytest

from evidence.variables.declared import (
    ARITHMETIC,
    FAMILIES,
    LOWERING,
    PLACE,
    SPEED,
    changes,
    lowering,
    of_rank,
)
from evidence.variables.redact import recorded_environment
from fixtures.boot.launching import forwarded_environment

ROOT = Path(__file__).resolve().parents[2]

KINDS = {
    ARITHMETIC: (
        *("XDNN_CONV_GEMM_DTYPE", "XBLAS_FC_GEMM_DTYPE", "XACC_ARGS", "METAX_USE_TF32", "NVIDIA_TF32_OVERRIDE"),
        *("CUBLAS_WORKSPACE_CONFIG", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"),
        *("MKL_CBWR", "ONEDNN_DEFAULT_FPMATH_MODE"),
    ),
    SPEED: (
        *("XPU_RUNTIME", "BKCL_PCIE_RING", "XCCL_X", "NCCL_ALGO", "CUDA_LAUNCH_BLOCKING", "NVIDIA_DRIVER_CAPABILITIES"),
        *("CUBLASLT_LOG_LEVEL", "CUDNN_LOGINFO_DBG", "MKL_NUM_THREADS"),
        *("TORCH_NCCL_BLOCKING_WAIT", "PYTORCH_CUDA_ALLOC_CONF", "OMP_NUM_THREADS"),
    ),
    PLACE: ("CUDA_VISIBLE_DEVICES", "XPU_VISIBLE_DEVICES", "RANK", "SLURM_JOB_ID", "PYTHONPATH", "LD_PRELOAD"),
    "": ("HOME", "MY_NCCL_DEBUG", "ACCOUNT", "http_proxy", "omp_num_threads"),
}
NAMES = [(kind, name) for kind, names in KINDS.items() for name in names]


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_a_variable_is_of_one_kind_which_decides_what_becomes_of_it(kind: str, name: str) -> None:
    environment = {name: "1"}

    assert changes(name) == kind
    assert recorded_environment(environment) == (environment if kind else {})
    assert (
        of_rank(environment)
        == forwarded_environment(environment)
        == (environment if kind in (ARITHMETIC, SPEED) else {})
    )


def test_tox_passes_every_declared_variable_that_changes_a_run() -> None:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    passed = tox["testenv"]["pass_env"].split()

    wanted = [one.pattern for one in FAMILIES if one.changes in (ARITHMETIC, SPEED)]
    missing = [pattern for pattern in wanted if not any(fnmatch.fnmatchcase(pattern, one) for one in passed)]
    assert missing == [], "add them to pass_env of [testenv] in tox.ini"


@pytest.mark.parametrize(
    ("name", "value", "tf32"),
    [
        ("XDNN_CONV_GEMM_DTYPE", "int16", False),
        ("XDNN_FC_GEMM_DTYPE", "float16", False),
        ("XBLAS_FC_GEMM_DTYPE", "int16", False),
        ("METAX_USE_TF32", "1", True),
        ("NVIDIA_TF32_OVERRIDE", "1", True),
        ("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "1", True),
        ("ONEDNN_DEFAULT_FPMATH_MODE", "BF16", False),
        ("DNNL_DEFAULT_FPMATH_MODE", "ANY", False),
    ],
)
def test_a_variable_that_lowers_precision_is_known(name: str, value: str, tf32: bool) -> None:
    found = lowering(name, value)

    assert found.is_tf32 is tf32
    assert found.source


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("XDNN_CONV_GEMM_DTYPE", "float32"),
        ("XDNN_CONV_GEMM_DTYPE", ""),
        ("NVIDIA_TF32_OVERRIDE", "0"),
        ("METAX_USE_TF32", " OFF "),
        ("ONEDNN_DEFAULT_FPMATH_MODE", "strict"),
        ("XACC_ARGS", "-L O0"),
        ("MY_DEFAULT_FPMATH_MODE", "BF16"),
    ],
)
def test_a_value_that_keeps_precision_is_harmless(name: str, value: str) -> None:
    assert lowering(name, value) is None


def test_every_variable_that_lowers_precision_is_recorded_and_compared() -> None:
    names = [one.pattern.replace("*", "ONEDNN" if one.pattern.startswith("*") else "CONV") for one in LOWERING]

    assert {changes(name) for name in names} == {ARITHMETIC}
