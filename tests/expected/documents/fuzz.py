"""Fuzzes the importer: `python -m tests.expected.documents.fuzz --minutes 10 --seed 1`.

Documents are the R300's and generated ones, mutated. Nothing but a SuiteError may be raised; a document with errors
makes no device file; every number in a device file is the one that stands in its own cell of the text, read a second
time here in another way, in the unit that the document states, and under the heading of its name. No row with a mark,
a restriction or another product's name is read, no number beyond this model, and no sentence beside a table is lost.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Sequence

from evidence.errors import SuiteError
from expected import METRICS, PUBLISHED, load_device
from expected.documents import Document, Given, Row, Stated, device_toml, differences, read_document
from expected.load import load_devices
from tests.expected.documents.making import CELLS, DASHES, HEADER, SEED, document, row

CELL_TEXTS = (
    *("", "/", "／", "199", "1,848", "11848", "36.4%", "0.364", "0.364%", "100%", "17.0/32.0", "9.9/64"),
    *("28.0 / 32.0 GiB", "0.376 && 0.336", "1e5", "1e999", "NaN", "-1", "２９８", "٣", "298[1]", "**298**", "`7`"),
    *("3.3h", "5 images/s", "1x8", "fp32", "amp", "bs=16,lr=0.16", "lr=0.02 bs=2", "R300单机8卡（1x8）"),
    *("两机8卡（2x8）", "A100单机8卡（1x8）", "--", "N/A", "3.9h", "3.9 小时", "234 min", "234", "0.2 d", "84.0%"),
    *("44.5/64.0", "9000", "tf32", "298 估算值", "~~298~~", "R300单机8卡（1x8）[1]", "~~R300单机8卡（1x8）~~"),
    *("R300单机8卡（1x8）估算值", "R300单机8卡（1x8） estimated", "R300+单机8卡（1x8）", "R300增强版单机8卡（1x8）"),
    *("R300p单机8卡（1x8）", "MXC500 单机8卡（1x8）"),
)
SENTENCE = "以上为单次结果"
REMARKS = (
    *("单位为小时", "单位：小时", "单位为分钟", "单位为秒", "总时间（小时）", "单位为天", "单位为GB", "估算值", "[1]"),
    *("只用前1000张", "bs is the sum over 8 cards", "bs为单卡", "METAX_USE_TF32=1", ""),
)
UNITS = ("(h)", "（小时）", "(min)", "(s)", "(d)", "(估算)", "[1]", "*")
MARKS = ("[1]", "[^2]", "~~", "估算值", "estimated", "<sup>1</sup>", "†", "①")
PIECES = (
    *("|", "\\|", "｜", "\n", "\r\n", "\n\n", "<!--", "-->", "```\n", "~~~\n", "<pre>", "</pre>", "- ", "#", ">"),
    *("    ", "\t", "：", ":", "，", ",", "（", "(", "）", ")", "／", "/", "％", "%", "\u3000", "\u200b", "\x00"),
    *("\u2028", "\udc80", "\ufeff", "*", "**", "_", "`", "\\", "&#124;", "\\x0a", "0", "1", "9", ".", "e", "x", "单"),
    *("两", "机", "卡", "|---", "---|", *MARKS, *UNITS, "+", "增强版", f"\n{SENTENCE}\n", f"\n\n{SENTENCE}\n\n"),
    *("\n时间单位为小时\n", "| 备注 | 2 epochs | |\n", "### YOLOv5\n", "* 通用指标\n", "* 性能指标\n", "- 硬件环境\n"),
    *("| 模型 | maskRCNN |\n", HEADER + "\n", DASHES + "\n"),
)


def generated(chance: random.Random) -> str:
    """A document with a table of any rows."""
    rows = []
    for _ in range(chance.randint(1, 5)):
        changes = {name: chance.choice(CELL_TEXTS) for name in CELLS if chance.random() < 0.25}
        topology = chance.choice(("1x1", "1x8", "2x8", "4x8", "R300单机单卡（1x1）"))
        rows.append(row(**{"config": topology, **changes}))
    return document(*rows)


def mutated(text: str, chance: random.Random) -> str:
    """`text` with a few things done to it, most of them within its tables."""
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 5, 9))):
        text = chance.choice(MUTATIONS)(text, chance)
    return text


def _at(text: str, chance: random.Random) -> int:
    table = text.rfind("性能指标")
    low = max(0, table) if chance.random() < 0.7 else 0
    return chance.randint(low, len(text)) if low <= len(text) else 0


def _insert(text: str, chance: random.Random) -> str:
    at = _at(text, chance)
    return text[:at] + chance.choice(PIECES) + text[at:]


def _delete(text: str, chance: random.Random) -> str:
    at = _at(text, chance)
    return text[:at] + text[at + chance.choice((1, 1, 1, 2, 5, 40)) :]


def _replace(text: str, chance: random.Random) -> str:
    at = _at(text, chance)
    return text[:at] + chance.choice(PIECES) + text[at + 1 :]


def _set_cell(text: str, chance: random.Random) -> str:
    pipes = [match.start() for match in re.finditer(r"\|", text)]
    if len(pipes) < 2:
        return text
    first = chance.randrange(len(pipes) - 1)
    return text[: pipes[first] + 1] + f" {chance.choice(CELL_TEXTS)} " + text[pipes[first + 1] :]


def _lines(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    kind = chance.randrange(4)
    if kind == 0:
        lines[one], lines[other] = lines[other], lines[one]
    elif kind == 1:
        lines.insert(other, lines[one])
    elif kind == 2:
        del lines[one]
    else:
        lines[one] = chance.choice(("  ", "    ", "\t", "> ", "- ", "")) + lines[one].strip()
    return "\n".join(lines)


def _swap_columns(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    begin = next((n for n, line in enumerate(lines) if "p_core |" in line), None)
    if begin is None:
        return text
    one, other = chance.randint(1, 9), chance.randint(1, 9)
    for number in range(begin, len(lines)):
        cells = lines[number].split("|")
        if len(cells) == 11:
            cells[one], cells[other] = cells[other], cells[one]
            lines[number] = "|".join(cells)
    return "\n".join(lines)


def _annotate(text: str, chance: random.Random) -> str:
    """A mark behind the content of a cell or a label."""
    ends = [match.start() for match in re.finditer(r"(?<=[^\s|])\s*(?=\||：|:|\n)", text)]
    at = chance.choice(ends) if ends else 0
    return text[:at] + chance.choice(MARKS) + text[at:]


def _third_column(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    rows = [n for n, line in enumerate(lines) if line.count("|") == 4 and not line.startswith("|-")]
    if not rows:
        return text
    at = chance.choice(rows)
    lines[at] = "|".join([*lines[at].split("|")[:3], f" {chance.choice(REMARKS)} ", ""])
    return "\n".join(lines)


def _unit(text: str, chance: random.Random) -> str:
    """A unit behind the name of a column, or of the row that explains it."""
    names = [match.end() for match in re.finditer("e2e_time|端到端时间|p_core|mem|map", text)]
    at = chance.choice(names) if names else 0
    return text[:at] + chance.choice(UNITS) + text[at:]


def _column_of_remarks(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    begin = next((n for n, line in enumerate(lines) if "p_core |" in line), None)
    if begin is None:
        return text
    for number in range(begin, len(lines)):
        if lines[number].rstrip().endswith("|"):
            cell = {0: " 备注 |", 1: "---|"}.get(number - begin, f" {chance.choice((*REMARKS, '7', 'NVLink'))} |")
            lines[number] = lines[number].rstrip() + cell
    return "\n".join(lines)


MUTATIONS = (
    *(_insert, _insert, _delete, _replace, _set_cell, _set_cell, _lines, _swap_columns),
    *(_annotate, _third_column, _unit, _column_of_remarks),
)


def violations(text: str, found: Document) -> list[str]:
    """What the reading did that no reading may do."""
    lines = re.split(r"\r\n|\n|\r", text)
    wrong = []
    for one in found.rows:
        of_cells = [fault for name, stated in one.metrics.items() for fault in _of_cell(name, stated, lines, text)]
        wrong += of_cells or _of_row(one, lines[one.place.line - 1], found, text)
    return wrong


def _of_row(row: Row, line: str, found: Document, text: str) -> list[str]:
    """What a row that was read may not have: marks, another product's name, numbers beyond the model."""
    wrong = []
    shown = re.sub("<!--.*?-->|<!-->", "", line)
    if "\\" not in shown and "<!--" not in shown:
        wrong += [f"{row.place}: {mark!r} is lost" for mark in MARKS if mark in shown]
    if found.device is not None and found.device.text == "kunlunxin R300":
        wrong += [f"{row.place}: another product" for _ in re.findall(r"R300\s*(?:\+|增强|p)|MXC500", shown)]
    if "generated" not in text:
        value = {name: stated.value or 0.0 for name, stated in row.metrics.items()}
        if value["map"] > 0.45 or value["p_core"] > 1000 * row.topology.ranks:
            wrong.append(f"{row.place}: beyond this model")
    return wrong


