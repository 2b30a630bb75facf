"""A signed seal: only the key's owner can seal a bundle again, and whoever lacks ssh-keygen is told so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from evidence.__main__ import main
from evidence.bundle import read_run, with_signature
from evidence.errors import EvidenceError
from evidence.files import SIGNATURE_FILE
from evidence.seal import (
    NAMESPACE,
    allowed_signers,
    read_seal,
    require_ssh_keygen,
    seal_problems,
    sign_seal,
    verified_signer,
    write_seal,
)
from evidence.verdict import Verdict
from tests.evidence import signing
from tests.evidence.signing import LAB, signers
from tests.support import ROOT
from tests.verdict.bundles import Plan, a_cell, build
from verdict.judge import judge_run

SHORT = Plan(steps=40, maps=(0.4,))
NEEDS_OPENSSH = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen of OpenSSH")
NewKey = Callable[[Path], str]


@pytest.fixture(params=["fake", pytest.param("real", marks=NEEDS_OPENSSH)])
def new_key(request: Any, tmp_path: Path) -> Iterator[NewKey]:
    """What makes a key at a path and returns its public half."""
    if request.param == "real":
        yield signing.real_key
        return
    with signing.on_path(signing.fake_program(tmp_path / "bin")):
        yield signing.fake_key


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return build(SHORT).write(tmp_path / "run")


def verified(run_dir: Path, allowed: Path) -> tuple[str, str]:
    return verified_signer(run_dir, read_seal(run_dir), allowed)


def test_a_signed_bundle_is_of_its_signer_and_still_as_it_was_sealed(
    run_dir: Path, new_key: NewKey, tmp_path: Path
) -> None:
    allowed = signers(tmp_path / "allowed", f"{LAB} {new_key(tmp_path / 'key')}")

    path = sign_seal(run_dir, tmp_path / "key")

    assert path == run_dir / SIGNATURE_FILE
    assert verified(run_dir, allowed) == (LAB, "")
    assert seal_problems(run_dir) == ()


def test_every_name_in_the_file_may_be_the_signers(run_dir: Path, new_key: NewKey, tmp_path: Path) -> None:
    lab, site = new_key(tmp_path / "lab"), new_key(tmp_path / "site")
    allowed = signers(tmp_path / "allowed", "# who may sign", "", f"{LAB} {lab}", f"site@example.com {site}")

    sign_seal(run_dir, tmp_path / "site")

    assert verified(run_dir, allowed) == ("site@example.com", "")


def test_what_was_edited_and_sealed_again_is_not_what_was_signed(
    run_dir: Path, new_key: NewKey, tmp_path: Path
) -> None:
    allowed = signers(tmp_path / "allowed", f"{LAB} {new_key(tmp_path / 'key')}")
    sign_seal(run_dir, tmp_path / "key")
    log = run_dir / "rank-0000.jsonl"
    log.write_text(log.read_text().replace('"compute_ns": [40', '"compute_ns": [30', 1))
    write_seal(run_dir)

    signer, problem = verified(run_dir, allowed)

    assert seal_problems(run_dir) == ()
    assert signer == ""
    assert problem.startswith(f"SHA256SUMS.sig: is not a signature of this seal by any of {LAB} (allowed): ")
    assert "incorrect signature" in problem


def test_a_stranger_signs_in_vain(run_dir: Path, new_key: NewKey, tmp_path: Path) -> None:
    allowed = signers(tmp_path / "allowed", f"{LAB} {new_key(tmp_path / 'key')}")
    new_key(tmp_path / "stranger")
    sign_seal(run_dir, tmp_path / "stranger")

    assert verified(run_dir, allowed)[0] == ""


def test_a_signature_that_was_made_for_something_else_is_none(run_dir: Path, new_key: NewKey, tmp_path: Path) -> None:
    allowed = signers(tmp_path / "allowed", f"{LAB} {new_key(tmp_path / 'key')}")
    command = ["ssh-keygen", "-Y", "sign", "-f", str(tmp_path / "key"), "-n", "git"]
    made = subprocess.run(command, input=read_seal(run_dir), capture_output=True, check=True)
    (run_dir / SIGNATURE_FILE).write_bytes(made.stdout)

    assert NAMESPACE != "git"
    assert verified(run_dir, allowed)[0] == ""


@pytest.mark.parametrize("found", ["", "no signature\n", "x" * 100_000])
def test_rubbish_is_no_signature(found: str, run_dir: Path, new_key: NewKey, tmp_path: Path) -> None:
    allowed = signers(tmp_path / "allowed", f"{LAB} {new_key(tmp_path / 'key')}")
    (run_dir / SIGNATURE_FILE).write_text(found)

    assert verified(run_dir, allowed)[0] == ""


def test_without_or_with_a_wrong_signature_nothing_passes_and_the_cause_comes_first(
    run_dir: Path, new_key: NewKey, tmp_path: Path
) -> None:
    allowed = signers(tmp_path / "allowed", f"{LAB} {new_key(tmp_path / 'key')}")
    cell = a_cell(SHORT, mem=20.0)

    unsigned = judge_run(with_signature(read_run(run_dir), allowed), cell)
    sign_seal(run_dir, tmp_path / "key")
    evidence = with_signature(read_run(run_dir), allowed)

    assert unsigned.outcome == Verdict.INVALID
    assert unsigned.reasons[0].startswith("SHA256SUMS.sig: not there, and a signature is required")
    assert (evidence.notes, evidence.signer) == ((f"signed by {LAB}",), LAB)
    assert judge_run(evidence, cell) == judge_run(read_run(run_dir), cell)


def test_what_is_not_as_it_was_sealed_is_not_signed(run_dir: Path, new_key: NewKey, tmp_path: Path) -> None:
    new_key(tmp_path / "key")
    (run_dir / "run.json").write_text("{}")

    with pytest.raises(EvidenceError, match=r"not signed, since it is not as it was sealed: run\.json: changed"):
        sign_seal(run_dir, tmp_path / "key")
    assert not (run_dir / SIGNATURE_FILE).exists()


def test_a_key_that_is_not_there_is_told(run_dir: Path, new_key: NewKey, tmp_path: Path, capsys: Any) -> None:
    new_key(tmp_path / "key")

    code = main(["sign", str(run_dir), "--key", str(tmp_path / "other")])

    assert code == 2
    assert "not signed: ssh-keygen said" in capsys.readouterr().err


def test_the_command_signs_several_runs_and_fails_for_one(tmp_path: Path, new_key: NewKey, capsys: Any) -> None:
    new_key(tmp_path / "key")
    first, second = build(SHORT).write(tmp_path / "first"), build(SHORT).write(tmp_path / "second")
    (second / "SHA256SUMS").unlink()

    code = main(["sign", str(first), str(second), "--key", str(tmp_path / "key")])

    printed = capsys.readouterr()
    assert code == 2
    assert printed.out == f"signed: {first / SIGNATURE_FILE}\n"
    assert printed.err.startswith(f"{second}: not signed, since it is not as it was sealed: SHA256SUMS: not there")


def test_the_installed_command_signs_from_a_checkout(run_dir: Path, new_key: NewKey, tmp_path: Path) -> None:
    allowed = signers(tmp_path / "allowed", f"{LAB} {new_key(tmp_path / 'key')}")
    module = ROOT / "fixtures" / "installed"
    program = (
        f"import sys; sys.path.insert(0, {str(module)!r}); from accelerator_conformance import main; sys.exit(main())"
    )
    words = ["sign", str(run_dir), "--key", str(tmp_path / "key")]

    there = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=str(ROOT / "docs"), capture_output=True, text=True
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=str(tmp_path), capture_output=True, text=True
    )

    assert there.returncode == 0, there.stderr
    assert verified(run_dir, allowed) == (LAB, "")
    assert elsewhere.returncode == 2


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        (["a@b ssh-ed25519 AAAA"], ("a@b",)),
        (["a@b,*@c,!x@c ecdsa-sha2-nistp256 AAAA", "a@b ssh-rsa BBBB"], ("a@b", "*@c")),
        (['"a b",c'.replace('",c', '"') + " sk-ssh-ed25519@openssh.com AAAA"], ("a b",)),
        (['a@b\tnamespaces="x" ssh-ed25519 AAAA comment'], ("a@b",)),
    ],
)
def test_the_names_of_an_allowed_signers_file_are_read(
    lines: list[str], names: tuple[str, ...], tmp_path: Path
) -> None:
    assert allowed_signers(signers(tmp_path / "allowed", *lines)) == names


@pytest.mark.parametrize(
    "lines",
    [[], ["# nobody"], ["ssh-ed25519 AAAA a@b"], ["-----BEGIN OPENSSH PRIVATE KEY-----", "b3BlbnNzaC1rZXktdjE"]],
)
def test_a_file_without_a_signer_is_refused(lines: list[str], tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="found no signer, expected lines of OpenSSH's allowed_signers"):
        allowed_signers(signers(tmp_path / "allowed", *lines))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="cannot be read: No such file"):
        allowed_signers(tmp_path / "allowed")


@pytest.mark.parametrize("says", ["unknown option -- Y", "illegal option -- Y", "invalid option -- 'Y'"])
def test_an_ssh_keygen_that_is_too_old_is_told(says: str, tmp_path: Path) -> None:
    """As OpenSSH 7.6 of Ubuntu 18.04 says it, and as other systems' getopt does."""
    folder = signing.program(tmp_path / "bin", f'echo "{says}" >&2; echo "usage: ssh-keygen [-q]" >&2; exit 1')

    with signing.on_path(folder), pytest.raises(EvidenceError, match=r"has no -Y, expected OpenSSH 8\.1 or newer"):
        require_ssh_keygen()


def test_a_missing_ssh_keygen_is_told(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))

    with pytest.raises(EvidenceError, match=r"ssh-keygen is not on PATH; signatures need OpenSSH 8\.1 or newer"):
        require_ssh_keygen()
