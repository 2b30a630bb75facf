"""How far training has come, in epochs and steps, and where in an epoch it is to be kept."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Position:
    """`step` of the `steps` steps of an epoch are done; epochs are counted from 0, and all have as many steps.

    With all of them done the epoch's evaluation is owed: it changes nothing, so that nothing is kept after it. Raises
    ValueError for a position that no training comes to.
    """

    epoch: int
    step: int
    steps: int

    def __post_init__(self) -> None:
        if self.epoch < 0 or not 0 <= self.step <= self.steps or self.steps < 1:
            raise ValueError(f"step {self.step} of {self.steps} in epoch {self.epoch} is no position")

    @property
    def taken(self) -> int:
        """Steps of all epochs: the number of the step that comes next."""
        return self.epoch * self.steps + self.step

    @property
    def left(self) -> int:
        """Steps that the epoch still has."""
        return self.steps - self.step


def stretches(first: int, steps: int, every: int) -> list[tuple[int, int]]:
    """Return the steps from `first` to `steps` of an epoch, cut as (begin, end) after each multiple of `every`.

    With `every` 0 they are one stretch; with none left there is no stretch.
    """
    ends = [*range(first - first % every + every, steps, every)] if every else []
    begins = [first, *ends]
    return [(begin, end) for begin, end in zip(begins, [*ends, steps]) if begin < end]
