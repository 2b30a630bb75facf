"""One whole training step, and the loss over some, on the device and on the host: the events of the one-step probe."""

from __future__ import annotations

from dataclasses import dataclass

from evidence.codec import AnyFloat
from evidence.events.declare import event


@event("gradient")
@dataclass(frozen=True)
class Gradient:
    """How the device's gradient of one parameter in one step differs from the host's in fp64, decisions being the same.

    `parameter` is its name in the model; "losses" are the losses of the step, in alphabetical order. `worst` is the
    largest |error| in units of u max |expected|, u the unit roundoff of `dtype`, that of the step's products; `honest`
    the same of the worst honest arithmetic on the host. `rmse`, `honest_rmse`: root mean square of the error, `rms` of
    the gradient. `at` is the flat index of the worst element, with the values `found` and `expected`. `digest` is the
    SHA-256 of the gradient and of the parameter after the step; the step was taken `repeats` times more from the same
    state, of which `unlike` gave other bits; `may_vary` is the reason why they may. `decisions` is
    the SHA-256 of the decisions that were given: proposals, samples and the like.
    """

    parameter: str
    dtype: str
    elements: int
    worst: AnyFloat
    honest: AnyFloat
    rmse: AnyFloat
    honest_rmse: AnyFloat
    rms: AnyFloat
    at: int = 0
    found: AnyFloat = 0.0
    expected: AnyFloat = 0.0
    digest: str = ""
    repeats: int = 0
    unlike: int = 0
    may_vary: str = ""
    decisions: str = ""


@event("one_step", once=True)
@dataclass(frozen=True)
class OneStepDone:
    """The one-step probe, which began at `begun_ns`, has ended: what was trained, and the loss of each step.

    `losses` on the device, `expected` on the host in fp32; `spread` is the largest distance of honest arithmetic to
    them, up to that step. `gradients` is the number of `gradient` events. `references` says where the host's part is
    from, "computed" or "cache", `reference_seconds` what getting it took; `why` why it is not in the cache, else "".
    `error`: why there is no answer, else "".
    """

    model: str
    sides: tuple[int, ...]
    dtype: str
    begun_ns: int
    seconds: float
    reference_seconds: float
    references: str
    gradients: int = 0
    losses: tuple[AnyFloat, ...] = ()
    expected: tuple[AnyFloat, ...] = ()
    spread: tuple[AnyFloat, ...] = ()
    why: str = ""
    error: str = ""
    t_ns: int = 0
