"""The network, its published weights, and the optimizer."""

from __future__ import annotations
