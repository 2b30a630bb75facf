"""Pictures of shapes: what is said to be in them is in them, to the pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.drawing import CATEGORIES, SIZES, draw

SEEDS = st.integers(0, 2**32 - 1)


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@given(seed=SEEDS, shapes=st.integers(1, 3), crowd=st.booleans())
@settings(deadline=None, max_examples=60)
def test_boxes_are_tight_apart_and_inside_the_picture(seed: int, shapes: int, crowd: bool) -> None:
    pixels, drawn = draw(generator(seed), shapes=shapes, crowd=crowd)

    height, width = pixels.shape[:2]
    assert (width, height) in SIZES
    assert max(width, height) == 128
    assert 1 <= len(drawn) <= shapes + crowd
    assert sum(thing.polygon is None for thing in drawn) == crowd
    for thing in drawn:
        x, y, w, h = thing.box
        inside = thing.mask[y : y + h, x : x + w]
        assert inside.sum() == thing.mask.sum()
        assert inside[0].any()
        assert inside[-1].any()
        assert inside[:, 0].any()
        assert inside[:, -1].any()
        assert 1 <= thing.category <= len(CATEGORIES)
        if thing.polygon is not None:
            assert w == h
            assert 24 <= w <= 68
    assert np.sum([thing.mask for thing in drawn], axis=0).max() == 1


@given(seed=SEEDS)
@settings(deadline=None, max_examples=60)
def test_shapes_stand_out_from_the_background_in_colour_and_in_greyscale(seed: int) -> None:
    pixels, drawn = draw(generator(seed), shapes=2)

    background = pixels[~np.any([thing.mask for thing in drawn], axis=0)]
    grey = np.array([0.299, 0.587, 0.114])
    for thing in drawn:
        difference = pixels[thing.mask].mean(axis=0) - background.mean(axis=0)
        assert np.abs(difference).max() > 80
        assert difference @ grey > 8
    assert background.std(axis=0).min() > 3


@pytest.mark.parametrize(("category", "share"), [("circle", 0.785), ("square", 1.0), ("triangle", 0.5)])
def test_each_category_fills_its_own_share_of_its_box(category: str, share: float) -> None:
    pictures = [draw(generator(seed), shapes=3)[1] for seed in range(40)]

    number = 1 + CATEGORIES.index(category)
    filled = [t.mask.sum() / (t.box[2] * t.box[3]) for things in pictures for t in things if t.category == number]
    assert len(filled) > 5
    assert filled == pytest.approx([share] * len(filled), abs=0.06)


def test_a_picture_without_shapes_is_background_only() -> None:
    pixels, drawn = draw(generator(1), shapes=0)

    assert drawn == ()
    assert pixels.dtype == np.uint8
