"""The flow of data is visible in the imports: nothing imports upward, and collecting tests costs no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

MAY_IMPORT = {
    "expected": set(),
    "trainer": set(),
    "verdict": {"expected"},
    "reports": {"verdict", "expected"},
    "fixtures": {"expected", "trainer", "verdict", "reports"},
    "suite": {"fixtures"},
}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_lies_before_it(package: str) -> None:
    modules = sorted((ROOT / package).rglob("*.py"))
    assert modules

    for module in modules:
        inside = imports(module) & set(MAY_IMPORT)
        assert inside <= MAY_IMPORT[package] | {package}, module.relative_to(ROOT)


@pytest.mark.parametrize("package", ["expected", "verdict", "reports"])
def test_judging_needs_no_torch_no_trainer_and_no_clock(package: str) -> None:
    for module in (ROOT / package).rglob("*.py"):
        found = imports(module)
        assert not found & {"torch", "torchvision", "trainer", "time", "datetime"}, module.relative_to(ROOT)


@pytest.mark.parametrize("package", ["expected", "trainer", "verdict"])
def test_only_fixtures_and_the_suite_know_pytest(package: str) -> None:
    for module in (ROOT / package).rglob("*.py"):
        assert "pytest" not in imports(module), module.relative_to(ROOT)


def test_collecting_the_suite_does_not_import_torch() -> None:
    program = (
        "import sys, pytest; code = pytest.main(['--collect-only', '-q', '-m', 'r300', '-p', 'no:cacheprovider']); "
        "print(int(code), sorted({'torch', 'torchvision', 'pycocotools', 'numpy'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", program], cwd=str(ROOT), capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "0 []"
