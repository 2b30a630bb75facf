"""Compares the packages that a document lists, by version, revision or a wheel's file name, with installed ones."""

from __future__ import annotations

import re
from typing import Iterator, Mapping

from verdict.environment.stated import DIFFERS, MATCH, UNKNOWN, Answer, compare_version, plain, worst

PACKAGES: Mapping[str, tuple[str, ...]] = {
    "xmlir": ("xmlir", "torch_xmlir"),
    "torch_xmlir": ("xmlir", "torch_xmlir"),
    "pytorch": ("torch",),
    **{name: (name,) for name in ("torch", "torchvision", "numpy", "pillow", "python", "pycocotools")},
}
"""The names that documents use for Python packages, and those under which versions are found.

Kunlunxin's framework is the distribution xmlir, and the module torch_xmlir, which has the revision.
"""

_PIECE = re.compile(r"(?P<name>[A-Za-z][A-Za-z_]*)\s*(?:[-=:\s]+\s*|(?=\+))(?P<version>\S+)")
_WHEEL = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9_.]*)-(?P<version>[^-\s]+)(?:-\d[^-\s]*)?-(?P<python>[^-\s]+)-[^-\s]+-[^-\s]+\.whl"
)
"""A wheel's file name: name, version, build (optional), and the tags of Python, ABI and platform."""
_CPYTHON = re.compile(r"cp(\d)(\d*)")
_HEX = re.compile(r"(?<![A-Za-z0-9])[0-9a-f]{7,40}(?![A-Za-z0-9])")
_APART = re.compile(r"[,;、\n]")


def compare_packages(stated: str, installed: Mapping[str, str], *, exact: bool = False) -> tuple[str, Answer]:
    """(what was found, answer) for a list such as "pytorch-1.12.1+cpu, numpy 1.23.5"; the worst of its parts decides.

    "xmlir+e70db8f6" states a revision alone: what is installed has to name it. A wheel's file name states a version,
    and the Python that it is for.
    """
    found: list[str] = []
    answers: list[Answer] = []
    for name, wanted in packages_in(stated):
        versions = {one: installed[one] for one in PACKAGES.get(name, (name,)) if installed.get(one)}
        if not wanted:
            answers.append(Answer(UNKNOWN, f"no rule reads {name!r}"))
            continue
        if not versions:
            answers.append(Answer(UNKNOWN, f"{package_of(name)} is not installed, or reports no version"))
            continue
        found += [text for text in (f"{one} {version}" for one, version in versions.items()) if text not in found]
        if wanted[0] == "+":
            known = [_revision(wanted[1:], text) for text in versions.values()]
            decided = [one for one in known if one.verdict != UNKNOWN]
            answers.append(worst(decided or known))
            continue
        version = next((text for text in versions.values() if not _is_list(text)), None)
        if version is None:
            answers.append(Answer(UNKNOWN, f"{package_of(name)} reports no version"))
        else:
            answers.append(compare_version(wanted, version, exact=exact and name != "python"))
    return ", ".join(found), worst(answers)


def packages_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield (name, version) of each package in a list, and the Python of a wheel's file name; "" for what is not read.

    >>> list(packages_in("pytorch-2.0.0+mc2-cp38-cp38-linux_x86_64.whl, xmlir+e70db8f6"))
    [('pytorch', '2.0.0+mc2'), ('python', '3.8'), ('xmlir', '+e70db8f6')]
    """
    for piece in filter(None, (one.strip() for one in _APART.split(plain(text)))):
        wheel = _WHEEL.fullmatch(piece)
        match = wheel or _PIECE.fullmatch(piece)
        if match is None:
            yield piece, ""
            continue
        yield match.group("name").lower(), match.group("version")
        tag = _CPYTHON.fullmatch(wheel.group("python")) if wheel else None
        if tag is not None:
            yield "python", ".".join(filter(None, tag.groups()))


def as_installed(text: str) -> dict[str, str]:
    """Return the packages of a list as installed versions, under every name that they are found by."""
    return {one: version for name, version in packages_in(text) for one in PACKAGES.get(name, (name,))}


def package_of(name: str) -> str:
    """Return the package that a name in a document is of: pytorch is torch."""
    return PACKAGES.get(name.lower(), (name,))[0]


def with_packages(text: str, versions: Mapping[str, str]) -> str:
    """Return a list of packages with other versions of some; unchanged if it names none of them.

    >>> with_packages("pytorch-1.12.1+cpu, numpy 1.23.5", {"torch": "2.0"})
    'torch 2.0, numpy 1.23.5'
    """
    pieces = []
    for piece in filter(None, (one.strip() for one in _APART.split(plain(text)))):
        names = [package_of(name) for name, _ in packages_in(piece)]
        version = versions.get(names[0]) if names else None
        pieces.append(piece if version is None else f"{names[0]}{'' if version[:1] == '+' else ' '}{version}")
    changed = any(package_of(name) in versions for name, _ in packages_in(text))
    return ", ".join(pieces) if changed else text


def _is_list(version: str) -> bool:
    return ": " in version


def _revision(wanted: str, version: str) -> Answer:
    """Whether a version (0.0.1+e70db8f6), or a framework's listing of its parts (XPYTORCH: XMLIR--e70db8f6), has it."""
    is_list = _is_list(version)
    where = version if is_list else version.partition("+")[2]
    if re.search(rf"(?<![A-Za-z0-9]){re.escape(wanted)}", where):
        return Answer(MATCH)
    others = [word for word in _HEX.findall(where) if re.search("[a-f]", word)]
    if any(wanted.startswith(word) for word in others):
        return Answer(UNKNOWN, f"{version} is less specific than what is stated")
    return Answer(DIFFERS) if others or (where and not is_list) else Answer(UNKNOWN, f"{version} has no revision")
