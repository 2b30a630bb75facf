"""`--gate` in real sessions over stored runs: exit code, last line and JUnit say the same, whatever happens between."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping

import pytest

from fixtures.gate.gatekeeper import LAST_LINE
from reports.history import default_url
from reports.history.database import open_history
from reports.history.queries import attempts
from tests.suite.junit import Session, run_suite
from tests.suite.stored import (
    ACCEPTED_ON,
    EIGHT,
    ONE,
    UNPUBLISHED,
    UNTIL,
    bundle_of,
    rates_of,
    site_file,
    store,
    waiver,
)

RATES = ("p_whole", "p_train", "p_core")
"""What the table of the R300 leaves blank at 1x1."""
OTHERS = "clock, environment, health, step_times"
"""What is asked of a cell of one rank beside its metrics."""
STARTED = "2026-01-01"
"""When the stored runs were made."""


@pytest.fixture(scope="module")
def one(tmp_path_factory: Any) -> Path:
    """A sound run of one device; sessions write nothing but its verdict."""
    return store(Path(str(tmp_path_factory.mktemp("one"))) / "run", topology="1x1")


@pytest.fixture(scope="module")
def rates(one: Path) -> Mapping[str, float]:
    return rates_of(one)


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: Any, rates: Mapping[str, float]) -> Path:
    return site_file(Path(str(tmp_path_factory.mktemp("site"))) / "site.toml", {ONE: rates})


def gated(folder: Path, *arguments: Any, **environment: str) -> Session:
    return run_suite(folder, "--gate", *arguments, **environment)


def meddled(folder: Path, mode: str, *arguments: Any) -> Session:
    return gated(folder, "-p", "tests.suite.meddling", *arguments, MEDDLE=mode)


def require(session: Session, word: str, decided_by: str, waived: int = 0, *, says: str = "") -> None:
    """Require that exit code, last line and JUnit agree on the outcome; `says` stands in a pass's line."""
    gate, line = session.cases["gate"], session.last_line
    outcome = {"PASS": "passed", "INVALID": "error"}.get(word, "failure")
    assert (session.code == 0) == (word == "PASS"), session.output
    if word == "PASS":
        assert line == f"GATE: PASS{f', {waived} waived' if waived else ''}  {gate.properties['details']}"
        assert f"{ONE}; {says}" in line
        assert line.endswith(f"; replayed, run of {STARTED}")
    else:
        assert line == f"GATE: {word}  {decided_by}"
    assert gate.outcome == outcome
    found = {name: gate.properties[name] for name in ("gate", "decided_by", "waived")}
    assert found == {"gate": word, "decided_by": decided_by, "waived": str(waived)}
    assert decided_by in gate.message


WIDTH = 80


@pytest.fixture(scope="module")
def passed(tmp_path_factory: Any, one: Path, baseline: Path) -> tuple[Session, list[str]]:
    """A session that passes on a narrow terminal, and the lines of its summary."""
    folder = Path(str(tmp_path_factory.mktemp("passed")))
    options = ["--replay", one, "--baseline", baseline, f"--summary={folder / 'summary.md'}"]
    session = gated(folder, *options, COLUMNS=str(WIDTH))
    return session, (folder / "summary.md").read_text(encoding="utf-8").splitlines()


def test_every_metric_passed_is_a_pass(passed: tuple[Session, list[str]]) -> None:
    session, summary = passed

    require(session, "PASS", "", says=f"by baseline of {ACCEPTED_ON}: p_whole, p_train, p_core of {ONE}; ")
    assert {case.outcome for case in session.by_metric.values()} == {"passed"}
    assert summary[0] == "# GATE: PASS"
    assert len([line for line in summary if line.endswith(" pass |")]) == len(session.by_metric)


def test_it_is_under_xdist_too(tmp_path: Path, one: Path, baseline: Path) -> None:
    session = gated(tmp_path, "--replay", one, "--baseline", baseline, "-n", "2")

    require(session, "PASS", "", says=f"by baseline of {ACCEPTED_ON}: p_whole, p_train, p_core of {ONE}; ")


def test_the_closing_table_is_the_last_thing_before_the_gates_line(passed: tuple[Session, list[str]]) -> None:
    session, _ = passed

    places = [session.output.index(f" {part} ") for part in ("benchmark", "passed in", "health", "conformance")]
    assert places == sorted(places)
    assert session.last_line.startswith("GATE: PASS")


