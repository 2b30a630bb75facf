"""Reading whole bundles, sound and damaged."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence.bundle import read_run
from evidence.errors import EvidenceError, SuiteError
from evidence.seal import seal_problems, write_seal
from evidence.verdict import RunVerdict, Verdict
from tests.support import ROOT
from tests.verdict.bundles import STEADY, Bundle, Plan, a_cell, build, lines, reached_by
from verdict.judge import judge_run

SHORT = Plan(steps=40, maps=(0.4,))
FILES = ("run.json", "rank-0000.jsonl", "rank-0001.jsonl", "telemetry.jsonl")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The short bundle, for property tests, which put one file after the other in its place."""
    return build(SHORT).write(tmp_path_factory.mktemp("bundles") / "run")


@pytest.fixture
def bundle() -> Bundle:
    return build(SHORT)


def judge(folder: Path) -> RunVerdict:
    return judge_run(read_run(folder), a_cell(SHORT, **reached_by(SHORT)), backend="kunlunxin")


def test_a_sound_bundle_is_read_without_problems(bundle: Bundle, tmp_path: Path) -> None:
    evidence = read_run(bundle.write(tmp_path / "run"))

    assert evidence.problems == ()
    assert evidence.run.cell.id == "r300-1x2-fp32-bs4"
    assert evidence.run.boot.exit_code == 0
    assert [rank.rank for rank in evidence.ranks] == [0, 1]
    assert len(evidence.telemetry.cards) == 2
    assert not evidence.simulated


def test_a_missing_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="no such folder") as error:
        read_run(tmp_path / "nowhere")

    assert isinstance(error.value, SuiteError)
    assert str(tmp_path / "nowhere") in str(error.value)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")

    with pytest.raises(EvidenceError):
        read_run(tmp_path / "run")


def test_an_empty_folder_lacks_its_run_json(tmp_path: Path) -> None:
    evidence = read_run(tmp_path)

    assert evidence.run is None
    assert evidence.ranks == ()
    assert evidence.problems[0] == "run.json: cannot be read: No such file or directory"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "run.json: not a JSON object"),
        ("[]", "run.json: not a JSON object (not an object)"),
        ('{"schema": 1', "run.json: not a JSON object"),
        ("{}", "run.json: 'schema' is missing"),
    ],
)
def test_a_run_json_that_is_none_is_a_problem(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(content)

    assert words in read_run(tmp_path).problems[0]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("protocol",), None),
        (("steps",), "many"),
        (("cell", "batch_size"), 1.5),
        (("cell",), []),
        (("boot",), None),
        (("boot", "exit_code"), "0"),
        (("boot", "failure"), "bad"),
        (("boot", "failure", "message"), 5),
        (("simulated",), "no"),
        (("recipe",), None),
    ],
)
def test_a_wrong_field_of_run_json_is_a_problem(
    path: tuple[str, ...], value: Any, bundle: Bundle, tmp_path: Path
) -> None:
    bundle.run["boot"]["failure"] = {"message": "no route"}
    table: dict[str, Any] = bundle.run
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value

    evidence = read_run(bundle.write(tmp_path / "run"))

    assert evidence.run is None
    assert evidence.problems[0].startswith("run.json: ")
    assert f"{path[-1]!r} is {value!r}, expected " in evidence.problems[0]


def test_a_boot_that_failed_is_read_with_its_phase_and_message(bundle: Bundle, tmp_path: Path) -> None:
    bundle.run["boot"] = {"exit_code": None, "failure": {"phase": "boot", "message": "no route"}}

    run = read_run(bundle.write(tmp_path / "run")).run

    assert (run.boot.exit_code, run.boot.failed, run.boot.phase, run.boot.message) == (None, True, "boot", "no route")


def test_two_files_of_one_rank_are_a_problem(bundle: Bundle, tmp_path: Path) -> None:
    folder = bundle.write(tmp_path / "run")
    shutil.copy(folder / "rank-0001.jsonl", folder / "rank-00001.jsonl")
    write_seal(folder)

    problems = read_run(folder).problems

    assert problems == ("rank-0001.jsonl: rank 1 has rank-00001.jsonl already; expected one file a rank",)


