"""Reads the first cell of a row: the topology, and whether the device that it names is the document's."""

from __future__ import annotations

import re

from expected.documents.model import Said, UnreadableError, quote
from expected.documents.quoting import mark_in, one_line, reading_form, shown, without_emphasis
from expected.documents.words import VENDORS, Vendor
from expected.model import Topology
from expected.toml_file import ExpectationError

_CROSS = re.compile(r"(?<![0-9A-Za-z.])([0-9]+)\s*[xX×*]\s*([0-9]+)(?![0-9A-Za-z.])")
_MORE_CROSSES = re.compile(r"[0-9]\s*[xX×*]|[xX×*]\s*[0-9]")
_COUNT = r"((?<![0-9A-Za-z.])[0-9]{1,5}|[单一两双二三四五六七八九十百千万]+)\s*"
_MACHINES = re.compile(_COUNT + r"(?:机|台|节点)")
_DEVICES = re.compile(_COUNT + r"(?:张\s*)?(?:加速)?卡")
_DIGITS = {"单": 1, "一": 1, "两": 2, "双": 2, "二": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
_GENERIC = re.compile("多|共|总计?|训练|集群|服务器|节点|加速|机器?|台|张|卡")
_PUNCTUATION = re.compile(r"[\s(),:;、。_-]+|<br\s*/?>", re.IGNORECASE)
_MEMORY = re.compile(r"[\s_-]+[0-9]{1,5}\s*g(?:i?b)?$", re.IGNORECASE)
_GLUED = re.compile("[A-Za-z][0-9]")
_MOST_WORDS = 12  # of a name; in a longer one no part is looked for


class OtherDeviceError(UnreadableError):
    """A row that names, or may name, another device; `named` is the name."""

    def __init__(self, message: str, named: str) -> None:
        super().__init__(message)
        self.named = named


def vendor_of(device: str) -> tuple[Vendor | None, str]:
    """Return the known vendor that a device's name begins with, and the rest of the name.

    >>> vendor_of("nvidia A100 40G")[1], vendor_of("昆仑芯R300")[1], vendor_of("MXC500")[1]
    ('A100 40G', 'R300', 'C500')
    """
    folded = device.casefold()
    for vendor in VENDORS.values():
        for alias in (vendor.name.casefold(), *vendor.aliases):
            if not folded.startswith(alias):
                continue
            rest = device[len(alias) :]
            is_apart = rest[:1] in (" ", "_", "-") or not alias.isascii() or _GLUED.match(rest) is not None
            if is_apart and rest.strip(" _-") and (alias in vendor.aliases or not rest[0].isalnum()):
                return vendor, rest.strip(" _-")
    return None, device


def bare_name(device: str) -> str:
    """Return a device's name for comparison: lower case, without vendor, size of memory, spaces and hyphens.

    >>> bare_name("NVIDIA A100 40G"), bare_name("iluvatar BI-V100"), bare_name("R300+")
    ('a100', 'biv100', 'r300+')
    """
    rest = vendor_of(one_line(device))[1]
    return _compact(_MEMORY.sub("", rest) or rest)


def size_of(device: str) -> float | None:
    """Return the size of memory at the end of a device's name, in GiB; None for none."""
    found = _MEMORY.search(one_line(device))
    return None if found is None else float("".join(one for one in found.group() if one.isdigit()))


def read_topology(said: Said, device: str, around: str = "") -> Topology:
    """Return the topology in a row's first cell; `device` is the short name that the document gives the device.

    `around` are the document's other texts about the device, which may call its vendor otherwise. Raises
    UnreadableError for no topology or several, for words that contradict it ("8卡 (1x4)"), and for anything beside
    topology and name; OtherDeviceError for another name.
    """
    expected = "expected one NODESxDEVICES in brackets, as in R300单机8卡（1x8）"
    if mark_in(without_emphasis(said.text)) == "~~":
        raise UnreadableError(f"found {quote(said.text)}, which is struck out; remove the row, or its marks")
    text = _without_name(reading_form(one_line(shown(said.text))), reading_form(one_line(device)))
    found = _CROSS.findall(text)
    if len(found) != 1:
        raise UnreadableError(f"found {len(found) or 'no'} topologies in {quote(said.text)}, {expected}")
    try:
        topology = Topology.parse("x".join(found[0]))
    except ExpectationError as error:
        raise UnreadableError(f"in {quote(said.text)}: {error}") from error
    words = _CROSS.sub(" ", text)
    if _MORE_CROSSES.search(words):
        raise UnreadableError(f"found {quote(said.text)}, of which {topology} is only a part, {expected}")
    for counts, allowed in (
        (_MACHINES.findall(words), {topology.nodes}),
        (_DEVICES.findall(words), {topology.devices, topology.ranks}),
    ):
        for count in counts:
            if _count(count) not in allowed:
                raise UnreadableError(f"found {quote(said.text)}, in which the words contradict {topology}; {expected}")
    _check_rest(text, said, device, around)
    return topology


def _check_rest(text: str, said: Said, device: str, around: str) -> None:
    """Refuse what is neither topology, nor a count, nor the device's name, which stands at most once."""
    cross = _CROSS.search(text)
    assert cross is not None
    head, tail = _rest(text[: cross.start()]), _rest(text[cross.end() :])
    if _is_name(head + tail, device, around) and not (head and tail):
        return
    rest = tail or head
    if head and not _is_name(head, device, around) and device:
        named = _DEVICES.sub(" ", _MACHINES.sub(" ", text[: cross.start()])).strip(" (:,_-")
        raise OtherDeviceError(
            f"found {quote(said.text)}, expected a row of {quote(device)}; remove other devices' rows", named
        )
    raise UnreadableError(
        f"found {quote(said.text)}, expected name and topology alone, as in R300单机8卡（1x8）; cannot tell what "
        f"{quote(rest)} means"
    )


def _rest(text: str) -> str:
    """Return what is left of a part of the cell without counts, punctuation, and words for machines and devices."""
    text = _compact(_DEVICES.sub(" ", _MACHINES.sub(" ", text)))
    return text if _GENERIC.sub("", text) else ""


def _without_name(text: str, device: str) -> str:
    """Return the cell's text without the device's name or a part of it, where it begins with that."""
    for name in sorted(_parts(device), key=len, reverse=True):
        rest = text[len(name) :]
        goes_on = rest[:1].isascii() and rest[:1].isalnum() and name[-1:].isascii() and name[-1:].isalnum()
        if text[: len(name)].casefold() == name.casefold() and not goes_on:
            return rest
    return text


def _parts(device: str) -> list[str]:
    """Return the runs of words of a name: "kunlunxin R300" and "R300"."""
    words = device.split(" ")
    if len(words) > _MOST_WORDS:
        return [device]
    return [" ".join(words[a:b]) for a in range(len(words)) for b in range(a + 1, len(words) + 1) if any(words[a:b])]


def _is_name(text: str, device: str, around: str) -> bool:
    """Return whether `text`, as returned by `_rest`, names the device; "" does."""
    if not text or not device:
        return not text
    vendor, _ = vendor_of(device)
    aliases = () if vendor is None else (vendor.name.casefold(), *vendor.aliases)
    known = {_compact(name) for name in _parts(device)}
    known |= {name[len(alias) :] for name in known for alias in aliases if name.startswith(alias)} | set(aliases)
    found = {text, _GENERIC.sub("", text)}
    found |= {one[len(alias) :] for one in found for alias in aliases if one.startswith(alias)}
    # A name of the vendor in the document's own language, as its list of the hardware has it.
    found |= {
        text[len(head) :]
        for head in (text[: len(text) - len(name)] for name in known if name and text.endswith(name))
        if head and not head.isascii() and head.isalpha() and head in around
    }
    return bool(found & known)


def _compact(text: str) -> str:
    return _PUNCTUATION.sub("", text.casefold())


def _count(word: str) -> int:
    """Return a count in digits or in Chinese; 0 for one that is not exact."""
    if word.isascii():
        return int(word)
    if word in _DIGITS:
        return _DIGITS[word]
    tens, ten, ones = word.partition("十")
    if not ten or (tens and tens not in _DIGITS) or (ones and ones not in _DIGITS):
        return 0
    return 10 * _DIGITS.get(tens, 1) + _DIGITS.get(ones, 0)
