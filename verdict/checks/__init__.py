"""What has to hold for a run's evidence to be believed; a run that breaks a check is invalid."""

from __future__ import annotations
