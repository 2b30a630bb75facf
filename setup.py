from setuptools import setup  # for `pip install -e .` with pip before 21.3; everything stands in pyproject.toml

setup()
