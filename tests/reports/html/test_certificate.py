"""The certificate: what was proven, what was not, and who vouches for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from evidence.files import SIGNATURE_FILE
from evidence.verdict import Verdict
from reports.__main__ import main
from reports.html.certificate import certificate_page, not_proven, signature_of
from reports.html.pages import PageOf
from tests.reports.html.runs import HOSTILE, TWO_RANKS, page_of
from tests.reports.html.test_run import text_of
from tests.reports.test_html_command import a_run
from tests.verdict.bundles import STEADY


def passing(run_dir: Path, **given: object) -> PageOf:
    of = page_of(run_dir, replace(TWO_RANKS, slower={}, compute_ns=20_000_000))
    metrics = {name: replace(one, verdict=Verdict.PASS) for name, one in of.run.verdict.metrics.items()}
    verdict = replace(of.run.verdict, outcome=Verdict.PASS, metrics=metrics, reasons=())
    return replace(of, run=replace(of.run, verdict=verdict), **given)


def test_a_pass_is_a_certificate_with_every_metric_and_what_was_not_proven(tmp_path: Path) -> None:
    text = text_of(certificate_page(passing(tmp_path, gate="GATE: PASS  r300-1x2-fp32-bs4", release="4.0.31")))

    assert text.startswith(" Certificate of conformance ✓ pass R300 1x2 fp32 bs4")
    assert "GATE: PASS r300-1x2-fp32-bs4" in text
    assert "release under test 4.0.31" in text
    assert all(name in text for name in ("e2e_time", "p_whole", "p_train", "p_core", "map", "mem"))
    assert "Whether operators compute right was not asked" in text
    assert "no signature was verified" in text
    assert "pytest --replay=runs/x" in text


@pytest.mark.parametrize("gate", ["GATE: FAIL  skew", "GATE: INVALID  x", "GATE: INCOMPLETE  x"])
def test_what_the_gate_refused_is_no_certificate(tmp_path: Path, gate: str) -> None:
    text = text_of(certificate_page(passing(tmp_path, gate=gate)))

    assert text.startswith(" Result of a conformance test; no certificate")


def test_a_failed_and_a_simulated_run_are_no_certificates(tmp_path: Path) -> None:
    failed = certificate_page(page_of(tmp_path / "a"))
    of = passing(tmp_path / "b")
    simulated = certificate_page(replace(of, run=replace(of.run, verdict=replace(of.run.verdict, simulated=True))))

    assert text_of(failed).startswith(" Result of a conformance test; no certificate ✗ fail")
    assert text_of(simulated).startswith(" Result of a conformance test; no certificate")
    assert "The device was simulated: nothing here is about real hardware." in text_of(simulated)


def test_what_was_not_measured_is_not_proven(tmp_path: Path) -> None:
    points = not_proven(page_of(tmp_path, STEADY))

    assert "No gate was asked: whether all questions of a release pass is not known (--gate)." in points
    assert "Not measured by this protocol: e2e_time, p_whole, map." in points
    assert any(one.startswith("How much the numbers differ from boot to boot") for one in points)


def test_the_signature_is_good_only_if_it_was_verified(tmp_path: Path) -> None:
    of = page_of(tmp_path)
    unsigned = signature_of(of)
    (tmp_path / SIGNATURE_FILE).write_text("-----BEGIN SSH SIGNATURE-----")
    signed = signature_of(of)
    verified = signature_of(replace(of, run=replace(of.run, evidence=replace(of.run.evidence, signer="a@b"))))
    no_seal = signature_of(replace(of, run=replace(of.run, evidence=replace(of.run.evidence, seal=b""))))

    assert [one["kind"] for one in (unsigned, signed, verified, no_seal)] == ["warn", "warn", "good", "bad"]
    assert "signed by a@b" in verified["words"]
    assert "not verified here" in signed["words"]


def test_text_from_outside_is_harmless(tmp_path: Path) -> None:
    html = certificate_page(
        page_of(tmp_path, folder=HOSTILE, gate=HOSTILE, release=HOSTILE, commands={"again": HOSTILE})
    )

    assert html.count("<script") == 3
    assert "<img" not in html


def test_the_command_writes_it_beside_the_evidence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = a_run(tmp_path / "run")

    code = main(["certificate", str(run_dir), "--language", "zh"])

    assert (code, capsys.readouterr().out) == (0, f"{run_dir / 'certificate.html'}\n")
    text = (run_dir / "certificate.html").read_text(encoding="utf-8")
    assert '<html lang="zh">' in text
    assert "未证明的内容" in text
