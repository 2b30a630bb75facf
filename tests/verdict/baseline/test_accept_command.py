"""`python -m verdict accept`: exit codes, the table, and the baseline file, written and read back."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from evidence.bundle import read_run
from expected import METRICS, ExpectationError, load_devices, load_site
from expected.site import MIN_RUNS, check_site
from expected.toml_file import parse_toml
from tests.verdict.baseline.accepting import PLAN, device_with, devices_of, write_runs
from tests.verdict.bundles import Plan
from tests.verdict.shipped import bundle_of
from verdict.baseline.accept import Acceptance, AcceptedValue, AcceptError, accept_runs, accepted_value
from verdict.baseline.command import add_accepted, main, to_toml
from verdict.compare.comparability import Provenance, plain
from verdict.judge import judge_run

DEVICES = devices_of(PLAN)
CELL = DEVICES["r300"].cells[0]
VERSIONS = {"python": "3.8.18", "torch": "1.12.1+cpu"}


def cpu_runs(folder: Path, *compute_ns: int, **changes: Any) -> list[str]:
    """The folders of runs of the first cell of the CPU's table."""
    run_dirs = []
    for number, step_ns in enumerate(compute_ns):
        bundle, _ = bundle_of("cpu", compute_ns=step_ns, steps=42, window=7, **changes)
        bundle.run["id"] = f"run-{number}"
        run_dirs.append(str(bundle.write(folder / f"run-{number}")))
    return run_dirs


def test_runs_are_accepted_into_a_file_and_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "site.toml"
    run_dirs = cpu_runs(tmp_path, 40_000_000, 40_200_000, 39_900_000, 60_000_000)

    code = main([*run_dirs, "--out", str(out)])

    site = load_site(out, load_devices())
    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert list(site.accepted) == [("cpu-1x1-fp32-bs8", name) for name in ("e2e_time", "p_whole", "p_train", "p_core")]
    assert lines[0] == f"cpu-1x1-fp32-bs8 full of at most 8 epochs: accepted into {out}"
    e2e_time = site.accepted["cpu-1x1-fp32-bs8", "e2e_time"]
    assert [" ".join(line.split()) for line in lines[2:4]] == [
        "metric value tolerance bound runs",
        f"e2e_time {e2e_time.value:.3f} s 1.00 % <= {e2e_time.high:.3f} s 3 of 4, trimmed run-3",
    ]
    assert len({line.index(word) for line, word in zip(lines[2:], ("bound", "<=", ">=", ">=", ">="))}) == 1
    assert lines[6].startswith("p_core ")
    assert " images/s" in lines[6]


def test_what_was_not_accepted_and_what_to_know_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dirs = cpu_runs(tmp_path, 40_000_000, 40_200_000, 39_900_000, jitter=80)

    main([*run_dirs, "--out", str(tmp_path / "site.toml"), "--without", "e2e_time", "--without", "p_train"])

    lines = capsys.readouterr().out.splitlines()
    assert "e2e_time: not accepted: left out by --without" in lines
    assert "p_train: not accepted: left out by --without" in lines
    assert [line[:13] for line in lines[-2:]] == ["note: p_whole", "note: p_core:"]


def test_simulated_runs_are_listed_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(PLAN, simulated=True, device="virtual", backend="virtual")
    monkeypatch.setattr("verdict.baseline.command.load_devices", lambda: devices_of(plan))

    code = main([*map(str, write_runs(tmp_path, plan)), "--out", str(tmp_path / "site.toml")])

    assert code == 0
    assert "full of at most 4 epochs (simulated): accepted into" in capsys.readouterr().out


def test_runs_that_make_no_baseline_exit_with_two_and_leave_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "site.toml"

    code = main([*cpu_runs(tmp_path, 40_000_000, 60_000_000, 50_000_000), "--out", str(out)])

    assert code == 2
    assert "is not a baseline" in capsys.readouterr().err
    assert not out.exists()


def test_a_second_acceptance_exits_with_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*cpu_runs(tmp_path, 40_000_000, 40_200_000, 39_900_000), "--out", str(tmp_path / "site.toml")]
    main(words)

    assert main(words) == 2
    assert "found accepted values of cpu-1x1-fp32-bs8 already" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["run"], ["run", "--out"], ["--out", "site.toml"], ["run", "--without", "speed"]])
