"""Documents as people write them: what they say, or the place and the reason where they cannot be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evidence.errors import SuiteError
from expected import Topology
from expected.documents import read_document
from expected.documents.cells import Default, Hyper
from expected.documents.reading import LARGEST_BYTES, read_document_file
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
    notes,
    numbers,
    place_of,
    read,
    row,
)


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


OTHER_MODEL = document(row(config="1x1", p_core="777")).replace("fasterRCNN", "YOLOv5")


def test_another_models_section_is_told_and_left_alone() -> None:
    for text in (document(row()) + "\n" + OTHER_MODEL, OTHER_MODEL + "\n" + document(row())):
        assert errors(text) == []
        assert numbers(text) == numbers(document(row()))
        assert [note.partition(": ")[2] for note in notes(text)] == [
            "note: a table of the model 'YOLOv5' is not read"
        ] * 2


def test_another_models_table_under_a_heading_of_its_own_is_told_and_left_alone() -> None:
    other = "\n".join(
        ("", "### YOLOv5", "* 性能指标", "", HEADER, DASHES, row(p_core="777"), "", HEADER, DASHES, row(), "")
    )
    text = document(row(), after=other)

    assert errors(text) == []
    assert numbers(text) == numbers(document(row()))
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