def _seconds(said: str, number: Decimal, text: str) -> set[float]:
    """What an e2e_time can be in seconds: converted where a unit stands in its cell, or else anywhere else."""
    factors = {"h": 3600, "小时": 3600, "min": 60, "分钟": 60, "s": 1, "秒": 1}
    own = [factor for unit, factor in factors.items() if re.search(rf"[0-9]\s*{unit}\W*$", said)]
    elsewhere = re.findall(r"(?:单位[为：:]|[(（])\s*(小时|分钟|秒|h|min|s)(?![a-z])", text)
    return {float(number * factor) for factor in own or {1, *(factors[unit] for unit in elsewhere)}}


def _of_cell(name: str, stated: Stated, lines: Sequence[str], text: str) -> list[str]:
    place, said = stated.said.place, stated.said.text
    line = lines[place.line - 1]
    shown = re.sub("<!--.*?-->|<!-->", lambda match: " " * len(match.group()), line)
    if not shown[place.column - 1 :].startswith(said) and not line[place.column - 1 :].startswith(said):
        return [f"{place}: {said!r} does not stand there"]
    if stated.state != PUBLISHED:
        return [] if said.strip("`*_ \t\u3000\xa0") in ("", "/", "／") else [f"{place}: {said!r} is not blank"]
    digits = [part.replace(",", "").replace("，", "") for part in re.findall(r"[0-9][0-9.,，eE+-]*", said)]
    numbers = [Decimal(part.rstrip(".,")) for part in digits]
    wanted = [number for number in (stated.value, stated.capacity) if number is not None]
    if len(numbers) != len(wanted):
        return [f"{place}: {wanted} read from {said!r}"]
    percent = name == "map" and any(sign in said for sign in "%％")
    if percent:
        numbers = [number / 100 for number in numbers]
    if name == "e2e_time":
        is_right = stated.value in _seconds(said, numbers[0], text)
    else:
        is_right = [float(number) for number in numbers] == wanted
    return [] if is_right else [f"{place}: {wanted} read from {said!r}"]


