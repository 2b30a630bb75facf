"""`python -m verdict accept`: exit codes, the file and the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from expected import load_devices, load_site
from tests.verdict.accepting import PLAN, devices_of, write_runs
from tests.verdict.shipped import bundle_of
from verdict.baseline.command import main


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
    assert "is no baseline" in capsys.readouterr().err
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
