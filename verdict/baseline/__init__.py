"""A site's baseline: values accepted from several runs where the vendor publishes none."""

from __future__ import annotations
