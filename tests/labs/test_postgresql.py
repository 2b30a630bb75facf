"""Tests of tests/labs/postgresql.py."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.labs.hosts import wait_for
from tests.labs.postgresql import postgresql_server, requirements
from tests.support import ROOT

pytestmark = pytest.mark.skipif(bool(requirements()), reason=requirements())

HELD = """
import time
from tests.labs.postgresql import postgresql_server
with postgresql_server() as server:
    print(server.process.pid, server.folder, flush=True)
    time.sleep(60)
"""


def test_a_server_answers_and_leaves_no_process_and_no_folder() -> None:
    with postgresql_server() as server:
        answer = server.psql("SHOW server_encoding")
        processes = server.processes()

    assert answer == "UTF8"
    assert len(processes) > 3
    assert not [pid for pid in processes if Path(f"/proc/{pid}").exists()]
    assert not server.folder.exists()


def test_a_server_ends_when_the_process_that_holds_it_is_killed() -> None:
    holder = subprocess.Popen([sys.executable, "-c", HELD], stdout=subprocess.PIPE, text=True, cwd=str(ROOT))
    assert holder.stdout is not None
    pid, folder = holder.stdout.readline().split()

    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()

    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the end of the server")
    shutil.rmtree(folder)  # a killed process removes nothing
