"""Reads `[[cell]]` and `[[unpublished]]` tables: hyper-parameters, and the expectation of each metric."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Iterator, Mapping

from evidence.run_file import PRECISIONS
from expected.metrics import (
    COCO_TRAIN_IMAGES,
    FURTHER_METRICS,
    LARGEST_TOLERANCE,
    METRICS,
    Metric,
    default_bounds,
    one_epoch_more,
)
from expected.model import (
    DERIVED,
    NOT_APPLICABLE,
    PUBLISHED,
    TIMINGS,
    UNPUBLISHED,
    Cell,
    Expectation,
    Recipe,
    Topology,
)
from expected.rates import ALL_REDUCE, DEVICES, HOSTS, MEASURED, Rate, find_rate
from expected.recipe import read_recipe
from expected.toml_file import POSITIVE, ExpectationError, Range, Table, describe

_WORDS = {"unpublished": UNPUBLISHED, "not applicable": NOT_APPLICABLE}
_CELL_KEYS = (
    *("topo", "precision", "batch_size", "learning_rate", "timing", "source", "note", "recipe"),
    *METRICS,
)
_UNPUBLISHED_KEYS = ("topo", "precision", "batch_size", "learning_rate")
_NUMBER_KEYS = ("value", "low", "high", "tolerance", "capacity", "source", "unit")
FORMATS = ("fp32", "tf32", "bf16", "fp16")
"""Of numbers that are multiplied, from the widest to the fastest; amp multiplies in fp16."""
_TOLERANCE = Range(0, 1, high_open=True)
UNCAPPED_DEVICES = ("cpu", "virtual")
"""Their numbers depend on the machine that they run on, so that bounds may be as wide as a device file says."""
_LEARNING_RATE = Range(0, 10, low_open=True, high_open=True)


@dataclass(frozen=True)
class CellDefaults:
    """What a cell inherits from its device's file."""

    marker: str
    timing: str
    source: str
    recipe: Recipe
    card_memory_gib: float | None
    cards_per_host: int | None
    peak_tflops: Mapping[str, float]
    train_images: int = COCO_TRAIN_IMAGES
    rates: tuple[Rate, ...] = ()


def read_cells(top: Table, defaults: CellDefaults) -> tuple[Cell, ...]:
    """Return all cells of a file, in its order. Raises ExpectationError also for no cell and for a repeated id."""
    if "unpublished" not in top:
        top.value("cell", "a [[cell]] table for each row of the vendor's table")
    tables = [*top.blocks("cell", _CELL_KEYS), *_unpublished(top)]
    if not tables:
        raise top.fault("cell", "found no row; a table without rows would prove nothing")
    cells: list[Cell] = []
    for table in tables:
        cell = _read_cell(table, defaults)
        if "shapes" not in top:
            cell = replace(cell, expectations={**cell.expectations, **_derived(cell)})
        cell = replace(cell, expectations={**cell.expectations, **_bandwidth(cell)})
        for earlier, other in zip(tables, cells):
            if other.id == cell.id:
                is_mode = other.recipe.tf32 != cell.recipe.tf32
                remedy = "remove one of the two" + ', or write precision = "tf32" in that of TF32' * is_mode
                raise table.fault("", f"has the id {cell.id} of {earlier.path('')}; {remedy}")
        cells.append(cell)
    return tuple(cells)


def _unpublished(top: Table) -> Iterator[Table]:
    """Yield the rows that each [[unpublished]] stands for: one for each of its topologies and precisions."""
    for block in top.blocks("unpublished", _UNPUBLISHED_KEYS):
        same = {key: block.value(key) for key in ("batch_size", "learning_rate")}
        for topo in block.texts("topo"):
            for precision in block.texts("precision"):
                row = {"topo": topo, "precision": precision, **same, **dict.fromkeys(METRICS, "unpublished")}
                yield top.inner(block.path(""), row, _CELL_KEYS)


def _read_cell(table: Table, defaults: CellDefaults) -> Cell:
    source = table.text("source") if "source" in table else defaults.source
    expectations = {metric.name: _read_expectation(table, metric, defaults, source) for metric in METRICS.values()}
    _check_order(table, expectations)
    expectations["e2e_time"] = _with_an_epoch(table, expectations, defaults.train_images)
    precision, recipe = table.choice("precision", PRECISIONS), read_recipe(table, defaults.recipe)
    if precision == "tf32":
        recipe = replace(recipe, tf32=True)
    return Cell(
        device=defaults.marker,
        topology=_read_topology(table, defaults.cards_per_host),
        precision=precision,
        batch_size=table.integer("batch_size", Range(1)),
        learning_rate=table.number("learning_rate", _LEARNING_RATE),
        timing=table.choice("timing", TIMINGS) if "timing" in table else defaults.timing,
        recipe=recipe,
        peak_tflops=specified_peak(defaults.peak_tflops, precision, recipe.tf32),
        expectations=expectations,
        source=source,
        note=table.text("note") if "note" in table else "",
        rates=defaults.rates,
    )


