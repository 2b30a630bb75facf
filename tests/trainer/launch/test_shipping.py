"""Evidence arrives byte by byte as it was written, in the run's folder and nowhere else, or is known to be missing."""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.launch.messages import LINE_BYTES, SRUN_LINE_BYTES, line, lines, parse
from trainer.launch.shipping import Receiver, Shipper, evidence_files, manifest

NAMES = ("rank-0000.jsonl", "rank-0001.log", "rank-0003.stack.log", "telemetry-0001.jsonl", "host-0001.log")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    return tmp_path / "there", tmp_path / "here"


def piece(name: Any = "rank-0000.jsonl", at: Any = 0, data: Any = b"x") -> dict[str, Any]:
    return {"file": name, "at": at, "data": base64.b64encode(data).decode() if isinstance(data, bytes) else data}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@given(st.lists(st.dictionaries(st.sampled_from(NAMES), st.binary(max_size=200), max_size=3), max_size=6))
def test_however_files_grow_they_arrive_as_they_are(growth: list[dict[str, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        there, here = Path(name) / "there", Path(name) / "here"
        there.mkdir()
        here.mkdir()
        shipper, receiver = Shipper(there), Receiver(here, "gpu-1")

        for added in growth:
            for file, data in added.items():
                with (there / file).open("ab") as opened:
                    opened.write(data)
            for message in shipper.pieces():
                receiver.take(json.loads(line(message)))

        assert receiver.problems == []
        assert content(here) == content(there)
        assert receiver.missing(manifest(there), settle_s=0) == []


@pytest.mark.parametrize("line_bytes", [SRUN_LINE_BYTES, LINE_BYTES])
def test_a_large_file_comes_in_lines_that_stay_whole(line_bytes: int, folders: tuple[Path, Path]) -> None:
    there, here = folders
    envelope = {"t": "f" * 32, "node": 9999}
    (there / "host-0001.log").write_bytes(bytes(range(256)) * 300)
    receiver = Receiver(here, "gpu-1")

    messages = list(Shipper(there, line_bytes).pieces())
    for message in messages:
        receiver.take(message)

    assert len(messages) > 1
    assert all(len(lines(message, envelope, line_bytes)) == 1 for message in messages)
    assert content(here) == content(there)


def test_only_evidence_is_sent(folders: tuple[Path, Path]) -> None:
    there, _ = folders
    for name in ("run.json", ".session", "launcher.log", "attempt-0.rank-0000.jsonl", "rank-1.jsonl", "notes.txt"):
        (there / name).write_text("x")
    (there / "checkpoints").mkdir()
    (there / "secret").write_text("s3cr3t")
    (there / "rank-0007.jsonl").symlink_to(there / "secret")
    (there / "rank-0000.jsonl").write_text("{}\n")

    assert [path.name for path in evidence_files(there)] == ["rank-0000.jsonl"]
    assert [message["file"] for message in Shipper(there).pieces()] == ["rank-0000.jsonl"]
    assert list(manifest(there)) == ["rank-0000.jsonl"]


@pytest.mark.parametrize(
    "name",
    [
        *("../rank-0000.jsonl", "/tmp/rank-0000.jsonl", "x/rank-0000.jsonl", "rank-0000.jsonl\n", "rank-0000.jsonl/.."),
        *("run.json", "verdict.json", "SHA256SUMS", ".session", "attempt-0.rank-0000.jsonl", "", "rank-٣٣٣٣.jsonl"),
        *(None, 3, ["rank-0000.jsonl"], {"a": 1}),
    ],
)
def test_a_name_of_its_own_making_is_a_problem_and_writes_nothing(folders: tuple[Path, Path], name: Any) -> None:
    there, here = folders
    receiver = Receiver(here, "gpu-1")

    receiver.take(piece(name))

    assert receiver.problems[0].startswith("gpu-1 sent a file named ")
    assert content(here) == content(there) == {}
    assert sorted(path.name for path in here.parent.iterdir()) == ["here", "there"]


@given(st.text() | st.sampled_from(NAMES), st.none() | st.integers(-5, 5) | st.booleans(), st.text() | st.none())
def test_whatever_is_sent_stays_in_the_folder(name: str, at: Any, data: Any) -> None:
    with tempfile.TemporaryDirectory() as above:
        here = Path(above) / "here"
        here.mkdir()

        Receiver(here, "gpu-1").take({"file": name, "at": at, "data": data})

        written = {str(path.relative_to(above)) for path in Path(above).rglob("*")}
        assert written <= {"here", *(f"here/{known}" for known in NAMES)}


@pytest.mark.parametrize("at", [1, 4, -1])
def test_a_piece_that_does_not_continue_its_file_is_a_problem(folders: tuple[Path, Path], at: int) -> None:
    _, here = folders
    receiver = Receiver(here, "gpu-1")
    receiver.take(piece(data=b"abc"))

    receiver.take(piece(at=at))

    expected = f"gpu-1 sent a piece of rank-0000.jsonl from byte {at}, expected byte 3: a part was lost on the way"
    assert receiver.problems == [expected]
    assert content(here) == {"rank-0000.jsonl": b"abc"}


@pytest.mark.parametrize("at", [None, "0", 0.0, True])
def test_a_place_that_is_no_number_is_a_problem(folders: tuple[Path, Path], at: Any) -> None:
    receiver = Receiver(folders[1], "gpu-1")

    receiver.take(piece(at=at))

    assert len(receiver.problems) == 1
    assert content(folders[1]) == {}


@pytest.mark.parametrize("data", ["a", "====", "ab c", "äöü=", 3, ["YQ=="], {"a": 1}])
def test_a_damaged_piece_is_a_problem(folders: tuple[Path, Path], data: Any) -> None:
    receiver = Receiver(folders[1], "gpu-1")

    receiver.take(piece(data=data))

    assert receiver.problems == ["gpu-1 sent a piece of rank-0000.jsonl that is damaged"]
    assert content(folders[1]) == {}


def test_nothing_is_written_through_a_link(folders: tuple[Path, Path]) -> None:
    there, here = folders
    (there / "target").write_text("")
    (here / "rank-0000.jsonl").symlink_to(there / "target")
    receiver = Receiver(here, "gpu-1")

    receiver.take(piece())

    assert "is a link" in receiver.problems[0]
    assert (there / "target").read_text() == ""


def test_a_piece_that_finds_no_room_is_a_problem_with_the_reason(folders: tuple[Path, Path]) -> None:
    receiver = Receiver(folders[1] / "gone", "gpu-1")

    receiver.take(piece())

    assert "could not be written" in receiver.problems[0]
    assert "No such file or directory" in receiver.problems[0]


def test_a_host_that_talks_nonsense_is_quoted_a_few_times_only(folders: tuple[Path, Path]) -> None:
    receiver = Receiver(folders[1], "gpu-1")

    for number in range(100):
        receiver.take(piece(f"odd-{number}" + "x" * 1000))

    assert len(receiver.problems) == 4
    assert all(len(problem) < 200 for problem in receiver.problems)


def test_what_is_missing_and_what_differs_is_named(folders: tuple[Path, Path]) -> None:
    there, here = folders
    for name, text in {"rank-0000.jsonl": "abcd", "rank-0001.jsonl": "same", "rank-0002.jsonl": "abcd"}.items():
        (there / name).write_text(text)
    (here / "rank-0000.jsonl").write_text("ab")
    (here / "rank-0001.jsonl").write_text("same")

    missing = Receiver(here, "gpu-1").missing(manifest(there), settle_s=0)

    assert missing == [
        "rank-0000.jsonl of gpu-1 has 2 bytes here and 4 there, or others",
        "rank-0002.jsonl of gpu-1 is not here",
    ]


def test_the_same_number_of_other_bytes_is_not_the_same_file(folders: tuple[Path, Path]) -> None:
    there, here = folders
    (there / "rank-0000.jsonl").write_text("abcd")
    (here / "rank-0000.jsonl").write_text("abce")

    assert len(Receiver(here, "gpu-1").missing(manifest(there), settle_s=0)) == 1


def test_many_missing_files_are_counted(folders: tuple[Path, Path]) -> None:
    there, here = folders
    for rank in range(9):
        (there / f"rank-{rank:04d}.jsonl").write_text("x")

    missing = Receiver(here, "gpu-1").missing(manifest(there), settle_s=0)

    assert len(missing) == 5
    assert missing[-1] == "and 5 more files"


def test_what_went_wrong_on_the_way_is_missing_even_if_nothing_else_is(folders: tuple[Path, Path]) -> None:
    receiver = Receiver(folders[1], "gpu-1")
    receiver.take(piece(at=7))

    assert receiver.missing({}) == receiver.problems
    assert receiver.problems


def test_a_message_survives_the_pipe(folders: tuple[Path, Path]) -> None:
    there, _ = folders
    (there / "rank-0000.jsonl").write_bytes(b'\x00\xff\n{"a": 1}\r\n')

    (message,) = Shipper(there).pieces()

    assert parse(line(message).encode()) == message


def test_a_file_without_a_word_arrives_too(folders: tuple[Path, Path]) -> None:
    there, here = folders
    (there / "host-0001.log").touch()
    receiver, shipper = Receiver(here, "gpu-1"), Shipper(there)

    for message in [*shipper.pieces(), *shipper.pieces()]:
        receiver.take(message)

    assert content(here) == content(there) == {"host-0001.log": b""}
    assert receiver.missing(manifest(there), settle_s=0) == []
