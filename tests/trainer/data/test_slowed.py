"""Planted decoding time: the samples are those of the images, one delay each."""

from __future__ import annotations

from typing import Any

from trainer.data import slowed
from trainer.data.slowed import Slowed


class Letters:
    """Stands for images: a letter each."""

    collate = staticmethod("".join)

    def __len__(self) -> int:
        return 3

    def __getitem__(self, at: int) -> str:
        return "abc"[at]


def test_every_sample_is_the_images_own_and_takes_its_delay(monkeypatch: Any) -> None:
    slept: list[float] = []
    monkeypatch.setattr(slowed.time, "sleep", slept.append)
    images = Slowed(Letters(), 0.03)

    assert (len(images), images.collate([images[0], images[2]])) == (3, "ac")
    assert slept == [0.03, 0.03]