def test_a_command_line_that_lacks_something_ends_with_usage(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)

    assert caught.value.code == 2
    assert "usage: python -m verdict accept" in capsys.readouterr().err


def an_origin(run: str, **changes: Any) -> Provenance:
    origin = Provenance(run, "2026-11-20T10:00:00+00:00", "epoch", False, "a device", "4.0.25", VERSIONS)
    return replace(origin, **changes)


def an_acceptance(*values: AcceptedValue, **changes: Any) -> Acceptance:
    values = values or (accepted_value("p_core", {"a": 100.0, "b": 101.0, "c": 102.0}),)
    runs = tuple(an_origin(run, **changes) for run in values[0].readings)
    return Acceptance(CELL, runs, values, {}, ())


def test_a_new_file_says_what_was_accepted_and_where_it_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"

    site = add_accepted(path, an_acceptance(), DEVICES)

    assert path.read_text(encoding="utf-8") == (
        "# What this site holds its runs against where the vendor publishes nothing.\n"
        "schema = 1\n"
        "\n"
        "[[accepted]]\n"
        'cell = "r300-1x2-fp32-bs4"\n'
        'metric = "p_core"\n'
        'unit = "images/s"\n'
        "value = 101.0\n"
        "tolerance = 0.0492\n"
        'clock = "device"\n'
        "\n"
        "[accepted.provenance]\n"
        'protocol = "epoch"\n'
        "simulated = false\n"
        'card = "a device"\n'
        'driver = "4.0.25"\n'
        'runs = [\n    "a",\n    "b",\n    "c",\n]\n'
        "dates = [\n" + '    "2026-11-20T10:00:00+00:00",\n' * 3 + "]\n"
        "measured = [\n    100.0,\n    101.0,\n    102.0,\n]\n"
        "trimmed = []\n"
        "\n"
        "[accepted.provenance.versions]\n"
        'python = "3.8.18"\n'
        'torch = "1.12.1+cpu"\n'
    )
    assert site == replace(load_site(path, DEVICES), sha256="")


def test_only_p_core_has_a_clock_and_an_unknown_driver_is_not_named(tmp_path: Path) -> None:
    value = accepted_value("p_train", {"a": 100.0, "b": 101.0, "c": 102.0})

    written = to_toml(an_acceptance(value, driver=""))

    assert "clock" not in written
    assert "driver" not in written


def test_what_is_in_a_file_already_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    before = (
        b"\xef\xbb\xbf# ours \xe6\x98\x86\r\nschema = 1\r\n\r\n[[waiver]]\r\n"
        b'cell = "r300-1x2-fp32-bs4" # this one\r\nmetric = "map"\r\n'
        b'reason = "a fan was replaced"\r\nticket = "T-1"\r\n'
        b"until = 2026-12-31 # no newline here"
    )
    path.write_bytes(before)

    site = add_accepted(path, an_acceptance(), DEVICES)

    assert path.read_bytes().startswith(before + b"\n\n[[accepted]]\n")
    assert [waiver.ticket for waiver in site.waivers] == ["T-1"]
    assert list(site.accepted) == [(CELL.id, "p_core")]


def test_cells_are_added_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    other = replace(CELL, batch_size=8)
    devices = device_with(CELL)
    devices["r300"] = replace(devices["r300"], cells=(CELL, other))
    add_accepted(path, an_acceptance(), devices)

    site = add_accepted(path, replace(an_acceptance(), cell=other), devices)

    assert list(site.accepted) == [(CELL.id, "p_core"), (other.id, "p_core")]


def test_a_second_acceptance_of_a_cell_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    readings = {"a": 100.0, "b": 101.0, "c": 102.0}
    add_accepted(path, an_acceptance(accepted_value("p_core", readings), accepted_value("mem", readings)), DEVICES)
    before = path.read_bytes()

    with pytest.raises(AcceptError) as caught:
        add_accepted(path, an_acceptance(), DEVICES)

    assert str(caught.value) == (
        f"{path}: found accepted values of {CELL.id} already; delete accepted[1] (p_core), accepted[2] (mem), counted "
        "from the top of the file, and accept again"
    )
    assert path.read_bytes() == before


def test_a_file_that_is_no_baseline_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text("schema = 2\n", encoding="utf-8")

    with pytest.raises(ExpectationError, match=r"^site\.toml: schema: "):
        add_accepted(path, an_acceptance(), DEVICES)

    assert path.read_text(encoding="utf-8") == "schema = 2\n"


