"""`--replay RUN_DIR` in real sessions: stored runs are judged like fresh ones, and only as what they are."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from evidence.seal import sign_seal
from tests.evidence.signing import LAB, fake_key, fake_program, on_path, signers
from tests.suite.junit import Session, run_suite
from tests.suite.stored import EIGHT, ONE, UNPUBLISHED, bundle_of, rates_of, site_file, store
from tests.support import ROOT, cell_of


def invalid(session: Session, words: str) -> bool:
    """Whether every metric that was asked about is an error that says `words`."""
    cases = session.by_metric.values()
    return session.code == 1 and all(case.outcome == "error" and words in case.message for case in cases)


def verdict_of(run_dir: Path) -> dict[str, object]:
    loaded: dict[str, object] = json.loads((run_dir / "verdict.json").read_text())
    return loaded


def test_a_stored_run_is_judged_as_the_cell_that_it_names_and_nothing_is_booted(tmp_path: Path) -> None:
    run_dir = store(tmp_path / "stored")

    session = run_suite(tmp_path, "--replay", run_dir)

    assert session.code == 0
    assert session.runs == []
    assert {case.properties["cell"] for case in session.by_metric.values()} == {EIGHT}
    assert {name: case.outcome for name, case in session.by_metric.items()} == {
        **dict.fromkeys(UNPUBLISHED, "skipped"),
        "map": "passed",
        "mem": "passed",
    }
    assert verdict_of(run_dir)["changed"] == []
    assert "changed since" not in session.output


def test_the_line_at_the_end_judges_the_same_evidence_to_the_same_file(tmp_path: Path) -> None:
    run_dir = store(tmp_path / "stored", topology="1x1")
    session = run_suite(tmp_path, "-m", "r300", "--topo", "1x1", "--gate", "--replay", run_dir)
    before = (run_dir / "verdict.json").read_bytes()
    (run_dir / "verdict.json").unlink()
    (line,) = [line for line in session.output.splitlines() if line.startswith("again   ")]

    words = shlex.split(line)[2:]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, "-p", "no:cacheprovider"],
        cwd=str(ROOT),
        capture_output=True,
        text=True,
    )

    assert words[:4] == ["-m", "r300", "--topo", "1x1"]
    assert done.stdout.splitlines()[-1] == session.last_line
    assert (run_dir / "verdict.json").read_bytes() == before


def test_no_part_of_the_trainers_software_is_imported(tmp_path: Path) -> None:
    run_dir = store(tmp_path / "stored", topology="1x1")
    program = (
        "import sys, pytest; code = pytest.main(['-q', '-p', 'no:cacheprovider', '--replay=' + sys.argv[1]]); "
        "print(int(code), sorted({'torch', 'torchvision', 'pycocotools', 'psutil', 'filelock'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", program, str(run_dir)], cwd=str(ROOT), capture_output=True, text=True)

    assert done.stdout.splitlines()[-1] == "0 []"


def test_a_run_of_a_simulated_device_is_never_one_of_a_real_device(tmp_path: Path) -> None:
    run_dir = bundle_of("virtual", "1x1", simulated=True).write(tmp_path / "stored")

    session = run_suite(tmp_path, "-m", "r300", "--gate", "--replay", run_dir)

    assert invalid(session, f"run.json: found cell {cell_of('virtual', '1x1').id}, expected {ONE}")
    assert all("found a simulated device, expected a real r300" in case.message for case in session.by_metric.values())
    assert session.last_line == f"GATE: INVALID  {ONE}: p_whole, p_train, p_core, mem"
    assert not (run_dir / "verdict.json").exists()  # it is of another cell, so this says nothing about that one


def test_a_run_of_another_topology_is_invalid_and_keeps_its_own_verdict(tmp_path: Path) -> None:
    run_dir = store(tmp_path / "stored", topology="1x1")
    (run_dir / "verdict.json").write_text("its own\n")

    session = run_suite(tmp_path, "-m", "r300", "--topo", "1x8", "--replay", run_dir)

    assert invalid(session, f"found cell {ONE}, expected {EIGHT}")
    assert (run_dir / "verdict.json").read_text() == "its own\n"


def test_a_run_whose_run_json_is_damaged_is_judged_and_invalid(tmp_path: Path) -> None:
    run_dir = store(tmp_path / "stored", topology="1x1")
    (run_dir / "run.json").write_bytes((run_dir / "run.json").read_bytes()[:-20])

    session = run_suite(tmp_path, "-m", "r300", "--topo", "1x1", "--replay", run_dir)

    assert invalid(session, "run.json: not a JSON object")
    assert "run.json: changed since it was sealed" in session.output
    assert verdict_of(run_dir)["outcome"] == "invalid"


def test_what_changed_since_the_run_is_told_and_the_new_number_decides(tmp_path: Path) -> None:
    bundle = bundle_of("r300", "1x8")
    bundle.run["expectation"]["map"].update(value=0.5, low=0.496)
    run_dir = bundle.write(tmp_path / "stored")
    change = "map: published 0.5, at least 0.496 when the run was made; now published 0.364, at least 0.36"

    session = run_suite(tmp_path, "--replay", run_dir)

    assert verdict_of(run_dir)["changed"] == [change]
    assert f"changed since the run: {change}" in session.output
    case = session.by_metric["map"]
    assert (case.outcome, case.properties["changed"]) == ("passed", change)
    assert session.by_metric["mem"].properties["changed"] == ""


def test_a_baseline_that_came_after_the_run_is_a_change(tmp_path: Path) -> None:
    run_dir = store(tmp_path / "stored", topology="1x1")
    site = site_file(tmp_path / "site.toml", {ONE: {"p_core": 40.0}})

    session = run_suite(tmp_path, "--replay", run_dir, "--baseline", site)

    case = session.by_metric["p_core"]
    assert case.outcome == "passed"
    assert case.properties["changed"] == (
        "p_core: unpublished when the run was made; now accepted 40.0 images/s, at least 38.8, timed by the device"
    )
    assert "40.00 (accepted)" in session.output


def test_a_run_on_another_data_set_is_not_judged_by_the_generated_ones_numbers(tmp_path: Path) -> None:
    bundle = bundle_of("cpu", "1x1")
    bundle.run["own_data"] = True

    session = run_suite(tmp_path, "--replay", bundle.write(tmp_path / "stored"))

    assert {case.properties["verdict"] for case in session.by_metric.values()} == {"recorded"}
    assert "not to the one of --data" in session.by_metric["map"].properties["source"]


def test_a_verdict_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    run_dir = store(tmp_path / "stored", topology="1x1")
    (run_dir / "verdict.json").mkdir()  # as in an archive that nobody may change

    session = run_suite(tmp_path, "--replay", run_dir)

    assert session.code == 0
    assert "verdict.json was not written" in session.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--replay={one}", "--steps=5", "--backbone=x"], "leave out --steps, --backbone, which"),
        (["--without=everything"], "invalid choice: 'everything'"),
        (["--replay=suite"], "holds no run.json"),
        (["--replay={one}", "--replay={one}"], "are both of cell r300-1x1-fp32-bs16; give one of them"),
        (["--baseline=tox.ini"], "tox.ini"),
    ],
)
def test_a_choice_that_is_not_plain_is_a_usage_error(tmp_path: Path, arguments: list[str], says: str) -> None:
    one = store(tmp_path / "stored", topology="1x1")

    session = run_suite(tmp_path, *(argument.format(one=one) for argument in arguments))

    assert session.code == 4
    assert says in session.output
    assert "Traceback" not in session.output
    assert not (one / "verdict.json").exists()


def test_where_a_signature_is_required_only_a_signed_run_counts(tmp_path: Path) -> None:
    run_dir = store(tmp_path / "stored", topology="1x1")
    allowed = signers(tmp_path / "allowed", f"{LAB} {fake_key(tmp_path / 'key')}")
    path = f"{fake_program(tmp_path / 'bin')}{os.pathsep}{os.environ['PATH']}"
    site = site_file(tmp_path / "site.toml", {ONE: rates_of(run_dir)})
    words = ["--gate", "--replay", run_dir, "--require-signature", allowed, "--baseline", site]

    unsigned = run_suite(tmp_path / "unsigned", *words, PATH=path)
    with on_path(tmp_path / "bin"):
        sign_seal(run_dir, tmp_path / "key")
    signed = run_suite(tmp_path / "signed", *words, PATH=path)

    assert invalid(unsigned, "SHA256SUMS.sig: not there, and a signature is required")
    assert unsigned.last_line.startswith("GATE: INVALID")
    assert signed.by_metric["mem"].outcome == "passed"
    last = signed.last_line
    assert last.startswith("GATE: PASS")
    assert last.endswith(f"; replayed, run of 2026-01-01; signed by {LAB}")
    assert f"--require-signature={allowed}" in signed.output


def test_a_list_of_signers_without_one_is_a_usage_error(tmp_path: Path) -> None:
    run_dir, folder = store(tmp_path / "stored"), fake_program(tmp_path / "bin")
    words, path = ["--replay", run_dir, "--require-signature", run_dir / "run.json"], os.environ["PATH"]

    session = run_suite(tmp_path, *words, PATH=f"{folder}{os.pathsep}{path}")

    assert session.code == 4
    assert "run.json: found no signer, expected lines of" in session.output


def test_maps_are_scored_again_by_the_annotations_of_data(tmp_path: Path, shapes: Path) -> None:
    run = run_suite(tmp_path, "-m", "virtual", "--topo", "1x1", "--epochs", "1", "--data", shapes)
    (run_dir,) = run.runs
    assert "detections.npz" in (run_dir / "SHA256SUMS").read_text(), run.output

    same = run_suite(tmp_path / "same", "--replay", run_dir, "--data", shapes)
    other = run_suite(tmp_path / "other", "--replay", run_dir, "--data", tmp_path)

    assert "map: scored again from the run's detections by pycocotools" in same.output
    assert f"--data={shapes}" in same.output
    assert "map: not scored again: " in other.output
    assert (same.code, other.code) == (0, 0), same.output
