"""A rank's process: its imports, and its end, which leaves nothing behind and takes nothing apart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support import ROOT
from trainer.settings import Settings, to_flags

STAND_IN = """
import atexit, gc, multiprocessing, os, runpy, sys, time, types
from trainer.errors import DataError

def run_rank(settings, ranks, backend, log, started_ns):
    if settings.lowered:
        print("variable", os.environ["XDNN_CONV_GEMM_DTYPE"])
    atexit.register(print, "taken apart")
    print("collector", gc.isenabled(), gc.get_freeze_count() > 0)
    if settings.seed:
        worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        worker.start()
        print("worker", worker.pid)
        raise DataError("no more images")

sys.modules["trainer.loop.session"] = types.ModuleType("trainer.loop.session")
sys.modules["trainer.loop.session"].run_rank = run_rank
runpy.run_module("trainer", run_name="__main__", alter_sys=True)
"""
"""`python -m trainer` with another session, which costs no import of torch."""


def run(folder: Path, **changes: Any) -> tuple[int, str]:
    """Exit code, and what the rank has said in its log."""
    settings = Settings(run_dir=folder, data=folder, pretrained_backbone=False, **changes)
    command = [sys.executable, "-c", STAND_IN, *to_flags(settings)]
    done = subprocess.run(command, cwd=str(ROOT), timeout=60, check=False)
    return done.returncode, (folder / "rank-0000.log").read_text(encoding="utf-8")


def test_a_rank_trains_with_a_collector_that_leaves_its_imports_alone(tmp_path: Path) -> None:
    code, said = run(tmp_path)

    assert code == 0
    assert said.split() == ["collector", "True", "True"]  # all of it is out, and nothing came after it


@pytest.mark.parametrize(("given", "found"), [(None, "int16"), ("float32", "float32")])
def test_a_rank_sets_the_variables_of_its_recipe_unless_they_are_set(
    given: str | None, found: str, tmp_path: Path, monkeypatch: Any
) -> None:
    if given is None:
        monkeypatch.delenv("XDNN_CONV_GEMM_DTYPE", raising=False)
    else:
        monkeypatch.setenv("XDNN_CONV_GEMM_DTYPE", given)

    code, said = run(tmp_path, lowered=("XDNN_CONV_GEMM_DTYPE=int16",))

    assert code == 0
    assert f"variable {found}" in said


def test_a_rank_that_fails_ends_at_once_and_takes_its_workers_along(tmp_path: Path) -> None:
    code, said = run(tmp_path, seed=1)

    assert code == 1
    assert "trainer: data: no more images" in said
    assert "taken apart" not in said
    (worker,) = (int(line.split()[1]) for line in said.splitlines() if line.startswith("worker"))
    try:
        ended = psutil.Process(worker)
        assert psutil.wait_procs([ended], timeout=10)[0] or ended.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        pass