def test_no_line_of_the_closing_part_is_wider_than_the_terminal(passed: tuple[Session, list[str]]) -> None:
    session, _ = passed

    closing = session.output[session.output.rindex("= conformance =") :].splitlines()[1:-1]
    wide = [line for line in closing if len(line) > WIDTH]
    assert len(closing) > 10
    # Paths have no space at which they could be broken.
    assert [line for line in wide if max(map(len, line.split())) + 10 <= WIDTH] == []


def test_a_session_that_is_refused_says_so_in_its_summary_and_its_last_line(tmp_path: Path) -> None:
    session = gated(tmp_path, "-m", "r300", "--topo", "9x9", f"--summary={tmp_path / 'summary.md'}")

    why = "--topo 9x9: the table of r300 has no"
    assert session.code == 4
    assert (tmp_path / "summary.md").read_text().startswith(f"# Nothing was run\n\n- {why}")
    assert session.last_line.startswith(f"GATE: INCOMPLETE  nothing was run: {why}")


def test_a_run_of_an_older_schema_is_judged_and_is_no_proof(tmp_path: Path, baseline: Path) -> None:
    bundle = bundle_of("r300", "1x1")
    bundle.run["schema"] = bundle.one("start")["schema"] = 2

    session = gated(tmp_path, "--replay", bundle.write(tmp_path / "old"), "--baseline", baseline)

    assert {case.outcome for case in session.by_metric.values()} == {"passed"}
    assert session.last_line.startswith("GATE: INCOMPLETE")
    assert "old is evidence of schema 2, which does not show that anything was trained" in session.last_line


def test_a_baseline_decides_what_the_vendor_left_open(tmp_path: Path, one: Path, rates: Mapping[str, float]) -> None:
    site = site_file(tmp_path / "site.toml", {ONE: {**rates, "p_train": rates["p_train"] * 1.1}})

    session = gated(tmp_path, "--replay", one, "--baseline", site)

    require(session, "FAIL", f"{ONE}: p_train")
    assert session.counts["failures"] == 2  # the metric and the gate
    assert "below" in session.by_metric["p_train"].message


def test_an_invalid_run_is_an_error_of_the_gate_too(tmp_path: Path, baseline: Path) -> None:
    run_dir = store(tmp_path / "run", topology="1x1")
    (run_dir / "telemetry.jsonl").write_bytes((run_dir / "telemetry.jsonl").read_bytes()[:-3])

    session = gated(tmp_path, "--replay", run_dir, "--baseline", baseline, "-n", "1")

    require(session, "INVALID", f"{ONE}: p_whole, p_train, p_core, mem")
    assert "telemetry.jsonl: changed since it was sealed" in session.by_metric["mem"].message


def test_a_missing_metric_fails_under_the_gate_and_only_there(tmp_path: Path) -> None:
    steady = store(tmp_path / "run", topology="1x1", protocol="steady", warmup=20, steps=200)
    (tmp_path / "open").mkdir()

    shut = gated(tmp_path, "--replay", steady)
    free = run_suite(tmp_path / "open", "--replay", steady)

    assert "p_whole missing" in shut.last_line
    assert shut.by_metric["p_whole"].outcome == "failure"
    assert "missing: p_whole is not measured" in shut.by_metric["p_whole"].message
    assert shut.by_metric["p_core"].outcome == "skipped"
    assert (free.code, free.by_metric["p_whole"].outcome) == (0, "skipped")
    assert "gate" not in free.cases


def test_two_cells_have_to_pass_both(tmp_path: Path, one: Path, baseline: Path) -> None:
    eight = store(tmp_path / "eight", maps=(0.4,))

    session = gated(tmp_path, "--replay", one, "--replay", eight, "--baseline", baseline)

    require(session, "INCOMPLETE", f"{EIGHT}: e2e_time, p_whole, p_train, p_core unpublished and not in the baseline")
    assert session.output.count("= conformance =") == 2


def test_a_fail_in_one_cell_comes_before_an_invalid_run_of_another(tmp_path: Path, one: Path) -> None:
    too_big = store(tmp_path / "eight", used_gib=30.0)
    damaged = store(tmp_path / "one", topology="1x1")
    (damaged / "SHA256SUMS").unlink()

    session = gated(tmp_path, "--replay", too_big, "--replay", damaged)

    require(session, "FAIL", f"{EIGHT}: mem")


