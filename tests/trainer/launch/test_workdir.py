"""Evidence arrives as it was written, in the run's folder and nowhere else, or is known to be missing."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.launch.protocol import LINE_BYTES, SRUN_LINE_BYTES, line, lines
from trainer.launch.workdir import Receiver, evidence_files, send_evidence

NAMES = ("rank-0000.jsonl", "rank-0001.log", "rank-0003.stack.log", "telemetry-0001.jsonl", "host-0001.log")
ENVELOPE = {"t": "f" * 32, "node": 9999}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    return tmp_path / "there", tmp_path / "here"


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def sent_from(folder: Path, line_bytes: int = LINE_BYTES) -> tuple[list[str], list[Any]]:
    """(the pieces, what was said to be sent) of a folder's evidence."""
    pieces: list[str] = []

    def send(message: Mapping[str, Any]) -> bool:
        assert len(lines(message, ENVELOPE, line_bytes)) == 1
        pieces.append(json.loads(line(message))["evidence"])
        return True

    sent = send_evidence(folder, send, line_bytes)
    return pieces, json.loads(json.dumps(sent))


def received(folder: Path, pieces: list[Any], sent: object) -> str:
    receiver = Receiver(folder)
    for piece in pieces:
        receiver.take(piece)
    return receiver.unpack(sent)


def archive_of(*members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size, member.type, member.linkname = len(data), kind, "/etc/passwd"
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def unpacked(folder: Path, archive: bytes) -> str:
    """What comes of an archive of any content that arrives whole."""
    receiver = Receiver(folder)
    receiver.take(base64.b64encode(archive).decode())
    return receiver.unpack([receiver._size, receiver._digest.hexdigest()])


@given(st.dictionaries(st.sampled_from(NAMES), st.binary(max_size=2000)), st.sampled_from([SRUN_LINE_BYTES, 4096]))
def test_whatever_files_hold_arrives_in_lines_that_srun_keeps_whole(files: dict[str, bytes], line_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        there, here = Path(name) / "there", Path(name) / "here"
        there.mkdir()
        here.mkdir()
        for file, data in files.items():
            (there / file).write_bytes(data)

        assert received(here, *sent_from(there, line_bytes)) == ""
        assert content(here) == content(there)


def test_a_large_file_comes_in_many_pieces(folders: tuple[Path, Path]) -> None:
    there, here = folders
    (there / "host-0001.log").write_bytes(b"".join(b"%d " % (number * number) for number in range(30_000)))

    pieces, sent = sent_from(there, SRUN_LINE_BYTES)

    assert len(pieces) > 10
    assert received(here, pieces, sent) == ""
    assert content(here) == content(there)


def test_only_evidence_is_sent(folders: tuple[Path, Path]) -> None:
    there, here = folders
    for name in ("run.json", ".session", "launcher.log", "attempt-0.run.json", "rank-1.jsonl", "notes.txt"):
        (there / name).write_text("x")
    (there / "checkpoints").mkdir()
    (there / "secret").write_text("s3cr3t")
    (there / "rank-0007.jsonl").symlink_to(there / "secret")
    (there / "rank-0000.jsonl").write_text("{}\n")

    assert received(here, *sent_from(there)) == ""

    assert [path.name for path in evidence_files(there)] == ["rank-0000.jsonl"]
    assert content(here) == {"rank-0000.jsonl": b"{}\n"}


@pytest.mark.parametrize(
    "name",
    [
        *("../rank-0000.jsonl", "/tmp/rank-0000.jsonl", "x/rank-0000.jsonl", "rank-0000.jsonl\n", "rank-0000.jsonl/.."),
        *(
            "run.json",
            "verdict.json",
            "SHA256SUMS",
            ".session",
            "attempt-0.run.json",
            "x" * 300,
            "rank-٣٣٣٣.jsonl",
        ),
    ],
)
def test_another_name_than_evidence_has_is_refused_and_writes_nothing(folders: tuple[Path, Path], name: str) -> None:
    there, here = folders

    problem = unpacked(here, archive_of((name, b"x")))

    assert "expected files of evidence" in problem
    assert len(problem) < 150
    assert content(here) == content(there) == {}
    assert sorted(path.name for path in here.parent.iterdir()) == ["here", "there"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_what_is_no_regular_file_is_refused(folders: tuple[Path, Path], kind: bytes) -> None:
    assert "expected files of evidence" in unpacked(folders[1], archive_of(("rank-0000.jsonl", b""), kind=kind))
    assert content(folders[1]) == {}


@given(st.binary(max_size=300))
def test_an_archive_that_is_none_is_a_problem(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        assert unpacked(Path(name), data) != ""
        assert list(Path(name).iterdir()) == []


def test_nothing_is_written_through_a_link_and_no_file_of_another_host_is_replaced(folders: tuple[Path, Path]) -> None:
    there, here = folders
    (there / "target").write_text("")
    (here / "rank-0000.jsonl").symlink_to(there / "target")
    (here / "rank-0001.jsonl").write_text("mine")

    for name in ("rank-0000.jsonl", "rank-0001.jsonl"):
        assert "cannot be written: File exists" in unpacked(here, archive_of((name, b"theirs")))
    assert (there / "target").read_text() == ""
    assert (here / "rank-0001.jsonl").read_text() == "mine"


def test_a_piece_that_was_lost_or_changed_is_noticed(folders: tuple[Path, Path]) -> None:
    there, here = folders
    (there / "rank-0000.jsonl").write_bytes(b"".join(b"%d " % (number * number) for number in range(3000)))
    pieces, sent = sent_from(there, SRUN_LINE_BYTES)

    for damaged in (pieces[:-1], pieces[1:], [*pieces, pieces[-1]], [pieces[0], *pieces]):
        assert "which are not what was sent" in received(here, damaged, sent)
    assert content(here) == {}


@pytest.mark.parametrize("piece", ["a", "====", "ab c", "äöü=", 3, ["YQ=="], {"a": 1}, None])
def test_a_piece_that_is_no_base64_is_a_problem(folders: tuple[Path, Path], piece: Any) -> None:
    there, here = folders
    pieces, sent = sent_from(there)

    assert received(here, [*pieces, piece], sent) != ""
    assert content(here) == {}


@pytest.mark.parametrize("sent", [[], [0, ""], "x", 3, {"a": 1}])
def test_what_was_said_to_be_sent_has_to_be_what_came(folders: tuple[Path, Path], sent: Any) -> None:
    assert "which are not what was sent" in received(folders[1], sent_from(folders[0])[0], sent)


def test_a_session_that_does_not_receive_is_not_waited_for(folders: tuple[Path, Path], capsys: Any) -> None:
    there, _ = folders
    (there / "rank-0000.jsonl").write_text("x")
    sends: list[object] = []

    def refuse(message: object) -> bool:
        sends.append(message)
        return False

    _, digest = send_evidence(there, refuse)

    assert (digest, len(sends)) == ("", 1)
    assert "was not sent: the session does not receive it" in capsys.readouterr().err


def test_a_transfer_has_a_limit(folders: tuple[Path, Path]) -> None:
    there, here = folders
    (there / "rank-0000.jsonl").write_text("x")
    pieces: list[Any] = []

    sent = send_evidence(there, lambda message: pieces.append(message["evidence"]) is None, limit_s=0.0)

    assert sent[1] == ""
    assert received(here, pieces, sent) != ""