def test_a_result_that_would_be_no_baseline_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"

    with pytest.raises(ExpectationError, match=r"^site\.toml: accepted\[1\]\.provenance\.dates: found 'yesterday'"):
        add_accepted(path, an_acceptance(started_utc="yesterday"), DEVICES)

    assert os.listdir(tmp_path) == []


def test_blocks_that_were_written_as_one_line_cannot_be_added_to(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text("schema = 1\naccepted = []\n", encoding="utf-8")

    with pytest.raises(ExpectationError, match=r"site\.toml: is not valid TOML"):
        add_accepted(path, an_acceptance(), DEVICES)

    assert path.read_text(encoding="utf-8") == "schema = 1\naccepted = []\n"


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(AcceptError, match=r"nowhere/site\.toml: cannot be written: No such file"):
        add_accepted(tmp_path / "nowhere" / "site.toml", an_acceptance(), DEVICES)


def test_what_a_link_points_to_is_written_and_the_link_stays(tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(tmp_path / "site.toml")

    add_accepted(link, an_acceptance(), DEVICES)

    assert link.is_symlink()
    assert load_site(tmp_path / "site.toml", DEVICES).accepted


def test_the_runs_that_were_accepted_pass_by_what_was_written(tmp_path: Path) -> None:
    run_dirs = write_runs(tmp_path)
    devices = device_with(replace(CELL, timing="host"))
    acceptance = accept_runs(run_dirs, devices)

    site = add_accepted(tmp_path / "site.toml", acceptance, devices)

    cell = site.apply(devices["r300"].cells[0])
    for run_dir in run_dirs:
        verdict = judge_run(read_run(run_dir), cell, backend="kunlunxin")
        assert verdict.outcome == "pass", verdict.reasons
        assert verdict.metrics["p_core"].source == "accepted in site.toml: mean of 3 runs, 2026-11-20 to 2026-11-22"
        assert "p_core_host" not in verdict.metrics["p_core"].method


def test_a_simulated_acceptance_says_so_in_the_file(tmp_path: Path) -> None:
    plan: Plan = replace(PLAN, simulated=True, device="virtual", backend="virtual")
    devices = devices_of(plan)
    acceptance = accept_runs(write_runs(tmp_path, plan), devices)

    site = add_accepted(tmp_path / "site.toml", acceptance, devices)

    assert all(known.source.endswith(" (simulated)") for known in site.accepted.values())


@st.composite
def acceptances(draw: st.DrawFn) -> Acceptance:
    words = st.text(st.characters(), max_size=20).map(plain)
    runs = draw(st.lists(words, min_size=MIN_RUNS, max_size=8, unique=True))
    values = []
    for name in draw(st.lists(st.sampled_from(list(METRICS)), min_size=1, unique=True)):
        centre = draw(st.floats(0.05, 0.95) if name == "map" else st.floats(1e-3, 25.0))
        parts = draw(st.lists(st.floats(-0.02, 0.02), min_size=len(runs), max_size=len(runs)))
        readings = {run: centre * (1 + part) for run, part in zip(runs, parts)}
        try:
            values.append(accepted_value(name, readings))
        except AcceptError:
            assume(False)
    versions = draw(st.dictionaries(st.from_regex("[a-z][a-z0-9_]{0,8}", fullmatch=True), words, min_size=1))
    origin = an_origin("", card=draw(words), driver=draw(words | st.just("")), protocol=draw(words), versions=versions)
    return Acceptance(CELL, tuple(replace(origin, run=run) for run in runs), tuple(values), {}, ())


# The first draw of a character looks through all of Unicode, which a busy machine takes seconds for.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(acceptances())
def test_what_was_accepted_is_what_is_read_back(acceptance: Acceptance) -> None:
    written = "schema = 1\n\n" + to_toml(acceptance)

    site = check_site(parse_toml(written.encode("utf-8"), Path("site.toml")), Path("site.toml"), DEVICES)

    assert list(site.accepted) == [(CELL.id, value.metric) for value in acceptance.values]
    for value, known in zip(acceptance.values, site.accepted.values()):
        assert known.value == value.value
        assert (known.low, known.high) == value.bounds
        assert known.low is None or known.low <= min(value.kept)
        assert known.high is None or known.high >= max(value.kept)
        assert known.clock == ("device" if value.metric == "p_core" else "")
