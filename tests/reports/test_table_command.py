"""`python -m reports table`: runs in, the vendor's table out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evidence.bundle import read_run
from expected import METRICS
from reports.__main__ import main
from tests.suite.stored import bundle_of, store
from tests.verdict.bundles import STEADY
from verdict.metrics.measure import measure


def table(*words: Any) -> int:
    return main(["table", *(str(word) for word in words)])


def cells_of(text: str, topology: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if f"（{topology}）" in line]
    return [cell.strip() for cell in line.split("|")[4:10]]


def test_a_run_fills_every_blank_of_its_row(tmp_path: Path, capsys: Any) -> None:
    run = store(tmp_path / "run")

    code = table(run)

    out = capsys.readouterr().out
    assert code == 0
    assert all(cells_of(out, "1x8"))
    assert cells_of(out, "1x8")[4:] == ["36.4%", "28.0/32.0"]
    assert cells_of(out, "1x1") == ["/", "", "", "", "/", "17.0/32.0"]
    assert f"- 1x8 fp32 bs=16,lr=0.16: e2e_time, p_whole, p_train, p_core from {run}\n" in out


def test_p_core_is_synchronised_with_the_device_and_the_hosts_reading_is_a_remark(tmp_path: Path, capsys: Any) -> None:
    run = store(tmp_path / "run")
    measured = measure(read_run(run))

    table(run, "--exact")

    out = capsys.readouterr().out
    host = measured["p_core_host"].value
    assert host != measured["p_core"].value
    assert cells_of(out, "1x8")[3] == repr(measured["p_core"].value).replace(".0", "")
    assert f"the table's own are read with the host's clock, by which this run has {host:.4g} images/s" in out


def test_a_host_clock_that_did_not_wait_is_told(tmp_path: Path, capsys: Any) -> None:
    bundle = bundle_of("r300", "1x8")
    for rank in bundle.ranks:
        bundle.one("start", rank)["host_clock"] = False

    assert table(bundle.write(tmp_path / "run")) == 0
    assert "without a wait for the device after each step" in capsys.readouterr().out


def test_what_a_run_did_without_is_told(tmp_path: Path, capsys: Any) -> None:
    bundle = bundle_of("r300", "1x8")
    bundle.run["without"] = ["boxes_only"]

    assert table(bundle.write(tmp_path / "run")) == 0
    assert "  - made without boxes_only, as --recipe or --without asked for" in capsys.readouterr().out


def test_runs_of_several_rows_fill_theirs(tmp_path: Path, capsys: Any) -> None:
    assert table(store(tmp_path / "a"), store(tmp_path / "b", topology="1x1")) == 0

    out = capsys.readouterr().out
    assert all(cells_of(out, "1x8"))
    assert all(cells_of(out, "1x1"))


def test_what_a_run_did_not_measure_stays_blank_and_is_told(tmp_path: Path, capsys: Any) -> None:
    run = store(tmp_path / "run", protocol=STEADY.protocol, warmup=STEADY.warmup, steps=120)

    assert table(run) == 0
    out = capsys.readouterr().out
    assert cells_of(out, "1x8")[:2] == ["", ""]
    assert all(cells_of(out, "1x8")[2:])
    assert "  - e2e_time left blank: e2e_time is not measured: protocol steady does not measure it" in out


def test_too_few_steps_for_an_interval_are_told(tmp_path: Path, capsys: Any) -> None:
    assert table(store(tmp_path / "run", protocol="steady", warmup=20, steps=10)) == 0
    assert "  - p_train comes from 10 steps, too few for a confidence interval" in capsys.readouterr().out


def broken(folder: Path) -> Path:
    bundle = bundle_of("r300", "1x8")
    bundle.run["boot"] = {"exit_code": 1, "failure": None}
    return bundle.write(folder)


def of_one_device(folder: Path) -> Path:
    bundle = bundle_of("r300", "1x1")
    cell_id = f"{bundle.run['cell']['id']}-card0"
    bundle.run["cell"]["id"] = bundle.one("start")["cell"] = cell_id
    return bundle.write(folder)


def on_own_data(folder: Path) -> Path:
    bundle = bundle_of("cpu", "1x1")
    bundle.run["own_data"] = True
    return bundle.write(folder)


REFUSED = {
    "an invalid run": broken,
    "a restarted run": lambda folder: store(folder, restarts=1),
    "a run of one device": of_one_device,
    "a run on data of its own": on_own_data,
    "no run": lambda folder: folder,
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_run_whose_numbers_belong_into_no_table_is_refused(case: str, tmp_path: Path, capsys: Any) -> None:
    code = table(REFUSED[case](tmp_path / "run"), store(tmp_path / "good"))

    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert str(tmp_path / "run") in err
    assert str(tmp_path / "good") not in err


def test_two_runs_of_a_cell_are_refused(tmp_path: Path, capsys: Any) -> None:
    first, second = store(tmp_path / "a"), store(tmp_path / "b")

    assert table(first, second) == 2
    assert capsys.readouterr().err == (
        f"{second}: is a second run of r300-1x8-fp32-bs16, expected one run a row; the first is {first}: leave one of "
        "the two out\n"
    )


def test_runs_of_two_devices_are_refused(tmp_path: Path, capsys: Any) -> None:
    assert table(store(tmp_path / "a"), store(tmp_path / "b", marker="cpu", topology="1x1")) == 2
    assert "found runs of r300, cpu, expected those of one device: a table is of one" in capsys.readouterr().err


def test_a_device_file_that_is_not_shipped_is_given(tmp_path: Path, capsys: Any) -> None:
    own = tmp_path / "r300.toml"
    shipped = Path(__file__).resolve().parents[2] / "expected" / "r300.toml"
    own.write_text(shipped.read_text(encoding="utf-8").replace('name = "R300"', 'name = "R333"'), encoding="utf-8")

    assert table(store(tmp_path / "run"), "--file", own) == 0
    assert "| R333单机8卡（1x8） " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "printed"), [((), "36.4%"), (("--map", "share"), "0.364"), (("--map", "percent"), "36.4%")]
)
def test_map_is_printed_as_asked(words: tuple[str, ...], printed: str, tmp_path: Path, capsys: Any) -> None:
    assert table(store(tmp_path / "run"), *words) == 0
    assert cells_of(capsys.readouterr().out, "1x8")[4] == printed


def test_a_folder_of_any_name_is_named_harmlessly(tmp_path: Path, capsys: Any) -> None:
    run = store(tmp_path / "a|b`<script>\n\x07")

    assert table(run) == 0
    assert f"from {tmp_path}/a\\|b\\`&lt;script&gt;\\x0a\\x07\n" in capsys.readouterr().out


def test_a_reason_from_a_bundle_is_printed_on_one_line(tmp_path: Path, capsys: Any) -> None:
    bundle = bundle_of("r300", "1x8")
    bundle.run["boot"] = {"exit_code": 1, "failure": {"phase": "run", "message": "a\x1b[31m\nb"}}

    assert table(bundle.write(tmp_path / "run")) == 2
    assert "a\\x1b[31m\\x0ab" in capsys.readouterr().err


def test_the_device_of_the_cpu_prints_memory_without_a_capacity(tmp_path: Path, capsys: Any) -> None:
    run = store(tmp_path / "run", marker="cpu", topology="1x1")

    assert table(run, "--document") == 0
    out = capsys.readouterr().out
    assert "generated (train_images" in out
    known = json.loads((run / "run.json").read_text())["expectation"]
    assert cells_of(out, "1x1")[5] == repr(known["mem"]["value"])
    assert set(known) == set(METRICS)
