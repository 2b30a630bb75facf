"""Images that take longer to decode than they do: what a simulated device's scenario plants in the loader's workers."""

from __future__ import annotations

import time
from typing import Any

from torch.utils.data import Dataset


class Slowed(Dataset):
    """The samples of `images`, each of which takes `delay_s` seconds more, asleep."""

    def __init__(self, images: Any, delay_s: float) -> None:
        self._images = images
        self._delay_s = delay_s
        self.collate = images.collate

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, item: Any) -> Any:
        """What `images` has there."""
        time.sleep(self._delay_s)
        return self._images[item]
