"""Variables of the ranks: what is declared or the same on all ranks is no violation, and what only differs is noted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Mapping

import pytest

from evidence.bundle import Evidence, read_run
from expected import Topology
from tests.verdict.bundles import Bundle, Plan, a_cell, build
from tests.verdict.checks.breaking import FULL, Fault, Faults, require_named
from verdict.checks.invariants import notes, violations
from verdict.metrics.measure import measure

TWO_HOSTS = Plan(topology=Topology(2, 2))


def evidence_of(folder: Path, *of_ranks: Mapping[str, str], plan: Plan = TWO_HOSTS) -> Evidence:
    """A sound run in which each rank recorded its variables; given once, all of them the same."""
    bundle = build(plan)
    for rank in bundle.ranks:
        bundle.one("start", rank)["variables"] = of_ranks[rank % len(of_ranks)]
    return read_run(bundle.write(folder / "run"))


def found(evidence: Evidence, plan: Plan = TWO_HOSTS) -> tuple[str, ...]:
    return violations(evidence, a_cell(plan), measure(evidence))


@pytest.mark.parametrize(
    ("variables", "recipe"),
    [
        ({"XDNN_CONV_GEMM_DTYPE": "float32", "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "XACC_ARGS": "-L O0"}, {}),
        ({"XDNN_CONV_GEMM_DTYPE": "int16"}, {"lowered": ("XDNN_CONV_GEMM_DTYPE=int16",)}),
        ({"METAX_USE_TF32": "1"}, {"tf32": True}),
        ({"METAX_USE_TF32": "1"}, {"tf32": True, "lowered": ("METAX_USE_TF32=1",)}),
        ({"NVIDIA_TF32_OVERRIDE": "0"}, {}),
        ({}, {}),
    ],
)
def test_what_the_row_declares_and_all_ranks_share_is_sound(
    variables: dict[str, str], recipe: dict[str, Any], tmp_path: Path
) -> None:
    plan = replace(TWO_HOSTS, recipe=replace(TWO_HOSTS.recipe, **recipe))

    assert found(evidence_of(tmp_path, variables, plan=plan), plan) == ()


def test_a_recipe_from_before_its_newer_fields_is_that_of_their_defaults(tmp_path: Path) -> None:
    bundle = build(TWO_HOSTS)
    for name in ("deterministic", "cudnn_benchmark", "lowered"):
        del bundle.run["recipe"][name]

    assert found(read_run(bundle.write(tmp_path / "run"))) == ()

    plan = replace(TWO_HOSTS, recipe=replace(TWO_HOSTS.recipe, deterministic=True))
    bundle = build(plan)
    del bundle.run["recipe"]["deterministic"]

    (reason,) = found(read_run(bundle.write(tmp_path / "other")), plan)
    assert reason == "run.json: recipe: found deterministic False, expected True"


def test_hosts_that_differ_in_what_changes_speed_are_noted_once_a_host(tmp_path: Path) -> None:
    here, there = {"NCCL_ALGO": "Ring", "OMP_NUM_THREADS": "4"}, {"OMP_NUM_THREADS": "8"}
    evidence = evidence_of(tmp_path, here, here, there, there)

    assert found(evidence) == ()
    assert [text for text in notes(evidence, a_cell(TWO_HOSTS), measure(evidence)) if " on node" in text] == [
        "rank 2 on node1 has no NCCL_ALGO, and rank 0 on node0 NCCL_ALGO=Ring",
        "rank 2 on node1 has OMP_NUM_THREADS=8, and rank 0 on node0 OMP_NUM_THREADS=4",
    ]


def test_hosts_that_differ_in_what_changes_arithmetic_are_invalid_once_a_host(tmp_path: Path) -> None:
    plain: dict[str, str] = {}
    evidence = evidence_of(tmp_path, plain, plain, {"CUDNN_X": "1"}, {"CUDNN_X": "1"})

    (reason,) = found(evidence)
    assert reason.startswith("rank 2 on node1: found CUDNN_X=1, expected no CUDNN_X as on rank 0 on node0: these ranks")


LOWERED = Plan(recipe=replace(Plan().recipe, lowered=("XDNN_CONV_GEMM_DTYPE=int16",)))


def variables(bundle: Bundle, *of_ranks: dict[str, str]) -> None:
    """Have the ranks record these variables; given once, all of them the same."""
    for rank, found in zip(bundle.ranks, of_ranks * (len(bundle.ranks) if len(of_ranks) == 1 else 1)):
        bundle.one("start", rank)["variables"] = found


FAULTS = Faults(
    [
        Fault(
            "variables-agree",
            "rank 1 on node0: found no CUBLAS_WORKSPACE_CONFIG, expected CUBLAS_WORKSPACE_CONFIG=:4096:8 as on rank 0",
            lambda b: variables(b, {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}, {}),
        ),
        Fault(
            "precision-lowered",
            "rank 0: found XDNN_CONV_GEMM_DTYPE=int16, by which convolutions and linear layers multiply in that format",
            lambda b: variables(b, {"XDNN_CONV_GEMM_DTYPE": "int16"}),
        ),
        Fault(
            "precision-lowered",
            "rank 0: found NVIDIA_TF32_OVERRIDE=1, by which fp32 products of NVIDIA's libraries use TF32",
            lambda b: variables(b, {"NVIDIA_TF32_OVERRIDE": "1"}),
        ),
        Fault(
            "precision-lowered",
            "rank 0: found XDNN_CONV_GEMM_DTYPE=int16,",
            lambda b: variables(b, {"XDNN_CONV_GEMM_DTYPE": "int16"}),
            replace(FULL, recipe=replace(FULL.recipe, tf32=True)),
        ),
        Fault(
            "precision-lowered",
            "rank 0: found no XDNN_CONV_GEMM_DTYPE, expected XDNN_CONV_GEMM_DTYPE=int16",
            lambda b: None,
            LOWERED,
        ),
        Fault(
            "precision-lowered",
            "rank 0: found XDNN_CONV_GEMM_DTYPE=int8, expected XDNN_CONV_GEMM_DTYPE=int16",
            lambda b: variables(b, {"XDNN_CONV_GEMM_DTYPE": "int8"}),
            LOWERED,
        ),
    ]
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_a_fault_makes_the_run_invalid_and_is_named(fault: Fault, tmp_path: Path) -> None:
    require_named(fault, tmp_path)
