"""docs/install.md and docs/containers.md, done: an image with Python 3.8, its own torch and no network.

With pip 20, with a read-only checkout, and as its Dockerfile makes it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.installing.dockerfile import in_a_container
from tests.installing.pythons import Python, copy_of_the_checkout, python38, written
from tests.suite.stored import store
from tests.support import ROOT

TORCH = {"torch": "1.12.1+vendor", "torchvision": "0.13.1+vendor"}


def commands() -> list[str]:
    """The commands of the section, in their order."""
    _, _, section = (ROOT / "docs" / "install.md").read_text(encoding="utf-8").partition("## Without a network")
    blocks = re.findall(r"(?:^    .*\n)+", section, re.MULTILINE)
    return [line.strip() for block in blocks for line in block.replace("\\\n", "").splitlines()]


def test_everything_but_torch_is_downloaded() -> None:
    """The list of the documentation is that of pyproject.toml."""
    _, _, listed = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("\ndependencies = [\n")
    required = re.findall(r'^    "([\w-]+)', listed.partition("\n]\n")[0], re.MULTILINE)

    words = commands()[0].split()

    assert set(required) - {"torch", "torchvision"} == set(words[words.index("manylinux2014_x86_64") + 1 :])


def torch_of_the_image(python: Python) -> None:
    """Put there what pip knows of a vendor's torch; its code is not needed here."""
    (packages,) = python.folder.glob("lib/python3*/site-packages")
    for name, version in TORCH.items():
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        written(packages / f"{name}-{version}.dist-info", {"METADATA": metadata, "RECORD": "", "INSTALLER": "vendor\n"})


def without_network() -> list[str]:
    """The words before a command that has no network, where this may be had; else `--no-index` has to do."""
    allowed = subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode == 0
    return ["unshare", "-n"] if allowed else []


@pytest.fixture(scope="module")
def equipped(tmp_path_factory: Any) -> Path:
    """A checkout in which the documented commands were run that need a network."""
    folder = Path(str(tmp_path_factory.mktemp("offline")))
    checkout, newer = copy_of_the_checkout(folder / "checkout"), Python.made(folder / "newer", python38())
    shutil.copy(str(ROOT / ".dockerignore"), str(checkout))
    for command in commands()[:-1]:
        words = command.replace("python3.8", str(newer.folder / "bin" / "python3.8"), 1).split()
        subprocess.run(words, cwd=str(checkout), check=True)
    return checkout


@pytest.fixture(scope="module")
def image(equipped: Path) -> Python:
    """A Python 3.8 with pip 20 and a vendor's torch, in which the last of them was run."""
    python = Python.made(equipped.parent / "image", python38())
    python.pip("install", "-q", "pip==20.0.2")
    torch_of_the_image(python)
    offline = commands()[-1]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    path = f"{python.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    bare = {**kept, "PATH": path, "PIP_CONFIG_FILE": os.devnull}
    subprocess.run([*without_network(), *offline.split()], cwd=str(equipped), env=bare, check=True)
    return python


@pytest.mark.labs
def test_an_image_is_equipped_without_a_network_and_keeps_its_torch(image: Python, tmp_path: Path) -> None:
    checkout, run_dir = copy_of_the_checkout(tmp_path / "checkout"), store(tmp_path / "run")

    kept = image.run(tmp_path, "pip", "list", "--format=freeze").output.splitlines()
    done = image.run(checkout, "pytest", "-p", "no:cacheprovider", "--replay", run_dir)

    assert {f"{name}=={version}" for name, version in TORCH.items()} <= set(kept)
    assert done.code == 0, done.output


@pytest.mark.labs
def test_a_read_only_checkout_needs_no_install(image: Python, tmp_path: Path) -> None:
    checkout, run_dir = copy_of_the_checkout(tmp_path / "checkout"), store(tmp_path / "run")
    image.pip("uninstall", "-q", "-y", "accelerator-conformance")
    pytest_ = f"{image.folder / 'bin' / 'pytest'} -p no:cacheprovider"
    if os.getuid() == 0:  # permissions do not keep root from writing
        made = ["unshare", "-m", "bash", "-ec"]
        prepare = f'mount --bind "{checkout}" "{checkout}"; mount -o remount,ro,bind "{checkout}"; cd "{checkout}"; '
    else:
        made, prepare = ["bash", "-ec"], f'chmod -R a-w "{checkout}"; cd "{checkout}"; '
    program = f'{prepare}! touch new 2>/dev/null; {pytest_} --collect-only -q; {pytest_} "--replay={run_dir}"'

    done = subprocess.run([*made, program], capture_output=True, text=True)

    subprocess.run(["chmod", "-R", "u+w", str(checkout)], check=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "suite/test_memory.py::test_mem[cpu-1x1-fp32-bs8]" in done.stdout
    assert "R300 1x8 fp32 bs16" in done.stdout


@pytest.mark.labs
@pytest.mark.skipif(os.getuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
def test_a_user_without_a_name_gates_in_an_image_that_was_made_without_a_network(equipped: Path) -> None:
    vendor = Python.made(equipped.parent / "vendor", python38())
    torch_of_the_image(vendor)
    python, run_dir = vendor.folder / "bin" / "python", store(equipped.parent / "run")
    program = f'id -u; printenv CONFORMANCE_IMAGE; "{python}" -m pip list --format=freeze; '
    gate = f"sh docker/entry.sh gate --replay={run_dir}; echo code $?; ls /runs"
    base = {"BASE": "vendor:v1", "PYTHON": str(python)}

    done = in_a_container(ROOT / "docker/r300/Dockerfile", equipped, base, ["sh", "-c", program + gate])

    assert "12345\nvendor:v1\n" in done.stdout, done.stdout
    assert {f"{name}=={version}" for name, version in TORCH.items()} <= set(done.stdout.splitlines())
    assert "GATE: INCOMPLETE  r300-1x8-fp32-bs16" in done.stdout, done.stdout
    assert "code 1\n" in done.stdout
    assert "report.xml" in done.stdout.rpartition("code 1\n")[2].splitlines()
