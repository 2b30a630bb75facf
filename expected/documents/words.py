"""The fixed vocabulary: titles, labels, rows, columns and units of the documents, and facts about known vendors."""

from __future__ import annotations

import re
from dataclasses import dataclass

from expected.documents.quoting import reading_form, shown

HARDWARE, SOFTWARE, GENERAL, PERFORMANCE = "hardware", "software", "general", "performance"

TITLES = {
    "硬件环境": HARDWARE,
    "软件环境": SOFTWARE,
    "通用指标": GENERAL,
    "性能指标": PERFORMANCE,
}
NEUTRAL_TITLES = ("环境配置", "运行情况", "运行信息")
"""Titles between the parts of one device's section."""
_NEUTRAL_ENDING = "配置与运行信息参考"

LABELS = {
    HARDWARE: {
        "机器型号": "machine",
        "加速卡型号": "card",
        "机器、加速卡型号": "machine_and_card",
        "多机网络类型、带宽": "network",
    },
    SOFTWARE: {
        "os版本": "os",
        "oskernel版本": "kernel",
        "加速卡驱动版本": "driver",
        "docker镜像和版本": "image",
        "docker版本": "docker",
        "训练框架版本": "framework",
        "依赖软件版本": "dependencies",
    },
}
"""Keys of a device file's environment by the item's label, as returned by `plain_word`."""

PRINTED_LABELS = {
    "machine": "机器型号",
    "card": "加速卡型号",
    "machine_and_card": "机器、加速卡型号",
    "network": "多机网络类型、带宽",
    "os": "OS版本",
    "kernel": "OS kernel版本",
    "driver": "加速卡驱动版本",
    "image": "Docker镜像和版本",
    "docker": "Docker 版本",
    "framework": "训练框架版本",
    "dependencies": "依赖软件版本",
}
"""The labels by key, as printed."""

GENERAL_COLUMNS = {"指标名称": "name", "指标值": "value", "特殊说明": "remark"}
MODEL, DATA_SET, DEVICE, MODIFICATIONS = "模型", "数据集", "硬件设备简称", "额外修改项"
MODEL_NAMES = ("fasterrcnn", "fasterrcnnresnet50", "fasterrcnnresnet50fpn", "fasterrcnnr50fpn")
"""Names of this benchmark's model, letters and digits only."""
NO_MODIFICATION = ("无", "none", "no", "/", "")
GENERATED = "generated"
"""Prefix of the data set in tables that are not about COCO, as printed by `python -m reports table`."""

COLUMN_OF = {
    "配置": "topology",
    "数据精度": "precision",
    "超参修改": "fix_hp",
    "端到端时间": "e2e_time",
    "总吞吐量": "p_whole",
    "训练吞吐量": "p_train",
    "计算吞吐量": "p_core",
    "训练结果": "map",
    "硬件存储使用": "mem",
}
"""Columns of the performance table by their names in the general table."""
COLUMNS = ("topology", "precision", "fix_hp", "e2e_time", "p_whole", "p_train", "p_core", "map", "mem")
MOST_COLUMNS = 99
"""Most headings that are examined to classify a table."""
PRINTED_COLUMNS = ("配置", *COLUMNS[1:])

UNITS = {
    "e2e_time": ("s", "sec", "secs", "second", "seconds", "秒"),
    "p_whole": ("images/s", "image/s", "img/s", "imgs/s", "images/sec", "张/s", "张/秒"),
    "map": ("%",),
    "mem": ("gib",),
}
UNITS["p_train"] = UNITS["p_core"] = UNITS["p_whole"]
"""Units that may follow a number, in lower case."""

_NUMBERING = re.compile(r"(?:[0-9]{1,3}|[一二三四五六七八九十]{1,3})[.、)]")


@dataclass(frozen=True)
class Vendor:
    """Facts about a vendor that its documents do not contain.

    `map_in_percent` is how its table prints mAP, `smi` the SMI tool of devices that share their backend with others.
    """

    name: str
    backend: str
    timing: str
    map_in_percent: bool = False
    smi: str = ""


# All publish in FlagPerf, whose trainer times p_core with the host clock and no synchronisation.
_KNOWN = (
    Vendor("Kunlunxin", "kunlunxin", "host", map_in_percent=True),
    Vendor("NVIDIA", "cuda", "host", smi="nvml"),
    Vendor("MetaX", "cuda", "host", smi="mx-smi"),
    Vendor("Iluvatar", "cuda", "host", smi="ixsmi"),
)

VENDORS = {vendor.name.casefold(): vendor for vendor in _KNOWN}
"""The vendors by name in lower case, the first word of a device's short name."""


def plain_word(text: str) -> str:
    """Return `text` as a lookup key: lower case, no spaces, no emphasis, ASCII punctuation."""
    return "".join(reading_form(shown(text)).split()).lower()


def title_of(text: str) -> str:
    """Return the section that a title begins, "neutral" for another known title, "" for an unknown one."""
    word = plain_word(text).strip("#").rstrip(":")
    numbering = _NUMBERING.match(word)
    word = word[numbering.end() :] if numbering else word
    if word in TITLES:
        return TITLES[word]
    return "neutral" if word in NEUTRAL_TITLES or word.endswith(_NEUTRAL_ENDING) else ""


def is_this_model(name: str) -> bool:
    """Return whether the model that a document names is the benchmark's."""
    return "".join(one for one in plain_word(name) if one.isalnum()) in MODEL_NAMES
