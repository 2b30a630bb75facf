"""The flow of data is visible in the imports: nothing imports upward, and collecting tests costs no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

ROOT = Path(__file__).resolve().parents[1]

MAY_IMPORT: dict[str, set[str]] = {
    "evidence": set(),
    "expected": {"evidence"},  # its errors, escapes and atomic writing only
    "trainer": {"evidence"},
    "verdict": {"evidence", "expected"},
    "reports": {"evidence", "expected", "verdict"},
    "fixtures": {"evidence", "expected", "trainer", "verdict", "reports"},
    "suite": {"fixtures"},
}
MOST_MODULES = 13  # beside a folder's __init__


def executed(tree: ast.AST) -> Iterator[ast.stmt]:
    """Yield all statements but those below `if TYPE_CHECKING`, which no program imports by."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.stmt):
            yield node
        yield from executed(node)


def imported(path: Path) -> set[str]:
    """Return the dotted names of the modules that a module imports; of `from a import b` both a and a.b."""
    found: set[str] = set()
    for node in executed(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def imports(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_lies_before_it(package: str) -> None:
    modules = sorted((ROOT / package).rglob("*.py"))
    assert modules

    for module in modules:
        inside = imports(module) & set(MAY_IMPORT)
        assert inside <= MAY_IMPORT[package] | {package}, module.relative_to(ROOT)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_no_two_rooms_of_a_package_import_each_other(package: str) -> None:
    uses: dict[str, set[str]] = {}
    for path in (ROOT / package).rglob("*.py"):
        room = path.relative_to(ROOT / package).with_suffix("").parts[0]
        found = {name.split(".")[1] for name in imported(path) if name.startswith(f"{package}.")}
        existing = {one for one in found if list((ROOT / package).glob(f"{one}*")) and one != room}
        uses.setdefault(room, set()).update(existing)

    lowest = True
    while lowest:  # take away what uses nothing that is left
        lowest = {room for room, used in uses.items() if not used & set(uses)}
        uses = {room: used for room, used in uses.items() if room not in lowest}

    assert not uses, f"{package}: these import each other: {uses}"


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_no_folder_is_a_crowd(package: str) -> None:
    folders = {path.parent for path in (ROOT / package).rglob("*.py")}
    crowds = {str(folder.relative_to(ROOT)): len(list(folder.glob("[!_]*.py"))) for folder in folders}

    assert {name: count for name, count in crowds.items() if count > MOST_MODULES} == {}


@pytest.mark.parametrize("package", ["expected", "verdict", "reports"])
def test_judging_needs_no_torch_no_trainer_and_no_clock(package: str) -> None:
    for module in (ROOT / package).rglob("*.py"):
        found = imports(module)
        assert not found & {"torch", "torchvision", "trainer", "time", "datetime"}, module.relative_to(ROOT)


@pytest.mark.parametrize("package", ["evidence", "expected", "trainer", "verdict"])
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
