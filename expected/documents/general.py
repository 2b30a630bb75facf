"""Reads the lists of the environment and the table of general metrics."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Callable, Mapping

from expected.documents.cells import check_unit, same_unit
from expected.documents.markdown import ITEM, Line, Table
from expected.documents.model import Complaints, Place, Said, UnreadableError, quote
from expected.documents.quoting import (
    mark_in,
    one_line,
    reading_form,
    restriction_in,
    shown,
    without_emphasis,
    without_marks,
)
from expected.documents.words import (
    COLUMN_OF,
    COLUMNS,
    DATA_SET,
    DEVICE,
    GENERAL_COLUMNS,
    GENERATED,
    IN_STEP,
    LABELS,
    MODEL,
    MODIFICATIONS,
    MOST_COLUMNS,
    NO_MODIFICATION,
    TASK,
    UNITS,
    is_usual_remark,
    plain_word,
)

_FIRST_WORD = re.compile("[a-z0-9_]+")
_KEY = re.compile("[a-z][a-z0-9_]*")
_NAMED_UNIT = re.compile(r"单位\s*[为是:=]?\s*\(?([a-z%/]+|[\u4e00-\u9fff]+)")
_IN_BRACKETS = re.compile(r"\(([^()]*)\)")
_TIME = re.compile(r"小时|分钟|(?<![a-z])(?:h|hr|hrs|hours?|min|mins|minutes?)(?![a-z])")
_SENTENCE_UNIT = re.compile(r"单位|\bunits?\b|\bin (?:hours|minutes)\b", re.IGNORECASE)
_OTHER_UNIT = re.compile(
    r"小时|分钟|(?<![a-z])(?:h|hours?|min|minutes?|gb|mb|mib|samples?/s|步/秒)(?![a-z])", re.IGNORECASE
)
_PER_DEVICE = re.compile(r"(?:每|单)(?:张)?卡|per[ -]?(?:card|device|gpu|rank)", re.IGNORECASE)
_RATES = ("p_whole", "p_train", "p_core")
_OF_RATES = re.compile(r"吞吐|throughput|images?/s|p_(?:whole|train|core)", re.IGNORECASE)
_OTHER_AP = re.compile(r"@\s*\[?0?\.[57]5?0?(?!\s*[0-9:~-])|\bap_?(?:50|75)|map_?(?:50|75)", re.IGNORECASE)
_TOTAL = re.compile(r"总|合计|之和|全局|[0-9]\s*卡|global|total|\bsum\b|all ", re.IGNORECASE)
_ALL_DEVICES = "a throughput is of all devices of its row: write these numbers into the rows, and remove this remark"
_NAMES = (*COLUMN_OF, MODEL, DEVICE, DATA_SET, MODIFICATIONS, TASK)


class Section:
    """One list of the environment, fed line by line: texts by key."""

    def __init__(self, kind: str, place: Place) -> None:
        self.kind = kind
        self.place = place
        self.texts: dict[str, Said] = {}
        self.complaints = Complaints()
        self.sentences: list[Said] = []
        self._last = ""
        self._last_indent = 0
        self._open = False

    def add(self, line: Line) -> None:
        """Take over a line: a labelled item, the continuation of the item above, or a remark."""
        place, text = line.said.place, line.said.text
        if line.kind != ITEM:
            if self._open and not line.blank_before:
                self._continue(" ", text)
            elif text:
                self.complaints.note(place, f"{quote(text)} is not an item of the list, and is left out")
                self.sentences.append(line.said)
            return
        is_inner = self._open and line.indent > self._last_indent
        label, colon, value = reading_form(text).partition(":")
        word = plain_word(label) if colon else ""
        if word not in LABELS[self.kind] and plain_word(without_marks(label)) in LABELS[self.kind]:
            self.complaints.error(place, f"found the label {quote(label)} with a mark, expected it without")
            return
        key = LABELS[self.kind].get(word, "")
        if not key and _KEY.fullmatch(word) and not is_inner:
            key = word  # an unknown label in the form of a key is one: "python"
        if key in self.texts:
            found = f"found a second {key} in this list, expected one; see {self.texts[key].place}"
            self.complaints.error(place, found)
        elif key:
            offset = len(text) - len(value.lstrip())
            self.texts[key] = Said(text[offset:], Place(place.line, place.column + offset))
            self._last, self._last_indent, self._open = key, line.indent, True
        elif is_inner:
            self._continue("; ", text)
        else:
            self._open = False
            self.complaints.note(place, f"the label of {quote(text)} is not known, and the item is left out")

    def finish(self) -> None:
        """Drop items without content; report invisible characters."""
        for key, said in list(self.texts.items()):
            text = shown(said.text)
            if text in ("", "/"):
                del self.texts[key]
                self.complaints.note(said.place, f"{key}: nothing is stated, and it is left out")
            elif not one_line(text).isprintable():
                found = f"{key}: found {quote(text)} with invisible characters"
                self.complaints.error(said.place, found)
            elif mark_in(without_emphasis(said.text)):
                mark = mark_in(without_emphasis(said.text))
                self.complaints.error(said.place, f"{key}: found {quote(text)}; {quote(mark)} is a mark, not a part")

    def _continue(self, separator: str, text: str) -> None:
        before = self.texts[self._last]
        self.texts[self._last] = Said(before.text + separator + text if before.text else text, before.place)


@dataclass(frozen=True)
class General:
    """A table of general metrics; `model` is None unless exactly one row has it.

    `modifications` includes what the third column says of them. `units` are those of columns where they are not the
    metrics' own, `sentences` the remarks that say something which no other document does.
    """

    place: Place
    model: Said | None
    device: Said | None
    data_set: Said | None
    modifications: Said | None
    complaints: Complaints
    units: Mapping[str, str] = field(default_factory=dict)
    in_step: bool = False
    sentences: tuple[Said, ...] = ()


def is_general(table: Table) -> bool:
    """Return whether a table has the headings of a table of general metrics."""
    names = [GENERAL_COLUMNS.get(plain_word(said.text), "") for said in table.header[:MOST_COLUMNS]]
    return "name" in names and "value" in names


def read_general(table: Table) -> General:
    """Return the contents of a table of general metrics, of whichever model."""
    complaints = Complaints()
    if table.broken:
        complaints.error(table.place, f"this table of general metrics {table.broken}")
    names = [GENERAL_COLUMNS.get(plain_word(said.text), "") for said in table.header]
    for said, name in zip(table.header, names):
        if names.count(name) > 1 and name:
            complaints.error(said.place, f"found the column {quote(said.text)} twice, expected it once")
    found: dict[str, Said] = {}
    units: dict[str, str] = {}
    sentences: list[Said] = []
    in_step = False
    for cells, place in zip(table.rows, table.places):
        if len(cells) != len(names):
            complaints.error(place, f"found {len(cells)} cells in this row, expected {len(names)}")
            continue
        row = dict(zip(names, cells))
        said = row["name"]
        word, unit = _name_of(said, complaints)
        if word in found:
            complaints.error(said.place, f"found {quote(said.text)} again; see {found[word].place}")
        remark = row.get("remark", Said("", place))
        value = _with_remark(row["value"], remark) if word == MODIFICATIONS else row["value"]
        found.setdefault(word, value)
        if word in COLUMN_OF:
            _read_column(COLUMN_OF[word], unit, row, units, complaints)
            in_step = in_step or (COLUMN_OF[word] == "p_core" and IN_STEP in plain_word(remark.text))
        elif word in _NAMES and word != MODIFICATIONS:
            _check_marks(row["value"], mark_in, complaints)
        sentences += _sentences(word, row, complaints)
    model, device, data_set, modifications = map(found.get, (MODEL, DEVICE, DATA_SET, MODIFICATIONS))
    return General(table.place, model, device, data_set, modifications, complaints, units, in_step, tuple(sentences))


def check_sentence(said: Said, complaints: Complaints) -> None:
    """Report a sentence beside a table, which the notes of the device file quote.

    One that states a unit is refused, or that a throughput is of one device.
    """
    text = reading_form(said.text)
    if _SENTENCE_UNIT.search(text) and _OTHER_UNIT.search(text):
        found = f"found {quote(said.text)}, which states a unit; write it into the heading of its column"
        complaints.error(said.place, found)
        return
    if _PER_DEVICE.search(text) and _OF_RATES.search(text):
        complaints.error(said.place, f"found {quote(said.text)}; {_ALL_DEVICES}")
        return
    complaints.note(said.place, f"{quote(said.text)} stands beside the tables, and is quoted in the notes")


def _name_of(said: Said, complaints: Complaints) -> tuple[str, str]:
    """Return what a row of the general metrics is about, and the unit in brackets behind it."""
    word = plain_word(said.text)
    if word in _NAMES:
        return word, ""
    bare, _, rest = word.partition("(")
    if bare in COLUMN_OF and rest.endswith(")"):
        return bare, rest[:-1]
    if plain_word(without_marks(without_emphasis(said.text))) in _NAMES:
        complaints.error(said.place, f"found {quote(said.text)} with a mark, expected the name without")
    elif bare in _NAMES:
        complaints.error(said.place, f"found {quote(said.text)}, expected {quote(bare)} alone")
    return word, ""


def _with_remark(value: Said, remark: Said) -> Said:
    """Return the declared modifications with what the third column says of them."""
    if not shown(remark.text).strip() or plain_word(remark.text) in NO_MODIFICATION:
        return value
    return remark if plain_word(value.text) in NO_MODIFICATION else Said(f"{value.text}; {remark.text}", value.place)


def _check_marks(said: Said, find: Callable[[str], str], complaints: Complaints) -> None:
    mark = find(without_emphasis(said.text))
    if mark:
        complaints.error(said.place, f"found {quote(said.text)}; cannot tell what {quote(mark)} means")


def _sentences(word: str, row: Mapping[str, Said], complaints: Complaints) -> list[Said]:
    """Return what a row says that is in no other field, each with a note."""
    remark = row.get("remark")
    if word not in _NAMES:
        if not any(cell.text for cell in row.values()):
            return []
        text = f"{row['name'].text}: {row['value'].text}" + (f"; {remark.text}" if remark and remark.text else "")
        complaints.note(row["name"].place, f"{quote(text)} is not a general metric, and is quoted in the notes")
        return [Said(text, row["name"].place)]
    if remark is None or word == MODIFICATIONS or is_usual_remark(remark.text):
        return []
    complaints.note(remark.place, f"{quote(remark.text)} is a remark on {word}, and is quoted in the notes")
    return [Said(f"{word}: {remark.text}", remark.place)]


def check_data_set(said: Said | None, place: Place, complaints: Complaints) -> None:
    """Complain unless the numbers are of COCO 2017."""
    expected = "expected coco2017: numbers of another data set say nothing about this benchmark"
    if said is None:
        complaints.error(place, f"found no row {DATA_SET}, {expected}")
        return
    word = plain_word(said.text)
    if word.startswith(GENERATED):
        complaints.note(said.place, f"{quote(said.text)}: the numbers are of a data set of its own")
    elif "".join(one for one in word if one.isalnum()) not in ("coco2017", "mscoco2017"):
        complaints.error(said.place, f"found {quote(said.text)}, {expected}")


def _read_column(
    name: str, named_unit: str, row: Mapping[str, Said], units: dict[str, str], complaints: Complaints
) -> None:
    """Take over the unit of a column from the row that explains it; complain about anything that is not certain."""
    value, remark = row["value"], row.get("remark", Said("", row["value"].place))
    text = plain_word(value.text)
    first = _FIRST_WORD.match(text)
    if first is not None and first.group() in COLUMNS and first.group() != name:
        found = f"found {quote(value.text)} for {quote(row['name'].text)}, expected the column {name}"
        complaints.error(value.place, found)
    _check_marks(value, restriction_in, complaints)
    _check_marks(remark, restriction_in, complaints)
    if name == "fix_hp":
        _check_hyper(remark, complaints)
        return
    if name in _RATES and _PER_DEVICE.search(reading_form(remark.text)):
        complaints.error(remark.place, f"found {quote(remark.text)} on {name}; {_ALL_DEVICES}")
    if name == "map" and _OTHER_AP.search(reading_form(remark.text)):
        found = f"found {quote(remark.text)} on map, expected AP@[.50:.95]; leave the column blank if it is another's"
        complaints.error(remark.place, found)
    if name not in UNITS:
        return
    in_brackets = _IN_BRACKETS.search(text)
    for said, unit in (
        (row["name"], named_unit),
        (value, in_brackets.group(1) if in_brackets else ""),
        (remark, _unit_in(name, plain_word(remark.text))),
    ):
        _take_unit(name, unit, said, units, complaints)


def _unit_in(name: str, remark: str) -> str:
    """Return the unit that a remark states, in lower case; "" for none."""
    named = _NAMED_UNIT.search(remark)
    if named is not None and not (name == "map" and is_usual_remark(remark)):
        return named.group(1)
    time = _TIME.search(remark)
    return time.group() if time is not None and name == "e2e_time" else ""


def _take_unit(name: str, unit: str, said: Said, units: dict[str, str], complaints: Complaints) -> None:
    try:
        check_unit(name, unit)
    except UnreadableError:
        complaints.error(said.place, f"found the unit {quote(unit)} of {name}, expected {UNITS[name][0]}")
        return
    if unit and name in units and not same_unit(name, unit, units[name]):
        complaints.error(said.place, f"found the unit {quote(unit)} of {name}, but also {quote(units[name])}")
    elif unit:
        units[name] = unit


def _check_hyper(remark: Said, complaints: Complaints) -> None:
    """Refuse a remark on the hyper-parameters, unless it says what holds anyway: that they are of one device."""
    text = reading_form(shown(remark.text))
    if is_usual_remark(remark.text) or (_PER_DEVICE.search(text) and not _TOTAL.search(text)):
        return
    complaints.error(
        remark.place,
        f"found {quote(remark.text)} on fix_hp, expected bs of one device and lr of the run; cannot tell what this "
        "changes: write it into the rows, and remove it here",
    )
