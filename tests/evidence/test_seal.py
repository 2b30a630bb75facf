"""The seal names every file that is not as it was, and nothing else; it is what `sha256sum -c` understands."""

from __future__ import annotations

import os
import shutil
import subprocess
import tracemalloc
from pathlib import Path
from typing import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence.bundle import read_run
from evidence.seal import SEAL_FILE, seal_problems, write_seal
from evidence.verdict import Verdict
from tests.verdict.bundles import Plan, a_cell, build
from verdict.judge import judge_run

SEALED = [
    "attempt-0.host-0001.log",
    "attempt-0.rank-0000.jsonl",
    "attempt-12.launcher.log",
    "detections.npz",
    "host-0000.log",
    "launcher.log",
    "rank-0000.jsonl",
    "rank-0000.log",
    "rank-0000.stack.log",
    "rank-0001.jsonl",
    "run.json",
    "telemetry-0001.jsonl",
    "telemetry.jsonl",
]
RESULTS = ["verdict.json", "report.html", "junit.xml", "attempt-0.verdict.json", "attempt-x.run.json"]


def bundle_in(folder: Path) -> Path:
    """A folder with every kind of file that a run leaves, sealed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in [*SEALED, *RESULTS]:
        (folder / name).write_text(f"what {name} holds\n")
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints" / "epoch-0000.pt").write_bytes(b"weights")
    write_seal(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return bundle_in(tmp_path / "run")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for the bundles of property tests, which are written over one another."""
    return tmp_path_factory.mktemp("sealed") / "run"


def change_seal(folder: Path, change: Callable[[str], str]) -> None:
    (folder / SEAL_FILE).write_text(change((folder / SEAL_FILE).read_text()))


def test_what_was_sealed_and_left_alone_has_no_problem(folder: Path) -> None:
    assert seal_problems(folder) == ()


def test_evidence_is_sealed_and_what_is_computed_from_it_is_not(folder: Path) -> None:
    assert [line.split("  ")[1] for line in (folder / SEAL_FILE).read_text().splitlines()] == SEALED


def test_sha256sum_checks_the_seal(folder: Path) -> None:
    command = ["sha256sum", "--strict", "-c", SEAL_FILE]

    sound = subprocess.run(command, cwd=str(folder), capture_output=True, text=True)
    (folder / "run.json").write_text("{}")
    changed = subprocess.run(command, cwd=str(folder), capture_output=True, text=True)

    assert (sound.returncode, sound.stderr) == (0, "")
    assert "run.json: FAILED" in changed.stdout


def test_a_seal_as_sha256sum_writes_it_in_binary_mode_holds(folder: Path) -> None:
    change_seal(folder, lambda text: text.upper().replace("  ", " *").lower())

    assert seal_problems(folder) == ()


def test_a_seal_in_capitals_holds(folder: Path) -> None:
    change_seal(folder, lambda text: "".join(f"{line[:64].upper()}{line[64:]}" for line in text.splitlines(True)))

    assert seal_problems(folder) == ()


def test_a_bundle_without_a_seal_has_one_problem(folder: Path) -> None:
    (folder / SEAL_FILE).unlink()

    assert seal_problems(folder) == (
        "SHA256SUMS: not there: the run never came to its end, or its seal was taken away",
    )


@pytest.mark.parametrize("name", SEALED)
def test_a_file_that_went_missing_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()

    assert seal_problems(folder) == (f"{name}: listed in SHA256SUMS and not there",)


@pytest.mark.parametrize("name", ["rank-0007.jsonl", "rank-0001.log", "rank-x y.log", "rank-.jsonl"])
def test_a_file_of_evidence_that_came_later_is_named(folder: Path, name: str) -> None:
    (folder / name).write_text("")

    (problem,) = seal_problems(folder)

    assert name in problem
    assert "not listed in SHA256SUMS" in problem


