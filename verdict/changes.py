"""What of a cell's expectations changed since its run was made; changes no verdict, but a reader has to know."""

from __future__ import annotations

from typing import Any, Mapping

from evidence.bundle import Evidence
from evidence.codec import FieldError, decode_fields, number, table, text
from evidence.run_file import RunCell
from expected import METRICS, NOT_APPLICABLE, Cell, Expectation

NOT_RECORDED = "run.json does not record what was expected when the run was made"


def changes(evidence: Evidence, cell: Cell) -> tuple[str, ...]:
    """The metrics whose expectation in `cell` is not the one that run.json recorded, each as "metric: then; now".

    Empty for evidence of another cell, or whose run.json cannot be read: there is nothing to compare.
    """
    run = evidence.run
    if run is None or run.cell.id != cell.id:
        return ()
    recorded = {name: _recorded(name, run.expectation or {}) for name in METRICS}
    if not any(recorded.values()):
        return (NOT_RECORDED,)
    texts = (_change(name, recorded[name], run.cell, cell) for name in METRICS)
    return tuple(one for one in texts if one)


def _recorded(name: str, record: Mapping[str, Any]) -> Expectation | None:
    """The expectation as the run recorded it; None where it did not, or not so that it can be read."""
    try:
        values = decode_fields(
            table(record.get(name)),
            {"state": text},
            {**dict.fromkeys(("value", "low", "high", "capacity"), number), "clock": text},
        )
    except FieldError:
        return None
    return Expectation(**{**values, "clock": values["clock"] or ""})


def _change(name: str, then: Expectation | None, run_cell: RunCell, cell: Cell) -> str:
    """What changed for one metric; empty where nothing did. Where a number is from may change without a word."""
    known = cell.expectations[name]
    timing = cell.timing if run_cell.timing is None else run_cell.timing
    now_said = _said(name, known, cell.timing)
    if then is None:
        unknown = f"{name}: not recorded when the run was made; now {now_said}"
        return "" if known.state == NOT_APPLICABLE else unknown
    then_said = _said(name, then, timing)
    return "" if then_said == now_said else f"{name}: {then_said} when the run was made; now {now_said}"


def _said(name: str, known: Expectation, timing: str) -> str:
    """Everything of an expectation that can decide, numbers to the last digit."""
    unit = METRICS[name].unit
    words = [known.state.replace("_", " ")]
    if known.has_number:
        words = [f"{known.state} {known.value!r}" + ("" if unit == "0..1" else f" {unit}")]
        words += [f"at least {known.low!r}"] if known.low is not None else []
        words += [f"at most {known.high!r}"] if known.high is not None else []
        words += [f"timed by the {known.clock or timing}"] if name == "p_core" else []
    words += [f"card of {known.capacity!r} GiB"] if known.capacity is not None else []
    return ", ".join(words)
