"""What the device computes, operator by operator, beside an fp64 reference on the host."""

from __future__ import annotations
