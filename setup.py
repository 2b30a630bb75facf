"""For `pip install -e .` with pip before 21.3; everything stands in pyproject.toml."""

from __future__ import annotations

from setuptools import setup

setup()
