"""The errors that a rank can end with, each with the word that evidence and reports call it by."""

from __future__ import annotations


class TrainerError(Exception):
    """A run cannot go on, for a reason that a person can act on; `kind` names the reason's family in the evidence."""

    kind = "trainer"


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
    """The disk did not take what a run has to leave on it: full, taken away, read-only."""

    kind = "disk"


class DeviceError(TrainerError):
    """The accelerator, its framework or its tools are not there, or are not the ones asked for."""

    kind = "device"


class LeaseError(TrainerError):
    """A card is not to be had: another run holds it, or the folder where runs note that is not fit for it."""

    kind = "lease"


class DivergedError(TrainerError):
    """The loss is no longer a finite number: what runs now is another workload."""

    kind = "diverged"