def test_a_file_whose_name_has_no_rank_is_a_problem(bundle: Bundle, tmp_path: Path) -> None:
    folder = bundle.write(tmp_path / "run")
    (folder / "rank-x.jsonl").write_text("")

    assert "rank-x.jsonl: the name is not that of a rank's file" in read_run(folder).problems[0]


def test_a_missing_telemetry_is_left_to_the_checks(bundle: Bundle, tmp_path: Path) -> None:
    folder = bundle.write(tmp_path / "run")
    (folder / "telemetry.jsonl").unlink()
    write_seal(folder)

    assert read_run(folder).problems == ()
    assert judge(folder).outcome == Verdict.INVALID


def test_a_bundle_says_when_it_is_simulated(bundle: Bundle, tmp_path: Path) -> None:
    bundle.one("start", rank=1)["simulated"] = True

    assert read_run(bundle.write(tmp_path / "run")).simulated


def test_the_order_in_which_files_are_found_does_not_matter(bundle: Bundle, tmp_path: Path) -> None:
    forwards = bundle.write(tmp_path / "forwards")
    bundle.ranks = dict(sorted(bundle.ranks.items(), reverse=True))
    backwards = bundle.write(tmp_path / "backwards")

    assert judge(forwards) == judge(backwards)


def test_the_telemetry_of_other_hosts_is_read_beside_the_first(bundle: Bundle, tmp_path: Path) -> None:
    other = [sample for sample in bundle.telemetry if sample["rank"] == 1]
    bundle.telemetry = [sample for sample in bundle.telemetry if sample["rank"] == 0]
    folder = bundle.write(tmp_path / "run")
    (folder / "telemetry-0001.jsonl").write_text(lines(other) + "{\n")
    write_seal(folder)

    evidence = read_run(folder)

    assert [card.rank for card in evidence.telemetry.cards] == [0, 1]
    (problem,) = evidence.problems
    assert problem.startswith("telemetry-0001.jsonl")


def test_what_a_broken_attempt_left_is_sealed_and_not_judged(bundle: Bundle, tmp_path: Path) -> None:
    folder = bundle.write(tmp_path / "run")
    for name in ("rank-0000.jsonl", "telemetry.jsonl", "run.json"):
        (folder / f"attempt-0.{name}").write_text("cut off {")
    write_seal(folder)

    assert judge(folder).outcome == Verdict.PASS

    (folder / "attempt-0.rank-0000.jsonl").write_text("edited {")
    assert "attempt-0.rank-0000.jsonl: changed since it was sealed" in judge(folder).reasons[0]


def test_the_order_of_hosts_in_the_telemetry_does_not_matter(bundle: Bundle, tmp_path: Path) -> None:
    once = judge(bundle.write(tmp_path / "once"))
    bundle.telemetry.reverse()

    assert judge(bundle.write(tmp_path / "reversed")) == once


def test_the_sound_bundle_of_the_property_tests_passes(bundle: Bundle, tmp_path: Path) -> None:
    assert judge(bundle.write(tmp_path / "run")).outcome == Verdict.PASS


RANK_FILE = lines(build(SHORT).ranks[0]).encode()


def judge_with(folder: Path, name: str, content: bytes) -> RunVerdict:
    """The verdict of the bundle in `folder` with another content of one file, sealed: what is wrong has to be seen."""
    before = (folder / name).read_bytes()
    (folder / name).write_bytes(content)
    write_seal(folder)
    try:
        return judge(folder)
    finally:
        (folder / name).write_bytes(before)


@settings(deadline=None, max_examples=150)
@given(cut=st.integers(0, len(RANK_FILE) - 1))
def test_a_rank_file_that_lost_more_than_its_last_newline_is_never_believed(cut: int, folder: Path) -> None:
    verdict = judge_with(folder, "rank-0000.jsonl", RANK_FILE[:cut])

    lost_only_the_newline = cut == len(RANK_FILE) - 1
    assert verdict.outcome == (Verdict.PASS if lost_only_the_newline else Verdict.INVALID)


@settings(deadline=None, max_examples=100)
@given(line=st.integers(0, len(RANK_FILE.splitlines()) - 1))
def test_a_rank_file_that_lost_a_line_in_the_middle_is_not_believed(line: int, folder: Path) -> None:
    kept = RANK_FILE.splitlines(keepends=True)
    lost = json.loads(kept.pop(line))["event"]

    verdict = judge_with(folder, "rank-0000.jsonl", b"".join(kept))

    # Signs of life, files written and the allocator's own view prove nothing and are not missed; readings of health
    # are of a question of their own.
    not_missed = ("progress", "checkpoint", "memory", "health")
    assert verdict.outcome == (Verdict.PASS if lost in not_missed else Verdict.INVALID)


