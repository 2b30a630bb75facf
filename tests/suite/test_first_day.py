"""A lab's first day with an R300: a sound machine is green, and each mishap has one message and its exit code."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fake_machine import FAKE_KUNLUNXIN
from tests.faults import mishaps
from tests.labs import hosts as lab_of_hosts
from tests.labs.hosts import two_hosts
from tests.suite.junit import Session, launch_suite, run_suite, starts_of
from tests.support import ROOT

DAY = ("-p", "tests.suite.first_day", "-m", "r300", "--smoke")
TORCH_2 = int(importlib.metadata.version("torch").split(".")[0]) >= 2
"""The frameworks that show XPUs as torch.cuda are newer than the R300's torch 1.12.1."""


def machine(folder: Path, **state: str) -> dict[str, str]:
    """Return the environment variables of a session on a machine in the state that fake_kunlunxin's variables say.

    A value "" in `state` takes a variable away.
    """
    found = {
        "PATH": os.pathsep.join([str(FAKE_KUNLUNXIN), os.environ["PATH"]]),
        "FAKE_XPU_CALLS": str(folder / "calls.jsonl"),
        "FAKE_XPU_USED_MIB": "2048",
        **state,
    }
    return {name: text for name, text in found.items() if text}


def modules(*before: Path) -> dict[str, str]:
    """Return the variable by which each process of a session finds the doubles' modules."""
    return {"PYTHONPATH": os.pathsep.join(map(str, [*before, FAKE_KUNLUNXIN, ROOT]))}


def lines_with(words: str, session: Session) -> list[str]:
    """The lines of the suite's own closing part, which ends the session."""
    closing = session.output[session.output.rfind("= conformance =") :].partition("\nGATE: ")[0]
    return [line for line in closing.splitlines() if words in line]


def test_where_everything_is_missing_a_session_prints_fifteen_lines(tmp_path: Path) -> None:
    words = ("-p", "no:cacheprovider", "-m", "r300", "--topo", "1x8", f"--basetemp={tmp_path / 'tmp'}")
    own = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}  # as of xdist

    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=str(ROOT), env=own, capture_output=True, text=True
    )

    said = done.stdout + done.stderr
    assert done.returncode == 4, said
    assert "torch_xmlir is missing" in said
    assert len(said.splitlines()) <= 15, said


