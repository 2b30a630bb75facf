"""The files under the leases: a folder that all users share is full of what others put there."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

import pytest

from trainer.errors import LeaseError
from trainer.launch.lease_files import LockedFile, lock, lock_folder, prepare


def said(caught: pytest.ExceptionInfo[LeaseError]) -> str:
    return str(caught.value)


def locked(path: Path) -> LockedFile:
    found = lock(path)
    assert found is not None
    return found


@pytest.fixture
def narrow_umask() -> object:
    before = os.umask(0o077)
    yield None
    os.umask(before)


def test_the_folder_is_made_for_all_users_whatever_the_umask(tmp_path: Path, narrow_umask: object) -> None:
    prepare(tmp_path / "deep" / "leases")

    assert stat.S_IMODE((tmp_path / "deep" / "leases").stat().st_mode) == 0o1777
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["leases"]


def test_files_can_be_locked_by_all_users_whatever_the_umask(tmp_path: Path, narrow_umask: object) -> None:
    locked(tmp_path / "a").release()

    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666


def test_a_file_whose_maker_died_before_opening_it_to_all_is_mended(tmp_path: Path) -> None:
    (tmp_path / "a").touch(mode=0o600)

    locked(tmp_path / "a").release()

    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666


def test_a_folder_of_ones_own_stays_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "leases"
    folder.mkdir(mode=0o700)

    prepare(folder)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_link_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    with pytest.raises(LeaseError) as caught:
        prepare(tmp_path / "link")

    assert said(caught).startswith(f"{tmp_path / 'link'} is a link, expected a folder")


def test_a_link_to_nowhere_is_refused_and_not_filled(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")

    with pytest.raises(LeaseError):
        prepare(tmp_path / "link")

    assert not (tmp_path / "nowhere").exists()


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "leases").touch()

    with pytest.raises(LeaseError) as caught:
        prepare(tmp_path / "leases")

    assert "is no folder, expected" in said(caught)


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(LeaseError) as caught:
        prepare(tmp_path / "file" / "leases")

    assert "cannot be made: " in said(caught)


def test_a_folder_in_which_anybody_can_exchange_files_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "leases"
    folder.mkdir()
    folder.chmod(0o777)

    with pytest.raises(LeaseError) as caught:
        prepare(folder)

    assert "with mode 777, in which others could exchange leases, expected mode 1777" in said(caught)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
@pytest.mark.parametrize(("mode", "fit"), [(0o755, False), (0o777, False), (0o1777, True)])
def test_a_folder_of_another_user_has_to_be_sticky(tmp_path: Path, mode: int, fit: bool) -> None:
    folder = tmp_path / "leases"
    folder.mkdir()
    os.chown(str(folder), 65534, 65534)
    folder.chmod(mode)

    if fit:
        prepare(folder)
        return
    with pytest.raises(LeaseError):
        prepare(folder)


def test_a_locked_file_is_locked_until_it_is_released(tmp_path: Path) -> None:
    first = locked(tmp_path / "a")
    assert lock(tmp_path / "a") is None

    first.release()
    first.release()

    locked(tmp_path / "a").release()


def test_a_copy_of_the_descriptor_keeps_nothing_locked_after_release(tmp_path: Path) -> None:
    first = locked(tmp_path / "a")
    copy = os.dup(first._file)  # as in a fork that native code made
    first.release()
    try:
        locked(tmp_path / "a").release()
    finally:
        os.close(copy)


def test_a_link_in_a_files_place_is_refused_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "victim")

    with pytest.raises(LeaseError) as caught:
        lock(tmp_path / "a")

    assert "cannot be opened: it is a link" in said(caught)
    assert not (tmp_path / "victim").exists()


def test_a_second_name_of_some_other_file_is_refused_and_the_file_kept(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("kept", encoding="ascii")
    os.link(str(tmp_path / "victim"), str(tmp_path / "a"))

    with pytest.raises(LeaseError) as caught:
        lock(tmp_path / "a")

    assert "no plain file, or has a second name" in said(caught)
    assert (tmp_path / "victim").read_text(encoding="ascii") == "kept"


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    if kind == "folder":
        (tmp_path / "a").mkdir()
    else:
        os.mkfifo(str(tmp_path / "a"))

    with pytest.raises(LeaseError):
        lock(tmp_path / "a")


def test_a_folder_that_is_gone_is_said_to_be_cleaned_by_something(tmp_path: Path) -> None:
    with pytest.raises(LeaseError) as caught:
        lock(tmp_path / "nowhere" / "a")

    assert "keeps disappearing" in said(caught)


def test_a_file_that_was_exchanged_between_opening_and_locking_is_not_taken_for_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = fcntl.flock, []

    def exchange_then_lock(file: int, operation: int) -> None:
        calls.append(file)
        if len(calls) == 1:
            (tmp_path / "a").unlink()
            (tmp_path / "a").touch()
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", exchange_then_lock)
    found = locked(tmp_path / "a")

    assert len(calls) == 2
    assert lock(tmp_path / "a") is None
    found.release()


def test_the_folder_is_locked_against_cleaners_and_shared_among_holders(tmp_path: Path) -> None:
    holders = [lock_folder(tmp_path), lock_folder(tmp_path)]
    cleaner = os.open(str(tmp_path), os.O_RDONLY)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(cleaner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for holder in holders:
            assert holder is not None
            holder.release()
        fcntl.flock(cleaner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert lock_folder(tmp_path) is None
    finally:
        os.close(cleaner)
