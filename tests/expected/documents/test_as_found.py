"""What stands in real files beside the numbers: marks, units, other names, impossible numbers, sentences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evidence.errors import SuiteError
from expected import Device, load_device, load_devices
from expected.__main__ import main
from expected.documents import Given, device_toml, differences
from expected.documents.names import bare_name, vendor_of
from expected.documents.quoting import mark_in, restriction_in
from tests.expected.documents.making import (
    DASHES,
    HEADER,
    ROW_LINE,
    changed,
    column_at,
    document,
    errors,
    notes,
    numbers,
    read,
    row,
    rows_of,
    shipped_row,
)


def general(label: str, value: str, remark: str, text: str | None = None) -> str:
    """A document in which a row of the general metrics is another one."""
    text = document(row()) if text is None else text
    lines = text.split("\n")
    (at,) = [n for n, line in enumerate(lines) if line.startswith((f"| {label} ", f"| **{label}**"))]
    lines[at] = f"| {label} | {value} | {remark} |"
    return "\n".join(lines)


def imported(folder: Path, text: str, **given: Any) -> Device:
    path = folder / "r300.toml"
    path.write_text(device_toml(read(text), Given("r300", **given)), encoding="utf-8")
    return load_device(path)


MARKED_ROWS = {
    "a footnote behind the topology": ("R300单机8卡（1x8）[1]", "cannot tell what '[1]' means"),
    "struck out": ("~~R300单机8卡（1x8）~~", "which is struck out; remove the row, or its marks"),
    "an estimate": ("R300单机8卡（1x8）估算值", "cannot tell what '估算值' means"),
    "a star": ("R300单机8卡（1x8）*", "cannot tell what '*' means"),
    "an estimate in english": ("R300 1x8 (estimated)", "cannot tell what 'estimated' means"),
    "a footnote above": ("R300单机8卡（1x8）<sup>1</sup>", "cannot tell what '<sup>1</sup>' means"),
    "a footnote between": ("R300[^1]单机8卡（1x8）", "expected a row of"),
    "a part struck out": ("R300~~单机8卡~~（1x8）", "which is struck out"),
    "a condition": ("R300单机8卡（1x8）关闭ECC", "cannot tell what '关闭ecc' means"),
    "another product, plus": ("R300+单机8卡（1x8）", "expected a row of 'kunlunxin R300'; remove other devices' rows"),
    "another product, 增强版": ("R300增强版单机8卡（1x8）", "expected a row of 'kunlunxin R300'"),
    "another product, p": ("R300p单机8卡（1x8）", "expected a row of 'kunlunxin R300'"),
    "another product, a letter of chinese": ("R300甲单机8卡（1x8）", "expected a row of 'kunlunxin R300'"),
    "a shorter name": ("R30单机8卡（1x8）", "expected a row of 'kunlunxin R300'"),
    "another size": ("R300 64G单机8卡（1x8）", "expected a row of 'kunlunxin R300'"),
    "another vendor": ("NVIDIA R300单机8卡（1x8）", "expected a row of 'kunlunxin R300'"),
}


@pytest.mark.parametrize("case", MARKED_ROWS)
def test_a_row_that_says_more_than_its_topology_is_refused_with_its_place(case: str) -> None:
    cell, complaint = MARKED_ROWS[case]

    (found,) = errors(document(row(config="R300单机单卡（1x1）"), row(config=cell)))

    assert found.startswith(f"{ROW_LINE + 1}:3: found {cell!r}, ")
    assert complaint in found
    assert "--name" not in found


def test_a_row_of_the_device_without_the_plus_of_its_name_is_another_devices() -> None:
    text = changed("kunlunxin R300", "kunlunxin R300+", document(row(), row(config="R300+单机单卡（1x1）")))

    (found,) = errors(text)

    assert found.startswith(f"{ROW_LINE}:3: found 'R300单机8卡（1x8）', expected a row of 'kunlunxin R300+'")


ANOTHER_HEADING = HEADER + " 备注 |"

RESTRICTED = {
    "an estimate in a column of remarks": (
        document(row() + " 估算值 |", header=ANOTHER_HEADING, dashes=DASHES + "---|"),
        "备注: found '估算值'; '估算值'",
    ),
    "a row that was not finished": (
        document(row() + " 未跑完 |", header=ANOTHER_HEADING, dashes=DASHES + "---|"),
        "备注: found '未跑完'",
    ),
    "a footnote in a column of remarks": (
        document(row() + " see [2] |", header=ANOTHER_HEADING, dashes=DASHES + "---|"),
        "备注: found 'see [2]'; '[2]' restricts the row",
    ),
    "a precision with a star": (document(row(precision="fp32*")), "precision: found 'fp32*'"),
    "hyper-parameters with a footnote": (document(row(fix_hp="bs=16,lr=0.16[1]")), "fix_hp: found"),
    "hyper-parameters struck out": (document(row(fix_hp="~~bs=16~~,lr=0.16")), "fix_hp: found"),
    "a heading with a star": (document(row(), header=HEADER.replace("p_core", "p_core*")), "found no column p_core"),
    "a heading that is an estimate": (
        document(row(), header=HEADER.replace("p_core", "p_core(估算)")),
        "p_core: found the unit '估算'",
    ),
    "a name with a footnote": (general("硬件设备简称", "kunlunxin R300[1]", ""), "'[1]'"),
    "a name with a star": (general("硬件设备简称", "kunlunxin R300*", ""), "'*'"),
    "a model with a star": (general("模型", "fasterRCNN*", ""), "'*'"),
    "a data set with a star": (general("数据集", "coco2017*", ""), "'*'"),
    "a data set struck out": (general("数据集", "~~coco2017~~", ""), "'~~'"),
    "a label of the general metrics with a mark": (
        changed("| 额外修改项 ", "| 额外修改项[1] ", document(row())),
        "found '额外修改项[1]' with a mark",
    ),
    "a label of the general metrics with more": (
        changed("| 额外修改项 ", "| 额外修改项（单卡） ", document(row())),
        "expected '额外修改项' alone",
    ),
    "a column that is explained as an estimate": (
        general("端到端时间", "e2e_time,见“性能指标”", "估算值"),
        "cannot tell what '估算值' means",
    ),
    "a column that is explained with a mark": (
        general("总吞吐量", "p_whole,见“性能指标”*", ""),
        "cannot tell what '*' means",
    ),
    "a label of the environment with a star": (
        changed("- 加速卡型号", "- 加速卡型号*", document(row())),
        "found the label '加速卡型号*' with a mark",
    ),
    "a text of the environment with a footnote": (changed("4.0.25", "4.0.25[2]", document(row())), "'[2]' is a mark"),
    "a text of the environment struck out": (changed("4.0.25", "~~4.0.25~~", document(row())), "'~~' is a mark"),
    "a title of the general metrics with more": (
        changed("* 通用指标", "* 通用指标（估算）", document(row())),
        "found '通用指标（估算）', expected the title",
    ),
    "the sum of all devices": (
        general("超参修改", "fix_hp,见“性能指标”", "bs为8卡之和"),
        "found 'bs为8卡之和' on fix_hp, expected bs of one device",
    ),
    "a global batch": (
        general("超参修改", "fix_hp,见“性能指标”", "global batch size"),
        "found 'global batch size' on fix_hp",
    ),
    "a total per device": (
        general("超参修改", "fix_hp,见“性能指标”", "bs is the sum over 8 cards, not per card"),
        "on fix_hp, expected bs of one device",
    ),
    "a batch size of gradient accumulation": (
        general("超参修改", "fix_hp,见“性能指标”", "梯度累积4步"),
        "found '梯度累积4步' on fix_hp",
    ),
}


@pytest.mark.parametrize("case", RESTRICTED)
def test_a_mark_at_a_cell_or_a_key_is_refused_with_its_place(case: str) -> None:
    text, complaint = RESTRICTED[case]

    found = errors(text)

    assert any(complaint in one for one in found), found
    assert all(one.partition(":")[0].isdigit() for one in found)


@pytest.mark.parametrize("remark", ["bs为单卡batch size", "bs is per device", "每卡"])
def test_a_remark_that_the_batch_is_of_one_device_changes_nothing(remark: str) -> None:
    text = general("超参修改", "fix_hp,见“性能指标”", remark)

    assert errors(text) == []


@pytest.mark.parametrize(
    ("value", "remark", "expected"),
    [
        ("无", "关闭了梯度裁剪", "关闭了梯度裁剪"),
        ("", "bf16 all-reduce", "bf16 all-reduce"),
        ("/", "用DALI加载", "用DALI加载"),
        ("tf32", "METAX_USE_TF32=1", "tf32; METAX_USE_TF32=1"),
    ],
)
def test_the_third_column_of_the_modifications_is_one(value: str, remark: str, expected: str, tmp_path: Path) -> None:
    found = imported(tmp_path, general("额外修改项", value, remark))

    assert found.notes == f"The document declares modifications: {expected}"


BESIDE = {
    "below the table": (document(row(), after="\n[1] 数据来自工程样卡\n"), "[1] 数据来自工程样卡"),
    "an item below the table": (document(row(), after="\n- ECC is off\n"), "ECC is off"),
    "above the table": (changed("* 性能指标\n", "* 性能指标\n\n以下为单次结果\n", document(row())), "以下为单次结果"),
    "above the general metrics": (
        changed("* 通用指标", "\n实测于2023年\n\n* 通用指标", document(row())),
        "实测于2023年",
    ),
    "another general metric": (
        changed("| 额外修改项 ", "| 备注 | 2 epochs only | |\n| 额外修改项 ", document(row())),
        "备注: 2 epochs only",
    ),
    "a remark on the data set": (general("数据集", "coco2017", "只用前1000张"), "数据集: 只用前1000张"),
    "a remark on the model": (general("模型", "fasterRCNN", "R50-FPN 1x"), "模型: R50-FPN 1x"),
}


@pytest.mark.parametrize("case", BESIDE)
def test_a_sentence_beside_a_table_is_reported_and_quoted_in_the_notes(case: str, tmp_path: Path) -> None:
    text, sentence = BESIDE[case]

    assert errors(text) == []
    assert any("note: " in one and sentence.rpartition(": ")[2] in one for one in notes(text)), notes(text)
    assert repr(sentence) in imported(tmp_path, text).notes


def test_a_remark_on_a_row_becomes_the_note_of_its_cell(tmp_path: Path) -> None:
    text = document(row() + " NVLink |", row(config="1x1") + " 7 |", header=ANOTHER_HEADING, dashes=DASHES + "---|")

    first, second = imported(tmp_path, text).cells

    assert (first.note, second.note) == ("The table says: 备注: NVLink.", "")


HOURS = {"e2e_time": "3.9"}
CONVERTED = {
    "hours in the third column": general("端到端时间", "e2e_time,见“性能指标”", "单位为小时", document(row(**HOURS))),
    "with a colon": general("端到端时间", "e2e_time,见“性能指标”", "单位：小时", document(row(**HOURS))),
    "behind the usual words": general(
        "端到端时间", "e2e_time,见“性能指标”", "总时间+Perf初始化等时间,单位为小时", document(row(**HOURS))
    ),
    "in brackets": general("端到端时间", "e2e_time,见“性能指标”", "总时间（小时）", document(row(**HOURS))),
    "behind the name": general("端到端时间(小时)", "e2e_time,见“性能指标”", "", changed(
        "| 端到端时间 ", "| 端到端时间(小时) ", document(row(**HOURS)))),
    "behind the column's name": general("端到端时间", "e2e_time(h),见“性能指标”", "", document(row(**HOURS))),
    "in the heading": document(row(**HOURS), header=HEADER.replace("e2e_time", "e2e_time(h)")),
    "in the chinese heading": document(row(**HOURS), header=HEADER.replace("e2e_time", "端到端时间（小时）")),
    "in the cell": document(row(e2e_time="3.9h")),
    "in the cell, in chinese": document(row(e2e_time="3.9 小时")),
    "minutes in the cell": document(row(e2e_time="234 min")),
    "minutes in the heading": document(row(e2e_time="234"), header=HEADER.replace("e2e_time", "e2e_time(分钟)")),
    "minutes in the third column": general(
        "端到端时间", "e2e_time,见“性能指标”", "单位为分钟", document(row(e2e_time="234"))
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CONVERTED)
def test_hours_and_minutes_are_read_as_seconds(case: str) -> None:
    text = CONVERTED[case]

    assert errors(text) == []
    assert numbers(text)["1x8-bs16-lr0.16"]["e2e_time"] == 14040.0
    assert any("is read as 14040.0 s" in one for one in notes(text))


OTHER_UNITS = {
    "days": general("端到端时间", "e2e_time,见“性能指标”", "单位为天", document(row(e2e_time="0.2"))),
    "hours and seconds": general(
        "端到端时间", "e2e_time,见“性能指标”", "单位为秒",
        document(row(e2e_time="3.9"), header=HEADER.replace("e2e_time", "e2e_time(h)")),
    ),
    "a cell in another unit than its heading": document(
        row(e2e_time="11848 s"), header=HEADER.replace("e2e_time", "e2e_time(h)")
    ),
    "two units of the general metrics": general(
        "端到端时间", "e2e_time(h),见“性能指标”", "单位为分钟", document(row(e2e_time="3.9"))
    ),
    "a sentence": document(row(e2e_time="3.9"), after="\n时间单位为小时\n"),
    "a sentence in english": document(row(e2e_time="3.9"), after="\ne2e_time in hours\n"),
    "a sentence on memory": document(row(), after="\n显存单位为GB\n"),
    "hours that nothing says": document(row(e2e_time="3.9")),
    "minutes that nothing says": document(row(e2e_time="234")),
    "seconds below hours": document(row(e2e_time="14040"), header=HEADER.replace("e2e_time", "e2e_time(h)")),
    "gigabytes": general("硬件存储使用", "mem,见“性能指标”", "单位：GB"),
    "samples": general("总吞吐量", "p_whole,见“性能指标”", "单位为samples/s"),
    "of one device": general("训练吞吐量", "p_train,见“性能指标”", "单卡吞吐量，不包含评估"),
    "of one device, in english": general("计算吞吐量", "p_core,见“性能指标”", "images/s per card"),
    "a sentence on one device": document(row(), after="\n注：吞吐量均为单卡数据\n"),
    "another average precision": general("训练结果", "map,见“性能指标”", "mAP@0.5"),
    "another average precision, glued": general("训练结果", "map,见“性能指标”", "AP50"),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHER_UNITS)
def test_a_unit_that_is_not_certain_is_refused(case: str) -> None:
    assert errors(OTHER_UNITS[case]) != []


@pytest.mark.parametrize(
    "remark", ["mAP@[.50:.95]", "mAP@0.5:0.95", "mAP@0.5 : 0.95", "AP@[0.50-0.95]", "平均目标检测正确率"]
)
def test_the_benchmarks_own_precision_may_be_said(remark: str) -> None:
    assert errors(general("训练结果", "map,见“性能指标”", remark)) == []


STALE = changed(
    "kunlunxin R300",
    "nvidia A100",
    document(
        row(config="MXC500 单机8卡（1x8）", mem="44.5/64"), row(config="MXC500 单机单卡（1x1）", mem="31.8/64",
        p_whole="26", p_train="27", p_core="45", e2e_time="/", map="/"),
    ),
)  # fmt: skip


def test_a_short_name_that_contradicts_all_rows_is_told_once() -> None:
    (found,) = errors(STALE)

    assert "expected a row of 'nvidia A100'" in found
    assert found.endswith("all rows name 'MXC500': if that is the device, give it with --name")


@pytest.mark.parametrize(
    ("words", "name"),
    [(("--name", "MXC500"), "MXC500"), (("--name", "C500", "--vendor", "MetaX"), "C500")],
)
def test_the_name_that_is_given_overrides_a_short_name_that_no_row_bears(
    words: tuple[str, ...], name: str, tmp_path: Path, capsys: Any
) -> None:
    readme, out = tmp_path / "README.md", tmp_path / "c500.toml"
    readme.write_text(STALE, encoding="utf-8")

    code = main(["import", str(readme), "--out", str(out), *words])

    assert code == 0, capsys.readouterr().err
    assert "'nvidia A100' contradicts all rows" in capsys.readouterr().err
    device = load_device(out)
    assert (device.vendor, device.name, device.smi) == ("MetaX", name, "mx-smi")


def test_a_check_against_the_device_of_the_rows_lists_the_short_name(tmp_path: Path, capsys: Any) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(STALE, encoding="utf-8")

    code = main(["check", str(readme), "--device", "c500"])

    assert code == 1
    assert "device: the document says 'nvidia A100', c500.toml 'MetaX C500 64G'" in capsys.readouterr().out


def test_rows_of_two_other_devices_are_each_refused() -> None:
    found = errors(document(row(config="A100单机8卡（1x8）"), row(config="C500单机单卡（1x1）")))

    assert len(found) == 2
    assert not any("--name" in one for one in found)


@pytest.mark.parametrize(
    ("config", "short"),
    [
        ("昆仑芯R300单机8卡（1x8）", "kunlunxin R300"),
        ("R300 单机8卡 (1x8)", "昆仑芯 R300"),
        ("昆仑芯AI加速卡R300单机8卡（1x8）", "kunlunxin R300"),
        ("1x8（R300）", "kunlunxin R300"),
        ("R300集群单机8卡（1x8）", "kunlunxin R300"),
    ],
)
def test_a_row_may_name_its_device_as_the_document_does_elsewhere(config: str, short: str) -> None:
    assert errors(changed("kunlunxin R300", short, document(row(config=config)))) == []


@pytest.mark.parametrize(
    ("text", "vendor", "bare"),
    [
        ("nvidia a100", "NVIDIA", "a100"),
        ("NVIDIA A100 40G", "NVIDIA", "a100"),
        ("NVIDIA_A100", "NVIDIA", "a100"),
        ("天数智芯BI-V100", "Iluvatar", "biv100"),
        ("MXC500", "MetaX", "c500"),
        ("MX150", "", "mx150"),
        ("R300+", "", "r300+"),
        ("nvidia", "", "nvidia"),
    ],
)
def test_vendors_are_known_by_their_own_names(text: str, vendor: str, bare: str) -> None:
    known = vendor_of(text)[0]

    assert (known.name if known else "", bare_name(text)) == (vendor, bare)


IMPLAUSIBLE = {
    "a map that this model does not reach": ({"map": "84.0%"}, "map", "above 0.45"),
    "a map as a share": ({"map": "0.84"}, "map", "above 0.45"),
    "a map of one": ({"map": "100%"}, "map", "above 0.45"),
    "images per second of another model": ({"p_core": "9000"}, "p_core", "above 2560 images/s"),
    "p_train of another model": ({"p_train": "2600", "p_core": ""}, "p_train", "its data sheet allows"),
    "p_whole of another model": ({"p_whole": "2600", "p_train": "", "p_core": ""}, "p_whole", "above 2560"),
    "more memory than the device has": ({"mem": "44.5/64.0"}, "mem", "more than the 32 GiB"),
    "more used than the device has": ({"mem": "40.0"}, "mem", "more than the 32 GiB"),
    "less than an epoch": ({"e2e_time": "600"}, "e2e_time", "less than one epoch"),
    "months": ({"e2e_time": "5000000"}, "e2e_time", "more than twice the time of 26 epochs"),
}


@pytest.mark.parametrize("case", IMPLAUSIBLE)
def test_a_number_that_the_device_cannot_have_measured_of_this_model_is_refused(case: str) -> None:
    cells, name, reason = IMPLAUSIBLE[case]

    (found,) = errors(document(row(**cells)))

    assert found.startswith(f"{ROW_LINE}:{column_at(name, **cells)}: {name}: found ")
    assert reason in found


def test_the_memory_in_the_text_on_the_device_counts() -> None:
    text = changed("kunlunxin R300", "acme Z1", document(row(config="1x8", mem="28.0/64.0")))

    assert errors(text) == []
    assert "more than the 32 GiB" in errors(changed("昆仑芯AI加速卡R300", "Z1 32GB", text))[0]
    assert errors(changed("昆仑芯AI加速卡R300", "Z1 64GB", text)) == []


def test_a_device_without_a_data_sheet_has_a_limit_all_the_same() -> None:
    text = changed("kunlunxin R300", "acme Z1", document(row(config="1x8", p_core="9000")))

    assert "p_core: found '9000', above 8000 images/s, more than any known device allows" in errors(text)[0]


def test_numbers_of_a_data_set_of_its_own_have_no_limits() -> None:
    text = changed("coco2017", "generated (train_images 8)", document(row(map="84%", e2e_time="3", p_core="99999")))

    assert errors(text) == []


SHORT = {"a100": "nvidia a100", "c500": "metax c500", "bi_v100": "iluvatar BI-V100"}
FRAMEWORK = {
    "a100": "pytorch-1.8.0a0+52ea372",
    "c500": "pytorch-2.0.0+mc2.18.0.8-cp38-cp38-linux_x86_64.whl",
    "bi_v100": "torch 1.13.1+corex.3.1.0",
}


@pytest.mark.parametrize("marker", SHORT)
def test_the_check_finds_each_shipped_file_by_its_vendors_name_and_agrees(
    marker: str, tmp_path: Path, capsys: Any
) -> None:
    device = load_devices()[marker]
    given = [{"fix_hp": "/"} if cell.note else {} for cell in device.cells]
    text = changed("kunlunxin R300", SHORT[marker], document(*map(shipped_row, rows_of(marker), given)))
    head, tail = text.split("- ##### 硬件环境")[0], text[text.index("* 通用指标") :]
    environment = (
        f"- ##### 硬件环境\n  - 机器、加速卡型号: M1, {device.environment['hardware']['card']}\n\n"
        f"- ##### 软件环境\n  - 加速卡驱动版本：{device.environment['software']['driver']}\n"
        f"  - 训练框架版本：{FRAMEWORK[marker]}\n  - 依赖软件版本：无\n\n"
    )
    readme = tmp_path / "README.md"
    readme.write_text(head + environment + tail, encoding="utf-8")

    code = main(["check", str(readme)])

    out, err = capsys.readouterr()
    assert (code, out) == (0, f"README.md: no difference to {marker}.toml\n"), err


def test_another_size_of_memory_is_another_device() -> None:
    text = changed("kunlunxin R300", "nvidia A100 80G", document(row(config="1x8", mem="30.0/80.0")))

    found = differences(read(text), load_devices()["a100"])

    assert any("device: the document says 'nvidia A100 80G', a100.toml 'NVIDIA A100 40G'" in one for one in found)


MODIFICATIONS: dict[str, tuple[dict[str, Any], str, str]] = {
    "the same": ({"tf32": True}, "tf32: true, the benchmark's is false", ""),
    "in other words": ({"tf32": True}, "METAX_USE_TF32=1", ""),
    "of a variable": ({"tf32": True, "lowered": ("METAX_USE_TF32=1",)}, "METAX_USE_TF32=1", ""),
    "another variable": (
        {"lowered": ("XDNN_CONV_GEMM_DTYPE=int16",)},
        "XDNN_CONV_GEMM_DTYPE=int8",
        "'XDNN_CONV_GEMM_DTYPE=int8', r300.toml lowered: XDNN_CONV_GEMM_DTYPE=int16",
    ),
    "of cuDNN": ({"deterministic": True}, "cudnn.deterministic = True", ""),
    "another value": ({"tf32": True}, "tf32=0", "'tf32=0', r300.toml tf32: true"),
    "a number": ({"gradient_clip": 10.0}, "gradient clip 10", ""),
    "another number": ({"gradient_clip": 10.0}, "gradient clip 5", "'gradient clip 5', r300.toml gradient_clip: 10"),
    "one of two": ({"tf32": True}, "tf32; DALI", "'DALI', r300.toml none"),
    "one that the file has beside": ({"tf32": True, "seed": 7}, "tf32", "none, r300.toml seed: 7"),
    "none of it": ({}, "DALI", "'DALI', r300.toml none"),
}


@pytest.mark.parametrize("case", MODIFICATIONS)
def test_modifications_are_compared_by_content(case: str) -> None:
    recipe, declared, difference = MODIFICATIONS[case]
    shipped = load_devices()["r300"]
    cells = tuple(replace(cell, recipe=replace(cell.recipe, **recipe)) for cell in shipped.cells)

    found = differences(read(changed("| 无 ", f"| {declared} ")), replace(shipped, cells=cells))

    lines = [one.partition(" modifications: the document says ")[2] for one in found if "modifications" in one]
    assert [one[: len(difference)] for one in lines] == ([difference] if difference else [])


def test_an_import_with_modifications_does_not_differ_from_its_document(tmp_path: Path) -> None:
    text = changed("| 无 ", "| DALI；关闭梯度裁剪 ")

    assert differences(read(text), imported(tmp_path, text)) == ()


def test_tf32_is_a_mode_of_fp32() -> None:
    (found,) = errors(document(row(precision="TF32")))

    assert "write fp32 here, and tf32 = true below [recipe] of the device file" in found


def test_a_processor_and_a_compiler_are_items_of_the_environment(tmp_path: Path) -> None:
    text = changed("  - OS版本", "  - CPU型号: Xeon 8358\n  - 训练编译器版本：clang 12\n  - OS版本")
    text = changed("  - 机器型号", "  - CPU型号：EPYC 7742\n  - 机器型号", text)

    found = imported(tmp_path, text).environment

    assert (found["software"]["cpu"], found["software"]["compiler"]) == ("Xeon 8358", "clang 12")
    assert found["hardware"]["cpu"] == "EPYC 7742"


def test_everything_that_is_missing_is_asked_for_in_one_round() -> None:
    text = changed("kunlunxin R300", "Z1", document(row(config="1x8", fix_hp="/"), row(config="1x1", fix_hp="")))

    with pytest.raises(SuiteError) as caught:
        device_toml(read(text), Given("z1"))

    lines = str(caught.value).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["fix_hp", "fix_hp", "vendor is not in the document"]
    assert "of Kunlunxin, NVIDIA, MetaX, Iluvatar backend and timing are known" in lines[-1]


def test_a_known_vendor_alone_is_enough(tmp_path: Path) -> None:
    text = changed("kunlunxin R300", "R300", document(row(config="1x8")))

    found = imported(tmp_path, text, vendor="Kunlunxin")

    assert (found.vendor, found.name, found.backend) == ("Kunlunxin", "R300", "kunlunxin")


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("298[1]", "[1]"),
        ("298[^a]", "[^a]"),
        ("R300†", "†"),
        ("R300①", "①"),
        ("R300<sup>1</sup>", "<sup>"),
        ("R300*", "*"),
        ("~~R300~~", "~~"),
        ("[R480](http://x)", ""),
        ("R300\\*", ""),
        ("R300\\[1\\]", ""),
        ("R300+", ""),
        ("2.0.0+mc2.18.0.8", ""),
    ],
)
def test_marks_are_told_from_text(text: str, mark: str) -> None:
    assert mark_in(text) == mark
    assert restriction_in(text + "估算值") != ""
