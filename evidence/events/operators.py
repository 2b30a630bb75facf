"""What a device computed, operator by operator: the events of the operators probe."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Mapping

from evidence.codec import AnyFloat
from evidence.events.declare import event

EXACT, ULP, SUMS, BITS, SPECIAL, VALID, WATCHED = "exact", "ulp", "sums", "bits", "special", "valid", "watched"
"""Rules: the host's bits; error in units in the last place; error against the sum of absolute values; bits of the
mantissa that are lost; NaN and infinity where the host has them; an answer that need not be the host's; only recorded.
"""

LEAST_SUM, HONEST_SUMS = 16.0, 8.0
"""A sum may be off by 16 u S, or by 8 times what the worst honest order of summation is."""
LEAST_ULP, HONEST_ULP = 4.0, 2.0
"""A function may be off by 4 ULP, or by 2 times what the host's fp32 is."""
MOST_LOST_BITS = {"fp32": 1.0, "tf32": 14.0}
"""Of the 24 of an fp32 number, in a product with 1: TF32 keeps 11, bf16 8."""
RMSE_FACTOR, LOOSE_RMSE_FACTOR = 2.0, 3.0
"""RMSE of a result over that of the worst honest order: in fp32; in half precision and in a sample of fewer than
RMSE_ELEMENTS, as in PyTorch's own comparison."""
RMSE_ELEMENTS = 1000
"""Results of fewer elements have no RMSE that could be held against another."""

UNIT_ROUNDOFF = {"fp32": 2.0**-24, "tf32": 2.0**-11, "fp16": 2.0**-11, "bf16": 2.0**-8}
"""Half the distance from 1 to the next larger number, by dtype."""


@event("operator")
@dataclass(frozen=True)
class OperatorAnswer:
    """How the device's answer to one case differs from the fp64 reference on the host.

    `direction` is "forward", "fprop", "dgrad", ...; `size` names the operator's dimensions, `layout` is "strided" for
    inputs that are not contiguous. `elements` of the result, `wrong` of them differ at all. `worst` is the largest
    error: in |err| / (u S) for sums, where u is the unit roundoff and S the sum of absolute values; in units in the
    last place; in bits of the mantissa that were lost; 1 where an element is not what it has to be. `honest` is the
    same of the host's own fp32 arithmetic, in the worst order of summation. `rmse`, `honest_rmse`: root mean square of
    the error, `rms` of the result. `at` is the flat index of the worst element, with the values `found` and `expected`.
    `digest` is the SHA-256 of the answer's bytes; the case was computed `repeats` times more, of which `unlike` gave
    other bits; `may_vary` is the reason why they may. `error`: why there is no answer, else "".

    Of a large product `sampled` elements were compared, and `sums` over up to `channels` elements each, with random
    signs and over the root of their number; `in_sums` says that the worst is such a sum, of which `at` is the index. Of
    an answer outside its bound operators-NNNN.npz of the rank may have a part, from flat index `kept_from` on.
    """

    operator: str
    direction: str
    dtype: str
    size: Mapping[str, int]
    rule: str
    elements: int = 0
    wrong: int = 0
    worst: AnyFloat = 0.0
    honest: AnyFloat = 0.0
    rmse: AnyFloat = 0.0
    honest_rmse: AnyFloat = 0.0
    rms: AnyFloat = 0.0
    at: int = 0
    in_sums: bool = False
    sampled: int = 0
    sums: int = 0
    channels: int = 0
    found: AnyFloat = 0.0
    expected: AnyFloat = 0.0
    digest: str = ""
    repeats: int = 0
    unlike: int = 0
    may_vary: str = ""
    time_ns: int = 0
    seed: int = 0
    layout: str = ""
    error: str = ""
    kept_from: int | None = None

    @property
    def question(self) -> str:
        """What it is one case of, as in conv2d-dgrad-fp32."""
        return f"{self.operator}-{self.direction}-{self.dtype}"

    @property
    def shape(self) -> str:
        """The size in words, as in "cin256 cout32 h16 k3 n1 stride1 w24"."""
        words = [f"{name}{value}" for name, value in sorted(self.size.items())]
        return " ".join([*words, self.layout] if self.layout else words)

    @property
    def compared(self) -> int:
        """How many numbers the RMSE is of."""
        return max(self.sampled, self.sums) or self.elements

    @property
    def most(self) -> float:
        """The largest `worst` that is let pass; infinite for what is only recorded."""
        if self.rule == SUMS:
            return max(LEAST_SUM, HONEST_SUMS * self.honest)
        if self.rule == ULP:
            return max(LEAST_ULP, HONEST_ULP * self.honest)
        if self.rule == BITS:
            return MOST_LOST_BITS[self.dtype]
        return math.inf if self.rule == WATCHED else 0.0

    @property
    def rmse_margin(self) -> float:
        """The RMSE over its bound; 0 where there is none, as of few elements or by another rule."""
        if self.rule != SUMS or self.elements < RMSE_ELEMENTS or not self.rmse:
            return 0.0
        yardstick = max(self.honest_rmse, UNIT_ROUNDOFF[self.dtype] * self.rms)
        factor = RMSE_FACTOR if self.dtype == "fp32" and self.compared >= RMSE_ELEMENTS else LOOSE_RMSE_FACTOR
        return self.rmse / (factor * yardstick) if yardstick else math.inf

    @property
    def margin(self) -> float:
        """The error over its bound: above 1, or NaN, it is refused; infinite where there is no answer.

        >>> OperatorAnswer("exp", "forward", "fp32", {"n": 8}, "ulp", elements=8, worst=2.0, honest=0.5).margin
        0.5
        """
        if self.error:
            return math.inf
        if not self.most:
            return math.inf if self.worst else 0.0
        margins = self.worst / self.most, self.rmse_margin
        return math.nan if any(map(math.isnan, margins)) else max(margins)


@event("operators", once=True)
@dataclass(frozen=True)
class OperatorsDone:
    """The operators probe, which began at `begun_ns`, has ended: how many cases there were, and what they took.

    `references` says where the references are from: "computed", "cache" or "both", `reference_seconds` what getting
    them took; `why` why they are not in the cache, else "". `unasked` has by question how many cases were not asked, as
    the probe's time was over.
    """

    cases: int
    begun_ns: int
    seconds: float
    reference_seconds: float
    references: str
    why: str = ""
    unasked: Mapping[str, int] = field(default_factory=dict)
    t_ns: int = 0
