"""What no document says of the vendors that are known here: the backend of their cards, the clock of their tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Vendor:
    """`name` as device files write it; `map_in_percent` says how the vendor's own table prints mAP.

    `smi` is the management tool of cards that share their backend with others.
    """

    name: str
    backend: str
    timing: str
    map_in_percent: bool = False
    smi: str = ""


# These publish in FlagPerf, whose trainer reads p_core with the host's clock and waits for no device.
_KNOWN = (
    Vendor("Kunlunxin", "kunlunxin", "host", map_in_percent=True),
    Vendor("NVIDIA", "cuda", "host", smi="nvml"),
    Vendor("MetaX", "cuda", "host", smi="mx-smi"),
    Vendor("Iluvatar", "cuda", "host", smi="ixsmi"),
)

VENDORS = {vendor.name.casefold(): vendor for vendor in _KNOWN}
"""The vendors by their names in small letters, which is how a device's short name begins."""