def test_what_is_not_asked_is_incomplete_under_xdist_too(tmp_path: Path, one: Path, baseline: Path) -> None:
    session = gated(tmp_path, "--replay", one, "--baseline", baseline, "-k", "test_mem", "-n", "1")

    require(session, "INCOMPLETE", f"{ONE}: p_whole, p_train, p_core, {OTHERS} not run")


def test_a_session_that_stops_at_the_first_failure_fails_by_it(tmp_path: Path, baseline: Path) -> None:
    too_big = store(tmp_path / "run", topology="1x1", used_gib=20.0)

    session = gated(tmp_path, "--replay", too_big, "--baseline", baseline, "-x")

    require(session, "FAIL", f"{ONE}: mem")
    assert "p_core" not in session.by_metric


@pytest.mark.parametrize("mode", ["twice", "rerun", "silent"])
def test_a_retried_metric_is_incomplete(tmp_path: Path, one: Path, baseline: Path, mode: str) -> None:
    session = meddled(tmp_path, mode, "--replay", one, "--baseline", baseline)

    require(session, "INCOMPLETE", f"{ONE}: mem asked more than once")


def test_a_retry_under_xdist_is_seen_too(tmp_path: Path, one: Path, baseline: Path) -> None:
    session = meddled(tmp_path, "twice", "--replay", one, "--baseline", baseline, "-n", "2")

    require(session, "INCOMPLETE", f"{ONE}: mem asked more than once")


def test_a_worker_that_dies_is_no_pass(tmp_path: Path, one: Path, baseline: Path) -> None:
    session = meddled(tmp_path, "crash", "--replay", one, "--baseline", baseline, "-n", "2")

    require(session, "INVALID", f"test_memory.py::test_mem[{ONE}] failed")


def test_an_interrupted_session_is_incomplete(tmp_path: Path, one: Path, baseline: Path) -> None:
    session = meddled(tmp_path, "interrupt", "--replay", one, "--baseline", baseline)

    assert session.code == 2
    assert session.last_line.startswith(f"GATE: INCOMPLETE  the session was interrupted; {ONE}: ")
    assert session.cases["gate"].outcome == "failure"


def test_an_error_after_the_tests_leaves_no_pass_behind(tmp_path: Path, one: Path, baseline: Path) -> None:
    url = default_url(tmp_path)

    session = meddled(tmp_path, "late", "--replay", one, "--baseline", baseline, "--history", url)

    assert session.code != 0
    lines = [line for line in session.output.splitlines() if line.startswith("GATE: ")]
    assert lines == ["GATE: INCOMPLETE  the session ended with an error after its tests"]
    with open_history(url) as history, history.reading() as connection:
        assert attempts(connection, ONE, release="") == ["INCOMPLETE"]


def test_another_test_of_the_session_that_fails_is_no_pass(tmp_path: Path, one: Path, baseline: Path) -> None:
    session = meddled(tmp_path, "break", "--replay", one, "--baseline", baseline)

    require(session, "INVALID", f"{ONE}: step_times recorded, but its test failed")


def test_a_file_that_cannot_be_collected_is_no_pass(tmp_path: Path, one: Path, baseline: Path) -> None:
    (tmp_path / "test_broken.py").write_text("import nowhere_to_be_found\n")
    arguments = ("suite", tmp_path / "test_broken.py", "--continue-on-collection-errors")

    session = gated(tmp_path, "--replay", one, "--baseline", baseline, *arguments)

    assert session.by_metric["mem"].outcome == "passed"
    assert session.code != 0
    assert session.last_line.startswith("GATE: INCOMPLETE  ")
    assert "could not be collected" in session.last_line


@pytest.mark.parametrize("arguments", [["--no-such-option"], ["suite/test_nowhere.py", "-m", "r300"]])
def test_an_error_that_pytest_finds_itself_is_incomplete_in_the_last_line_too(
    tmp_path: Path, arguments: list[str]
) -> None:
    session = gated(tmp_path, *arguments)

    assert session.code == 4
    assert session.last_line.startswith("GATE: INCOMPLETE  ")
    assert "ERROR: " in session.output or "usage error" in session.output
    assert "Traceback" not in session.output


