"""Tests of tests/labs/disks.py."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import pytest

from tests.labs.disks import requirements, small_disk

pytestmark = pytest.mark.skipif(bool(requirements()), reason=requirements())


def test_a_small_disk_is_full_when_its_bytes_are_used(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64 * 1024) as disk:
        (disk / "fits").write_bytes(bytes(60 * 1024))

        with pytest.raises(OSError, match="No space left") as refused:
            (disk / "too-much").write_bytes(bytes(8 * 1024))

    assert refused.value.errno == errno.ENOSPC


def test_a_small_disk_is_gone_afterwards_though_a_file_is_open(tmp_path: Path) -> None:
    disk = tmp_path / "disk"

    with contextlib.ExitStack() as busy:

        def fail() -> None:
            with small_disk(disk, 64 * 1024):
                busy.enter_context(open(disk / "busy", "wb"))
                raise KeyError("the test fails")

        with pytest.raises(KeyError):
            fail()

        assert not os.path.ismount(disk)
        assert list(disk.iterdir()) == []
