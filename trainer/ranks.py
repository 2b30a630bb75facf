"""Rank, local rank and world size, and the collectives of the ranks' host processes: arrays over gloo, no pickles."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Mapping

import numpy as np

from trainer.clocks import Clock
from trainer.errors import SettingsError

if TYPE_CHECKING:
    import torch
    from torch.distributed import ProcessGroup

    from trainer.devices.base import Backend


@dataclass(frozen=True)
class Ranks:
    """This rank's numbers as torchrun sets them; without torchrun it is rank 0 of 1."""

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    local_world_size: int = 1
    node: int = 0

    @classmethod
    def from_environment(cls) -> Ranks:
        """Read RANK, LOCAL_RANK, WORLD_SIZE and LOCAL_WORLD_SIZE. Raises SettingsError if they are invalid."""
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
        texts = [os.environ.get(name) for name in names]
        if texts == [None] * 4:
            return cls()
        try:
            rank, local_rank, world, local_world = (int(text) for text in texts if text is not None)
        except ValueError:
            raise SettingsError(f"{', '.join(names)} are {texts}; torchrun sets all four to integers") from None
        if not (0 <= rank < world and 0 <= local_rank < local_world <= world):
            raise SettingsError(f"{', '.join(names)} are {texts}, which do not describe one rank among others")
        node = os.environ.get("GROUP_RANK", "0")
        return cls(rank, local_rank, world, local_world, int(node) if node.isdigit() else 0)


class HostGroup:
    """Collectives between the ranks' host processes over gloo, beside the devices' own collectives.

    With one rank every call returns its own argument, and no process group is needed.

    >>> HostGroup(Ranks()).all_gather_json({"a": 1})
    [{'a': 1}]
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self._group: ProcessGroup | None = None
        self._clock = Clock()

    def join(self, backend: Backend) -> None:
        """Initialise the process groups: the default one with the device's collectives, one of gloo for the host."""
        self._clock = backend.clock
        if self.ranks.world_size == 1:
            return
        import torch.distributed as dist

        dist.init_process_group(backend.collectives(), rank=self.ranks.rank, world_size=self.ranks.world_size)
        self._group = dist.new_group(backend="gloo")

    def leave(self) -> None:
        """Destroy the process groups, if there are any."""
        if self._group is not None:
            import torch.distributed as dist

            self._group = None
            dist.destroy_process_group()

    @property
    def handle(self) -> ProcessGroup | None:
        """torch's process group for the host's data; None with one rank or before `join`."""
        return self._group

    @property
    def store(self) -> Any:
        """torch's key-value store of all ranks, for what must work while a collective hangs; None with one rank."""
        if self._group is None:
            return None
        import torch.distributed as dist

        return dist.distributed_c10d._get_default_store()  # there is no public name for it

    def barrier(self) -> None:
        """Return when every rank has called it."""
        self.all_gather(np.zeros((1, 1)))

    def all_gather(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return every rank's float64 array [n_rank, columns], by rank; the ranks' row counts may differ.

        Simulated clocks are set to the latest of them.
        """
        if self._group is None:
            return [rows]
        import torch
        import torch.distributed as dist

        world = self.ranks.world_size
        heads = [torch.zeros(2, dtype=torch.int64) for _ in range(world)]
        dist.all_gather(heads, torch.tensor([rows.shape[0], self._clock.true_ns()]), group=self._group)
        counts, times_ns = zip(*(one.tolist() for one in heads))
        self._clock.join(max(times_ns))
        longest = max(counts)
        if not longest:  # gloo of torch 1.12 ends the process on empty tensors
            return [rows] * world
        padded = torch.zeros((longest, rows.shape[1]), dtype=torch.float64)
        padded[: rows.shape[0]] = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float64))
        gathered = [torch.zeros_like(padded) for _ in range(world)]
        dist.all_gather(gathered, padded, group=self._group)
        return [part[:count].numpy() for part, count in zip(gathered, counts)]

    def all_gather_json(self, value: Any) -> list[Any]:
        """Return every rank's JSON value, by rank."""
        text = np.frombuffer(json.dumps(value).encode("ascii"), dtype=np.uint8)
        parts = self.all_gather(text.astype(np.float64).reshape(-1, 1))
        return [json.loads(part.astype(np.uint8).tobytes()) for part in parts]

    def of_this_node(self, value: Any) -> list[Any]:
        """Return the JSON values of this host's ranks, by local rank."""
        every = self.all_gather_json([self.ranks.node, self.ranks.local_rank, value])
        here = [(local_rank, one) for node, local_rank, one in every if node == self.ranks.node]
        return [one for _, one in sorted(here, key=lambda found: found[0])]

    def from_rank_0(self, value: float | None) -> float:
        """Return rank 0's number on every rank; the others' argument is ignored."""
        column = self.all_gather(np.array([[0.0 if value is None else value]]))
        return float(column[0][0, 0])

    def broadcast(self, tensors: Mapping[str, torch.Tensor] | None) -> dict[str, torch.Tensor] | None:
        """Return rank 0's tensors, all on the host, on every rank by name, or its None; the others' are ignored."""
        if self._group is None:
            return None if tensors is None else dict(tensors)
        import torch

        mine = tensors or {}
        listed = [[name, str(tensor.dtype).partition(".")[2], list(tensor.shape)] for name, tensor in mine.items()]
        header = torch.from_numpy(np.frombuffer(json.dumps(listed).encode("utf-8"), dtype=np.uint8).copy())
        length = torch.tensor([-1 if tensors is None else len(header)])
        self._send(length)
        if length.item() < 0:
            return None
        if self.ranks.rank != 0:
            header = torch.empty(int(length.item()), dtype=torch.uint8)
        self._send(header)
        received: dict[str, torch.Tensor] = {}
        for name, dtype, shape in json.loads(header.numpy().tobytes().decode("utf-8")):
            tensor = (
                mine[name].contiguous() if self.ranks.rank == 0 else torch.empty(shape, dtype=getattr(torch, dtype))
            )
            # As bytes: gloo does not support every dtype.
            self._send(tensor.reshape(-1).view(torch.uint8))
            received[name] = tensor
        return received

    def _send(self, tensor: torch.Tensor) -> None:
        """Overwrite a host tensor with rank 0's."""
        import torch.distributed as dist

        if tensor.numel():
            dist.broadcast(tensor, 0, group=self._group)

    def broadcast_buffers(self, model: torch.nn.Module) -> None:
        """Broadcast rank 0's running statistics of batch norm; without DDP's broadcasts each rank has its own.

        Frozen batch norm has constants, which are not sent.
        """
        if self._group is None:
            return
        import torch
        import torch.distributed as dist

        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                for buffer in module.buffers(recurse=False):
                    # Through the host: some accelerators' collectives do not support integers.
                    copy = buffer.detach().cpu()
                    dist.broadcast(copy, 0, group=self._group)
                    buffer.copy_(copy)