@pytest.mark.parametrize("arguments", [["-p", "no:terminal"], ["-qq", "--no-summary"]])
def test_the_line_is_printed_however_quiet_the_session_is(
    tmp_path: Path, one: Path, baseline: Path, arguments: list[str]
) -> None:
    session = gated(tmp_path, "--replay", one, "--baseline", baseline, *arguments)

    assert session.code == 0
    assert session.last_line.startswith(f"GATE: PASS  {ONE}; ")


def test_a_waived_metric_is_skipped_with_its_waiver_and_counted(tmp_path: Path, rates: Mapping[str, float]) -> None:
    too_big = store(tmp_path / "run", topology="1x1", used_gib=20.0)
    accepted = {"p_core": rates["p_core"]}
    waivers = [waiver(metric, cell=ONE) for metric in ("mem", "p_whole", "p_train")]
    site = site_file(tmp_path / "site.toml", {ONE: accepted}, waivers)

    session = gated(tmp_path, "--replay", too_big, "--baseline", site, "-n", "1")

    require(session, "PASS", "", waived=3)
    case = session.by_metric["mem"]
    assert case.outcome == "skipped"
    assert f"waived until {UNTIL} (OPS-7): the new firmware; verdict: fail: mem 20.00 GiB is above" in case.message
    assert case.properties["waiver"] == f"waived until {UNTIL} (OPS-7): the new firmware"
    assert case.properties["verdict"] == "fail"
    assert "verdict: recorded: " in session.by_metric["p_whole"].message
    assert session.by_metric["p_core"].properties["waiver"] == ""
    assert f"mem: waived until {UNTIL} (OPS-7): the new firmware" in session.output


def test_a_waived_metric_that_is_missing_is_skipped_under_the_gate(tmp_path: Path, rates: Mapping[str, float]) -> None:
    steady = store(tmp_path / "run", topology="1x1", protocol="steady", warmup=20, steps=200)
    site = site_file(tmp_path / "site.toml", {}, [waiver(metric, cell=ONE) for metric in RATES])

    session = gated(tmp_path, "--replay", steady, "--baseline", site)

    require(session, "PASS", "", waived=3)
    assert "verdict: missing: p_whole is not measured" in session.by_metric["p_whole"].message


def test_a_waiver_past_its_date_is_void_and_one_that_is_not_needed_is_noted(
    tmp_path: Path, rates: Mapping[str, float]
) -> None:
    too_big = store(tmp_path / "run", topology="1x1", used_gib=20.0)
    waivers = [waiver("mem", cell=ONE, until="2020-01-31"), waiver("p_core", cell=ONE)]
    site = site_file(tmp_path / "site.toml", {ONE: rates}, waivers)

    session = gated(tmp_path, "--replay", too_big, "--baseline", site)

    require(session, "FAIL", f"{ONE}: mem (the waiver OPS-7 ended on 2020-01-31)")
    assert (session.by_metric["mem"].outcome, session.by_metric["p_core"].outcome) == ("failure", "passed")
    assert "mem: the waiver OPS-7 ended on 2020-01-31 and is void" in session.output
    assert f"p_core: the waiver OPS-7 (until {UNTIL}) is not needed" in session.output


def test_an_invalid_run_cannot_be_waived(tmp_path: Path) -> None:
    run_dir = store(tmp_path / "run", topology="1x1")
    (run_dir / "SHA256SUMS").unlink()
    site = site_file(tmp_path / "site.toml", {}, [waiver(metric, cell=ONE) for metric in (*RATES, "mem")])

    session = gated(tmp_path, "--replay", run_dir, "--baseline", site)

    require(session, "INVALID", f"{ONE}: p_whole, p_train, p_core, mem")
    assert "mem: the waiver OPS-7 does not apply: an invalid run cannot be waived" in session.output


def test_this_session_was_not_asked_for_a_gate() -> None:
    said: list[str] = []

    LAST_LINE.say(said.append)

    assert said == []


def test_blocking_the_gates_plugin_is_a_usage_error(tmp_path: Path, one: Path, baseline: Path) -> None:
    session = gated(tmp_path, "--replay", one, "--baseline", baseline, "-p", "no:conformance-gate")

    assert session.code == 4
    assert "--gate needs the plugin conformance-gate" in session.output


