"""Reads the cells that name a row of the performance table: topology, precision and hyper-parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass

from expected.documents.model import Said, UnreadableError, quote
from expected.documents.quoting import one_line, reading_form, shown, without_emphasis
from expected.errors import ExpectationError
from expected.model import PRECISIONS
from expected.topology import Topology

_CROSS = re.compile(r"(?<![0-9A-Za-z.])([0-9]+)\s*[xX×*]\s*([0-9]+)(?![0-9A-Za-z.])")
_MORE_CROSSES = re.compile(r"[0-9]\s*[xX×*]|[xX×*]\s*[0-9]")
_COUNT = r"(?<![0-9A-Za-z.])([0-9]{1,5}|[单一两双二三四五六七八九十百千万]+)\s*"
_MACHINES = re.compile(_COUNT + r"(?:机|台|节点)")
_CARDS = re.compile(_COUNT + r"(?:张\s*)?(?:加速)?卡")
_DIGITS = {"单": 1, "一": 1, "两": 2, "双": 2, "二": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
_WORD = re.compile("[0-9a-z]+")
_GENERIC = re.compile("多|共|总计?|训练|集群|服务器|节点|加速|机器?|台|张|卡")

_SEPARATOR = re.compile(r"(?:[\s,;、]|<br\s*/?>)*", re.IGNORECASE)
_PARAMETER = re.compile(
    r"(?P<name>learning[ _-]?rate|lr|(?:train[ _-]?)?batch[ _-]?size|bs)\s*[=:]?\s*"
    r"(?P<value>[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]{1,3})?)(?=$|[\s,;、<])",
    re.IGNORECASE,
)
_BATCH_SIZE = re.compile("[1-9][0-9]{0,5}")
_DEFAULTS = re.compile(r"(?:(?P<topology>[0-9]+x[0-9]+):)?(?P<rest>.*)", re.DOTALL)
UNSTATED = ("", "/")


@dataclass(frozen=True)
class Hyper:
    """Hyper-parameters of a row; None where the document leaves one out."""

    batch_size: int | None
    learning_rate: float | None


@dataclass(frozen=True)
class Default:
    """What stands in for hyper-parameters that the document does not print, of one topology or (None) of all."""

    topology: Topology | None
    hyper: Hyper


def read_topology(said: Said, device: str) -> Topology:
    """The topology that a row's first cell names, `device` being the short name that the document gives the card.

    Raises UnreadableError where none or several are named, the words around it contradict it, or the row is of another
    device.
    """
    text = _of_device(reading_form(one_line(shown(said.text))), reading_form(one_line(device)), said)
    found = _CROSS.findall(text)
    expected = "expected one NODESxCARDS in brackets, as in R300单机8卡（1x8）"
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
        (_CARDS.findall(words), {topology.cards, topology.ranks}),
    ):
        for count in counts:
            if _count(count) not in allowed:
                raise UnreadableError(f"found {quote(said.text)}, in which the words contradict {topology}; {expected}")
    return topology


def read_precision(said: Said) -> str:
    """The precision that a cell names; UnreadableError for anything that is not exactly one of those known."""
    word = reading_form(without_emphasis(said.text)).strip().lower()
    if word not in PRECISIONS:
        raise UnreadableError(f"precision: found {quote(said.text)}, expected one of {', '.join(PRECISIONS)}")
    return word


def read_hyper(text: str) -> Hyper:
    """The hyper-parameters that a cell names, in any order; blank or "/" names none.

    Raises UnreadableError for other parameters, for one that is named twice, and for anything around them.
    """
    form = reading_form(without_emphasis(text)).strip()
    if form in UNSTATED:
        return Hyper(None, None)
    found: dict[str, str] = {}
    position = 0
    while position < len(form):
        match = _PARAMETER.match(form, position)
        if match is None:
            raise UnreadableError(
                f"fix_hp: found {quote(text)}, expected bs and lr, as in bs=16,lr=0.16; cannot tell what "
                f"{quote(form[position:])} means"
            )
        name = "lr" if match["name"].lower().startswith("l") else "bs"
        if name in found:
            raise UnreadableError(f"fix_hp: found {name} twice in {quote(text)}, expected it once")
        found[name] = match["value"]
        separator = _SEPARATOR.match(form, match.end())
        position = match.end() if separator is None else separator.end()
    return Hyper(_batch_size(found.get("bs"), text), _learning_rate(found.get("lr"), text))


def read_default(text: str) -> Default:
    """What an option gives for rows without hyper-parameters: "bs=2,lr=0.02", or of one topology "1x8:bs=2,lr=0.02"."""
    match = _DEFAULTS.fullmatch(text)
    assert match is not None  # everything matches
    try:
        topology = Topology.parse(match["topology"]) if match["topology"] else None
        hyper = read_hyper(match["rest"])
    except ExpectationError as error:
        raise UnreadableError(f"default hyper-parameters {quote(text)}: {error}") from error
    if hyper.batch_size is None or hyper.learning_rate is None:
        raise UnreadableError(f"default hyper-parameters {quote(text)}: expected both, as in bs=2,lr=0.02")
    return Default(topology, hyper)


def _of_device(text: str, device: str, said: Said) -> str:
    """The cell's text without the device's name; refuses a row that names another device, or perhaps does.

    The name is whatever follows a space in the short name, vendor first: "kunlunxin R300" or "R300".
    """
    known = _WORD.findall(device.casefold())
    for start in (0, *(position + 1 for position, one in enumerate(device) if one == " ")):
        name = device[start:]
        if name and text[: len(name)].casefold() == name.casefold():
            text, known = text[len(name) :], []
            break
    head = _CARDS.sub(" ", _MACHINES.sub(" ", _before_topology(text)))
    words = _WORD.findall(head.lower())
    strange = set(words) - set(known) and not (known and "".join(words) in "".join(known))
    unknown = not words and bool(known) and any(one.isalnum() for one in _GENERIC.sub("", head))
    if device and (strange or unknown):
        raise UnreadableError(
            f"found {quote(said.text)}, expected a row of {quote(device)}; remove other devices' rows"
        )
    return text


def _before_topology(text: str) -> str:
    match = _CROSS.search(text)
    return text[: match.start()] if match else text


def _count(word: str) -> int:
    """A count in digits or in Chinese; 0 for one that is not exact."""
    if word.isascii():
        return int(word)
    if word in _DIGITS:
        return _DIGITS[word]
    tens, ten, ones = word.partition("十")
    if not ten or (tens and tens not in _DIGITS) or (ones and ones not in _DIGITS):
        return 0
    return 10 * _DIGITS.get(tens, 1) + _DIGITS.get(ones, 0)


def _batch_size(value: str | None, text: str) -> int | None:
    if value is None:
        return None
    if not _BATCH_SIZE.fullmatch(value):
        raise UnreadableError(f"fix_hp: found the batch size {quote(value)} in {quote(text)}, expected a whole number")
    return int(value)


def _learning_rate(value: str | None, text: str) -> float | None:
    if value is None:
        return None
    rate = float(value)
    if not 0 < rate < 10:
        raise UnreadableError(f"fix_hp: found the learning rate {quote(value)} in {quote(text)}, expected > 0 and < 10")
    return rate
