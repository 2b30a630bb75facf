"""The operators that the device is asked for: passes, dtypes, rule, and the sizes of the quick probe and of the edges.

    CATALOGUE["conv2d"].directions    # {"fprop": "", "dgrad": "x", "wgrad": "weight"}
    CATALOGUE["conv2d"].rule          # "sums"

How each is computed is in the modules that `operators.load` imports. This one needs no torch: tests are named by it.
Sizes of the quick probe keep the number of terms that the real model adds up (fc6: 12544) and cut the other dimensions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator, Mapping, Sequence

from evidence.events.operators import BITS, EXACT, SPECIAL, SUMS, ULP, VALID, WATCHED

PRODUCTS = ("conv2d", "linear", "conv-bn-relu", "bits-linear", "bits-conv2d")
"""Operators that a device may compute in TF32."""
FP32 = ("fp32",)
HALF = ("fp32", "fp16", "bf16")
"""Dtypes of what runs in half precision under autocast."""

_FORWARD: Mapping[str, str] = {"forward": ""}
_BOTH: Mapping[str, str] = {"forward": "", "backward": "x"}

OPERATOR, BLOCK, FP32_IS_FP32, SPECIAL_VALUES, TIES = "operators", "blocks", "fp32_is_fp32", "special_values", "ties"
"""The tests of suite/test_numerics.py between which the catalogue is divided."""

Size = Mapping[str, int]


@dataclass(frozen=True)
class Kind:
    """An operator: each direction with the input to which it is the gradient, "" for the operator itself.

    `asked` is the test of suite/test_numerics.py that asks for it. `unordered` has the reason, by direction, for which
    two runs may differ in their last bits.
    """

    name: str
    rule: str
    directions: Mapping[str, str]
    dtypes: Sequence[str]
    quick: Sequence[Size]
    edges: Sequence[Size] = ()
    asked: str = OPERATOR
    unordered: Mapping[str, str] = field(default_factory=dict)


RECORDED = Path(__file__).with_name("recorded.json")
"""Sizes at which a real training step computes the operators; `python -m trainer.numerics.record` writes it."""

CATALOGUE: dict[str, Kind] = {}
"""Every operator by name."""


def _add(
    name: str,
    rule: str,
    *quick: Size,
    directions: Mapping[str, str] = _FORWARD,
    dtypes: Sequence[str] = FP32,
    edges: Sequence[Size] = (),
    asked: str = OPERATOR,
    **unordered: str,
) -> None:
    CATALOGUE[name] = Kind(name, rule, directions, dtypes, quick, edges, asked, unordered)


def _conv(cin: int, h: int, w: int, cout: int, k: int, stride: int = 1) -> Size:
    return {"n": 1, "cin": cin, "h": h, "w": w, "cout": cout, "k": k, "stride": stride}


_ATOMIC = "its kernels add up with atomic operations, in the order in which threads arrive"
_ALGORITHM = "without cudnn.deterministic a library may choose an algorithm that adds up with atomic operations"
_MEASURED = "with cudnn.benchmark each rank takes the algorithm that was the fastest when it looked"

_IMAGE: Size = {"n": 1, "c": 16, "h": 50, "w": 84}
_ODD: Size = {"n": 1, "c": 3, "h": 13, "w": 7}
_PIXEL: Size = {"n": 1, "c": 1, "h": 1, "w": 1}

_add(
    "conv2d",
    SUMS,
    _conv(3, 64, 96, 64, 7, 2),  # the stem
    _conv(256, 16, 24, 32, 3),  # FPN
    _conv(512, 14, 22, 32, 3, 2),  # the first of a stage
    _conv(2048, 8, 12, 32, 1),  # into FPN
    directions={"fprop": "", "dgrad": "x", "wgrad": "weight"},
    dtypes=HALF,
    edges=(_conv(5, 9, 7, 3, 3, 2), _conv(1, 1, 1, 1, 3), _conv(7, 3, 11, 2, 1)),
    dgrad=_ALGORITHM,
    wgrad=_ALGORITHM,
)
_add(
    "linear",
    SUMS,
    {"n": 32, "k": 12544, "m": 48},  # fc6
    {"n": 64, "k": 1024, "m": 91},  # the classes
    directions={"fprop": "", "dgrad": "x", "wgrad": "weight", "bgrad": "bias"},
    dtypes=HALF,
    edges=({"n": 1, "k": 1024, "m": 4}, {"n": 0, "k": 1024, "m": 91}, {"n": 3, "k": 7, "m": 5}),
)
_add(
    "conv-bn-relu",
    SUMS,
    _conv(64, 25, 42, 32, 3),
    _conv(256, 25, 42, 32, 1),
    directions={"fprop": ""},
    dtypes=HALF,
    asked=BLOCK,
)
_add("frozen-batch-norm", SUMS, _IMAGE, directions=_BOTH, dtypes=HALF, edges=(_ODD,))
_add("max-pool-grad", SUMS, _IMAGE, directions={"backward": "x"}, dtypes=HALF, edges=(_ODD,), backward=_ATOMIC)
_add("sum", SUMS, {"n": 100_000}, edges=({"n": 1}, {"n": 0}))
_add("mean", SUMS, {"n": 100_000}, edges=({"n": 1},))
_add("sum-of-squares", SUMS, {"n": 100_000}, edges=({"n": 1},))
_add("cross-entropy", SUMS, {"n": 512, "c": 91}, directions=_BOTH, edges=({"n": 1, "c": 91},))
_add("bce-with-logits", SUMS, {"n": 2000}, directions=_BOTH, edges=({"n": 1},))
_add("smooth-l1", SUMS, {"n": 512, "c": 4}, directions=_BOTH, edges=({"n": 1, "c": 4},))
_add(
    "roi-align",
    SUMS,
    {**_IMAGE, "boxes": 32},
    directions=_BOTH,
    edges=({**_IMAGE, "boxes": 1}, {**_IMAGE, "boxes": 0}),
    backward=_ATOMIC,
)
_add("interpolate", SUMS, {"n": 1, "c": 3, "h": 60, "w": 80}, directions=_BOTH, edges=(_ODD, _PIXEL), backward=_ATOMIC)
_add("sgd", SUMS, {"n": 20_000}, edges=({"n": 1},))

_VECTOR: Size = {"n": 5000}
for _name in ("exp", "log", "sigmoid", "sqrt", "division"):
    _add(_name, ULP, _VECTOR, edges=({"n": 1}, {"n": 0}))
_add("softmax", ULP, {"n": 128, "c": 91}, edges=({"n": 1, "c": 1}, {"n": 0, "c": 91}))
_add("box-iou", ULP, {"n": 200}, edges=({"n": 1}, {"n": 0}))

_EDGES = ({"n": 1}, {"n": 0})
for _name in ("add", "multiply", "clamp", "cat"):
    _add(_name, EXACT, _VECTOR, dtypes=HALF, edges=_EDGES)
_add("relu", EXACT, _VECTOR, directions=_BOTH, dtypes=HALF, edges=_EDGES)
for _name in ("where", "stack", "topk", "sort", "cast-fp16", "cast-bf16", "unscale", "nms", "batched-nms"):
    _add(_name, EXACT, {"n": 2000} if "nms" not in _name else {"n": 300}, edges=_EDGES)
for _name in ("max-pool", "nearest"):
    _add(_name, EXACT, _IMAGE, dtypes=HALF, edges=(_ODD, _PIXEL))
for _name in ("index-select", "gather", "index-put", "scatter", "transpose"):
    _add(_name, EXACT, {"n": 300, "c": 91}, edges=({"n": 1, "c": 1}, {"n": 0, "c": 4}))

# Are fp32 products fp32? Weights of one 1 each: nothing is added up, so every bit of the input has to come out.
_add("bits-linear", BITS, {"n": 64, "k": 64}, asked=FP32_IS_FP32)
_add("bits-conv2d", BITS, {"c": 64, "h": 16, "w": 16}, asked=FP32_IS_FP32)

for _name in ("nan-relu", "nan-add", "nan-sum", "nan-softmax", "inf-exp", "inf-log", "inf-sqrt", "inf-sigmoid"):
    _add(_name, SPECIAL, {"n": 64}, asked=SPECIAL_VALUES)
_add("nan-max-pool", SPECIAL, _ODD, asked=SPECIAL_VALUES)
_add("nan-linear", SPECIAL, {"n": 8, "k": 64, "m": 16}, asked=SPECIAL_VALUES)
_add("nan-conv2d", SPECIAL, {"c": 8, "h": 12, "w": 12}, asked=SPECIAL_VALUES)
# Many accelerators take denormals for zero, which is no fault.
_add("denormals", WATCHED, {"n": 64}, asked=SPECIAL_VALUES)

for _name in ("tied-topk", "tied-sort", "tied-nms"):
    _add(_name, VALID, {"n": 400}, asked=TIES)


def recorded_sizes() -> Iterator[tuple[str, Size]]:
    """Yield the sizes of RECORDED by operator, each once, those of one picture before those of two."""
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    seen = []
    for sizes in (recorded[name] for name in recorded if name.startswith("batch")):
        for one in ((name, size) for name, found in sizes.items() for size in found):
            if one not in seen:
                seen.append(one)
                yield one


def may_vary(kind: Kind, direction: str, *, deterministic: bool, benchmark: bool) -> str:
    """Return why two runs or devices may differ in their last bits, "" if they may not.

    `deterministic` and `benchmark` are the switches of cuDNN that the row of the table has.

    >>> may_vary(CATALOGUE["conv2d"], "wgrad", deterministic=True, benchmark=False)
    ''
    """
    if benchmark and "conv" in kind.name:
        return _MEASURED
    reason = kind.unordered.get(direction, "")
    return "" if deterministic and reason == _ALGORITHM else reason


def asked_dtypes(kind: Kind, precision: str, tf32: bool) -> Iterator[str]:
    """Yield the dtypes in which a run of that precision asks for an operator.

    Where TF32 is allowed the fp32 products are asked as "tf32": held against its unit roundoff.
    """
    computed = {"amp": ("fp32", "fp16"), "fp16": ("fp32", "fp16"), "bf16": ("fp32", "bf16")}.get(precision, FP32)
    for dtype in kind.dtypes:
        if dtype in computed:
            yield "tf32" if tf32 and dtype == "fp32" and kind.name in PRODUCTS else dtype


def operators_in_words() -> set[str]:
    """Return every question in words, as "conv2d dgrad fp32", in whichever dtype."""
    return {
        f"{kind.name} {direction} {dtype}".replace("-", " ")
        for kind in CATALOGUE.values()
        for direction in kind.directions
        for dtype in (*kind.dtypes, *(["tf32"] if kind.name in PRODUCTS else []))
    }


def questions(precision: str, tf32: bool, asked: str) -> Iterator[str]:
    """Yield the name of each question that a test asks, as conv2d-dgrad-fp32: operator, direction and dtype."""
    for kind in CATALOGUE.values():
        if kind.asked == asked:
            for dtype in asked_dtypes(kind, precision, tf32):
                for direction in kind.directions:
                    yield f"{kind.name}-{direction}-{dtype}"