@pytest.mark.integration
@pytest.mark.parametrize(
    ("form", "topology", "state", "cards"),
    [
        ("xpu", "1x2", {"FAKE_XPU_LISTED": "2,3", "XPU_VISIBLE_DEVICES": "2,3"}, [2, 3]),
        *([("cuda", "1x1", {"CUDA_VISIBLE_DEVICES": "4"}, [4])] if TORCH_2 else []),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_sound_machine_is_green(
    form: str, topology: str, state: dict[str, str], cards: list[int], tmp_path: Path
) -> None:
    variables = {**machine(tmp_path, FAKE_XMLIR_FORM=form, **state), **modules()}

    session = launch_suite(tmp_path, *DAY, "--topo", topology, **variables)

    require_green(session, cards)
    assert lines_with("telemetry  ", session) == []


def require_green(session: Session, cards: list[int]) -> None:
    """Require a session in which everything was recorded, on these devices."""
    assert session.code == 0, session.output
    assert {case.properties["verdict"] for case in session.by_metric.values()} == {"recorded"}
    assert [start["card"] for start in starts_of(session.runs[0])] == cards


def require_refused(session: Session, *messages: str) -> None:
    """Require a session that ended before its first test, with these messages alone, a line each."""
    assert session.code == 4, session.output
    assert "Traceback" not in session.output
    # A stream that is not buffered may come before the other.
    errors = session.output[session.output.index("ERROR: ") :].partition("\n====")[0].splitlines()
    lines = [line for line in errors if line]
    assert [[message in line for line in lines].count(True) for message in messages] == [1] * len(lines), errors
    assert session.runs == []
    (case,) = session.cases.values()
    assert (case.name, case.outcome) == ("preflight", "error")
    assert [message for message in messages if message not in case.message] == []


def judged(folder: Path, mishap: mishaps.Row, *words: str) -> Session:
    return run_suite(folder, *words, "--topo", "1x1", *mishap.words, **machine(folder, **mishap.state))


OF_DEVICES, OTHERS = mishaps.REFUSED[:3], mishaps.REFUSED[3:]


@pytest.mark.parametrize("mishap", OF_DEVICES, ids=lambda one: one.name.replace("`", ""))
def test_a_mishap_that_is_known_before_anything_starts(mishap: mishaps.Row, tmp_path: Path) -> None:
    require_refused(judged(tmp_path, mishap, *DAY), mishap.message)


def test_mishaps_that_are_known_before_anything_starts_are_all_told(tmp_path: Path) -> None:
    state = {name: text for one in OTHERS for name, text in one.state.items()}
    all_at_once = mishaps.Row("", "", state, [word for one in OTHERS for word in one.words])

    require_refused(judged(tmp_path, all_at_once, *DAY), *(one.message for one in OTHERS))


def test_a_torchvision_that_is_not_this_torchs(tmp_path: Path) -> None:
    broken = tmp_path / "site" / "torchvision" / "__init__.py"
    broken.parent.mkdir(parents=True)
    # As beside a CPU build of torch.
    broken.write_text("raise RuntimeError('operator torchvision::nms does not exist')")

    session = run_suite(tmp_path, *DAY, "--topo", "1x1", **machine(tmp_path), **modules(tmp_path / "site"))

    require_refused(session, mishaps.TORCHVISION.message)


def test_a_tool_that_hangs(tmp_path: Path) -> None:
    require_refused(judged(tmp_path, mishaps.HANGS, *DAY), mishaps.HANGS.message)


@pytest.mark.integration
@pytest.mark.parametrize("mishap", mishaps.GOES_ON, ids=lambda one: one.name.replace("`", ""))
def test_a_mishap_that_decides_nothing(mishap: mishaps.Row, tmp_path: Path) -> None:
    session = judged(tmp_path, mishap, *DAY)

    require_green(session, [0])
    reported = lines_with("telemetry  ", session)
    assert [mishap.message in line for line in reported] == ([True] if mishap.message else []), reported


@pytest.mark.integration
@pytest.mark.parametrize("mishap", mishaps.INVALID, ids=lambda one: one.name.replace("`", ""))
def test_a_mishap_that_makes_a_run_invalid(mishap: mishaps.Row, tmp_path: Path) -> None:
    session = judged(tmp_path, mishap, *DAY)

    assert session.code == 1, session.output
    assert [mishap.message in line for line in lines_with("invalid: ", session)] == [True], session.output


@pytest.mark.integration
@pytest.mark.parametrize("mishap", mishaps.DIFFERS, ids=lambda one: one.name.replace("`", ""))
def test_a_mishap_that_the_environment_shows(mishap: mishaps.Row, tmp_path: Path) -> None:
    session = judged(tmp_path, mishap, *DAY[:-1])

    assert session.code == 1, session.output
    assert len(lines_with(mishap.message, session)) == 1, session.output
    assert lines_with("invalid: ", session) == []


@pytest.mark.labs
@pytest.mark.skipif(os.getuid() != 0, reason="needs root: a /dev/shm of its own")
def test_a_container_without_shared_memory(tmp_path: Path, shapes: Path) -> None:
    small = 'mount -t tmpfs -o size=16k tmpfs /dev/shm && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", small, "sh", sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    command += [*DAY, "--topo=1x1", f"--data={shapes}", f"--runs={tmp_path / 'runs'}"]

    environment = {**os.environ, **machine(tmp_path), **modules()}
    done = subprocess.run(command, cwd=str(ROOT), env=environment, capture_output=True, text=True, check=False)

    said = done.stdout + done.stderr
    assert done.returncode == 4, said
    assert said.count(mishaps.SHARED_MEMORY.message) == 1, said


@pytest.mark.labs
@pytest.mark.skipif(bool(lab_of_hosts.requirements()), reason=lab_of_hosts.requirements())
def test_data_that_one_of_two_hosts_does_not_have(tmp_path: Path, shapes: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with two_hosts(tmp_path / "lab", private=[data]) as hosts:
        shutil.copytree(str(shapes), str(hosts.a.seen(data) / "shapes"))
        # xdist gives its workers a terminal's width, and a session folds its lines to that.
        command = ["env", "-u", "COLUMNS", sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "cpu"]
        command += ["--topo=2x1", "--smoke"]
        command += [f"--data={data / 'shapes'}", f"--runs={tmp_path / 'runs'}", "--leases=/run/leases"]
        command += ["--launcher=ssh", f"--hosts={hosts.a.address},{hosts.b.address}"]
        command += [f"--ssh-config={hosts.ssh_config}"]
        done = hosts.run(hosts.a, command, cwd=ROOT, capture_output=True, text=True, timeout=300)

    closing = done.stdout[done.stdout.rfind("= conformance =") :]
    assert done.returncode == 1, done.stdout
    message = mishaps.ONE_HOST.message.replace("...", str(data)).replace("HOST", hosts.b.address)
    invalid = [line for line in closing.splitlines() if line.startswith("invalid: ")]
    assert [message in line for line in invalid] == [True], done.stdout
