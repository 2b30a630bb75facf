"""`python -m reports compare A B`."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from reports.__main__ import main
from tests.suite.stored import bundle_of


def a_run(folder: Path, name: str, topology: str = "1x8", driver: str = "4.0.25", **changes: Any) -> Path:
    bundle = bundle_of("r300", topology, **{"jitter": 5, **changes})
    bundle.run["id"] = name
    for rank in bundle.ranks:
        bundle.one("start", rank)["driver"] = driver
    return bundle.write(folder / name)


def compare(*words: object) -> int:
    return main(["compare", *map(str, words)])


def row(out: str, metric: str) -> list[str]:
    line = next(line for line in out.splitlines() if line.startswith(f"{metric} "))
    return re.split(r" {3,}", line)


def test_a_slower_run_is_told_with_ratio_interval_effect_and_significance(tmp_path: Path, capsys: Any) -> None:
    first = a_run(tmp_path, "one")
    second = a_run(tmp_path, "two", driver="4.1.0", compute_ns=420_000_000)

    assert compare(first, second) == 0

    out = capsys.readouterr().out
    _, a, b, ratio, interval, words = row(out, "p_core")
    low, high = map(float, interval.split(" to "))
    assert a.startswith("320")
    assert b.startswith("304.8")
    assert low < 400 / 420 < high
    assert float(ratio) == pytest.approx(400 / 420, abs=0.003)
    assert words == "worse"
    p, effect = re.search(
        r"^p_core: B is worse by 4\.[5-9] % \(p <? ?([\d.]+), effect (.+) \(Hedges' g\)\)$", out, re.M
    ).groups()
    assert float(p) < 0.05
    assert float(effect) < -1
    assert "  driver: 4.0.25 in A, 4.1.0 in B" in out


def test_a_comparison_is_there_for_programs_too(tmp_path: Path, capsys: Any) -> None:
    first = a_run(tmp_path, "one")
    second = a_run(tmp_path, "two", compute_ns=420_000_000)

    assert compare(first, second, "--json") == 0

    record = json.loads(capsys.readouterr().out)
    (p_core,) = (one for one in record["metrics"] if one["metric"] == "p_core")
    assert (record["a"], record["b"], record["refused"]) == ("one", "two", [])
    assert p_core["ratio"] == pytest.approx(400 / 420, abs=0.003)


def test_what_is_one_number_a_run_says_that_it_shows_no_significance(tmp_path: Path, capsys: Any) -> None:
    compare(a_run(tmp_path, "one"), a_run(tmp_path, "two", used_gib=17.0))

    out = capsys.readouterr().out
    assert row(out, "mem")[1:] == ["16.00 GiB", "17.00 GiB", "1.0625", "-", "unknown"]
    assert "mem: one number a run: significance cannot be computed from one run each" in out
    assert "a rate differs from run to run, of the same release too, by 1.0 %" in out


def test_a_run_against_itself_shows_no_difference(tmp_path: Path, capsys: Any) -> None:
    run_dir = a_run(tmp_path, "one")

    compare(run_dir, run_dir)

    out = capsys.readouterr().out
    assert row(out, "p_core")[-1] == "not shown to differ"
    assert re.search(r"^p_core: no difference shown \(p 1\.0000\); one of [\d.]+ % or more would be in 80 %", out, re.M)


def test_runs_that_are_not_comparable_are_refused_with_all_reasons(tmp_path: Path, capsys: Any) -> None:
    other = a_run(tmp_path, "two", topology="1x1", simulated=True)

    assert compare(a_run(tmp_path, "one"), other) == 2

    out = capsys.readouterr().out
    assert "one and two cannot be compared:" in out
    for reason in (
        "two: is invalid",
        "topology: found 1x8 in one and 1x1 in two",
        "protocol: found",
        "device is: found",
    ):
        assert reason in out
    assert "p_core" not in out


def enter(folder: Path, release: str, *run_dirs: Path) -> None:
    words = ["history", "--runs", str(folder), "--release", release, "--add", *map(str, run_dirs)]
    assert main(words) == 0


def test_runs_of_the_history_are_compared_by_their_folders_or_else_as_they_were_entered(
    tmp_path: Path, capsys: Any
) -> None:
    run_dirs = [a_run(tmp_path, "one"), a_run(tmp_path, "two")]
    enter(tmp_path, "", *run_dirs)
    capsys.readouterr()

    compare("one", "two", "--runs", tmp_path)
    whole = capsys.readouterr().out
    shutil.rmtree(str(run_dirs[1]))
    compare("one", "two", "--runs", tmp_path)
    gone = capsys.readouterr().out

    assert row(whole, "p_core")[-1] == "not shown to differ"
    assert row(gone, "p_core")[1:4] == row(whole, "p_core")[1:4]
    assert row(gone, "p_core")[-1] == "unknown"
    assert "p_core: the folder of two is not there any more" in gone


def test_releases_are_compared_by_their_runs(tmp_path: Path, capsys: Any) -> None:
    old = [a_run(tmp_path, f"old{n}", compute_ns=400_000_000 + n * 500_000) for n in range(4)]
    new = [a_run(tmp_path, f"new{n}", compute_ns=420_000_000 + n * 500_000) for n in range(4)]
    enter(tmp_path, "1.0", *old)
    enter(tmp_path, "1.1", *new)
    capsys.readouterr()

    assert compare("1.0", "1.1", "--by", "release", "--runs", tmp_path) == 0

    out = capsys.readouterr().out
    assert "A  1.0: 4 runs (" in out
    assert row(out, "p_core")[-1] == "worse"
    assert row(out, "mem")[-1] == "not shown to differ"
    assert "mem: the same in all" in out


@pytest.mark.parametrize(("first", "second", "code"), [("1.0", "1.1", 1), ("1.1", "1.0", 0), ("1.0", "1.0", 0)])
def test_a_worse_release_is_an_exit_code_if_asked_for(
    first: str, second: str, code: int, tmp_path: Path, capsys: Any
) -> None:
    enter(tmp_path, "1.0", *(a_run(tmp_path, f"old{n}", compute_ns=400_000_000 + n * 500_000) for n in range(4)))
    enter(tmp_path, "1.1", *(a_run(tmp_path, f"new{n}", compute_ns=420_000_000 + n * 500_000) for n in range(4)))

    assert compare(first, second, "--by", "release", "--fail-on", "worse", "--runs", tmp_path) == code


def test_releases_of_different_recipes_are_refused(tmp_path: Path, capsys: Any) -> None:
    enter(tmp_path, "1.0", a_run(tmp_path, "a"))
    enter(tmp_path, "1.1", a_run(tmp_path, "b", proposals=400))

    assert compare("1.0", "1.1", "--by", "release", "--runs", tmp_path) == 2

    assert "proposals an image: found 200.0 in a and 400.0 in b" in capsys.readouterr().out


@pytest.mark.parametrize("words", [("nobody", "nothing"), ("1", "2", "--by", "release")])
def test_what_the_history_does_not_have_is_said(words: tuple[str, ...], tmp_path: Path, capsys: Any) -> None:
    enter(tmp_path, "1.0", a_run(tmp_path, "a"))

    assert compare(*words, "--runs", tmp_path) == 2

    assert "python -m reports history lists" in capsys.readouterr().err
