"""`python -m reports html`: the page of a stored run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Callable

import pytest

from evidence.command_line import EXIT_REFUSED
from reports.__main__ import main
from tests.verdict.bundles import Plan, build


def a_run(folder: Path, change: Callable[[dict], None] = lambda run: None) -> Path:
    bundle = build(Plan())
    # One of the shipped cells; what does not fit it makes the run invalid, and the page all the same.
    bundle.run["cell"].update(id="r300-1x8-fp32-bs16", topology="1x8")
    change(bundle.run)
    return bundle.write(folder)


def test_the_page_goes_beside_the_evidence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = a_run(tmp_path / "run")

    code = main(["html", str(run_dir)])

    page = (run_dir / "report.html").read_text(encoding="utf-8")
    assert code == 0
    assert capsys.readouterr().out == f"{run_dir / 'report.html'}\n"
    assert "R300 1x8 fp32 bs16" in page
    assert f"pytest --replay={run_dir}" in page


def test_a_run_that_has_not_ended_is_running(tmp_path: Path) -> None:
    def running(run: dict) -> None:
        run.update(ended_utc="", boot={"exit_code": None})

    run_dir = a_run(tmp_path / "run", running)

    main(["html", str(run_dir), "--out", str(tmp_path / "page.html")])

    assert "<title>running: R300 1x8" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_the_page_is_no_evidence_and_breaks_no_seal(tmp_path: Path) -> None:
    run_dir = a_run(tmp_path / "run")

    main(["html", str(run_dir)])
    main(["html", str(run_dir), "--out", str(tmp_path / "again.html")])

    assert (tmp_path / "again.html").read_text(encoding="utf-8") == (run_dir / "report.html").read_text(
        encoding="utf-8"
    )
    assert "seal holds" in (tmp_path / "again.html").read_text(encoding="utf-8")


def test_a_folder_with_spaces_and_quotes_is_quoted_in_the_command(tmp_path: Path) -> None:
    run_dir = a_run(tmp_path / "a 'run'")

    main(["html", str(run_dir), "--out", str(tmp_path / "page.html")])

    assert "--replay=&#39;" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("wrong", ["not there", "no run.json", "another device", "out is a folder"])
def test_what_cannot_be_done_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    run_dir = a_run(tmp_path / "run")
    arguments = ["html", str(run_dir)]
    if wrong == "not there":
        arguments = ["html", str(tmp_path / "nowhere")]
    elif wrong == "no run.json":
        (run_dir / "run.json").unlink()
    elif wrong == "another device":
        record = json.loads((run_dir / "run.json").read_text())
        record["cell"]["id"] = "abacus-1x1-fp32-bs1"
        (run_dir / "run.json").write_text(json.dumps(record))
    else:
        arguments += ["--out", str(tmp_path)]

    code = main(arguments)

    said = capsys.readouterr()
    assert code == EXIT_REFUSED
    assert len(said.err.splitlines()) == 1
    assert said.out == ""
