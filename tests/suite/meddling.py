"""A pytest plugin for tests: does to the test of `mem` what plugins, workers and people can do to a session.

The environment variable MEDDLE says what.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

MODE = os.environ["MEDDLE"]


def pytest_runtest_protocol(item: Any, nextitem: Any) -> Any:
    """Run the test twice, as plugins that retry do: the first time in full view, as a rerun, or in silence."""
    if MODE not in ("twice", "rerun", "silent") or not item.name.startswith("test_mem"):
        return None
    for report in runtestprotocol(item, nextitem=nextitem, log=False):
        report.outcome = "rerun" if MODE == "rerun" and report.when == "call" else report.outcome
        if MODE != "silent":
            item.ihook.pytest_runtest_logreport(report=report)
    runtestprotocol(item, nextitem=nextitem)
    return True


def pytest_runtest_call(item: Any) -> None:
    """Leave in the middle of the test: as a worker that dies, or as a person who presses Ctrl-C; or break another."""
    if MODE == "break" and item.name.startswith("test_step_times"):
        raise ValueError("broken")
    if item.name.startswith("test_mem"):
        if MODE == "crash":
            os._exit(1)
        if MODE == "interrupt":
            raise KeyboardInterrupt


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Any:
    """Call a test passed that was not, or skipped."""
    outcome: Any = yield
    report = outcome.get_result()
    if MODE == "flatter" and report.when == "call":
        report.outcome, report.longrepr = "passed", None
    if MODE == "skip" and report.when == "call":
        report.outcome, report.longrepr = "skipped", ("meddling.py", 1, "Skipped: no")


def pytest_sessionfinish(session: Any) -> None:
    """When all tests are over, fail, or call it a success whatever it was."""
    if MODE == "late":
        raise RuntimeError("after the tests")
    if MODE == "zero":
        session.exitstatus = 0