@settings(deadline=None, max_examples=150)
@given(
    name=st.sampled_from(FILES),
    damage=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=6)), min_size=1, max_size=4
    ),
)
def test_rubbish_anywhere_never_raises(name: str, damage: list[tuple[float, bytes]], folder: Path) -> None:
    content = bytearray((folder / name).read_bytes())
    for where, rubbish in damage:
        at = int(where * len(content))
        content[at : at + len(rubbish)] = rubbish

    verdict = judge_with(folder, name, bytes(content))

    assert verdict.outcome in (Verdict.PASS, Verdict.INVALID) or verdict.reasons


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def _replace(events: list[dict[str, Any]], where: int, field: int, value: Any) -> None:
    event = events[where % len(events)]
    event[sorted(event)[field % len(event)]] = value


@settings(deadline=None, max_examples=200)
@given(file=st.integers(0, 3), where=st.integers(0, 10**6), field=st.integers(0, 10**6), value=JSON)
def test_any_value_in_any_field_never_raises(file: int, where: int, field: int, value: Any, folder: Path) -> None:
    bundle = build(SHORT)
    targets: list[Callable[[], list[dict[str, Any]]]] = [
        lambda: [bundle.run, bundle.run["cell"], bundle.run["boot"], bundle.run["recipe"]],
        lambda: bundle.ranks[0],
        lambda: [event["ledger"] for event in bundle.ranks[1] if "ledger" in event],
        lambda: bundle.telemetry,
    ]
    _replace(targets[file](), where, field, value)

    assert judge(bundle.write(folder.with_name("changed"))).outcome


def test_a_steady_bundle_is_read_with_its_limit(tmp_path: Path) -> None:
    run = read_run(build(STEADY).write(tmp_path / "run")).run

    assert (run.protocol, run.steps) == ("steady", 120)


def test_evidence_that_is_written_while_it_is_read_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    folder = build(Plan()).write(tmp_path / "run")
    honest = (folder / "rank-0000.jsonl").read_bytes()

    def swap(run_dir: Path, digests: Mapping[str, str], seal: bytes) -> tuple[str, ...]:
        """Put the sealed bytes back between reading and checking, as a racing copy could."""
        (folder / "rank-0000.jsonl").write_bytes(honest)
        return seal_problems(run_dir, digests, seal)

    monkeypatch.setattr("evidence.bundle.seal_problems", swap)
    (folder / "rank-0000.jsonl").write_bytes(honest.replace(b'"lr": 0.02', b'"lr": 0.01'))

    of_the_seal, while_reading = read_run(folder).problems

    assert of_the_seal.startswith("rank-0000.jsonl: changed since it was sealed")
    assert while_reading == "run: a file of evidence changed while it was read; judge a copy that nobody writes to"


@pytest.mark.parametrize("name", ["rank-0000.jsonl", "run.json", "telemetry.jsonl"])
def test_a_pipe_in_place_of_a_file_is_a_problem_and_is_not_waited_for(name: str, tmp_path: Path) -> None:
    folder = build(Plan()).write(tmp_path / "run")
    (folder / name).unlink()
    os.mkfifo(str(folder / name))

    assert f"{name}: cannot be read: not a regular file" in read_run(folder).problems


def test_each_file_is_opened_once(tmp_path: Path) -> None:
    folder = build(Plan()).write(tmp_path / "run")
    program = (
        "import collections, sys; opened = collections.Counter(); "
        "sys.addaudithook(lambda event, arguments: opened.update([str(arguments[0])]) if event == 'open' else None); "
        "from pathlib import Path; from evidence.bundle import read_run; "
        "assert not read_run(Path(sys.argv[1])).problems; "
        "print({Path(name).name: count for name, count in opened.items() if name.startswith(sys.argv[1] + '/')})"
    )

    done = subprocess.run([sys.executable, "-c", program, str(folder)], cwd=ROOT, capture_output=True, text=True)

    assert ast.literal_eval(done.stdout) == {path.name: 1 for path in folder.iterdir()}, done.stderr
