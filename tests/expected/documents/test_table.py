"""Performance tables as people write them: the numbers, or the place and the reason where they are not certain."""

from __future__ import annotations

import pytest

from tests.expected.documents.making import (
    DASHES,
    FIRST,
    HEADER,
    ROW_LINE,
    SEED,
    changed,
    column_at,
    document,
    errors,
    numbers,
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


READABLE = {
    "as it should be": (document(row()), GOOD),
    "without padding": (document(row().replace(" | ", "|").replace("| ", "|").replace(" |", "|")), GOOD),
    "without enclosing pipes": (document(row().strip("| "), header=HEADER.strip("| "), dashes=DASHES.strip("|")), GOOD),
    "without the last pipe": (document(row().rstrip("| ")), GOOD),
    "windows line ends": (document(row()).replace("\n", "\r\n"), GOOD),
    "old line ends": (document(row()).replace("\n", "\r"), GOOD),
    "full-width pipes": (document(row().replace("|", "｜"), header=HEADER.replace("|", "｜")), GOOD),
    "one full-width pipe": (document(row().replace("fp32 |", "fp32 ｜")), GOOD),
    "dashes with colons": (document(row(), dashes=DASHES.replace("---", ":-:")), GOOD),
    "an indented table in a list": (document("  " + row(), header="  " + HEADER, dashes="  " + DASHES), GOOD),
    "percent in the heading": (document(row(map="36.6"), header=HEADER.replace("map", "map(%)")), GOOD),
    "percent in both": (document(row(), header=HEADER.replace("map", "map（％）")), GOOD),
    "memory as the c500 prints it": (
        changed("kunlunxin R300", "metax C500", document(row(config="MXC500 单机8卡（1x8）", mem="9.9/64"))),
        with_metrics(mem=(9.9, 64.0)),
    ),
    "memory without capacity": (document(row(mem="28.0")), with_metrics(mem=28.0)),
    "units in the headings": (
        document(row(), header=HEADER.replace("e2e_time", "e2e_time(s)").replace("mem", "mem（GiB）")),
        GOOD,
    ),
    "exponent": (document(row(e2e_time="1.1848e4")), GOOD),
    "everything blank": (
        document(row(e2e_time="", p_whole="", p_train="", p_core="", map="", mem="")),
        {ONE: dict.fromkeys(GOOD[ONE], "")},
    ),
    "hyper-parameters in full width": (document(row(fix_hp="bs＝16，lr＝0.16")), GOOD),
    "hyper-parameters spelled out": (document(row(fix_hp="batch_size: 16; learning_rate: 1.6e-1")), GOOD),
    "hyper-parameters on two lines": (document(row(fix_hp="bs=16<br>lr=0.16")), GOOD),
    "a big cross": (document(row(config="R300单机8卡（1X8）")), GOOD),
    "a sign of multiplication": (document(row(config="R300单机8卡（1×8）")), GOOD),
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
    "headings in chinese": (
        document(
            row(),
            header="|配置|数据精度|超参修改|端到端时间|总吞吐量|训练吞吐量|计算吞吐量|训练结果|硬件存储使用|",
        ),
        GOOD,
    ),
    "bold headings": (document(row(), header=HEADER.replace("p_core", "**p_core**")), GOOD),
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
