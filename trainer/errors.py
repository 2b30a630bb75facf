"""The errors that end a rank, each with its `kind` in the evidence."""

from __future__ import annotations


class TrainerError(Exception):
    """A run cannot go on for a reason outside the program; `kind` names its family in the evidence."""

    kind = "trainer"

    def __str__(self) -> str:
        """The message, with those bytes of file names that are no UTF-8 written as \\xe9: it goes to logs and files."""
        return super().__str__().encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


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
