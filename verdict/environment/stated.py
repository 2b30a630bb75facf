"""Compares the text of a vendor's document with what was found on a machine: match, differs, or unknown.

Both sides are free text. A rule that cannot decide answers "unknown", never "match".
"""

from __future__ import annotations

import re
import unicodedata
from typing import Iterable, Mapping, NamedTuple, Sequence

from evidence.host import Port

MATCH, DIFFERS, UNKNOWN = "match", "differs", "unknown"


class Answer(NamedTuple):
    """What a comparison came to, and why where that is not plain."""

    verdict: str
    reason: str = ""


PACKAGES: Mapping[str, str] = {
    "xmlir": "torch_xmlir",
    "torch_xmlir": "torch_xmlir",
    "pytorch": "torch",
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "pillow": "pillow",
    "python": "python",
    "pycocotools": "pycocotools",
}
"""The names that documents use for Python packages, and the ones under which these are installed."""

_OR_LATER = re.compile(
    r"(?:>=\s*(?P<a>\d\S*))|(?:(?P<b>\d\S*?)\s*(?:or (?:later|newer|higher)|及以上|以上))", re.IGNORECASE
)
_WORD = re.compile(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*")
_SIZE = re.compile(r"(?<![A-Za-z0-9.])(\d+)\s*(?:G|GB|GiB)(?![A-Za-z0-9])", re.IGNORECASE)
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*G(?:b(?:it)?)?\s*(?:/\s*s(?:ec)?|ps)", re.IGNORECASE)
_PIECE = re.compile(r"(?P<name>[A-Za-z][A-Za-z_]*)\s*(?:[-=:\s]+\s*|(?=\+))(?P<version>\S+)")
_GOES_ON = r"(?![A-Za-z0-9]|[-._~]?(?:rc|alpha|beta|dev|pre|nightly))"
"""What may follow a stated version in one that is found: further numbers or a build, but it is not a release before."""
_OWN_PREFIX = "mx"  # MetaX's tool writes MXC500 for a C500, by its public listings


def plain(text: str) -> str:
    """Return a text with full-width letters, digits and punctuation as ASCII has them, and single blanks."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def is_demand(text: str) -> bool:
    """Whether a stated text can differ from a machine at all: "any x86-64 machine" cannot."""
    return bool(plain(text)) and not re.match(r"any\b", plain(text), re.IGNORECASE)


def compare_version(stated: str, found: str) -> Answer:
    """Versions agree as far as stated: "3.8" with 3.8.18, "1.12.1+cpu" with itself only, "1.12 or later" with 2.0.

    What comes before a release, 4.0.25-rc1, is not that release.
    """
    stated, found = plain(stated), plain(found)
    least = _OR_LATER.fullmatch(stated)
    if least is not None:
        wanted, is_there = _release(least.group("a") or least.group("b")), _release(found)
        if not wanted or not is_there:
            return Answer(UNKNOWN, f"{found} is no version with numbers")
        width = max(len(wanted), len(is_there))
        ahead = _padded(is_there, width) >= _padded(wanted, width)
        return Answer(MATCH if ahead else DIFFERS)
    if not re.search(r"\d", stated):
        return Answer(UNKNOWN, "the document states no version")
    if found == stated:
        return Answer(MATCH)
    if "+" not in stated and re.match(re.escape(stated) + _GOES_ON, found, re.IGNORECASE):
        return Answer(MATCH)
    if found and re.match(re.escape(found) + r"[.]\d", stated):
        return Answer(UNKNOWN, f"{found} is less specific than what is stated")
    return Answer(DIFFERS)


def compare_model(stated: str, found: str) -> Answer:
    """Match if the device's name has the stated model's word, R300, and no other size of memory.

    Unknown for a name without a model's word (a product family's, a driver's).
    """
    stated, found = plain(stated), plain(found)
    models = _models(stated)
    if not models:
        return Answer(UNKNOWN, "the document names no model")
    sizes = set(_SIZE.findall(stated)), set(_SIZE.findall(found.replace("-", " ")))
    if all(_has_word(found, model) for model in models):
        if sizes[0] and sizes[1] and not sizes[0] & sizes[1]:
            return Answer(DIFFERS)
        return Answer(MATCH)
    others = _models(found)
    if not others:
        return Answer(UNKNOWN, "the name found has no model's word")
    if any(model.lower() in other.lower() for model in models for other in others):
        return Answer(UNKNOWN, "the names do not show whether they are of one model")
    return Answer(DIFFERS)


def compare_machine(stated: str, found: str) -> Answer:
    """Match if the firmware's name has the stated machine's word, else unknown: a machine is sold under many names."""
    models = _models(plain(stated))
    if models and all(_has_word(plain(found), model) for model in models):
        return Answer(MATCH)
    return Answer(UNKNOWN, "its name does not show whether that is the stated machine")


def compare_system(stated: str, name: str, versions: Sequence[str]) -> Answer:
    """A system agrees in name, and in version as far as stated: "Ubuntu 20.04" with Ubuntu 20.04.6 LTS."""
    match = re.match(r"([^\d]*?)[\s-]*v?(\d\S*)?(?:\s.*)?$", plain(stated))
    words = match.group(1).split() if match else []
    if match is None or not words:
        return Answer(UNKNOWN, "the document names no system")
    known = re.findall(r"[a-z]+", plain(name).lower())
    if not known:
        return Answer(UNKNOWN, "the system reports no name")
    if any(word not in known for word in re.findall(r"[a-z]+", " ".join(words).lower())):
        return Answer(DIFFERS)
    if match.group(2) is None:
        return Answer(MATCH)
    answers = [compare_version(match.group(2), version) for version in versions if version]
    return best(answers) if answers else Answer(UNKNOWN, "the system reports no version")


def compare_network(stated: str, ports: Sequence[Port]) -> Answer:
    """One active port of the stated kind has the stated rate. RoCE is a port whose link layer is Ethernet."""
    text = plain(stated)
    rate, kind = _RATE.search(text), _link_layer(text)
    if kind is None:
        return Answer(UNKNOWN, "the document names a kind of network that no rule reads; known: InfiniBand, RoCE")
    alike = [port for port in ports if (port.link_layer or "").casefold() == kind.casefold()]
    if not alike:
        known = ports and all(port.link_layer for port in ports)
        return Answer(DIFFERS) if known else Answer(UNKNOWN, "a port reports no link layer")
    active = [port for port in alike if (port.state or "").upper().endswith("ACTIVE")]
    if not active:
        unknown = any(not port.state for port in alike)
        return Answer(UNKNOWN, "a port reports no state") if unknown else Answer(DIFFERS, "no such port is active")
    if rate is None:
        return Answer(MATCH)
    rates = [_RATE.search(plain(port.rate or "")) for port in active]
    if any(one is not None and float(one.group(1)) == float(rate.group(1)) for one in rates):
        return Answer(MATCH)
    return Answer(UNKNOWN, "a port reports no rate") if None in rates else Answer(DIFFERS)


def compare_image(stated: str, found: str) -> Answer:
    """An image agrees with name and tag, whatever registry it came from and whatever digest follows."""
    stated, name = plain(stated), plain(found).partition("@")[0]
    return Answer(MATCH if name == stated or name.endswith("/" + stated) else DIFFERS)


def compare_packages(stated: str, installed: Mapping[str, str]) -> tuple[str, Answer]:
    """(what was found, answer) for a list such as "pytorch-1.12.1+cpu, numpy 1.23.5"; the worst of its parts decides.

    "xmlir+e70db8f6" states a revision alone: the installed version has to name it behind its own "+".
    """
    found: list[str] = []
    answers: list[Answer] = []
    for piece in filter(None, (one.strip() for one in re.split(r"[,;、\n]", plain(stated)))):
        match = _PIECE.fullmatch(piece)
        package = PACKAGES.get(match.group("name").lower()) if match else None
        if match is None or package is None:
            answers.append(Answer(UNKNOWN, f"no rule reads {piece!r}"))
            continue
        version = installed.get(package)
        if version is None:
            answers.append(Answer(UNKNOWN, f"{package} is not installed, or reports no version"))
            continue
        found.append(f"{package} {version}")
        wanted = match.group("version")
        answers.append(_revision(wanted[1:], version) if wanted[0] == "+" else compare_version(wanted, version))
    return ", ".join(found), worst(answers)


def worst(answers: Iterable[Answer]) -> Answer:
    """The answer if all have to agree; unknown for no answers."""
    return min(answers, key=lambda one: (DIFFERS, UNKNOWN, MATCH).index(one.verdict), default=Answer(UNKNOWN))


def best(answers: Iterable[Answer]) -> Answer:
    """The answer if one is enough; unknown for no answers."""
    return min(answers, key=lambda one: (MATCH, UNKNOWN, DIFFERS).index(one.verdict), default=Answer(UNKNOWN))


def _revision(wanted: str, version: str) -> Answer:
    _, has_local, local = version.partition("+")
    if re.search(rf"(?<![A-Za-z0-9]){re.escape(wanted)}", local):
        return Answer(MATCH)
    return Answer(DIFFERS) if has_local else Answer(UNKNOWN, f"version {version} has no revision")


def _link_layer(text: str) -> str | None:
    if re.search(r"infiniband|(?<![A-Za-z])IB(?![A-Za-z])", text, re.IGNORECASE):
        return "InfiniBand"
    return "Ethernet" if re.search(r"roce", text, re.IGNORECASE) else None


def _models(text: str) -> list[str]:
    """The words that name a model: letters and digits together, but for sizes of memory."""
    words = _WORD.findall(_SIZE.sub(" ", text))
    return [word for word in words if re.search(r"[A-Za-z]", word) and re.search(r"\d", word)]


def _has_word(text: str, model: str) -> bool:
    form = rf"(?<![a-z0-9-])(?:{_OWN_PREFIX})?{re.escape(model.lower())}(?![a-z0-9])"
    return re.search(form, text.lower()) is not None


def _release(version: str) -> tuple[int, ...]:
    found = re.match(r"v?(\d{1,9}(?:\.\d{1,9})*)", version)
    return tuple(int(part) for part in found.group(1).split(".")) if found else ()


def _padded(parts: tuple[int, ...], width: int) -> tuple[int, ...]:
    return parts + (0,) * (width - len(parts))
