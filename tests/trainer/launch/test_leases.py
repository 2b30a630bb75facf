"""Leases of devices: one holder each, whatever happens to holders and whatever others put into the folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.errors import LeaseError
from trainer.launch import leases as leases_module
from trainer.launch.leases import FOLDER_VARIABLE, Leases, default_folder, prepare, user_name

ROOT = Path(__file__).resolve().parents[3]

# Takes devices when told to on its standard input, and says on its standard output what came of it.
TAKER = """
import json, sys
from pathlib import Path
from trainer.errors import LeaseError
from trainer.launch.leases import Leases

leases = Leases(Path(sys.argv[1]), "kunlunxin", {"run": "/runs/first"})
for line in sys.stdin:
    order = json.loads(line)
    leases.release()
    try:
        answer = {"cards": leases.take(**order) if order else []}
    except LeaseError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
"""


class Taker:
    """A process that takes devices in a folder."""

    def __init__(self, folder: Path, start: Callable[..., Any] = subprocess.Popen) -> None:
        command = [sys.executable, "-c", TAKER, str(folder)]
        self.process = start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=str(ROOT))

    def ask(self, order: dict[str, Any]) -> None:
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def take(self, *wanted: str, wait_s: float = 0.0) -> dict[str, Any]:
        self.ask({"wanted": wanted, "available": [], "count": len(wanted), "wait_s": wait_s})
        return self.answer()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def taker(folder: Path, **options: Any) -> Iterator[Taker]:
    found = Taker(folder, **options)
    try:
        yield found
    finally:
        found.end()


@contextlib.contextmanager
def held(folder: Path, *cards: str, backend: str = "kunlunxin", **holder: str) -> Iterator[Leases]:
    with Leases(folder, backend, holder) as leases:
        leases.take(cards, [], len(cards))
        yield leases


def free(folder: Path, *cards: str, backend: str = "kunlunxin") -> bool:
    with Leases(folder, backend, {}) as leases:
        try:
            return leases.take(cards, [], len(cards)) == list(cards)
        except LeaseError:
            return False


def refusal(folder: Path, wanted: Sequence[str], backend: str = "kunlunxin") -> str:
    with Leases(folder, backend, {}) as leases, pytest.raises(LeaseError) as caught:
        leases.take(wanted, [], len(wanted))
    return str(caught.value)


# One holder a device


def test_the_devices_that_were_asked_for_are_taken(tmp_path: Path) -> None:
    with Leases(tmp_path, "kunlunxin", {}) as leases:
        assert leases.take(["3", "1"], [], 2) == ["3", "1"]
        assert not free(tmp_path, "1")
        assert not free(tmp_path, "3")
        assert free(tmp_path, "2")

    assert free(tmp_path, "3", "1")


def test_the_first_free_devices_are_taken_where_none_are_named(tmp_path: Path) -> None:
    with held(tmp_path, "0"), held(tmp_path, "2"), Leases(tmp_path, "kunlunxin", {}) as leases:
        assert leases.take(None, ["0", "1", "2", "3", "4"], 2) == ["1", "3"]
        assert free(tmp_path, "4")


def test_devices_of_another_kind_are_other_devices(tmp_path: Path) -> None:
    with held(tmp_path, "0"):
        assert free(tmp_path, "0", backend="cuda")


def test_nothing_is_held_by_one_who_did_not_get_all(tmp_path: Path) -> None:
    with held(tmp_path, "1"), Leases(tmp_path, "kunlunxin", {}) as leases:
        with pytest.raises(LeaseError):
            leases.take(["0", "1", "2"], [], 3)
        with pytest.raises(LeaseError):
            leases.take(None, ["0", "1", "2"], 3)

        assert free(tmp_path, "0", "2")


def test_another_process_is_refused_and_told_who_holds_the_device(tmp_path: Path) -> None:
    with taker(tmp_path) as first, taker(tmp_path) as second:
        assert first.take("3") == {"cards": ["3"]}

        message = second.take("3")["error"]

    start = f"device 3 of kunlunxin is in use by pid {first.process.pid} of {user_name()} since 2"
    assert message.startswith(start)
    assert message.endswith("Z (/runs/first); wait for it, or choose other devices with XPU_VISIBLE_DEVICES")


def test_a_killed_holder_frees_its_devices_at_once(tmp_path: Path) -> None:
    with taker(tmp_path) as first, taker(tmp_path) as second:
        first.take("0", "1")
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()

        assert second.take("0", "1") == {"cards": ["0", "1"]}


def test_a_stopped_holder_keeps_its_devices(tmp_path: Path) -> None:
    with taker(tmp_path) as first, taker(tmp_path) as second:
        first.take("0")
        first.process.send_signal(signal.SIGSTOP)

        assert f"pid {first.process.pid} " in second.take("0", wait_s=0.2)["error"]


def test_one_who_waits_gets_the_device_when_it_is_free(tmp_path: Path) -> None:
    with taker(tmp_path) as first, taker(tmp_path) as second:
        first.take("0")
        second.ask({"wanted": ["0"], "available": [], "count": 1, "wait_s": 60.0})
        first.ask({})

        assert second.answer() == {"cards": ["0"]}


def test_one_who_waits_holds_nothing_meanwhile(tmp_path: Path) -> None:
    with taker(tmp_path) as first, taker(tmp_path) as waiting, taker(tmp_path) as third:
        first.take("1")
        waiting.ask({"wanted": ["0", "1"], "available": [], "count": 2, "wait_s": 60.0})

        assert all(third.take("0") == {"cards": ["0"]} for _ in range(20))


# Makes a file for each device, which fails if it is there: one of two holders of a device at a time would see it.
RIVAL = """
import os, random, sys, time
from pathlib import Path
from trainer.launch.leases import Leases

