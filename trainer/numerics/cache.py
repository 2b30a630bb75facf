"""References on disk: computed once on a host by its local rank 0, read by the other ranks and by later runs.

An entry is the SHA-256 of what follows and a NumPy archive; it is named by the case, the seed, the code that makes it
and the version of torch, whose own fp32 arithmetic is one of the honest ones.
"""

from __future__ import annotations

import functools
import hashlib
import io
import math
import os
import tempfile
import time
from pathlib import Path
from typing import Mapping, Sequence

import numpy as np
import torch

from trainer.data.index_cache import EntryError, cache_folder
from trainer.numerics.cases import Case
from trainer.numerics.catalogue import PRODUCTS
from trainer.numerics.reference import Reference, inputs_of, reference_of
from trainer.ranks import HostGroup

_DIGEST = 64
_MAKERS = ("catalogue", "operators", "products", "sums", "elementwise", "exact", "special", "reference")
_UNUSED_S = 90 * 86400
_LARGEST = 4_000_000  # elements of a result that is no product


class References:
    """The references of cases; `seconds` is the time that getting them took, `computed` how many were not on disk.

    `why` says why they are not kept, "" if they are. The constructor is a collective call of the host's ranks.
    """

    def __init__(self, cases: Sequence[Case], group: HostGroup) -> None:
        begun_s = time.perf_counter()
        self.why = ""
        self.computed = 0
        self._folder = references_folder()
        if self._folder is None:
            self.why = "no folder for it; set CONFORMANCE_CACHE to one"
        if group.ranks.local_rank == 0:
            for case in filter(_is_kept, cases):
                if self._folder is not None and self._read(case) is None:
                    self.computed += 1
                    self._store(case, reference_of(case, inputs_of(case)))
        group.barrier()
        self.seconds = time.perf_counter() - begun_s

    def of(self, case: Case) -> Reference:
        """Return the reference of a case, computed here if it is not on disk."""
        begun_s = time.perf_counter()
        found = self._read(case) if _is_kept(case) else None
        if found is None:
            self.computed += 1
            found = reference_of(case, inputs_of(case))
        self.seconds += time.perf_counter() - begun_s
        return found

    def _path(self, case: Case) -> Path:
        assert self._folder is not None
        return (
            self._folder / f"{hashlib.sha256(f'{case.name} {case.seed} {code_digest(*_MAKERS)}'.encode()).hexdigest()}"
        )

    def _read(self, case: Case) -> Reference | None:
        """Return the entry of a case; None without one, and for one that is damaged."""
        arrays = None if self._folder is None else read_arrays(self._path(case))
        if arrays is None:
            return None
        result = torch.from_numpy(arrays["result"]).to(getattr(torch, str(arrays["dtype"])))
        condition = torch.from_numpy(arrays["condition"]) if "condition" in arrays else None
        worst, rmse, rms = arrays["figures"].tolist()
        return Reference(result, condition, worst, rmse, rms)

    def _store(self, case: Case, reference: Reference) -> None:
        dtype = str(reference.result.dtype).rpartition(".")[2]
        wide = reference.result.float() if dtype == "bfloat16" else reference.result  # which NumPy does not have
        arrays = {"result": wide.numpy(), "dtype": np.array(dtype)}
        arrays["figures"] = np.array([reference.worst, reference.rmse, reference.rms])
        if reference.condition is not None:
            arrays["condition"] = reference.condition.numpy()
        path = self._path(case)
        try:
            write_arrays(path, arrays)
        except OSError as error:
            self.why = f"{path.parent}: {error.strerror}"
            self._folder = None


def _is_kept(case: Case) -> bool:
    """Return whether reading a reference costs less than computing it."""
    return case.operator in PRODUCTS or math.prod(case.sizes.values()) <= _LARGEST


def references_folder() -> Path | None:
    """Return the folder of the entries; None if there is no place for one."""
    try:
        return cache_folder().with_name("references")
    except EntryError:
        return None


def read_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """Return the arrays of an entry by name; None without one, and for one that is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content[_DIGEST:]).hexdigest().encode() != content[:_DIGEST]:
        return None
    return dict(np.load(io.BytesIO(content[_DIGEST:]), allow_pickle=False))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an entry, whole or not at all. Raises OSError."""
    archive = io.BytesIO()
    np.savez(archive, **arrays)  # type: ignore[arg-type]  # its stubs take one name for a flag
    content = archive.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, partial = tempfile.mkstemp(prefix=".partial-", dir=str(path.parent))
    with open(handle, "wb") as file:
        file.write(hashlib.sha256(content).hexdigest().encode() + content)
    os.replace(partial, str(path))


@functools.lru_cache(maxsize=None)
def code_digest(*makers: str) -> str:
    """Return the digest of the modules that make a reference, by path from this folder, and of torch's version."""
    digest = hashlib.sha256(torch.__version__.encode())
    for name in makers:
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return digest.hexdigest()
