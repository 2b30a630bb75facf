"""On the R300's Python the vendor's own torch stays as it is: installing the project replaces nothing."""

from __future__ import annotations

import sys

import pytest


@pytest.mark.skipif(sys.version_info[:2] != (3, 8), reason="the R300's image has Python 3.8")
def test_the_install_left_the_vendors_versions_in_place() -> None:
    import numpy
    import PIL
    import torch
    import torchvision

    assert torch.__version__.split("+")[0] == "1.12.1"
    assert torchvision.__version__.split("+")[0] == "0.13.1"
    assert numpy.__version__ == "1.23.5"
    assert PIL.__version__ == "9.5.0"