def test_whoever_resets_the_exit_code_does_not_reset_the_gates(tmp_path: Path, one: Path) -> None:
    session = meddled(tmp_path, "zero", "--replay", one)

    assert session.code == 1
    assert session.last_line.startswith("GATE: INCOMPLETE")


def test_a_stored_run_that_nobody_judged_stands_in_the_way_of_a_pass(tmp_path: Path, one: Path, baseline: Path) -> None:
    other = store(tmp_path / "cpu", "cpu", "1x1")

    session = gated(tmp_path, "-m", "r300", "--topo", "1x1", "--replay", one, "--replay", other, "--baseline", baseline)

    assert session.code != 0
    assert session.last_line.startswith("GATE: INCOMPLETE")
    assert "was given and is of no selected cell" in session.last_line


@pytest.fixture(scope="module")
def slow_rank(tmp_path_factory: Any) -> Path:
    """A run of eight devices in which every metric passes by the values below, and rank 5 is 20 % slow."""
    bundle = bundle_of("r300", "1x8", maps=(0.4,))
    for window in bundle.all("window", 5):
        window["forward_ns"] = int(window["forward_ns"] * 1.2)
    return bundle.write(Path(str(tmp_path_factory.mktemp("slow"))) / "run")


@pytest.fixture
def accepted(tmp_path: Path, slow_rank: Path) -> Path:
    return site_file(tmp_path / "site.toml", {EIGHT: rates_of(slow_rank, "1x8", UNPUBLISHED)})


def test_parts_of_questions_that_are_left_out_are_named(tmp_path: Path, slow_rank: Path, accepted: Path) -> None:
    left_out = ["-k", "not skew and not clock_is and not driver"]

    session = gated(tmp_path, "--replay", slow_rank, "--baseline", accepted, *left_out)

    assert session.code != 0
    names = "clock (monotonic), environment (driver), skew"
    assert session.last_line == f"GATE: INCOMPLETE  {EIGHT}: {names} not run"


def test_a_comparison_of_two_selected_topologies_has_to_be_asked(
    tmp_path: Path, one: Path, slow_rank: Path, baseline: Path
) -> None:
    runs = ["--replay", one, "--replay", slow_rank]

    session = gated(tmp_path, *runs, "--baseline", baseline, "-k", "not efficiency and not skew")

    assert session.last_line == (
        f"GATE: INCOMPLETE  {EIGHT}: e2e_time, p_whole, p_train, p_core unpublished and not in the baseline; skew not "
        f"run; {ONE}-to-1x8: efficiency not run"
    )


@pytest.mark.parametrize(
    ("arguments", "word", "decided_by"),
    [
        ([], "INCOMPLETE", f"{ONE}: another not run"),
        (["suite", "tests/suite/another_question.py"], "PASS", ""),
    ],
)
def test_a_question_in_a_new_file_is_required_without_a_list(
    tmp_path: Path, one: Path, baseline: Path, arguments: list[str], word: str, decided_by: str
) -> None:
    options = ["-p", "tests.suite.another_question", "--replay", one, "--baseline", baseline]

    require(gated(tmp_path, *options, *arguments), word, decided_by)


def test_earlier_attempts_at_the_same_release_are_told(tmp_path: Path, baseline: Path) -> None:
    history = f"sqlite:///{tmp_path / 'history.sqlite'}"
    options = ["--baseline", baseline, "--history", history, "--release"]
    attempts = [("2026-01-01", 20.0, "rc1"), ("2026-01-02", 20.0, "rc2"), ("2026-01-03", 16.0, "rc2")]
    lines = []
    for number, (day, used_gib, release) in enumerate(attempts):
        bundle = bundle_of("r300", "1x1", used_gib=used_gib)
        bundle.run.update(id=f"run-{number}", started_utc=f"{day}T00:00:00Z")
        run_dir = bundle.write(tmp_path / f"run-{number}")
        lines.append(gated(tmp_path / str(number), *options, release, "--replay", run_dir).last_line)

    assert lines[0] == lines[1] == f"GATE: FAIL  {ONE}: mem"
    assert lines[2].startswith(f"GATE: PASS  {ONE}; ")
    assert lines[2].endswith("; replayed, run of 2026-01-03; 2nd attempt, before: FAIL")
    again = gated(tmp_path / "again", *options[:-1], "--replay", tmp_path / "run-1")
    assert again.last_line == f"GATE: FAIL  {ONE}: mem"
