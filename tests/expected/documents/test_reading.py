"""Documents as people write them: what they say, or the place and the reason where they cannot be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.errors import SuiteError
from expected import Topology
from expected.documents import read_document
from expected.documents.cells import Default, Hyper
from expected.documents.reading import LARGEST_BYTES, read_document_file
from tests.expected.documents.making import (
    CELLS,
    DASHES,
    FIRST,
    HEADER,
    ROW_LINE,
    SEED,
    changed,
    column_at,
    document,
    errors,
    notes,
    numbers,
    read,
    row,
)

GOOD = {
    "1x8-bs16-lr0.16": {
        "e2e_time": 11848.0,
        "p_whole": 187.0,
        "p_train": 199.0,
        "p_core": 298.0,
        "map": 0.366,
        "mem": (28.0, 32.0),
    }
}
ONE = next(iter(GOOD))


def with_metrics(**values: object) -> dict[str, dict[str, object]]:
    return {ONE: {**GOOD[ONE], **values}}


def test_the_document_of_the_r300_is_read_whole() -> None:
    found = read(SEED)

    assert found.complaints == ()
    assert found.device is not None
    assert found.device.text == "kunlunxin R300"
    assert {key: said.text for key, said in found.environment["hardware"].items()} == {
        "machine": "昆仑芯AI加速器组R480-X8",
        "card": "昆仑芯AI加速卡R300",
        "network": "InfiniBand，200Gb/s",
    }
    assert {key: said.text for key, said in found.environment["software"].items()} == {
        "os": "Ubuntu 20.04",
        "kernel": "5.4.0-26-generic",
        "driver": "4.0.25",
        "image": "pytorch1.12.1-cpu-ubuntu18.04:v0.04",
        "framework": "xmlir+e70db8f6",
        "dependencies": "pytorch-1.12.1+cpu",
    }
    blank = dict.fromkeys(("e2e_time", "p_whole", "p_train", "p_core", "map"), "")
    assert numbers(SEED) == {
        "1x1-bs16-lr0.16": {**blank, "mem": (17.0, 32.0)},
        "1x8-bs16-lr0.16": {**blank, "map": 0.364, "mem": (28.0, 32.0)},
        "2x8-bs16-lr0.16": {**blank, "mem": (15.0, 32.0)},
    }


def test_every_text_comes_with_its_place() -> None:
    found = read(SEED)
    lines = SEED.split("\n")

    for said in (*found.environment["hardware"].values(), *found.environment["software"].values()):
        line = lines[said.place.line - 1]
        assert line[said.place.column - 1 :].rstrip() == said.text
    mem = found.rows[1].metrics["mem"].said
    assert lines[mem.place.line - 1][mem.place.column - 1 :].startswith("28.0/32.0")


READABLE = {
    "as it should be": (document(row()), GOOD),
    "without padding": (document(row().replace(" | ", "|").replace("| ", "|").replace(" |", "|")), GOOD),
    "much padding": (document(row().replace("|", "   |   ")), GOOD),
    "without enclosing pipes": (document(row().strip("| "), header=HEADER.strip("| "), dashes=DASHES.strip("|")), GOOD),
    "without the last pipe": (document(row().rstrip("| ")), GOOD),
    "windows line ends": (document(row()).replace("\n", "\r\n"), GOOD),
    "old line ends": (document(row()).replace("\n", "\r"), GOOD),
    "full-width pipes": (document(row().replace("|", "｜"), header=HEADER.replace("|", "｜")), GOOD),
    "one full-width pipe": (document(row().replace("fp32 |", "fp32 ｜")), GOOD),
    "ideographic spaces": (document(row(p_core="\u3000298\u3000")), GOOD),
    "tabs": (document(row(p_core="\t298\t")), GOOD),
    "dashes with colons": (document(row(), dashes=DASHES.replace("---", ":-:")), GOOD),
    "an indented table in a list": (document("  " + row(), header="  " + HEADER, dashes="  " + DASHES), GOOD),
    "share instead of percent": (document(row(map="0.366")), GOOD),
    "full-width percent": (document(row(map="36.6％")), GOOD),
    "percent with a space": (document(row(map="36.6 %")), GOOD),
    "percent in the heading": (document(row(map="36.6"), header=HEADER.replace("map", "map(%)")), GOOD),
    "percent in both": (document(row(), header=HEADER.replace("map", "map（％）")), GOOD),
    "full-width slash": (document(row(mem="28.0／32.0")), GOOD),
    "spaces around the slash": (document(row(mem="28.0 / 32.0")), GOOD),
    "memory without decimals": (document(row(mem="28/32")), GOOD),
    "memory with units": (document(row(mem="28.0GiB/32.0 GiB")), GOOD),
    "memory with one unit": (document(row(mem="28.0/32.0 GiB")), GOOD),
    "memory as the c500 prints it": (
        changed("kunlunxin R300", "metax C500", document(row(config="MXC500 单机8卡（1x8）", mem="9.9/64"))),
        with_metrics(mem=(9.9, 64.0)),
    ),
    "memory without capacity": (document(row(mem="28.0")), with_metrics(mem=28.0)),
    "units in the headings": (
        document(row(), header=HEADER.replace("e2e_time", "e2e_time(s)").replace("mem", "mem（GiB）")),
        GOOD,
    ),
    "units in the cells": (document(row(e2e_time="11848 s", p_core="298 images/s", p_train="199img/s")), GOOD),
    "chinese units": (document(row(e2e_time="11848秒", p_core="298张/s")), GOOD),
    "thousands": (document(row(e2e_time="11,848")), GOOD),
    "thousands in full width": (document(row(e2e_time="11，848")), GOOD),
    "exponent": (document(row(e2e_time="1.1848e4")), GOOD),
    "bold": (document(row(p_core="**298**", map="__36.6%__")), GOOD),
    "code": (document(row(p_core="`298`", fix_hp="`bs=16,lr=0.16`")), GOOD),
    "blank": (document(row(e2e_time="", p_core="")), with_metrics(e2e_time="", p_core="")),
    "not applicable": (document(row(e2e_time="/", map="／")), with_metrics(e2e_time="/", map="/")),
    "everything blank": (
        document(row(e2e_time="", p_whole="", p_train="", p_core="", map="", mem="")),
        {ONE: dict.fromkeys(GOOD[ONE], "")},
    ),
    "hyper-parameters the other way round": (document(row(fix_hp="lr=0.16, bs=16")), GOOD),
    "hyper-parameters in full width": (document(row(fix_hp="bs＝16，lr＝0.16")), GOOD),
    "hyper-parameters spelled out": (document(row(fix_hp="batch_size: 16; learning_rate: 1.6e-1")), GOOD),
    "hyper-parameters without signs": (document(row(fix_hp="bs16 lr0.16")), GOOD),
    "hyper-parameters on two lines": (document(row(fix_hp="bs=16<br>lr=0.16")), GOOD),
    "upper case": (document(row(precision="FP32", fix_hp="BS=16,LR=0.16")), GOOD),
    "ascii brackets": (document(row(config="R300单机8卡(1x8)")), GOOD),
    "a big cross": (document(row(config="R300单机8卡（1X8）")), GOOD),
    "a sign of multiplication": (document(row(config="R300单机8卡（1×8）")), GOOD),
    "a bare topology": (document(row(config="1x8")), GOOD),
    "machines and devices in digits": (document(row(config="R300 1机8卡（1x8）")), GOOD),
    "devices in chinese": (document(row(config="R300单机八卡（1x8）")), GOOD),
    "the vendor in the row": (document(row(config="Kunlunxin R300单机8卡（1x8）")), GOOD),
    "the vendor in chinese in the row": (document(row(config="昆仑芯R300单机8卡（1x8）")), GOOD),
    "two machines of eight devices": (
        document(row(config="R300两机8卡（2x8）")),
        {"2x8-bs16-lr0.16": GOOD[ONE]},
    ),
    "all devices counted": (document(row(config="R300双机16卡（2x8）")), {"2x8-bs16-lr0.16": GOOD[ONE]}),
    "two batch sizes of a topology": (
        document(row(), row(fix_hp="bs=2,lr=0.02", p_core="211")),
        {**GOOD, "1x8-bs2-lr0.02": {**GOOD[ONE], "p_core": 211.0}},
    ),
    "columns in another order": (
        document(
            "| 28.0/32.0 | 36.6% | 298 | 199 | 187 | 11848 | bs=16,lr=0.16 | fp32 | R300单机8卡（1x8） |",
            header="| mem | map | p_core | p_train | p_whole | e2e_time | fix_hp | precision | 配置 |",
        ),
        GOOD,
    ),
    "headings in chinese": (
        document(
            row(),
            header="|配置|数据精度|超参修改|端到端时间|总吞吐量|训练吞吐量|计算吞吐量|训练结果|硬件存储使用|",
        ),
        GOOD,
    ),
    "bold headings": (document(row(), header=HEADER.replace("p_core", "**p_core**")), GOOD),
    "an extra column": (
        document(row() + " 99.9 |", header=HEADER + " loss |", dashes=DASHES + "---|"),
        GOOD,
    ),
    "an extra column in front": (document("| 77 " + row(), header="| id " + HEADER, dashes="|---" + DASHES), GOOD),
    "two tables, the second without a title": (
        document(row(), after="\n" + "\n".join((HEADER, DASHES, row(config="R300单机单卡（1x1）", p_core="299")))),
        {**GOOD, "1x1-bs16-lr0.16": {**GOOD[ONE], "p_core": 299.0}},
    ),
    "a comment within a row's cell": (document(row(p_core="298 <!-- was 313 -->")), GOOD),
    "a table in a comment": (document(row(), after="<!--\n" + document(row(config="1x1")) + "-->\n"), GOOD),
    "a table in code": (document(row(), after="\n```\n" + document(row(config="1x1")) + "```\n"), GOOD),
    "a table in a fence of tildes": (document(row(), after="~~~md\n" + document(row(config="1x1")) + "```\n~~~"), GOOD),
    "a table in raw html": (document(row(), after="<pre>\n" + document(row(config="1x1")) + "</pre>\n"), GOOD),
    "another table": (document(row(), after="\n| a | b |\n|---|---|\n| 1x1 | 5 |\n"), GOOD),
    "a sentence below the table": (document(row(), after="以上为单机数据\n"), GOOD),
}


@pytest.mark.parametrize("case", READABLE)
def test_an_unusual_table_gives_its_numbers(case: str) -> None:
    text, expected = READABLE[case]

    assert errors(text) == []
    assert numbers(text) == expected


def at(name: str, message: str, **changes: str) -> tuple[str, str]:
    """A document whose row has these cells, and the complaint about the cell `name`."""
    return document(row(**changes)), f"{ROW_LINE}:{column_at(name, **changes)}: {message}"


def of(name: str, text: str, message: str = "") -> tuple[str, str]:
    return at(name, f"{name}: found {text!r}{message}", **{name: text})


RATE = ", expected one number in images/s"
SHARE = ", expected a share such as 0.364 or a percentage such as 36.4%"
MEMORY = ", expected used/capacity in GiB such as 17.0/32.0"

UNREADABLE = {
    "two numbers": of("map", "0.376 && 0.336", SHARE),
    "a range": of("p_core", "290-298", RATE),
    "about": of("p_core", "~298"),
    "plus or minus": of("p_core", "298±3"),
    "a footnote in brackets": of("p_core", "298[1]"),
    "a footnote above": of("p_core", "298<sup>1</sup>"),
    "a star": of("p_core", "298*"),
    "struck out": of("p_core", "~~298~~"),
    "two lines": of("p_core", "298<br>301"),
    "a dash": of("p_core", "-"),
    "not available": of("p_core", "N/A"),
    "to be done": of("p_core", "TBD"),
    "not a number": of("p_core", "NaN"),
    "infinite": of("p_core", "inf"),
    "overflowing": of("p_core", "1e999"),
    "underflowing": of("p_core", "1e-999"),
    "zero": of("p_core", "0"),
    "negative": of("p_core", "-298"),
    "signed": of("p_core", "+298"),
    "underscores": of("p_core", "2_980"),
    "spaced thousands": of("e2e_time", "11 848", ", expected one number in s"),
    "thousands of two digits": of("e2e_time", "11,84"),
    "a decimal comma": of("map", "0,366"),
    "a comma in memory": of("mem", "28,000/32,000", MEMORY),
    "leading zeros": of("p_core", "0298"),
    "no digit before the point": of("p_core", ".298"),
    "no digit after the point": of("p_core", "298."),
    "two points": of("p_core", "2.9.8"),
    "hexadecimal": of("p_core", "0x12a"),
    "full-width digits": of("p_core", "２９８"),
    "arabic digits": of("p_core", "٢٩٨"),
    "a superscript": of("p_core", "298²"),
    "a zero-width space": of("p_core", "2\u200b98"),
    "an entity": of("p_core", "&#50;98"),
    "days": of("e2e_time", "0.2 d"),
    "one of three units": of("e2e_time", "11848 m"),
    "a wrong unit": of("p_core", "298 samples/s"),
    "percent of a rate": of("p_core", "98%"),
    "percent without its sign": of("map", "36.6"),
    "percent of a share": of("map", "0.366%", " in percent"),
    "more than all": of("map", "366%"),
    "memory in the column of mAP": of("map", "28.0/32.0"),
    "gigabytes": of("mem", "28.0/32.0 GB"),
    "mebibytes": of("mem", "28672MiB/32768MiB"),
    "memory in percent": of("mem", "87%"),
    "more memory than there is": of("mem", "33.0/32.0", ": more in use than there is"),
    "three memories": of("mem", "28.0/30.0/32.0"),
    "no used memory": of("mem", "/32.0"),
    "no capacity behind the slash": of("mem", "28.0/"),
    "rates in the wrong columns": at("p_core", "p_core: found '187', below p_train", p_whole="187", p_core="187"),
    "no precision": of("precision", "", ", expected one of fp32, amp, fp16, bf16"),
    "an unknown precision": of("precision", "tf32"),
    "two precisions": of("precision", "fp32/amp"),
    "hyper-parameters that are not printed": of("fix_hp", "/", ", expected bs and lr"),
    "blank hyper-parameters": of("fix_hp", ""),
    "only a batch size": of("fix_hp", "bs=16"),
    "other hyper-parameters": of("fix_hp", "bs=16,lr=0.16,wd=0"),
    "two batch sizes": at("fix_hp", "fix_hp: found bs twice", fix_hp="bs=16,bs=2,lr=0.1"),
    "a decimal comma in the learning rate": of("fix_hp", "bs=16,lr=0,16"),
    "a fraction of a batch": at("fix_hp", "fix_hp: found the batch size '1.5'", fix_hp="bs=1.5,lr=0.16"),
    "a batch size of zero": at("fix_hp", "fix_hp: found the batch size '0'", fix_hp="bs=0,lr=0.16"),
    "a learning rate of zero": at("fix_hp", "fix_hp: found the learning rate '0'", fix_hp="bs=16,lr=0"),
    "a learning rate of ten": at("fix_hp", "fix_hp: found the learning rate '10'", fix_hp="bs=16,lr=10"),
    "no topology": at("config", "found no topologies in 'R300单机8卡'", config="R300单机8卡"),
    "blank topology": at("config", "found no topologies in ''", config=""),
    "two topologies": at("config", "found 2 topologies in '1x8, 2x8'", config="1x8, 2x8"),
    "three counts": at("config", "found '1x8×2', of which 1x8 is only a part", config="1x8×2"),
    "three spaced counts": at("config", "found '1 x 8 x 2', of which 1x8 is only a part", config="1 x 8 x 2"),
    "words against the brackets": at(
        "config", "found 'R300单机8卡（1x1）', in which the words contradict 1x1", config="R300单机8卡（1x1）"
    ),
    "machines against the brackets": at(
        "config", "found 'R300单机8卡（2x8）', in which the words contradict 2x8", config="R300单机8卡（2x8）"
    ),
    "a thousand devices": at("config", "found '千卡（1x8）', in which the words contradict 1x8", config="千卡（1x8）"),
    "a topology of nothing": at("config", "in 'R300（0x8）': found the topology '0x8'", config="R300（0x8）"),
    "another device's row": at(
        "config", "found 'A100单机8卡（1x8）', expected a row of 'kunlunxin R300'", config="A100单机8卡（1x8）"
    ),
    "a larger sister's row": at(
        "config", "found 'R300-Pro单机8卡（1x8）', expected a row of", config="R300-Pro单机8卡（1x8）"
    ),
    "another vendor's row in chinese": at(
        "config", "found '天数单机8卡（1x8）', expected a row of", config="天数单机8卡（1x8）"
    ),
    "a short row": (
        document("| R300单机8卡（1x8） | fp32 |"),
        f"{ROW_LINE}:1: the row is too short: found 2 cells, expected 9",
    ),
    "a long row": (document(row() + " 1 |"), f"{ROW_LINE}:1: the row is too long: found 10 cells, expected 9"),
    "a row without its first pipe": (
        document(row(config="")[1:]),
        f"{ROW_LINE}:3: the row is too short: found 8 cells, expected 9",
    ),
    "a row twice": (
        document(row(), row()),
        f"{ROW_LINE + 1}:1: found 1x8 fp32 bs=16 lr=0.16 again, first in line {ROW_LINE}; a device file has one row",
    ),
    "rows that differ in the learning rate alone": (
        document(row(), row(fix_hp="bs=16,lr=0.02")),
        f"{ROW_LINE + 1}:1: found 1x8 fp32 bs=16 lr=0.02 again, first in line {ROW_LINE}, which differs in lr alone",
    ),
    "a column twice": (
        document(row() + " 301 |", header=HEADER + " p_core |", dashes=DASHES + "---|"),
        f"{FIRST}:{len(HEADER) + 2}: found a second column p_core",
    ),
    "a column twice under two names": (
        document(row() + " 301 |", header=HEADER + " 计算吞吐量 |", dashes=DASHES + "---|"),
        f"{FIRST}:{len(HEADER) + 2}: found a second column p_core",
    ),
    "a column misspelled": (
        document(row(), header=HEADER.replace("p_core", "p_cor")),
        f"{FIRST}:3: found no column p_core, expected 配置, precision, fix_hp",
    ),
    "a column of another unit": (
        document(row(), header=HEADER.replace("mem", "mem(GB)")),
        f"{FIRST}:{HEADER.index('mem') + 1}: mem: found the unit 'gb', expected GiB",
    ),
    "days in the heading": (
        document(row(), header=HEADER.replace("e2e_time", "e2e_time(d)")),
        f"{FIRST}:{HEADER.index('e2e') + 1}: e2e_time: found the unit 'd', expected s, h, hr",
    ),
    "no rows": (document(), f"{FIRST}:3: found no row in this performance table"),
    "no line of dashes": (
        document(row(), dashes=""),
        f"{FIRST}:3: this performance table has no line of dashes below its headings",
    ),
    "too few dashes": (
        document(row(), dashes=DASHES[4:]),
        f"{FIRST}:3: this performance table has 8 columns in its line of dashes and 9 headings",
    ),
    "a table indented as code": (
        document(
            "     " + row(),
            header="     " + HEADER,
            dashes="     " + DASHES,
            before=changed("* 性能指标\n", "性能指标\n")[: SEED.index("| 配置") - 2],
        ),
        "is indented by 4 columns or more, which makes it code",
    ),
    "devices of two capacities": (
        document(row(), row(config="1x1", mem="20.0/24.0")),
        f"{ROW_LINE + 1}:{column_at('mem', config='1x1')}: mem: found '20.0/24.0', expected the capacity 32.0",
    ),
    "a capacity in one row only": (
        document(row(), row(config="1x1", mem="28.0")),
        f"{ROW_LINE + 1}:{column_at('mem', config='1x1', mem='28.0')}: mem: found '28.0', expected the capacity 32.0",
    ),
    "the row above meant by a blank": (
        document(row(), row(config="", p_core="301")),
        f"{ROW_LINE + 1}:2: found no topologies",
    ),
    "rows apart from their table": (
        document(row(), "", row(config="1x1")),
        f"{ROW_LINE + 2}:3: these rows stand apart from the table in line {FIRST}; remove what is between them",
    ),
    "rows below a sentence": (
        document(row(), "八卡:", row(config="1x1"), row(config="2x8")),
        f"{ROW_LINE + 2}:3: these rows stand apart from the table in line {FIRST}",
    ),
    "a comment between rows": (
        document(row(), "<!-- one device -->", row(config="1x1")),
        f"{ROW_LINE + 2}:3: these rows stand apart from the table in line {FIRST}",
    ),
    "headings again in the middle": (document(row(), HEADER), f"{ROW_LINE + 1}:"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_table_that_is_not_certain_is_refused_with_its_place(case: str) -> None:
    text, complaint = UNREADABLE[case]

    found = errors(text)

    assert any(one.startswith(complaint) or (not complaint[0].isdigit() and complaint in one) for one in found), found


def test_a_cell_of_very_many_digits_is_shown_in_part() -> None:
    (found,) = errors(document(row(p_core="9" * 5000)))

    assert found.startswith(f"{ROW_LINE}:{column_at('p_core')}: p_core: found '{'9' * 57}...', expected one number")


def test_a_row_with_a_complaint_gives_no_number_at_all() -> None:
    text = document(row(p_core="298[1]"), row(config="1x1"))

    assert set(numbers(text)) == {"1x1-bs16-lr0.16"}


OTHER_MODEL = document(row(config="1x1", p_core="777")).replace("fasterRCNN", "YOLOv5")


def test_another_models_section_is_told_and_left_alone() -> None:
    for text in (document(row()) + "\n" + OTHER_MODEL, OTHER_MODEL + "\n" + document(row())):
        assert errors(text) == []
        assert numbers(text) == GOOD
        assert [note.partition(": ")[2] for note in notes(text)] == [
            "note: a table of the model 'YOLOv5' is not read"
        ] * 2


def test_another_models_table_under_a_heading_of_its_own_is_told_and_left_alone() -> None:
    other = "\n".join(
        ("", "### YOLOv5", "* 性能指标", "", HEADER, DASHES, row(p_core="777"), "", HEADER, DASHES, row(), "")
    )
    text = document(row(), after=other)

    assert errors(text) == []
    assert numbers(text) == GOOD
    assert len(notes(text)) == 2
    assert all("'YOLOv5'" in note for note in notes(text))


PLACED = {
    "a general column twice": (
        changed("| 特殊说明 ", "| 指标值 ", re.sub(r"fasterRCNN +\| +\|", "fasterRCNN | fasterRCNN |", SEED)),
        "指标值 ",
        "found the column '指标值' twice",
    ),
    "a general row of four cells": (
        changed("coco2017", "coco2017 | x"),
        "| 数据集",
        "found 4 cells in this row, expected 3",
    ),
    "no model": (changed("| 模型 ", "| 型号 "), "", "found no table 通用指标 with a row 模型"),
    "another model": (changed("fasterRCNN", "maskRCNN"), "", "found no table 通用指标 with a row 模型"),
    "a smaller model": (changed("fasterRCNN", "fasterrcnn_mobilenet"), "", "found no table 通用指标"),
    "another data set": (changed("coco2017 ", "voc2012 "), "voc2012", "found 'voc2012', expected coco2017"),
    "no data set": (changed("| 数据集 ", "| 数据 "), "指标名称", "found no row 数据集"),
    "no short name": (changed("| 硬件设备简称 ", "| 设备 "), "指标名称", "found no 硬件设备简称"),
    "a blank short name": (
        changed("kunlunxin R300 ", " "),
        "            |                         |\n| 硬件存",
        "found no 硬件设备简称",
    ),
    "columns that are explained otherwise": (
        changed("| p_train,见", "| p_core,见"),
        "p_core,见",
        "found 'p_core,见“性能指标”' for '训练吞吐量', expected the column p_train",
    ),
    "another unit of memory": (
        changed("单位为GiB", "单位为GB"),
        "“显存”,单位为GB",
        "found the unit 'gb' of mem, expected gib",
    ),
    "a row of general metrics twice": (
        changed("| 任务类别 ", "| 数据集   "),
        "数据集         | coco",
        "found '数据集' again; see 21:17",
    ),
    "no hardware": (changed("硬件环境", "硬件"), "指标名称", "found no list 硬件环境 above this table"),
    "no software": (changed("软件环境", "软件"), "指标名称", "found no list 软件环境 above this table"),
    "nothing in a list": (
        SEED[: SEED.index("  - OS版本")] + SEED[SEED.index("* 通用指标") :],
        "软件环境",
        "found nothing in the list 软件环境",
    ),
    "a list twice": (
        changed("#### 环境配置", "- 硬件环境\n  - 机器型号: R480"),
        "硬件环境\n  - 机器型号: 昆仑芯",
        "found a second list of this kind (hardware)",
    ),
    "a label twice": (
        changed("- 加速卡型号", "- 机器型号"),
        "机器型号: 昆仑芯AI加速卡",
        "found a second machine in this list, expected one; see 4:11",
    ),
    "no performance table": (SEED[: SEED.index("| 配置")], "指标名称", "found no performance table (性能指标)"),
    "two sections of the model": (
        SEED.replace("指标名称", "**指标名称**") + SEED,
        "指标名称       |",
        "found a second table 通用指标 of fasterRCNN, the first in line 19",
    ),
    "a heading of another's above the table": (
        changed("* 性能指标", "### YOLOv5"),
        "配置      ",
        "'YOLOv5' in line 35 stands above this table, so it is not certain",
    ),
    "a title with more words": (
        changed("* 性能指标", "* 性能指标 (YOLOv5)"),
        "配置      ",
        "'性能指标 (YOLOv5)' in line 35 stands above this table, so it is not certain",
    ),
    "a second table with a sentence above": (
        document(
            row(), after="\nYOLOv5:\n\n" + "\n".join((HEADER.replace("配置", "**配置**"), DASHES, row(config="1x1")))
        ),
        "**配置**",
        "'YOLOv5:' in line 41 stands above this table, so it is not certain",
    ),
    "everything in a comment that never ends": ("<!--" + SEED, "", "found no table 通用指标"),
    "everything in code that never ends": ("```\n" + SEED, "", "found no table 通用指标"),
    "a quoted table": ("> " + SEED.replace("\n", "\n> "), "", "found no table 通用指标"),
    "a name with characters that nobody sees": (
        changed("kunlunxin R300", "kunlunxin\\x07 R300"),
        "kunlunxin",
        "硬件设备简称: found 'kunlunxin\\x07 R300' with invisible characters",
    ),
    "a text with characters that nobody sees": (
        changed("Ubuntu 20.04", "Ubuntu\u202e 20.04"),
        "Ubuntu",
        "os: found 'Ubuntu\\u202e 20.04' with invisible characters",
    ),
    "nothing": ("", "", "found no table 通用指标"),
}


def place_of(text: str, piece: str) -> str:
    before = text[: text.index(piece)]
    return f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


@pytest.mark.parametrize("case", PLACED)
def test_a_document_that_is_not_certain_is_refused_with_its_place(case: str) -> None:
    text, piece, complaint = PLACED[case]

    found = errors(text)

    assert any(one.startswith(f"{place_of(text, piece)}: {complaint}") for one in found), found


NOTED = {
    "an extra column": (
        document(row() + " 99.9 |", header=HEADER + " loss |", dashes=DASHES + "---|"),
        f"{FIRST}:{len(HEADER) + 2}: note: the column 'loss' is none of 配置",
    ),
    "thousands": (
        document(row(e2e_time="11,848")),
        f"{ROW_LINE}:{column_at('e2e_time')}: note: e2e_time: '11,848' is read as 11848",
    ),
    "memory without capacity": (
        document(row(mem="28.0")),
        f"{ROW_LINE}:{column_at('mem', mem='28.0')}: note: mem: no row prints a capacity",
    ),
    "an unknown label": (
        changed("- 机器型号", "- 机箱"),
        "4:5: note: the label of '机箱: 昆仑芯AI加速器组R480-X8' is not known, and the item is left out",
    ),
    "a label that states nothing": (changed("：4.0.25", "：/"), "11:13: note: driver: nothing is stated"),
    "a sentence below a list": (
        changed("：pytorch-1.12.1+cpu", "：pytorch-1.12.1+cpu\n\n    as installed"),
        "16:5: note: 'as installed' is not an item of the list, and is left out",
    ),
    "a table before any general one": (
        "\n".join((HEADER, DASHES, row(p_core="777"), "", "")) + document(row()),
        "1:3: note: a performance table stands before any table 通用指标",
    ),
    "a data set of its own": (
        changed("coco2017", "generated (train_images 8)"),
        "23:17: note: 'generated (train_images 8)'",
    ),
}


@pytest.mark.parametrize("case", NOTED)
def test_what_is_left_out_is_told(case: str) -> None:
    text, note = NOTED[case]

    assert errors(text) == []
    assert any(one.startswith(note) for one in notes(text)), notes(text)


def test_items_below_an_item_belong_to_it() -> None:
    text = changed("：pytorch-1.12.1+cpu", "：\n    - cuda: 11.4\n    - pytorch: 1.8\n      built here")

    software = read(text).environment["software"]

    assert software["dependencies"].text == "cuda: 11.4; pytorch: 1.8 built here"
    assert list(software)[-1] == "dependencies"


def test_a_label_that_could_be_a_key_is_one() -> None:
    text = changed("  - OS版本：Ubuntu 20.04", "  - OS版本：Ubuntu 20.04\n  - Python: 3.8")

    assert read(text).environment["software"]["python"].text == "3.8"


def test_rows_without_hyper_parameters_take_those_that_are_given_for_their_topology() -> None:
    text = document(row(fix_hp="/"), row(config="1x1", fix_hp=""), row(config="2x8", fix_hp="bs=4"))
    defaults = (Default(None, Hyper(2, 0.02)), Default(Topology(1, 8), Hyper(16, 0.16)))

    found = read(text, defaults)

    assert found.errors == ()
    assert [one.name for one in found.rows] == [
        "1x8 fp32 bs=16 lr=0.16",
        "1x1 fp32 bs=2 lr=0.02",
        "2x8 fp32 bs=4 lr=0.02",
    ]
    assert [note.message.rpartition("; ")[2] for note in found.notes] == [
        "both taken from --default-hp",
        "both taken from --default-hp",
        "lr taken from --default-hp",
    ]


def test_a_document_that_is_not_utf8_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_bytes("# 昆仑芯\n昆".encode() + "仑".encode("gb18030"))

    with pytest.raises(SuiteError, match=r"^README\.md:2:2: found the byte 0xc2, expected UTF-8"):
        read_document_file(path)


def test_a_byte_order_mark_is_harmless(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_bytes("\ufeff".encode() + SEED.encode())

    assert read_document_file(path).rows == read(SEED).rows


@pytest.mark.parametrize("name", ["none.md", "folder", "a\0b"])
def test_a_document_that_cannot_be_opened_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()

    with pytest.raises(SuiteError, match="cannot be read: "):
        read_document_file(tmp_path / name)


def test_a_document_that_is_no_readme_by_its_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_bytes(b"|" * (LARGEST_BYTES + 1))

    with pytest.raises(SuiteError, match="expected a README of at most"):
        read_document_file(path)


@pytest.mark.parametrize(
    "part", ["|", "\\", "| a ", "<!--", "# ", "- ", " ", "|---|\n", "`", "*", "bs=1,", "(", "a: \n"]
)
def test_a_long_document_of_one_thing_takes_no_longer_than_its_length(part: str) -> None:
    # Nothing here may be quadratic: this would then take minutes.
    assert read_document(part * (60_000 // len(part))).rows == ()
    assert read_document(document(row(p_core=part.replace("\n", " ") * 6_000))) is not None


PIECES = st.sampled_from(
    (*CELLS.values(), *HEADER.split(), *SEED.split("\n"), "|", "\n", "\r", "<!--", "-->", "```", "\\", "/", "%")
)


@given(st.lists(PIECES | st.text(max_size=5), max_size=60).map("".join) | st.text(st.characters()))
def test_no_text_is_too_strange_to_be_read(text: str) -> None:
    found = read_document(text)

    lines = text.count("\n") + text.count("\r") + 1
    assert all(1 <= one.place.line <= lines and one.place.column >= 1 for one in found.complaints)
    assert found.errors or found.rows
