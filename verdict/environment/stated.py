"""Compares the text of a vendor's document with what was found on a machine: match, differs, or unknown.

Both sides are free text. A rule that cannot decide answers "unknown", never "match".
"""

from __future__ import annotations

import re
import unicodedata
from typing import Iterable, NamedTuple, Sequence

from evidence.events.host import Port

MATCH, DIFFERS, UNKNOWN = "match", "differs", "unknown"


class Answer(NamedTuple):
    """What a comparison came to, and why where that is not plain."""

    verdict: str
    reason: str = ""


_OR_LATER = re.compile(
    r"(?:>=\s*(?P<a>\d\S*))|(?:(?P<b>\d\S*?)\s*(?:or (?:later|newer|higher)|及以上|以上))", re.IGNORECASE
)
_WORD = re.compile(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*")
_SIZE = re.compile(r"(?<![A-Za-z0-9.])(\d+)\s*(?:G|GB|GiB)(?![A-Za-z0-9])", re.IGNORECASE)
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*G(?:b(?:it)?)?\s*(?:/\s*s(?:ec)?|ps)", re.IGNORECASE)
_ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "x64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
_SAYS_LINUX = ("linux", "gnu/linux", "kernel")
_NOTHING = ("无", "none", "no", "n/a", "/", "-")
"""What documents print for an item that demands nothing."""
_BETWEEN = re.compile(r"\s*[、,;|/]\s*")
_GOES_ON = r"(?![A-Za-z0-9]|[-._~]?(?:rc|alpha|beta|dev|pre|nightly))"
"""What may follow a stated version in one that is found: further numbers or a build, but it is not a release before."""
_OWN_PREFIX = "mx"  # MetaX's tool writes MXC500 for a C500, by its public listings


def plain(text: str) -> str:
    """Return a text with full-width letters, digits and punctuation as ASCII has them, and single blanks."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def is_demand(text: str) -> bool:
    """Whether a stated text can differ from a machine at all: "any x86-64 machine" and "无" (none) cannot."""
    words = plain(text).rstrip("。.").lower()
    return bool(words) and words not in _NOTHING and not re.match(r"any\b", words)


def is_exact(text: str) -> bool:
    """Whether a text names one thing: neither "any" nor "1.12 or later" does."""
    return is_demand(text) and _OR_LATER.search(plain(text)) is None


def split_machine(text: str, device: str) -> tuple[str, str]:
    """Split a text that states machine and device in one item; "" for a machine that it leaves out.

    The machine comes first, as in the item's label, unless the first name alone is that of `device`. A single name is
    the device's.

    >>> split_machine("R480-X8、R300", "R300")
    ('R480-X8', 'R300')
    """
    names = [name for name in _BETWEEN.split(plain(text)) if name]
    if len(names) < 2:
        return "", plain(text)
    is_device = [compare_model(device, name).verdict == MATCH for name in names]
    if is_device[0] and not is_device[-1]:
        names.reverse()
    return names[0], names[-1]


def compare_version(stated: str, found: str, *, exact: bool = False) -> Answer:
    """Versions agree as far as stated: "3.8" with 3.8.18, "1.12.1+cpu" with itself only, "1.12 or later" with 2.0.

    What comes before a release, 4.0.25-rc1, is not that release. With `exact`, 3.8 does not agree with 3.8.18.
    """
    stated, found = plain(stated), plain(found)
    if exact and found != stated:
        longer = found.startswith(stated)
        return Answer(DIFFERS, "a version under test is named in full" if longer else "")
    least = _OR_LATER.fullmatch(stated)
    if least is not None:
        wanted, is_there = _release(least.group("a") or least.group("b")), _release(found)
        if not wanted or not is_there:
            return Answer(UNKNOWN, f"{found} is not a version with numbers")
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


def compare_kernel(stated: str, found: str, architecture: str = "", *, exact: bool = False) -> Answer:
    """A kernel agrees in its release as far as stated, and in its architecture where one is stated behind it.

    >>> compare_kernel("4.15.0-156-generic x86_64", "4.15.0-156-generic", "x86_64").verdict
    'match'
    """
    words = [word for word in plain(stated).split() if word.lower() not in _SAYS_LINUX]
    machines = {_ARCHITECTURES[word.lower()] for word in words if word.lower() in _ARCHITECTURES}
    releases = [word for word in words if word.lower() not in _ARCHITECTURES]
    if len(releases) != 1 or len(machines) > 1:
        return Answer(UNKNOWN, f"no rule reads {plain(stated)!r}; known: a release, and an architecture behind it")
    answers = [compare_version(releases[0], found, exact=exact)]
    if machines:
        known = _ARCHITECTURES.get(architecture.lower(), architecture)
        same = Answer(MATCH if known in machines else DIFFERS, f"the architecture is {known}")
        answers.append(same if known else Answer(UNKNOWN, "the architecture was not recorded"))
    return worst(answers)


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


def compare_network_texts(stated: str, said: str) -> Answer:
    """Two texts agree in the kind of network, and in the rate if one is stated."""
    kinds = [_link_layer(plain(text)) for text in (stated, said)]
    rates = [_RATE.search(plain(text)) for text in (stated, said)]
    same = kinds[0] is not None and kinds[0] == kinds[1]
    if rates[0] is not None:
        same = same and rates[1] is not None and float(rates[0].group(1)) == float(rates[1].group(1))
    return Answer(MATCH if same else DIFFERS)


def compare_image(stated: str, found: str) -> Answer:
    """An image agrees with name and tag, whatever registry it came from and whatever digest follows."""
    stated, name = plain(stated), plain(found).partition("@")[0]
    return Answer(MATCH if name == stated or name.endswith("/" + stated) else DIFFERS)


def worst(answers: Iterable[Answer]) -> Answer:
    """The answer if all have to agree; unknown for no answers."""
    return min(answers, key=lambda one: (DIFFERS, UNKNOWN, MATCH).index(one.verdict), default=Answer(UNKNOWN))


def best(answers: Iterable[Answer]) -> Answer:
    """The answer if one is enough; unknown for no answers."""
    return min(answers, key=lambda one: (MATCH, UNKNOWN, DIFFERS).index(one.verdict), default=Answer(UNKNOWN))


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
