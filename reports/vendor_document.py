"""The whole section of a vendor's document: environment, general metrics, performance table."""

from __future__ import annotations

from typing import Iterator, Mapping, Sequence

from expected import PUBLISHED, Device
from expected.documents.quoting import one_line, quoted
from expected.documents.words import (
    GENERATED,
    IN_STEP,
    LABELS,
    PRINTED_LABELS,
    TEMPLATE,
    VENDORS,
    WITH_ASCII_COLON,
)
from expected.recipe import deviations
from reports.vendor_table import Filling, Style, aligned, table_lines
from verdict.environment.findings import EnvironmentFinding
from verdict.environment.stated import MATCH

_TITLES = {"hardware": "硬件环境", "software": "软件环境"}
_SEE = "见“性能指标”"
_BOTH = "machine_and_card"
_GENERAL = (
    ("数据精度", "precision", "可选fp32/amp/fp16"),
    ("超参修改", "fix_hp", "跑满硬件设备评测吞吐量所需特殊超参"),
    ("硬件存储使用", "mem", "通常称为“显存”,单位为GiB"),
    ("端到端时间", "e2e_time", "总时间+Perf初始化等时间"),
    ("总吞吐量", "p_whole", "实际训练图片数除以总时间(performance_whole)"),
    ("训练吞吐量", "p_train", "不包含每个epoch末尾的评估部分耗时"),
    ("计算吞吐量", "p_core", "不包含数据IO部分的耗时(p3>p2>p1)"),
    ("训练结果", "map", "单位为平均目标检测正确率"),
)


def document_lines(device: Device, fillings: Sequence[Filling], style: Style, form: str = "published") -> list[str]:
    """Return the section as lines of Markdown, in the form "published" (the vendor's) or "template" (FlagPerf's).

    The environment is that of the runs; what they did not record is blank, and below the table.
    """
    vendor = VENDORS.get(device.vendor.casefold())
    title = vendor.title if vendor is not None and vendor.title else device.vendor
    lists = environment_of(device, fillings)
    if form == "template":
        lists = {kind: _in_template(kind, texts) for kind, texts in lists.items()}
    lines = [f"### {quoted(title)}配置与运行信息参考", "#### 环境配置"]
    for kind, texts in lists.items():
        lines += [f"- ##### {_TITLES[kind]}", *(_item(key, text) for key, text in texts.items()), ""]
    if form == "template":
        lines += ["### 运行情况"]
    lines += ["", "* 通用指标", "", *aligned(_general(device, fillings)), "", "* 性能指标", ""]
    return [*lines, *table_lines(device, fillings, style), *_remarks(device, fillings)]


def environment_of(device: Device, fillings: Sequence[Filling]) -> dict[str, dict[str, str]]:
    """Return the texts of the two lists by key: what the runs found.

    A list of which they recorded nothing is that of the device's file.
    """
    stated = {kind: dict(device.environment.get(kind, {})) for kind in _TITLES}
    findings = [one for filling in fillings for one in filling.environment]
    if not findings:
        return stated
    found: dict[str, list[str]] = {}
    for one in findings:
        found.setdefault(one.item, [])
        if one.found and one.found not in found[one.item]:
            found[one.item].append(one.found)
    texts = {key: " / ".join(texts) for key, texts in found.items()}
    texts[_BOTH] = ", ".join(filter(None, (texts.get("machine", ""), texts.get("card", ""))))
    lists = {}
    for kind, own in stated.items():
        # An item of both lists, or of one item for two, is printed once: as the device's file has it.
        listed = [key for key in LABELS[kind].values() if key in own or (texts.get(key) and key not in ("cpu", _BOTH))]
        if _BOTH in own:
            listed = [key for key in listed if key not in ("machine", "card")]
        order = [*dict.fromkeys(listed), *(key for key in own if key not in listed)]
        lists[kind] = {key: texts.get(key, "") for key in order}
    return {kind: texts if any(texts.values()) else stated[kind] for kind, texts in lists.items()}


def _in_template(kind: str, texts: Mapping[str, str]) -> dict[str, str]:
    """Return a list with the items of the template first, and of the others those that state something."""
    texts = dict(texts)
    if kind == "hardware":
        parts = [texts.pop(key, "") for key in ("machine", "card")]
        texts.setdefault(_BOTH, ", ".join(filter(None, parts)))
    first = {key: texts.pop(key, "") for key in TEMPLATE[kind]}
    if "dependencies" in first:
        first["dependencies"] = first["dependencies"] or "无"
    return {**first, **{key: text for key, text in texts.items() if text}}


def _item(key: str, text: str) -> str:
    label = PRINTED_LABELS.get(key, key)
    colon = "：" if key in PRINTED_LABELS and key not in WITH_ASCII_COLON else ": "
    return f"  - {label}{colon}{quoted(text)}".rstrip()


def _general(device: Device, fillings: Sequence[Filling]) -> list[Sequence[str]]:
    data_set = "coco2017"
    if device.shapes is not None:
        data_set = f"{GENERATED} ({', '.join(f'{key} {value}' for key, value in device.shapes.items())})"
    changed = "; ".join(dict.fromkeys(one for cell in device.cells for one in deviations(cell.recipe)))
    rows: list[Sequence[str]] = [
        ("指标名称", "指标值", "特殊说明"),
        ("任务类别", "图像目标检测", ""),
        ("模型", "fasterRCNN", ""),
        ("数据集", data_set, ""),
    ]
    for label, name, remark in _GENERAL:
        bold = "**" if name == "p_core" else ""
        in_step = f",{IN_STEP}" if name == "p_core" and _is_in_step(device, fillings) else ""
        rows.append((f"{bold}{label}{bold}", f"{bold}{name},{_SEE}{bold}", remark + in_step))
    rows.insert(6, ("硬件设备简称", quoted(one_line(f"{device.vendor} {device.name}")), ""))
    return [*rows, ("额外修改项", quoted(changed) or "无", "")]


def _is_in_step(device: Device, fillings: Sequence[Filling]) -> bool:
    """Return whether every p_core of the table is synchronised with the device, as measured ones are."""
    published = [cell.timing for cell in device.cells if cell.expectations["p_core"].state == PUBLISHED]
    if published:
        return set(published) == {"device"}
    return any("p_core" in one.values for one in fillings) or {cell.timing for cell in device.cells} == {"device"}


def _remarks(device: Device, fillings: Sequence[Filling]) -> list[str]:
    """Return the lines that say where the runs' environment is not the stated one."""
    lines: list[str] = []
    for one in fillings:
        lines += dict.fromkeys(_differences(device, one.environment))
    return (
        ["", "与原文档环境的差异 (differences from the stated environment):", "", *dict.fromkeys(lines)]
        if lines
        else []
    )


def _differences(device: Device, findings: Sequence[EnvironmentFinding]) -> Iterator[str]:
    items = {key for kind in _TITLES for key in (*device.environment.get(kind, {}), *LABELS[kind].values())}
    if _BOTH in device.environment.get("hardware", {}):
        items |= {"machine", "card"}
    for one in findings:
        if one.item not in items or not one.stated or one.verdict == MATCH:
            continue
        found = f"the run had {one.found}" if one.found else "not recorded of the run"
        yield f"- {quoted(f'{one.item}: {found}; stated is {one.stated}')}"
