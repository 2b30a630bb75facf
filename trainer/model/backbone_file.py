"""The file of the backbone's ImageNet weights, known by its SHA-256; torch is not needed."""

from __future__ import annotations

from pathlib import Path

from evidence.files import sha256_of
from trainer.errors import WeightsError

_BENCHMARK_FILE = "resnet50-0676ba61.pth"


def check_backbone(path: Path, digits: str) -> None:
    """Raises WeightsError unless the SHA-256 of the file begins with `digits`, in hex."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; --backbone names torchvision's {_BENCHMARK_FILE}")
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror}; --backbone names torchvision's {_BENCHMARK_FILE}") from None
    if not digest.startswith(digits):
        raise WeightsError(
            f"{path}: its SHA-256 begins with {digest[:16]}, expected {digits} as for torchvision's {_BENCHMARK_FILE}; "
            "the file is damaged or another one, fetch it again"
        )