def test_what_is_no_evidence_may_come_and_change(folder: Path) -> None:
    for name in [*RESULTS, "notes.txt", "ranking.log", ".rank-0000.jsonl.swp"]:
        (folder / name).write_text("another content")
    shutil.rmtree(folder / "checkpoints")

    assert seal_problems(folder) == ()


@settings(deadline=None)
@given(name=st.sampled_from(SEALED), at=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_one_changed_byte_is_named_with_its_file(name: str, at: int, byte: int, place: Path) -> None:
    content = bytearray((bundle_in(place) / name).read_bytes())
    before = bytes(content)
    content[at % len(content)] = byte
    (place / name).write_bytes(content)

    problems = seal_problems(place)

    if bytes(content) == before:
        assert problems == ()
    else:
        (problem,) = problems
        assert problem.startswith(f"{name}: changed since it was sealed: found sha256 ")


DIGEST = "0" * 64
NAMES_OF_NO_EVIDENCE = (
    *("", "/etc/passwd", "rank-0000.jsonl/../../x.log", "rank-/../x.log", "rank-..\\x.log"),
    *("checkpoints", "verdict.json", "run.json\r", "run.json\0"),
)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "expected 64 hexadecimal digits, two spaces and a file's name"),
        *((line, "expected ") for line in ("# a comment", f"{DIGEST[1:]}  run.json", f"{DIGEST} run.json")),
        (f"\\{DIGEST}  run.json", "expected "),
        (f"{DIGEST}  ../run.json", "found the name '../run.json', expected that of a file of evidence"),
        *((f"{DIGEST}  {name}", "found the name ") for name in NAMES_OF_NO_EVIDENCE),
        (f"{DIGEST}  run.json", "run.json is listed a second time"),
    ],
)
def test_a_line_that_is_none_is_a_problem_with_its_number(folder: Path, line: str, says: str) -> None:
    with (folder / SEAL_FILE).open("a", newline="") as stream:
        stream.write(f"{line}\n")

    (problem,) = seal_problems(folder)

    assert problem.startswith(f"SHA256SUMS line {len(SEALED) + 1}: {says}")


def test_a_second_digest_of_a_file_does_not_replace_the_first(folder: Path) -> None:
    (folder / "run.json").write_text("changed")
    before = (folder / SEAL_FILE).read_text()
    write_seal(folder)
    new = next(line for line in (folder / SEAL_FILE).read_text().splitlines() if line.endswith("run.json"))
    (folder / SEAL_FILE).write_text(f"{before}{new}\n")

    problems = seal_problems(folder)

    assert len(problems) == 2
    assert problems[1].startswith("run.json: ")


@settings(deadline=None)
@given(content=st.binary(max_size=200) | st.text("0a \n*.json-rank/", max_size=200).map(str.encode))
def test_no_content_of_the_seal_raises_or_holds_by_chance(content: bytes, place: Path) -> None:
    (bundle_in(place) / SEAL_FILE).write_bytes(content)

    problems = seal_problems(place)

    assert len(problems) >= len(SEALED)
    assert all(any(problem.startswith(name) for name in [SEAL_FILE, *SEALED]) for problem in problems)


@settings(deadline=None)
@given(cut=st.integers(0, 10**4))
def test_a_seal_that_was_cut_off_does_not_hold(cut: int, place: Path) -> None:
    content = (bundle_in(place) / SEAL_FILE).read_bytes()
    kept = content[: cut % (len(content) - 1)]
    (place / SEAL_FILE).write_bytes(kept)

    assert bool(seal_problems(place)) == (kept + b"\n" != content)


def test_a_seal_of_rubbish_is_not_spelled_out_to_its_end(folder: Path) -> None:
    (folder / SEAL_FILE).write_text("rubbish\n" * 10_000)

    assert len(seal_problems(folder)) < 60


def test_many_files_that_differ_are_counted_after_the_first(folder: Path) -> None:
    for rank in range(100, 150):
        (folder / f"rank-{rank:04d}.jsonl").write_text("")

    problems = seal_problems(folder)

    assert len(problems) == 21
    assert problems[-1] == "SHA256SUMS: and 30 more files that differ"


