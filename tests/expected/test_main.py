"""`python -m expected`: exit codes, what is printed, and what is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from expected import load_device
from expected.__main__ import main
from tests.expected.documents.making import SEED, changed, document, row

ROOT = Path(__file__).resolve().parents[2]
ONE_NUMBER = "expected one number in images/s"
NEITHER = "number is neither part of it nor its unit"
A_SHARE = "expected a share such as 0.364 or a percentage such as 36.4%"


def readme(folder: Path, text: str = SEED) -> str:
    path = folder / "README.md"
    path.write_text(text, encoding="utf-8")
    return str(path)


def run(*words: Any) -> int:
    return main([str(word) for word in words])


def test_a_document_is_imported(tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "r300.toml"

    code = run("import", readme(tmp_path), "--out", out)

    assert code == 0
    assert capsys.readouterr().out == f"{out}: Kunlunxin R300, 3 cells\n"
    assert load_device(out).marker == "r300"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "r300.toml"]


def test_the_check_lists_the_four_cells_of_the_later_edition(tmp_path: Path, capsys: Any) -> None:
    code = run("check", readme(tmp_path))

    lines = capsys.readouterr().out.splitlines()
    assert code == 1
    assert [line.split(": ")[1:3] for line in lines] == [
        [f"r300-{topology}-fp32-bs16", name] for topology in ("1x1", "2x8") for name in ("e2e_time", "map")
    ]


def test_an_import_does_not_differ_from_its_document(tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "z1.toml"
    run("import", readme(tmp_path), "--out", out)

    code = run("check", readme(tmp_path), "--file", out)

    assert code == 0
    assert capsys.readouterr().out.endswith("README.md: no difference to z1.toml\n")


def test_what_cannot_be_read_is_printed_and_nothing_is_written(tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "r300.toml"
    text = document(row(p_core="298[1]", map="36.6"), row(config="1x1", e2e_time="11,848"))

    code = run("import", readme(tmp_path, text), "--out", out)

    printed = capsys.readouterr().err.splitlines()
    assert code == 2
    assert [line.split(": ")[:3] for line in printed] == [
        ["README.md:40:32", "note", "e2e_time"],
        ["README.md:39:62", "p_core", f"found '298[1]', {ONE_NUMBER}; '[1]' after the {NEITHER}"],
        ["README.md:39:71", "map", f"found '36.6', {A_SHARE}, > 0 and <= 1; write a percentage with its sign"],
    ]
    assert not out.exists()


def test_notes_are_no_obstacle(tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "r300.toml"

    code = run("import", readme(tmp_path, changed("- 机器型号", "- 机箱")), "--out", out)

    assert code == 0
    assert "README.md:4:5: note: the label of" in capsys.readouterr().err
    assert out.exists()


def test_a_check_of_a_document_that_cannot_be_read_says_what_it_can(tmp_path: Path, capsys: Any) -> None:
    code = run("check", readme(tmp_path, changed("36.4%", "36.4", changed("4.0.25", "4.0.26"))))

    out, err = capsys.readouterr()
    assert code == 2
    assert "README.md:40:87: map: found '36.4'" in err
    assert "software driver: the document says '4.0.26', r300.toml '4.0.25'" in out
    assert "1x8" not in out  # its row is there, only not read


def test_a_file_that_is_there_is_replaced_only_by_force(tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "r300.toml"
    out.write_text("mine")

    assert run("import", readme(tmp_path), "--out", out) == 2
    assert "is there already; give another name, or --force" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert run("import", readme(tmp_path), "--out", out, "--force") == 0
    assert load_device(out).marker == "r300"


def test_a_file_that_appears_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    out = tmp_path / "r300.toml"
    monkeypatch.setattr("expected.__main__._check_names", lambda device, path: path.write_text("mine"))

    assert run("import", readme(tmp_path), "--out", out) == 2
    assert "appeared while it was being written" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "r300.toml"]


REFUSED = {
    "another suffix": ("--out", "x.txt", "expected a path that ends with x.toml"),
    "another marker": ("--out", "x.toml", "--marker", "y", "expected a path that ends with y.toml"),
    "a marker that is none": ("--out", "a-b.toml", "expected a name that pytest -m understands"),
    "a reserved marker": ("--out", "labs.toml", "which pytest or this suite uses already"),
    "a folder that is not there": ("--out", "none/x.toml", "cannot be written"),
    "a backend that is none": ("--out", "x.toml", "--backend", "a b", "expected the name of a backend"),
    "a vendor that is blank": ("--out", "x.toml", "--vendor", " ", "no vendor ' ' is known: give --backend"),
    "defaults that are none": ("--out", "x.toml", "--default-hp", "bs=2", "expected both, as in bs=2,lr=0.02"),
    "defaults of no topology": ("--out", "x.toml", "--default-hp", "0x1:bs=2,lr=1", "found the topology '0x1'"),
    "other defaults": ("--out", "x.toml", "--default-hp", "bs=2,wd=1", "cannot tell what 'wd=1' means"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_import_that_cannot_be_is_refused(case: str, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    *words, message = REFUSED[case]
    monkeypatch.chdir(tmp_path)

    code = run("import", readme(tmp_path), *words)

    assert code == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_a_second_device_of_one_name_in_a_folder_is_refused(tmp_path: Path, capsys: Any) -> None:
    run("import", readme(tmp_path), "--out", tmp_path / "r300.toml")

    assert run("import", readme(tmp_path), "--out", tmp_path / "r301.toml") == 2
    assert "r300.toml is of Kunlunxin R300 already; change one" in capsys.readouterr().err


def test_a_check_of_a_device_that_nobody_knows_asks_which_it_is(tmp_path: Path, capsys: Any) -> None:
    text = changed("kunlunxin R300", "kunlunxin R900", document(row(config="1x8")))

    assert run("check", readme(tmp_path, text)) == 2
    assert "found the short name 'kunlunxin r900', which no shipped device has; give --dev" in capsys.readouterr().err
    assert run("check", readme(tmp_path, text), "--device", "z9") == 2
    assert "--device: found 'z9', expected one of a100" in capsys.readouterr().err
    assert run("check", readme(tmp_path, "# Another project\n")) == 2
    assert "README.md: found no short name (硬件设备简称); give --device" in capsys.readouterr().err


def test_rows_without_hyper_parameters_can_be_given_some(tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "r300.toml"
    words = ("import", readme(tmp_path, document(row(fix_hp="/"))), "--out", out)

    assert run(*words) == 2
    assert "--default-hp 1x8:bs=...,lr=... gives them (both missing)" in capsys.readouterr().err
    assert run(*words, "--default-hp", "1x8:bs=2,lr=0.02") == 0
    assert load_device(out).cells[0].id == "r300-1x8-fp32-bs2"


def test_a_terminal_without_chinese_is_no_reason_to_fail(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "expected", "check", readme(tmp_path, changed("4.0.25", "四"))],
        cwd=str(ROOT),
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        stdout=subprocess.PIPE,
        text=True,
    )

    assert done.returncode == 1
    assert "software driver: the document says '\\u56db', r300.toml '4.0.25'" in done.stdout