def specified_peak(peaks: Mapping[str, float], precision: str, tf32: bool) -> float | None:
    """Return the most that a device can compute at a precision, in TFLOPS; None if nothing is stated that bounds it.

    Where the format itself is not stated, the next narrower one bounds it: no device is faster in a wider format.

    >>> specified_peak({"fp32": 19.5, "tf32": 156.0}, "fp32", tf32=True)
    156.0
    """
    own = {"fp32": "tf32" if tf32 else "fp32", "tf32": "tf32", "bf16": "bf16"}.get(precision, "fp16")
    bounding = FORMATS[FORMATS.index(own) :]
    return next((peaks[one] for one in bounding if one in peaks), None)


def _derived(cell: Cell) -> dict[str, Expectation]:
    """Return the expectations of further metrics that follow from the published numbers of a cell on COCO."""
    published = {
        name: known.value
        for name, known in cell.expectations.items()
        if known.state == PUBLISHED and known.value is not None
    }
    found = {}
    for name, metric in FURTHER_METRICS.items():
        how = metric.derived
        if how is not None and set(how.needs) <= set(published):
            value = float(f"{how.compute(published):.4g}")
            low, high = default_bounds(metric, value)
            found[name] = Expectation(DERIVED, value, low, high, source=f"{how.words}; {cell.source}")
    return found


def _bandwidth(cell: Cell) -> dict[str, Expectation]:
    """Return the expectation of bus_bandwidth, where an all-reduce of as many devices was measured."""
    between = HOSTS if cell.topology.nodes > 1 else DEVICES
    known = find_rate(cell.rates, ALL_REDUCE, MEASURED, between=between, devices=cell.topology.ranks)
    if known is None:
        return {}
    value = float(f"{known.rate:.4g}")
    low, high = default_bounds(FURTHER_METRICS["bus_bandwidth"], value)
    return {"bus_bandwidth": Expectation(PUBLISHED, value, low, high, source=known.source)}


def _read_topology(table: Table, cards_per_host: int | None) -> Topology:
    text = table.text("topo")
    try:
        topology = Topology.parse(text)
    except ExpectationError as error:
        raise table.fault("topo", str(error)) from error
    if cards_per_host is not None and topology.devices > cards_per_host:
        raise table.fault(
            "topo", f"found {topology}, but a machine has {cards_per_host} devices (device.cards_per_host)"
        )
    return topology


def _read_expectation(table: Table, metric: Metric, defaults: CellDefaults, source: str) -> Expectation:
    """Read an expectation: a word, a number, or a table of a number with its own bounds."""
    forms = f'a number in {metric.unit}, "unpublished" (blank), "not applicable" (/), or {{ value = ... }}'
    found = table.value(metric.name, forms)
    if isinstance(found, str):
        if found not in _WORDS:
            raise table.fault(metric.name, f"found {describe(found)}, expected {forms}")
        known_gib = defaults.card_memory_gib if metric.name == "mem" and found == "unpublished" else None
        return Expectation(_WORDS[found], capacity=known_gib, source=source)
    if not isinstance(found, dict):
        table.number(metric.name, metric.allowed, metric.spoken_unit)
        found = {"value": found}
    return _read_published(table.inner(metric.name, found, _NUMBER_KEYS), metric, defaults, source)


def _read_published(spec: Table, metric: Metric, defaults: CellDefaults, source: str) -> Expectation:
    allowed = metric.allowed
    if isinstance(spec.value("value", f"the published number in {metric.unit}"), str):
        raise spec.fault("value", 'found a string; a number that is not published is written as "unpublished" alone')
    if "unit" in spec:
        spec.choice("unit", (metric.unit,))
    unit = metric.spoken_unit
    value = spec.number("value", allowed, unit)
    low, high, tolerance = (
        spec.number(key, among, words) if key in spec else None
        for key, among, words in (
            ("low", allowed, unit),
            ("high", allowed, unit),
            ("tolerance", _TOLERANCE, ""),
        )
    )
    capacity = _read_capacity(spec, metric, value, defaults.card_memory_gib)
    decisive = "low" if metric.better == "higher" else "high"
    if tolerance is not None and decisive in spec:
        raise spec.fault("tolerance", f"would be without effect beside {decisive}; remove one of the two")
    default_low, default_high = default_bounds(metric, value, tolerance, capacity)
    low = default_low if low is None else low
    high = default_high if high is None else high
    _check_bounds(spec, metric, value, low, high, capacity)
    if defaults.marker not in UNCAPPED_DEVICES:
        _check_tolerance(spec, metric, value, low, high)
    return Expectation(PUBLISHED, value, low, high, capacity, spec.text("source") if "source" in spec else source)