def columns_of(found: Document, text: str) -> list[str]:
    """Numbers that stand under another heading than their own, by counting pipes where a line has no other kind."""
    lines = re.split(r"\r\n|\n|\r", text)
    wrong = []
    for one in found.rows:
        line = lines[one.place.line - 1]
        top = one.place.line - 1
        while top > 0 and re.search("[|｜]", lines[top - 1]):
            top -= 1
        # What is read is below the first line of dashes that has a line of cells above it.
        dashes = next(
            n for n in range(top + 1, len(lines)) if re.fullmatch(r"[|｜:：\s－-]*[－-][|｜:：\s－-]*", lines[n])
        )
        header = lines[dashes - 1]
        if any(strange in line + header for strange in ("\\", "｜", "<!--")) or not header.lstrip().startswith("|"):
            continue
        if not line.lstrip().startswith("|"):
            continue
        names = [re.sub("[*_`\\s]|\\(.*?\\)|（.*?）", "", cell) for cell in header.split("|")]
        for name in METRICS:
            index = line[: one.metrics[name].said.place.column - 1].count("|")
            if re.sub("[*`]", "", names[index]).replace("_", "") != name.replace("_", ""):
                wrong.append(f"{one.metrics[name].said.place}: {name} read below {names[index]!r}")
    return wrong


def lost(text: str, file: str) -> bool:
    """Whether the sentence that mutations put below a table is not in the notes of the file."""
    if re.search("```|~~~|<!--|<pre|<script|<style|^>|\\\\", text, re.MULTILINE):
        return False
    lines = re.split(r"\r\n|\n|\r", text)
    tables = [n for n, line in enumerate(lines) if "p_core" in line and "precision" in line and "|" in line]
    if len(tables) != 1:
        return False
    below = lines[tables[0] :]
    end = next((n for n, line in enumerate(below) if re.match(r"\s*(?:[-*+]\s+)?#", line)), len(below))
    return any(line == SENTENCE for line in below[:end]) and SENTENCE not in file


def try_one(text: str, folder: Path) -> str:
    """The outcome of a document; AssertionError where it is one that may not be."""
    found = read_document(text, "README.md")
    wrong = violations(text, found) + columns_of(found, text)
    assert not wrong, wrong
    assert all(one.place.line >= 1 and one.place.column >= 1 and one.message for one in found.complaints)
    differences(found, DEVICES["r300"])
    try:
        file = device_toml(found, Given("r300"))
    except SuiteError:
        return "refused" if found.errors else "refused for its vendor"
    assert not found.errors
    assert not lost(text, file), "a sentence is lost"
    path = folder / "r300.toml"
    path.write_text(file, encoding="utf-8")
    try:
        device = load_device(path)
    except SuiteError as error:
        return f"refused by the loader: {str(error).split(': ')[1]}"
    for cell, one in zip(device.cells, found.rows):
        for name, stated in one.metrics.items():
            known = cell.expectations[name]
            assert (known.state, known.value) == (stated.state, stated.value), (name, known, stated)
    return "imported with notes" if found.notes else "imported"


DEVICES = load_devices()


def main(argv: Sequence[str] | None = None) -> int:
    """Try documents until the time is over; the closing line counts them by outcome."""
    parser = argparse.ArgumentParser(description="Fuzz the importer of vendors' documents.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--documents", type=int, default=sys.maxsize, help="stop after so many")
    arguments = parser.parse_args(argv)
    chance = random.Random(arguments.seed)
    outcomes: Counter[str] = Counter()
    end_s = time.monotonic() + 60 * arguments.minutes
    with tempfile.TemporaryDirectory() as name:
        while time.monotonic() < end_s and sum(outcomes.values()) < arguments.documents:
            text = mutated(SEED if chance.random() < 0.4 else generated(chance), chance)
            try:
                outcomes[try_one(text, Path(name))] += 1
            except BaseException:
                print(f"after {sum(outcomes.values())} documents of seed {arguments.seed}:\n{text!r}", file=sys.stderr)
                raise
    found = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    print(f"{sum(outcomes.values())} documents, no fault: {found}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
