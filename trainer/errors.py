"""The errors that end a rank, each with its `kind` in the evidence."""

from __future__ import annotations

import re

_BYTES = re.compile("[\udc80-\udcff]")
"""What Python makes of bytes that are no UTF-8 (PEP 383)."""


def first_line(error: BaseException, longest: int = 200) -> str:
    """Return the first line of an error's message, or its type where it has none: a framework's may fill pages."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:longest]


class TrainerError(Exception):
    """A run cannot go on for a reason outside the program; `kind` names its family in the evidence."""

    kind = "trainer"

    def __str__(self) -> str:
        """The message as any file can have it: of a file name, bytes that are no UTF-8 are written as \\xe9."""
        text = _BYTES.sub(lambda found: f"\\x{ord(found.group()) - 0xDC00:02x}", super().__str__())
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


class SettingsError(TrainerError):
    """Settings that contradict each other or lie outside what the trainer supports."""

    kind = "settings"


class DataError(TrainerError):
    """The data set is missing, damaged, or cannot feed the run that was asked for."""

    kind = "data"


class WeightsError(TrainerError):
    """The backbone's file is missing, is not the one the benchmark names, or holds something other than tensors."""

    kind = "weights"


class DiskError(TrainerError):
    """Writing to the disk failed: full, removed, read-only."""

    kind = "disk"


class DeviceError(TrainerError):
    """The accelerator, its framework or its tools are not there, or are not the ones asked for."""

    kind = "device"


class LeaseError(TrainerError):
    """A device cannot be leased: another run holds it, or the folder of leases cannot be used."""

    kind = "lease"


class DivergedError(TrainerError):
    """The loss is not finite: the workload is no longer that of the benchmark."""

    kind = "diverged"
