"""The fixed vocabulary: titles, labels, rows, columns and units of the documents, and facts about known vendors."""

from __future__ import annotations

import re
from dataclasses import dataclass

from expected.documents.quoting import reading_form, shown

HARDWARE, SOFTWARE, GENERAL, PERFORMANCE = "hardware", "software", "general", "performance"


def plain_word(text: str) -> str:
    """Return `text` as a lookup key: lower case, no spaces, no emphasis, ASCII punctuation."""
    return "".join(reading_form(shown(text)).split()).lower()


TITLES = {
    "硬件环境": HARDWARE,
    "软件环境": SOFTWARE,
    "通用指标": GENERAL,
    "性能指标": PERFORMANCE,
}
NEUTRAL_TITLES = ("环境配置", "运行情况", "运行信息")
"""Titles between the parts of one device's section."""
_NEUTRAL_ENDING = "配置与运行信息参考"

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
    "compiler": "训练编译器版本",
    "cpu": "CPU型号",
}
"""The labels by key, as printed."""
LABELS = {
    kind: {plain_word(PRINTED_LABELS[key]): key for key in keys}
    for kind, keys in (
        (HARDWARE, ("machine", "card", "machine_and_card", "network", "cpu")),
        (SOFTWARE, ("os", "kernel", "driver", "image", "docker", "framework", "dependencies", "compiler", "cpu")),
    )
}
"""Keys of a device file's environment by the item's label, as returned by `plain_word`."""
WITH_ASCII_COLON = ("machine", "card", "machine_and_card", "network", "kernel")
"""Items with ": " behind their label in published documents; behind the others they have a full-width colon."""
TEMPLATE = {
    HARDWARE: ("machine_and_card", "network"),
    SOFTWARE: ("os", "kernel", "driver", "docker", "framework", "dependencies"),
}
"""Items of FlagPerf's template, in its order; unverified: not compared with the template of its current release."""

GENERAL_COLUMNS = {"指标名称": "name", "指标值": "value", "特殊说明": "remark"}
MODEL, DATA_SET, DEVICE, MODIFICATIONS = "模型", "数据集", "硬件设备简称", "额外修改项"
TASK = "任务类别"
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
_LONGEST_REMARK = 200
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

CONVERTED = {
    "e2e_time": {
        **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "小时"), 3600),
        **dict.fromkeys(("min", "mins", "minute", "minutes", "分钟"), 60),
    },
}
"""Other units, in lower case, and how many of the metric's own unit each is."""
IN_STEP = "与设备同步计时"
"""Stands in the remark on p_core of an exported table whose p_core is synchronised with the device."""
_REMARK = re.compile(
    r"(?:可选fp32/amp/fp16(?:/bf16)?|(?:跑满硬件设备评测)?吞吐量所需特殊超参数?|(?:通常称为)?[“\"]显存[”\"]|"
    r"总时间(?:\+perf初始化等时间)?|(?:实际)?训练(?:图片|样本)数除以总时间(?:\(performance_whole\))?|"
    r"不包含(?:每个epoch末尾的)?评估(?:部分耗时)?|不包含数据io(?:部分的?耗时)?(?:\(p3>p2>p1\))?|"
    rf"(?:单位为)?平均目标检测正确率|{IN_STEP}|单位[为是:=]?(?:[a-z%/]+|小时|分钟|秒)|[,;])*"
)


def is_usual_remark(text: str) -> bool:
    """Return whether a third column of the general metrics says what every document says there, or a unit."""
    return len(text) <= _LONGEST_REMARK and _REMARK.fullmatch(plain_word(text)) is not None


_NUMBERING = re.compile(r"(?:[0-9]{1,3}|[一二三四五六七八九十]{1,3})[.、)]")


@dataclass(frozen=True)
class Vendor:
    """Facts about a vendor that its documents do not contain.

    `map_in_percent` is how its table prints mAP, `smi` the SMI tool of devices that share their backend with others.
    `aliases` are other forms of its name that precede a device's, in lower case. `title` is what its documents call
    the device's section, "" for the vendor's name.
    """

    name: str
    backend: str
    timing: str
    map_in_percent: bool = False
    smi: str = ""
    aliases: tuple[str, ...] = ()
    title: str = ""


# All publish in FlagPerf, whose trainer times p_core with the host clock and no synchronisation.
_KNOWN = (
    Vendor(*("Kunlunxin", "kunlunxin", "host"), map_in_percent=True, aliases=("昆仑芯",), title="昆仑芯XPU"),
    Vendor("NVIDIA", "cuda", "host", smi="nvml", aliases=("英伟达",)),
    # Its tool and its table write MXC500 for a C500.
    Vendor("MetaX", "cuda", "host", map_in_percent=True, smi="mx-smi", aliases=("沐曦", "mx")),
    Vendor("Iluvatar", "cuda", "host", smi="ixsmi", aliases=("天数智芯", "天数")),
)

VENDORS = {vendor.name.casefold(): vendor for vendor in _KNOWN}
"""The vendors by name in lower case, the first word of a device's short name."""


@dataclass(frozen=True)
class Specification:
    """A device's data sheet: sizes of memory that it is sold with, in GiB, and its peak in TFLOPS at 16 bits."""

    memory_gib: tuple[float, ...]
    peak_tflops: float


SPECIFICATIONS = {
    "r300": Specification((32.0,), 128.0),
    "a100": Specification((40.0, 80.0), 312.0),
    "c500": Specification((64.0,), 240.0),
    "biv100": Specification((32.0,), 147.0),
}
"""Data sheets by the device's name, as returned by `names.bare_name`."""


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
