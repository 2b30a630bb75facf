"""Rank 0's tensors reach the other ranks as they are, over gloo between real processes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.forked import run_two_ranks
from trainer.clocks import SimulatedClock
from trainer.devices import load_backend
from trainer.ranks import HostGroup, Ranks

SENT = {
    "scalar": torch.tensor(2.5),
    "matrix": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "across": torch.arange(6, dtype=torch.float64).reshape(2, 3).T,
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "flags": torch.tensor([True, False]),
    "bytes": torch.arange(256, dtype=torch.uint8),
    "counts": torch.tensor([2**62]),
    "nothing": torch.zeros((0, 4)),
}


def receive(rank: int, port: int, folder: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    group = HostGroup(Ranks(rank, rank, 2, 2))
    backend = load_backend("virtual")
    backend.configure(None, rank=rank, world_size=2)
    backend.clock.spend(rank * 1e9)
    group.join(backend)
    found = [group.broadcast(SENT if rank == 0 else None), group.broadcast({}), group.broadcast(None)]
    group.barrier()
    met_ns = backend.clock.now_ns()
    here = group.of_this_node({"rank": rank})
    gathered = [group.all_gather(np.full((count, 7), rank + 0.1)) for count in (3 - 2 * rank, 2 * rank, 0, 1 - rank)]
    group.leave()
    torch.save(found, str(Path(folder) / f"found-{rank}.pt"))
    listed = [[part.tolist() for part in parts] for parts in gathered]
    (Path(folder) / f"gathered-{rank}.json").write_text(json.dumps(listed))
    (Path(folder) / f"met-{rank}.json").write_text(json.dumps(met_ns))
    (Path(folder) / f"here-{rank}.json").write_text(json.dumps(here))


def same(found: dict[str, torch.Tensor]) -> bool:
    return found.keys() == SENT.keys() and all(
        (value.dtype, value.shape) == (SENT[name].dtype, SENT[name].shape) and torch.equal(value, SENT[name])
        for name, value in found.items()
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory: Any) -> Path:
    """What two ranks wrote down of all that they were told."""
    folder = Path(str(tmp_path_factory.mktemp("report")))
    run_two_ranks("tests.trainer.test_ranks:receive", str(folder), folder=folder)
    return folder


def test_every_rank_has_rank_0s_tensors(report: Path) -> None:
    for rank in (0, 1):
        tensors, none_of_them, nothing = torch.load(str(report / f"found-{rank}.pt"))
        assert same(tensors)
        assert (none_of_them, nothing) == ({}, None)


@pytest.mark.parametrize("rank", [0, 1])
def test_every_rank_has_all_ranks_rows(report: Path, rank: int) -> None:
    row, other = [0.1] * 7, [1.1] * 7

    found = json.loads((report / f"gathered-{rank}.json").read_text())

    assert found == [[[row] * 3, [other]], [[], [other] * 2], [[], []], [[row], []]]


def test_simulated_clocks_meet_at_the_latest_of_them(report: Path) -> None:
    met_ns = [json.loads((report / f"met-{rank}.json").read_text()) for rank in range(2)]

    assert met_ns == [SimulatedClock().now_ns() + 10**9] * 2


def test_a_rank_that_is_alone_keeps_its_rows() -> None:
    rows = np.ones((2, 7))

    assert HostGroup(Ranks()).all_gather(rows) == [rows]


def test_a_rank_that_is_alone_keeps_its_own() -> None:
    group = HostGroup(Ranks())

    assert same(group.broadcast(SENT) or {})
    assert group.broadcast(None) is None


def test_every_rank_has_the_values_of_its_hosts_ranks(report: Path) -> None:
    for rank in (0, 1):
        assert json.loads((report / f"here-{rank}.json").read_text()) == [{"rank": 0}, {"rank": 1}]


def test_a_rank_alone_is_the_only_one_of_its_host() -> None:
    assert HostGroup(Ranks()).of_this_node([1, None]) == [[1, None]]