def test_a_link_is_not_followed_and_not_believed(folder: Path, tmp_path: Path) -> None:
    shutil.move(str(folder / "rank-0000.log"), str(tmp_path / "elsewhere.log"))
    (folder / "rank-0000.log").symlink_to(tmp_path / "elsewhere.log")

    (problem,) = seal_problems(folder)

    assert problem.startswith("rank-0000.log: found a link")


def test_a_link_in_the_place_of_the_seal_is_not_believed(folder: Path, tmp_path: Path) -> None:
    shutil.move(str(folder / SEAL_FILE), str(tmp_path / "sums"))
    (folder / SEAL_FILE).symlink_to(tmp_path / "sums")

    assert seal_problems(folder)[0].startswith("SHA256SUMS: found a link")


def test_neither_folders_nor_pipes_are_opened(folder: Path) -> None:
    (folder / "rank-0002.log").mkdir()
    os.mkfifo(str(folder / "rank-0003.log"))

    assert [problem.partition(":")[0] for problem in seal_problems(folder)] == ["rank-0002.log", "rank-0003.log"]


def test_a_new_seal_replaces_the_old_one_and_leaves_nothing_beside_it(folder: Path) -> None:
    (folder / "run.json").write_text("changed, and sealed again")

    assert write_seal(folder) == folder / SEAL_FILE

    assert seal_problems(folder) == ()
    assert sorted(os.listdir(folder)) == sorted([SEAL_FILE, "checkpoints", *SEALED, *RESULTS])


def test_memory_does_not_grow_with_the_files(folder: Path) -> None:
    with (folder / "rank-0000.log").open("wb") as stream:
        stream.truncate(64 << 20)
    tracemalloc.start()

    write_seal(folder)
    problems = seal_problems(folder)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert problems == ()
    assert peak < 8 << 20


def test_the_last_byte_of_a_large_file_is_sealed_too(folder: Path) -> None:
    content = bytes(3 << 20)
    (folder / "rank-0000.log").write_bytes(content)
    write_seal(folder)
    (folder / "rank-0000.log").write_bytes(content[:-1] + b"x")

    (problem,) = seal_problems(folder)

    assert problem.startswith("rank-0000.log: ")


def test_evidence_that_cannot_be_read_is_not_believed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_to_list(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "scandir", fail_to_list)

    assert seal_problems(folder) == ("SHA256SUMS: the evidence cannot be held against it: Input/output error",)


SHORT = Plan(steps=40, maps=(0.4,))


def test_a_run_without_a_seal_is_invalid(tmp_path: Path) -> None:
    run_dir = build(SHORT).write(tmp_path / "run")
    (run_dir / SEAL_FILE).unlink()

    verdict = judge_run(read_run(run_dir), a_cell(SHORT, map=0.1))

    assert verdict.outcome == Verdict.INVALID
    assert verdict.reasons[0].startswith("SHA256SUMS: ")


def test_a_change_that_no_other_check_sees_is_invalid(tmp_path: Path) -> None:
    run_dir = build(SHORT).write(tmp_path / "run")
    path = run_dir / "telemetry.jsonl"
    path.write_text(path.read_text().replace("xpu_smi", "xpu-smi"))

    verdict = judge_run(read_run(run_dir), a_cell(SHORT, map=0.1))

    (reason,) = verdict.reasons
    assert reason.startswith("telemetry.jsonl: ")


def test_a_cut_off_last_line_is_named_before_the_seal_that_it_breaks(tmp_path: Path) -> None:
    run_dir = build(SHORT).write(tmp_path / "run")
    path = run_dir / "rank-0001.jsonl"
    path.write_bytes(path.read_bytes()[:-4])

    problems = read_run(run_dir).problems

    assert "the last line is cut off" in problems[0]
    assert problems[-1].startswith("rank-0001.jsonl: ")
