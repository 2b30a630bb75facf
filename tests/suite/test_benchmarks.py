"""The step times as people use them with pytest-benchmark: stored, compared, and refused where they are not alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest

from tests.suite.junit import Session, run_suite
from tests.verdict.bundles import Bundle
from tests.verdict.shipped import bundle_of

CASE = "test_step_times[cpu-1x1-fp32-bs8]"


def cpu_bundle(slower: float = 1.0) -> Bundle:
    bundle, _ = bundle_of("cpu", jitter=2, slower={0: slower})
    return bundle


def replayed(folder: Path, bundle: Bundle, *arguments: Any) -> Session:
    """Judge `bundle` in a session of its own."""
    return run_suite(folder, "--replay", bundle.write(folder / "stored"), *arguments)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: Any) -> Path:
    """What --benchmark-json writes of a run on the CPU."""
    folder = Path(str(tmp_path_factory.mktemp("stored")))
    session = replayed(folder, cpu_bundle(), f"--benchmark-json={folder / 'steps.json'}")
    assert session.code == 0, session.output
    return folder / "steps.json"


def changed(stored: Path, folder: Path, change: Callable[[Any], None]) -> Path:
    """A copy of the stored file with a change in it."""
    content = json.loads(stored.read_text())
    change(content)
    path = folder / "changed.json"
    path.write_text(json.dumps(content))
    return path


def test_the_data_are_the_durations_that_the_trainer_recorded(stored: Path) -> None:
    recorded_ns = [time_ns for window in cpu_bundle().all("window") for time_ns in window["compute_ns"]]

    (benchmark,) = json.loads(stored.read_text())["benchmarks"]

    assert benchmark["stats"]["data"] == [time_ns / 1e9 for time_ns in recorded_ns]
    assert [round(time_s * 1e9) for time_s in benchmark["stats"]["data"]] == recorded_ns
    assert (benchmark["stats"]["rounds"], benchmark["stats"]["iterations"]) == (len(recorded_ns), 1)


def test_the_file_says_whose_steps_they_are_and_on_what(stored: Path) -> None:
    content = json.loads(stored.read_text())

    (benchmark,) = content["benchmarks"]
    facts = benchmark["extra_info"]
    assert content["machine_info"]["devices"] == [{"marker": "cpu", "name": "CPU", "vendor": "any"}]
    assert benchmark["params"] == {"cell": "cpu-1x1-fp32-bs8"}
    assert benchmark["options"]["timer"] == "recorded by the trainer"
    assert (facts["cell"], facts["run_id"], facts["rank"]) == ("cpu-1x1-fp32-bs8", "20260101T000000Z", 0)
    assert (facts["timing"], facts["simulated"], facts["hosts"]) == ("synchronised", False, "node0")
    assert 7 < facts["images_per_step"] < 8


def test_the_same_run_again_has_not_regressed(stored: Path, tmp_path: Path) -> None:
    arguments = (f"--benchmark-compare={stored}", "--benchmark-compare-fail=median:5%")

    session = replayed(tmp_path, cpu_bundle(), *arguments)

    assert session.code == 0, session.output
    assert f"{CASE} (NOW)" in session.output


def test_steps_that_take_a_tenth_longer_fail_the_session_but_no_test(stored: Path, tmp_path: Path) -> None:
    arguments = (f"--benchmark-compare={stored}", "--benchmark-compare-fail=median:5%")

    session = replayed(tmp_path, cpu_bundle(slower=1.1), *arguments)

    assert session.code != 0
    assert "Performance has regressed" in session.output
    assert session.cases[CASE].outcome == "passed"
    assert (session.counts["failures"], session.counts["errors"]) == (0, 0)


def test_the_last_file_of_a_folder_that_devices_share_is_refused_to_another(tmp_path: Path) -> None:
    storage = f"--benchmark-storage={tmp_path / 'storage'}"
    replayed(tmp_path / "first", cpu_bundle(), "--benchmark-autosave", storage)

    (tmp_path / "second").mkdir()
    session = run_suite(tmp_path / "second", "-m", "r300", "--topo", "1x8", "--benchmark-compare", storage)

    assert len(list((tmp_path / "storage").rglob("0001_*.json"))) == 1
    assert session.code == 4
    assert "refused to compare step times of r300" in session.output
    assert "which holds cpu" in session.output
    assert "Traceback" not in session.output
    assert list(session.cases) == ["preflight"]
    assert session.runs == []


def test_a_run_that_is_not_like_the_stored_one_is_an_error_that_names_the_difference(
    stored: Path, tmp_path: Path
) -> None:
    def change(content: Any) -> None:
        content["benchmarks"][0]["extra_info"].update(timing="device_events", card="another device")

    session = replayed(tmp_path, cpu_bundle(), f"--benchmark-compare={changed(stored, tmp_path, change)}")

    assert session.code == 1
    assert session.counts["errors"] == 1
    assert session.cases[CASE].outcome == "error"
    assert "card: found a device, stored another device" in session.cases[CASE].message
    assert "timing: found synchronised, stored device_events" in session.cases[CASE].message


def test_a_cell_that_nothing_is_stored_of_is_named(stored: Path, tmp_path: Path) -> None:
    file = changed(stored, tmp_path, lambda content: content["benchmarks"].clear())

    session = replayed(tmp_path, cpu_bundle(), f"--benchmark-compare={file}", "--benchmark-compare-fail=median:5%")

    assert "step times: nothing stored to compare cpu-1x1-fp32-bs8 with" in session.output


def test_under_xdist_the_test_passes_and_it_is_said_that_nothing_was_stored(tmp_path: Path) -> None:
    file = tmp_path / "steps.json"

    session = replayed(tmp_path, cpu_bundle(), "-n", "1", f"--benchmark-json={file}")

    assert session.code == 0, session.output
    assert session.cases[CASE].outcome == "passed"
    assert not file.exists() or file.stat().st_size == 0
    assert "step times: nothing stored or compared" in session.output
    assert "for --benchmark-json judge the run again without -n" in session.output


def test_the_steps_of_an_invalid_run_are_an_error_and_are_not_stored(tmp_path: Path) -> None:
    bundle, file = cpu_bundle(), tmp_path / "steps.json"
    bundle.drop("end")

    session = replayed(tmp_path, bundle, f"--benchmark-json={file}")

    assert session.cases[CASE].outcome == "error"
    assert "cpu-1x1-fp32-bs8 step times: invalid: " in session.cases[CASE].message
    assert "[evidence: " in session.cases[CASE].message
    assert not file.exists() or file.stat().st_size == 0


def test_the_projects_own_benchmarks_name_no_device_and_compare_among_themselves(tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    own = ("benchmarks/training/test_events.py", "--benchmark-max-time=0.01")
    run_suite(tmp_path, *own, f"--benchmark-json={file}")

    session = run_suite(tmp_path, *own, f"--benchmark-compare={file}")

    assert session.code == 0, session.output
    assert "devices" not in json.loads(file.read_text())["machine_info"]
    assert "(NOW)" in session.output