def _with_an_epoch(table: Table, expectations: Mapping[str, Expectation], images: int) -> Expectation:
    """Return the expectation of e2e_time, whose default bound allows one epoch more where that is longer."""
    known, whole, given = expectations["e2e_time"], expectations["p_whole"], table.value("e2e_time")
    if known.value is None or known.high is None or whole.value is None:
        return known
    if isinstance(given, dict) and ("high" in given or "tolerance" in given):
        return known
    epoch_s, high = images / whole.value, one_epoch_more(known.value, whole.value, images)
    # An epoch is a part of the run: the two numbers of a row in which it is not do not belong together.
    return replace(known, high=high, epoch_s=epoch_s) if known.high < high and epoch_s < known.value else known


def _read_capacity(spec: Table, metric: Metric, value: float, card_memory_gib: float | None) -> float | None:
    """Return the device memory in GiB; a published `mem` must have it if the device states it."""
    if metric.name != "mem":
        if "capacity" in spec:
            raise spec.fault("capacity", "belongs to mem only; remove it")
        return None
    if "capacity" not in spec:
        if card_memory_gib is None:
            return None
        raise spec.fault(
            "capacity",
            f"missing; the table prints used/capacity, so write {{ value = {value!r}, capacity = ... }} "
            f"(device.card_memory_gib is {card_memory_gib!r})",
        )
    capacity = spec.number("capacity", POSITIVE, metric.unit)
    if card_memory_gib is not None and capacity != card_memory_gib:
        raise spec.fault("capacity", f"found {capacity!r}, but device.card_memory_gib is {card_memory_gib!r}")
    if capacity < value:
        raise spec.fault("capacity", f"found {capacity!r}, less than the value {value!r} that is said to fit in it")
    return capacity


def _check_bounds(
    spec: Table,
    metric: Metric,
    value: float,
    low: float | None,
    high: float | None,
    capacity: float | None,
) -> None:
    """Refuse bounds that the published number itself violates, or that no measurement could violate."""
    if low is not None and low not in metric.allowed:
        raise spec.fault(
            "tolerance" if "tolerance" in spec else "value",
            f"puts the low bound at {low!r}, where everything passes; give a smaller tolerance, or low",
        )
    if high == float("inf"):
        raise spec.fault("value", f"found {value!r}, too large to have a bound")
    if low is not None and low > value:
        raise spec.fault("low", f"found {low!r}, above the published value {value!r}")
    if high is not None and high < value:
        raise spec.fault("high", f"found {high!r}, below the published value {value!r}")
    if high is not None and capacity is not None and high > capacity:
        raise spec.fault("high", f"found {high!r}, above the capacity {capacity!r}")


def _check_tolerance(spec: Table, metric: Metric, value: float, low: float | None, high: float | None) -> None:
    """Refuse a given bound that is further from the published number than LARGEST_TOLERANCE."""
    most = LARGEST_TOLERANCE[metric.name]
    lowest, highest = default_bounds(metric, value, most)
    decisive, bound, limit = ("low", low, lowest) if metric.better == "higher" else ("high", high, highest)
    key = next((one for one in ("tolerance", decisive) if one in spec), "")
    is_wider = bound is not None and limit is not None and (bound < limit if decisive == "low" else bound > limit)
    if key and is_wider:
        allowed = f"{most:g}" if metric.is_absolute else f"{most:.0%}"
        raise spec.fault(
            key,
            f"puts the {decisive} bound at {bound!r}, more than {allowed} from {value!r}; a device file may allow for "
            f"{limit!r} at most",
        )


def _check_order(table: Table, expectations: Mapping[str, Expectation]) -> None:
    """Refuse swapped columns: p_core >= p_train >= p_whole, as each excludes time that the next includes."""
    published: dict[str, float] = {
        name: expectations[name].value or 0.0
        for name in ("p_whole", "p_train", "p_core")
        if expectations[name].state == PUBLISHED
    }
    names = list(published)
    for slower, faster in zip(names, names[1:]):
        if published[slower] > published[faster]:
            raise table.fault(
                faster,
                f"found {published[faster]!r}, below {slower} = {published[slower]!r}; "
                "p_core >= p_train >= p_whole holds by definition, so look for swapped columns",
            )
