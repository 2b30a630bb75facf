"""The section of a vendor's document: the environment of the runs, headings and colons as published, the template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from expected import load_device
from expected.__main__ import main as expected_main
from expected.documents import read_document
from expected.documents.quoting import one_line, shown
from reports.__main__ import main
from reports.vendor_document import document_lines, environment_of
from reports.vendor_table import Filling, style_of
from tests.suite.stored import bundle_of, store
from tests.support import ROOT, device_of
from tests.verdict.bundles import Bundle
from verdict.environment.findings import EnvironmentFinding

R300 = device_of("r300")
SEED = (ROOT / "tests" / "expected" / "documents" / "r300.md").read_text(encoding="utf-8")
HEADINGS = SEED[: SEED.index("* 通用指标")].rstrip()


def exported(run: Path, capsys: Any, *words: str) -> str:
    assert main(["table", str(run), "--document", *words]) == 0
    return str(capsys.readouterr().out)


def with_environment(**changes: Any) -> Bundle:
    """A run of the R300 whose hosts were found with these facts instead of the stated ones."""
    bundle = bundle_of("r300", "1x8")
    bundle.one("environment").update(changes)
    return bundle


def texts_of(text: str, kind: str) -> dict[str, str]:
    return {key: one_line(shown(said.text)) for key, said in read_document(text).environment[kind].items()}


def test_headings_and_colons_are_those_of_the_published_document() -> None:
    text = "\n".join(document_lines(R300, [], style_of(R300)))

    assert text[: text.index("* 通用指标")].rstrip() == HEADINGS


def test_the_environment_is_the_runs_and_each_difference_is_a_remark(tmp_path: Path, capsys: Any) -> None:
    packages = {**bundle_of("r300", "1x8").one("environment")["packages"], "torch": "2.14.0+cpu"}
    bundle = with_environment(packages=packages, driver="4.0.31")

    out = exported(bundle.write(tmp_path / "run"), capsys)

    software = texts_of(out, "software")
    assert (software["dependencies"], software["driver"]) == ("torch 2.14.0+cpu", "4.0.31")
    assert "- driver: the run had 4.0.31; stated is 4.0.25" in out
    assert "- dependencies: the run had torch 2.14.0+cpu; stated is pytorch-1.12.1+cpu" in out
    assert "kernel: the run had" not in out  # which is the stated one


def test_what_a_run_did_not_record_is_blank_and_a_remark(tmp_path: Path, capsys: Any) -> None:
    bundle = with_environment(driver="", absent={"driver": "no tool"})

    out = exported(bundle.write(tmp_path / "run"), capsys)

    assert "  - 加速卡驱动版本：\n" in out
    assert "driver" not in texts_of(out, "software")
    assert "- driver: not recorded of the run; stated is 4.0.25" in out


def test_hosts_that_differ_are_both_printed() -> None:
    found = [EnvironmentFinding("driver", host, "4.0.25", text, "match", "") for host, text in (("a", "1"), ("b", "2"))]
    filling = Filling("r300-1x8-fp32-bs16", "", False, {}, environment=tuple(found))

    assert environment_of(R300, [filling])["software"]["driver"] == "1 / 2"


def test_a_folder_is_left_out_of_an_anonymous_export(tmp_path: Path, capsys: Any) -> None:
    run = store(tmp_path / "of_somebody")

    assert str(run) in exported(run, capsys)
    assert "of_somebody" not in exported(run, capsys, "--anonymous")


def test_the_template_has_its_own_items_first(tmp_path: Path, capsys: Any) -> None:
    out = exported(store(tmp_path / "run"), capsys, "--form", "template")

    labels = [line.strip(" -").partition("：")[0].partition(":")[0] for line in out.splitlines() if line[:4] == "  - "]
    assert labels[:8] == [
        *("机器、加速卡型号", "多机网络类型、带宽", "OS版本", "OS kernel版本", "加速卡驱动版本", "Docker 版本"),
        *("训练框架版本", "依赖软件版本"),
    ]
    assert "### 运行情况" in out
    assert read_document(out).errors == ()


@pytest.mark.parametrize("form", ["published", "template"])
@pytest.mark.parametrize("marker", ["r300", "a100", "c500", "bi_v100"])
def test_what_is_exported_agrees_with_the_device_file(marker: str, form: str, tmp_path: Path, capsys: Any) -> None:
    device = device_of(marker)
    readme = tmp_path / "README.md"
    readme.write_text("\n".join(document_lines(device, [], style_of(device), form)), encoding="utf-8")

    code = expected_main(["check", str(readme)])

    assert (code, capsys.readouterr().out) == (0, f"README.md: no difference to {marker}.toml\n")


def test_a_table_whose_p_core_is_synchronised_is_imported_as_such(tmp_path: Path) -> None:
    filling = Filling("r300-1x8-fp32-bs16", "", False, {"p_core": 255.0})
    readme, out = tmp_path / "README.md", tmp_path / "r300.toml"
    readme.write_text("\n".join(document_lines(R300, [filling], style_of(R300))), encoding="utf-8")

    assert expected_main(["import", str(readme), "--out", str(out)]) == 0
    assert {cell.timing for cell in load_device(out).cells} == {"device"}
    assert "the document's own remark on p_core" in out.read_text(encoding="utf-8")


def test_a_table_with_published_host_readings_does_not_claim_to_be_synchronised() -> None:
    a100 = device_of("a100")
    filling = Filling(a100.cells[0].id, "", False, {"p_core": 199.0})

    assert not read_document("\n".join(document_lines(a100, [filling], style_of(a100)))).in_step
