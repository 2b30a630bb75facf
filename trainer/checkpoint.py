"""A checkpoint after every epoch, written so that a reader finds a whole file or none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

SCHEMA = 1
_KEPT = 2


def save_checkpoint(run_dir: Path, *, epoch: int, model: torch.nn.Module, optimizer: Any) -> tuple[Path, int]:
    """Write `checkpoints/epoch-NNNN.pt` under `run_dir`, drop all but the newest two, return (path, bytes)."""
    folder = run_dir / "checkpoints"
    folder.mkdir(exist_ok=True)
    path = folder / f"epoch-{epoch:04d}.pt"
    state: dict[str, Any] = {
        "schema": SCHEMA,
        "epoch": epoch,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(str(partial), str(path))
    for old in sorted(folder.glob("epoch-*.pt"))[:-_KEPT]:
        old.unlink()
    return path, path.stat().st_size
