"""Draws one picture of circles, squares and triangles, and says exactly which pixels belong to which of them.

All arithmetic that decides a pixel is done in integers, and all chance comes from `integers` and `permutation` of
a PCG64 generator, so that a picture is the same on every numpy that the project supports.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

CATEGORIES = ("circle", "square", "triangle")
SIZES = ((128, 128), (128, 96), (96, 128), (128, 112), (112, 128), (128, 104), (104, 128))
"""Widths and heights that pictures have; the longest side is always 128 pixels."""

_SIDES = (24, 68)
_MARGIN = 2
_THROWS = 30
_CROWD_CELL = 16
# Bright on dark, and by far: a model that starts from random weights has a hundred steps to learn this.
_BACKGROUND = (30, 91)


class Frame(NamedTuple):
    """A square region of a picture: its left upper corner and its side, in pixels."""

    x: int
    y: int
    side: int


@dataclass(frozen=True)
class Drawn:
    """A shape in a picture, or a crowd of shapes of one category: `mask` is bool [height, width] of the whole picture.

    `polygon` is x, y, x, y, ... in pixels, and None for a crowd, whose outline is its mask.
    """

    category: int
    mask: np.ndarray
    polygon: tuple[float, ...] | None

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x, y, width and height of the tightest box around the drawn pixels."""
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        x, y = int(columns[0]), int(rows[0])
        return x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y


def draw(rng: np.random.Generator, *, shapes: int, crowd: bool = False) -> tuple[np.ndarray, tuple[Drawn, ...]]:
    """Returns a picture, uint8 [height, width, 3], and what is on it; fewer than `shapes` where no more find room.

    Shapes do not touch each other. The first always finds room, and so does the crowd, which is placed before them.
    """
    width, height = SIZES[rng.integers(len(SIZES))]
    base = rng.integers(*_BACKGROUND, size=3)
    pixels = _background(rng, width, height, base)
    frames: list[Frame] = []
    drawn: list[Drawn] = []
    if crowd:
        frame = _free_frame(rng, (width, height), (3 * _CROWD_CELL, 3 * _CROWD_CELL), frames)
        if frame is not None:
            frames.append(frame)
            drawn.append(_crowd(rng, frame, width, height))
    for _ in range(shapes):
        frame = _free_frame(rng, (width, height), _SIDES, frames)
        if frame is not None:
            frames.append(frame)
            drawn.append(_shape(int(rng.integers(1, len(CATEGORIES) + 1)), frame, width, height))
    for thing in drawn:
        _paint(rng, pixels, thing)
    return np.clip(pixels, 0, 255).astype(np.uint8), tuple(drawn)


def _background(rng: np.random.Generator, width: int, height: int, base: np.ndarray) -> np.ndarray:
    """Soft patches of a colour under fine noise, int32 [height, width, 3]: textured, yet unlike any shape's colour."""
    cell = 16
    # Drawn as int64, as ever, since another type is another sequence of numbers; int32 is enough from here on.
    knots = rng.integers(-12, 13, size=(height // cell + 2, width // cell + 2, 3)).astype(np.int32)
    rows, row_part = np.divmod(np.arange(height, dtype=np.int32), cell)
    columns, column_part = np.divmod(np.arange(width, dtype=np.int32), cell)
    right, down = column_part[None, :, None], row_part[:, None, None]
    across = knots[:, columns] * (cell - right) + knots[:, columns + 1] * right  # of the few rows that have knots
    patches = across[rows] * (cell - down) + across[rows + 1] * down
    patches >>= 8  # divides by cell * cell and rounds down
    noise = rng.integers(-6, 7, size=(height, width, 1))
    patches += base.astype(np.int32) + noise.astype(np.int32)
    return patches


def _free_frame(
    rng: np.random.Generator, size: tuple[int, int], sides: tuple[int, int], taken: list[Frame]
) -> Frame | None:
    """A frame that keeps its distance from those in `taken`, smaller the longer it takes to find; None if none fits."""
    smallest, largest = sides
    for throw in range(_THROWS):
        side = int(rng.integers(smallest, largest - (largest - smallest) * throw // _THROWS + 1))
        x, y = (int(rng.integers(_MARGIN, room - side - _MARGIN + 1)) for room in size)
        if all(
            x + side + _MARGIN <= other.x
            or other.x + other.side + _MARGIN <= x
            or y + side + _MARGIN <= other.y
            or other.y + other.side + _MARGIN <= y
            for other in taken
        ):
            return Frame(x, y, side)
    return None


def _shape(category: int, frame: Frame, width: int, height: int) -> Drawn:
    mask = np.zeros((height, width), dtype=bool)
    mask[frame.y : frame.y + frame.side, frame.x : frame.x + frame.side] = _stencil(category, frame.side)
    return Drawn(category, mask, _outline(category, frame))


def _crowd(rng: np.random.Generator, frame: Frame, width: int, height: int) -> Drawn:
    """Five to eight small shapes of one category, each in its own cell of the frame, under one annotation."""
    category = int(rng.integers(1, len(CATEGORIES) + 1))
    mask = np.zeros((height, width), dtype=bool)
    for cell in rng.permutation(9)[: int(rng.integers(5, 9))]:
        side = int(rng.integers(9, _CROWD_CELL - 1))
        shift_x, shift_y = (int(rng.integers(0, _CROWD_CELL - side)) for _ in range(2))
        x = frame.x + int(cell) % 3 * _CROWD_CELL + shift_x
        y = frame.y + int(cell) // 3 * _CROWD_CELL + shift_y
        mask[y : y + side, x : x + side] = _stencil(category, side)
    return Drawn(category, mask, None)


def _stencil(category: int, side: int) -> np.ndarray:
    """The shape's own pixels, bool [side, side]; it touches all four sides."""
    across = 2 * np.arange(side) + 1 - side
    if category == 1:
        return across[:, None] ** 2 + across[None, :] ** 2 <= side**2
    if category == 2:
        return np.ones((side, side), dtype=bool)
    return np.abs(across)[None, :] <= np.arange(1, side + 1)[:, None]


def _outline(category: int, frame: Frame) -> tuple[float, ...]:
    x, y, side = frame
    if category == 1:
        turns = [math.pi * step / 10 for step in range(20)]
        points = [(x + side / 2 * (1 + math.cos(t)), y + side / 2 * (1 + math.sin(t))) for t in turns]
    elif category == 2:
        points = [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]
    else:
        points = [(x + side / 2, y), (x + side, y + side), (x, y + side)]
    return tuple(round(float(value), 2) for point in points for value in point)


def _paint(rng: np.random.Generator, pixels: np.ndarray, thing: Drawn) -> None:
    """Fills the shape with one bright colour of its category's family: poor in red, in green, or in blue.

    A model that starts from random weights then learns in tens of steps what outlines alone would take hundreds for.
    In greyscale the outline and the brightness are left.
    """
    colour = rng.integers(200, 256, size=3)
    colour[thing.category - 1] = rng.integers(40, 130)
    pixels[thing.mask] = colour + rng.integers(-5, 6, size=(int(thing.mask.sum()), 1))