folder, marks, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
choose = random.Random(seed)
for _ in range(8):
    count = choose.randint(1, 3)
    wanted = choose.sample(["0", "1", "2", "3"], count) if choose.random() < 0.5 else None
    with Leases(folder, "kunlunxin", {}) as leases:
        cards = leases.take(wanted, ["0", "1", "2", "3"], count, wait_s=120.0)
        assert len(cards) == count and wanted in (None, cards)
        for card in cards:
            os.close(os.open(str(marks / card), os.O_CREAT | os.O_EXCL))
        time.sleep(choose.random() / 200)
        for card in cards:
            os.unlink(str(marks / card))
"""


def test_eight_takers_of_four_devices_never_share_one(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    command = [sys.executable, "-c", RIVAL, str(tmp_path / "leases"), str(marks)]
    rivals = [subprocess.Popen([*command, str(seed)], cwd=str(ROOT)) for seed in range(8)]

    try:
        codes = [rival.wait(timeout=120) for rival in rivals]
    finally:
        for rival in rivals:
            rival.kill()
            rival.wait()

    assert codes == [0] * 8
    assert list(marks.iterdir()) == []


# Whose locks they are


def test_a_program_that_the_holder_started_holds_nothing(tmp_path: Path) -> None:
    with held(tmp_path, "0"):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    try:
        assert free(tmp_path, "0")
    finally:
        child.communicate(b"\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")
def test_users_exclude_each_other_in_both_directions(tmp_path: Path) -> None:
    folder = Path("/tmp") / f"leases-of-users-{os.getpid()}"
    nobody = 65534
    # Last, as that user may not be allowed to read this Python's modules.
    become = "import os, trainer.devices as d; d.backend_names(); os.umask(0o77); os.setgid(65534); os.setuid(65534)"
    program = TAKER.replace("\nleases =", f"\n{become}\nleases =")

    def start(command: list[str], **options: Any) -> Any:
        return subprocess.Popen([sys.executable, "-c", program, command[-1]], **options)

    try:
        with taker(folder, start=start) as other:
            assert other.take("0") == {"cards": ["0"]}
            assert folder.stat().st_uid == nobody
            assert f"pid {other.process.pid} of {user_name(nobody)} " in refusal(folder, ["0"])

            with held(folder, "1"):
                assert f"pid {os.getpid()} of {user_name()} " in other.take("1")["error"]
            assert other.take("1") == {"cards": ["1"]}
    finally:
        shutil.rmtree(str(folder), ignore_errors=True)


# What is asked for


@pytest.mark.parametrize(
    "name",
    [
        *("../../etc/passwd", "/etc/passwd", ".", "..", "-rf", "%2e", "turn"),
        *("GPU-8f1e2d3c-0000-1111-2222-333344445555", "MIG-GPU-8f/3/0", "card\n3"),
        *("a\0b", "кар\u202eта", "\udcff"),
    ],
)
def test_no_name_of_a_device_leaves_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "leases"

    with held(folder, name):
        assert not free(folder, name)
        assert len(list(folder.iterdir())) == 1

    assert free(folder, name)
    assert [path.name for path in tmp_path.iterdir()] == ["leases"]


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_names_have_one_file_only_if_they_are_one_number(one: str, other: str) -> None:
    def number(name: str) -> str:
        return str(int(name)) if name.isascii() and name.isdigit() else name

    same = leases_module._quoted(one) == leases_module._quoted(other)

    assert same == (number(one) == number(other))


def test_an_index_with_leading_zeros_is_the_same_device(tmp_path: Path) -> None:
    with held(tmp_path, "3"):
        assert not free(tmp_path, "03")


def test_more_devices_than_there_are_are_refused_without_waiting(tmp_path: Path) -> None:
    with Leases(tmp_path, "cuda", {}) as leases, pytest.raises(LeaseError) as caught:
        leases.take(None, ["0", "1"], 3, wait_s=3600.0)

    assert str(caught.value) == "3 devices of cuda are needed and there are 2 to choose from"


def test_a_host_without_devices_needs_no_leases(tmp_path: Path) -> None:
    with Leases(tmp_path / "leases", "cpu", {}) as leases:
        assert leases.take([], [], 0) == []
        assert leases.take(None, [], 0) == []


def test_the_message_names_every_holder_where_several_devices_are_missing(tmp_path: Path) -> None:
    with held(tmp_path, "0", run="/runs/a"), held(tmp_path, "1", run="/runs/b"):
        with Leases(tmp_path, "cuda", {}) as others:
            assert others.take(None, ["0", "1", "2"], 2) == ["0", "1"]
        with Leases(tmp_path, "kunlunxin", {}) as leases, pytest.raises(LeaseError) as caught:
            leases.take(None, ["0", "1", "2"], 2)

    assert str(caught.value).startswith("2 of 3 devices are needed: device 0 of kunlunxin is in use by pid ")
    assert "(/runs/a); device 1 of kunlunxin is in use by pid " in str(caught.value)


# What the holder wrote


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b'{"pid": "47',
        b"\xff\xfe\0",
        b"[1, 2]",
        b"null",
        b'{"pid": 1}',
        b'{"pid": {}}',
        b'{"pid": ""}',
        b"[" * 60_000,
    ],
)
def test_what_cannot_be_read_breaks_no_message(tmp_path: Path, text: bytes, monkeypatch: Any) -> None:
    monkeypatch.setattr(leases_module, "_CHOOSING_S", 0.0)  # nobody is choosing

    with held(tmp_path, "3"):
        (tmp_path / "kunlunxin.3.lock").write_bytes(text)

        message = refusal(tmp_path, ["3"])

    assert message == (
        "device 3 of kunlunxin is in use by a process that has not yet written its name; "
        "wait for it, or choose other devices with XPU_VISIBLE_DEVICES"
    )


def test_what_another_user_wrote_cannot_steer_a_terminal(tmp_path: Path) -> None:
    with held(tmp_path, "3", run="\x1b[2J\n" + "r" * 10_000):
        message = refusal(tmp_path, ["3"])

    assert message.isprintable()
    assert len(message) < 500


def test_a_holder_of_another_host_is_said_to_be_there(tmp_path: Path) -> None:
    with held(tmp_path, "3", host="gpu-07", user="ada", pid="12"):
        assert "is in use by pid 12 of ada on gpu-07 since 2" in refusal(tmp_path, ["3"])


def test_a_backend_that_sets_no_devices_has_no_variable_to_name(tmp_path: Path) -> None:
    with held(tmp_path, "3", backend="virtual-1"):
        assert refusal(tmp_path, ["3"], "virtual-1").endswith("; wait for it, or choose other devices")


def test_the_facts_are_gone_when_the_device_is_free(tmp_path: Path) -> None:
    with held(tmp_path, "3", run="/runs/a"):
        facts = json.loads((tmp_path / "kunlunxin.3.lock").read_text(encoding="ascii"))

    assert sorted(facts) == ["host", "pid", "run", "since", "user"]
    assert (tmp_path / "kunlunxin.3.lock").read_bytes() == b""


def test_one_that_is_choosing_is_waited_for_a_moment(tmp_path: Path) -> None:
    # It may give up what it has found so far, and has not signed yet.
    choosing = Leases(tmp_path, "kunlunxin", {})
    with choosing, Leases(tmp_path, "kunlunxin", {}) as leases:
        choosing.take(["0"], [], 1)
        (tmp_path / "kunlunxin.0.lock").write_text("")
        threading.Timer(0.3, choosing.release).start()

        assert leases.take(["0"], [], 1) == ["0"]


def test_an_interrupted_taker_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: Leases) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, Leases(tmp_path, "kunlunxin", {}) as leases:
        patch.setattr(Leases, "_sign", interrupt)
        with pytest.raises(KeyboardInterrupt):
            leases.take(["0", "1"], [], 2)
        patch.undo()

        assert free(tmp_path, "0", "1")


def test_the_folder_comes_from_the_environment_where_that_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    assert default_folder() == Path("/tmp/accelerator-conformance-leases")

    monkeypatch.setenv(FOLDER_VARIABLE, "/elsewhere")
    assert default_folder() == Path("/elsewhere")


def test_the_default_folder_is_used_where_none_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "leases"))

    with Leases(None, "cuda", {}) as leases:
        leases.take(["0"], [], 1)

        assert not free(tmp_path / "leases", "0", backend="cuda")


# What else lies in a folder that all users share


@pytest.fixture
def narrow_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def test_folder_and_files_are_open_to_all_users_whatever_the_umask(tmp_path: Path, narrow_umask: None) -> None:
    folder = tmp_path / "deep" / "leases"

    with held(folder, "0"):
        pass

    assert stat.S_IMODE(folder.stat().st_mode) == 0o1777
    assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o666]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["leases"]


def test_a_folder_of_ones_own_stays_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "leases"
    folder.mkdir(mode=0o700)

    prepare(folder)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder.symlink_to(folder.parent), "is a link, expected a folder"),
        (lambda folder: folder.symlink_to(folder.parent / "nowhere"), "is a link, expected a folder"),
        (lambda folder: folder.touch(), "is no folder, expected"),
        (lambda folder: folder.parent.rmdir() or folder.parent.touch(), "cannot be made: "),
        (
            lambda folder: folder.mkdir() or folder.chmod(0o777),
            "with mode 777, in which others could exchange leases, expected mode 1777",
        ),
    ],
)
def test_a_folder_that_is_none_or_not_safe_is_refused(tmp_path: Path, make: Callable[[Path], Any], says: str) -> None:
    (tmp_path / "above").mkdir()
    make(tmp_path / "above" / "leases")

    assert says in refusal(tmp_path / "above" / "leases", ["0"])
    assert not (tmp_path / "above" / "nowhere").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
@pytest.mark.parametrize(("mode", "fit"), [(0o755, False), (0o777, False), (0o1777, True)])
def test_a_folder_of_another_user_has_to_be_sticky(tmp_path: Path, mode: int, fit: bool) -> None:
    folder = tmp_path / "leases"
    folder.mkdir()
    os.chown(str(folder), 65534, 65534)
    folder.chmod(mode)

    assert free(folder, "0") == fit


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path, victim: path.symlink_to(victim), "cannot be locked: it is a link"),
        (lambda path, victim: os.link(str(victim), str(path)), "not a plain file, or has a second name"),
        (lambda path, victim: path.mkdir(), "cannot be locked: Is a directory"),
        (lambda path, victim: os.mkfifo(str(path)), "not a plain file"),
    ],
)
def test_what_lies_in_a_files_place_is_refused_and_kept(
    tmp_path: Path, make: Callable[[Path, Path], Any], says: str
) -> None:
    (tmp_path / "victim").write_text("kept", encoding="ascii")
    (tmp_path / "leases").mkdir()
    make(tmp_path / "leases" / "kunlunxin.0.lock", tmp_path / "victim")

    assert says in refusal(tmp_path / "leases", ["0"])
    assert (tmp_path / "victim").read_text(encoding="ascii") == "kept"


def test_a_copy_of_the_descriptor_keeps_nothing_locked_after_release(tmp_path: Path) -> None:
    with held(tmp_path, "0") as leases:
        copy = os.dup(leases._locked[0])  # as in a fork that native code made
    try:
        assert free(tmp_path, "0")
    finally:
        os.close(copy)


def test_a_folder_that_is_removed_meanwhile_is_said_to_be_cleaned_by_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_module, "prepare", lambda folder: None)

    assert "keeps disappearing" in refusal(tmp_path / "nowhere", ["0"])


def test_a_file_that_was_exchanged_between_opening_and_locking_is_not_taken_for_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real, calls = tmp_path / "kunlunxin.0.lock", fcntl.flock, []

    def exchange_then_lock(file: int, operation: int) -> None:
        calls.append(file)
        if len(calls) == 1:
            path.unlink()
            path.touch()
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", exchange_then_lock)
    with held(tmp_path, "0"):
        assert len(calls) > 2
        assert not free(tmp_path, "0")


def test_the_folder_is_locked_against_cleaners_and_shared_among_holders(tmp_path: Path) -> None:
    cleaner = os.open(str(tmp_path), os.O_RDONLY)
    try:
        with held(tmp_path, "0"), held(tmp_path, "1"), pytest.raises(BlockingIOError):
            fcntl.flock(cleaner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(cleaner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(cleaner)
