"""From decoded pictures to floats on the device: bytes that are copied and converted there, beside floats that are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torchvision.transforms import functional

from benchmarks.beside import beside
from benchmarks.data.pictures import HEIGHT, WIDTH
from trainer.data.dataset import Sample, collate
from trainer.devices import load_backend
from trainer.loop.staging import to_device

IMAGES = 16


def test_bytes_beside_floats(benchmark: Any) -> None:
    """A batch of 16, half of them mirrored, on a CUDA device if there is one, else on the CPU with one thread.

    The reference makes floats on the host as torchvision does it, and copies them from pageable memory, waiting for
    each; where the device is the CPU, that copy is the one from a worker's memory into the trainer's own.
    """
    backend = load_backend("cuda" if torch.cuda.is_available() else "cpu")
    threads = torch.get_num_threads()
    backend.open(0, 1)
    torch.set_num_threads(1)
    rng = np.random.RandomState(0)
    pictures = [rng.randint(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8) for _ in range(IMAGES)]
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    batch = collate([Sample(pixels, number % 2 == 1, *nothing, number) for number, pixels in enumerate(pictures)])
    if backend.pin_memory:
        batch = batch._replace(pixels=batch.pixels.pin_memory())

    def ours() -> list[Any]:
        images, _ = to_device(batch, backend.device, blocking=not backend.pin_memory)
        backend.synchronise()
        return images

    def reference() -> list[Any]:
        images = []
        for number, pixels in enumerate(pictures):
            image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
            image = functional.hflip(image) if number % 2 else image
            images.append(functional.convert_image_dtype(image, torch.float32).to(backend.device, copy=True))
        backend.synchronise()
        return images

    try:
        assert all(torch.equal(one, other) for one, other in zip(ours(), reference()))
        beside(benchmark, ours, reference, rounds=15, units=IMAGES, name=f"copy and convert, {backend.name}")
    finally:
        torch.set_num_threads(threads)
