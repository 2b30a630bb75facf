"""The cases of the operators probe: operator, pass, dtype, size, and the seed of its inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, Mapping

from trainer.numerics.catalogue import CATALOGUE, OPERATOR, Size, asked_dtypes, recorded_sizes

_REPEATS = 20


@dataclass(frozen=True)
class Case:
    """One question to the device. `size` is sorted, as in (("k", 12544), ("m", 1024), ("n", 32)).

    `layout`: "strided" for inputs that are not contiguous.

    >>> Case("linear", "fprop", "fp32", (("k", 64), ("m", 8), ("n", 2))).name
    'linear-fprop-fp32[k64,m8,n2]'
    """

    operator: str
    direction: str
    dtype: str
    size: tuple[tuple[str, int], ...]
    seed: int = 0
    layout: str = ""

    @property
    def sizes(self) -> Mapping[str, int]:
        """The size by name of its dimension."""
        return dict(self.size)

    @property
    def question(self) -> str:
        """What it is a case of: operator, pass and dtype."""
        return f"{self.operator}-{self.direction}-{self.dtype}"

    @property
    def name(self) -> str:
        """The whole case in a word."""
        size = ",".join(f"{name}{value}" for name, value in self.size)
        return f"{self.question}[{size}{',strided' if self.layout else ''}]"


def case(operator: str, direction: str, dtype: str, size: Size, seed: int = 0, layout: str = "") -> Case:
    """Return a case with its size by name."""
    return Case(operator, direction, dtype, tuple(sorted(size.items())), seed, layout)


def quick_cases(precision: str, tf32: bool, seed: int) -> Iterator[Case]:
    """Yield the cases of the quick probe: each operator at a few sizes, at the edges, and not contiguous."""
    for kind in CATALOGUE.values():
        for dtype in asked_dtypes(kind, precision, tf32):
            for direction in kind.directions:
                for size in (*kind.quick, *kind.edges):
                    yield case(kind.name, direction, dtype, size, seed)
                if kind.asked == OPERATOR:
                    yield case(kind.name, direction, dtype, kind.quick[0], seed, "strided")


def full_cases(precision: str, tf32: bool, seed: int) -> Iterator[Case]:
    """Yield the cases of the full probe: those of the quick one, and all at the sizes of a real step."""
    yield from quick_cases(precision, tf32, seed)
    for name, size in recorded_sizes():
        if size in (*CATALOGUE[name].quick, *CATALOGUE[name].edges):
            continue
        for dtype in asked_dtypes(CATALOGUE[name], precision, tf32):
            for direction in CATALOGUE[name].directions:
                yield case(name, direction, dtype, size, seed)


def repeats_of(one: Case) -> int:
    """Return how often a case is computed again: many times one of each question, and once the sizes of a real step."""
    kind = CATALOGUE[one.operator]
    if not one.layout and one.sizes == kind.quick[0]:
        return _REPEATS
    return 0 if one.layout or one.sizes in (*kind.quick, *kind.edges) else 1
