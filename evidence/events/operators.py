"""What a device computed, operator by operator: the events of the operators probe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping

from evidence.codec import AnyFloat
from evidence.events.declare import event

EXACT, ULP, SUMS, BITS, SPECIAL, VALID, WATCHED = "exact", "ulp", "sums", "bits", "special", "valid", "watched"
"""Rules: the host's bits; error in units in the last place; error against the sum of absolute values; bits of the
mantissa that are lost; NaN and infinity where the host has them; an answer that need not be the host's; only recorded.
"""

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

    @property
    def question(self) -> str:
        """What it is one case of, as in conv2d-dgrad-fp32."""
        return f"{self.operator}-{self.direction}-{self.dtype}"

    @property
    def shape(self) -> str:
        """The size in words, as in "cin256 cout32 h16 k3 n1 stride1 w24"."""
        words = [f"{name}{value}" for name, value in sorted(self.size.items())]
        return " ".join([*words, self.layout] if self.layout else words)


@event("operators", once=True)
@dataclass(frozen=True)
class OperatorsDone:
    """The operators probe, which began at `begun_ns`, has ended: how many cases there were, and what they took.

    `references` says where the references are from: "computed", "cache" or "both", `reference_seconds` what getting
    them took; `why` why they are not in the cache, else "".
    """

    cases: int
    begun_ns: int
    seconds: float
    reference_seconds: float
    references: str
    why: str = ""
    t_ns: int = 0
