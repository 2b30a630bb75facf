"""The references of the operators probe, kept in the cache by case, seed, and the version of torch.

torch's own fp32 arithmetic is one of the honest ones.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Sequence

import numpy as np
import torch

from trainer import cache
from trainer.numerics.cases import Case
from trainer.numerics.catalogue import PRODUCTS
from trainer.numerics.reference import Reference, inputs_of, reference_of
from trainer.ranks import HostGroup

_MODULES = ("catalogue", "operators", "products", "sums", "elementwise", "exact", "special", "reference", "cache")
_MAKERS = tuple(f"numerics/{name}" for name in _MODULES)
_LARGEST = 4_000_000  # elements of a result that is no product


class References:
    """The references of cases; `seconds` is the time that getting them took, `computed` how many were not on disk.

    `why` says why they are not kept, "" if they are. The constructor is a collective call of the host's ranks.
    """

    def __init__(self, cases: Sequence[Case], group: HostGroup) -> None:
        begun_s = time.perf_counter()
        self.why = ""
        self.computed = 0
        if group.ranks.local_rank == 0:
            for case in filter(_is_kept, cases):
                if not self.why and _read(case) is None:
                    self.computed += 1
                    self._store(case, reference_of(case, inputs_of(case)))
        group.barrier()
        self.seconds = time.perf_counter() - begun_s

    def of(self, case: Case) -> Reference:
        """Return the reference of a case, computed here if it is not on disk."""
        begun_s = time.perf_counter()
        found = _read(case) if _is_kept(case) else None
        if found is None:
            self.computed += 1
            found = reference_of(case, inputs_of(case))
        self.seconds += time.perf_counter() - begun_s
        return found

    def _store(self, case: Case, reference: Reference) -> None:
        dtype = str(reference.result.dtype).rpartition(".")[2]
        wide = reference.result.float() if dtype == "bfloat16" else reference.result  # which NumPy does not have
        arrays = {"result": wide.numpy(), "dtype": np.array(dtype)}
        arrays["figures"] = np.array([reference.worst, reference.rmse, reference.rms])
        if reference.condition is not None:
            arrays["condition"] = reference.condition.numpy()
        try:
            cache.write(_entry(case), arrays)
        except cache.CacheError as error:
            self.why = str(error)


def _is_kept(case: Case) -> bool:
    """Return whether reading a reference costs less than computing it."""
    return case.operator in PRODUCTS or math.prod(case.sizes.values()) <= _LARGEST


def _entry(case: Case) -> Path:
    return cache.entry("references", f"{case.name} {case.seed} {torch.__version__}", *_MAKERS)


def _read(case: Case) -> Reference | None:
    """Return the entry of a case; None without one that can be used."""
    try:
        arrays = cache.read(_entry(case))
    except cache.CacheError:
        return None
    if arrays is None:
        return None
    result = torch.from_numpy(arrays["result"]).to(getattr(torch, str(arrays["dtype"])))
    condition = torch.from_numpy(arrays["condition"]) if "condition" in arrays else None
    worst, rmse, rms = arrays["figures"].tolist()
    return Reference(result, condition, worst, rmse, rms)
