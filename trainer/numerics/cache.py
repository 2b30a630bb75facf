"""References on disk: computed once on a host by its local rank 0, read by the other ranks and by later runs.

An entry is the SHA-256 of what follows and a NumPy archive; it is named by the case, the seed, the code that makes it
and the version of torch, whose own fp32 arithmetic is one of the honest ones.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import tempfile
import time
from pathlib import Path
from typing import Sequence

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
        self._folder = _folder()
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
        return self._folder / f"{hashlib.sha256(f'{case.name} {case.seed} {_code()}'.encode()).hexdigest()}"

    def _read(self, case: Case) -> Reference | None:
        """Return the entry of a case; None without one, and for one that is damaged."""
        if self._folder is None:
            return None
        try:
            content = self._path(case).read_bytes()
        except OSError:
            return None
        if hashlib.sha256(content[_DIGEST:]).hexdigest().encode() != content[:_DIGEST]:
            return None
        arrays = np.load(io.BytesIO(content[_DIGEST:]), allow_pickle=False)
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
        archive = io.BytesIO()
        np.savez(archive, **arrays)
        content = archive.getvalue()
        path = self._path(case)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, partial = tempfile.mkstemp(prefix=".partial-", dir=str(path.parent))
            with open(handle, "wb") as file:
                file.write(hashlib.sha256(content).hexdigest().encode() + content)
            os.replace(partial, str(path))
        except OSError as error:
            self.why = f"{path.parent}: {error.strerror}"
            self._folder = None


def _is_kept(case: Case) -> bool:
    """Return whether reading a reference costs less than computing it."""
    return case.operator in PRODUCTS or math.prod(case.sizes.values()) <= _LARGEST


def _folder() -> Path | None:
    try:
        return cache_folder().with_name("references")
    except EntryError:
        return None


_FOUND: list[str] = []


def _code() -> str:
    """The digest of the modules that make a reference, and the version of torch."""
    if not _FOUND:
        digest = hashlib.sha256(torch.__version__.encode())
        for name in _MAKERS:
            digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
        _FOUND.append(digest.hexdigest())
    return _FOUND[0]
