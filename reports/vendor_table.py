"""The table that a vendor publishes, with the blank cells filled from runs."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass, field, replace
from decimal import Context, Decimal
from pathlib import Path
from typing import Mapping, Sequence

from evidence.bundle import Evidence
from evidence.errors import SuiteError
from evidence.run_file import UNJUDGED
from evidence.text import visible
from evidence.verdict import RunVerdict, Verdict
from expected import METRICS, NOT_APPLICABLE, PUBLISHED, UNPUBLISHED, Cell, Device
from expected.documents.quoting import quoted
from expected.documents.words import PRINTED_COLUMNS, VENDORS
from verdict.environment.findings import EnvironmentFinding, environment_findings
from verdict.judge import Judged, judge_stored
from verdict.lookup import OWN_DATA, on_other_data
from verdict.metrics.measurement import Measurement
from verdict.metrics.throughput import RATES
from verdict.wording import margin, of_published, quantity, times

_MANY = {1: "单", 2: "两", 3: "三", 4: "四", 5: "五", 6: "六", 7: "七", 8: "八", 9: "九", 10: "十"}
_LEAST_PERCENT = 0.01
_EXACT = Context(prec=80)
_REASONS_QUOTED = 3


@dataclass(frozen=True)
class Filling:
    """The numbers of a run for the blank cells of one row in the metrics' units, and remarks on them.

    `run` is the run's folder as it should be shown, "" for one that should not. `environment` is what was found of its
    hosts, beside what the device's file states.
    """

    cell_id: str
    run: str
    simulated: bool
    values: Mapping[str, float] = field(hash=False)
    remarks: tuple[str, ...] = ()
    environment: tuple[EnvironmentFinding, ...] = ()


@dataclass(frozen=True)
class Style:
    """How numbers are printed: mAP in percent or as a share, measurements with four digits or with all."""

    percent: bool
    exact: bool = False


def style_of(device: Device, *, exact: bool = False) -> Style:
    """Return the style in which the device's vendor prints its own table."""
    vendor = VENDORS.get(device.vendor.casefold())
    return Style(vendor is not None and vendor.map_in_percent, exact)


def fill(
    run_dirs: Sequence[Path], devices: Mapping[str, Device], *, anonymous: bool = False
) -> tuple[Device, list[Filling]]:
    """Return the one device that the runs are of, and what each puts into its row; `anonymous` leaves folders out.

    Raises SuiteError, which names every run that was refused.
    """
    found: list[tuple[Device, Filling]] = []
    problems: list[str] = []
    seen: dict[str, Path] = {}
    for run_dir in run_dirs:
        try:
            judged = judge_stored(run_dir, devices)
            one = filling(judged, str(run_dir))
            found.append((judged.device, replace(one, run="") if anonymous else one))
        except SuiteError as error:
            problems.append(visible(str(error)))
            continue
        if judged.cell.id in seen:
            problems.append(
                f"{visible(str(run_dir))}: is a second run of {judged.cell.id}, expected one run a row; the first is "
                f"{visible(str(seen[judged.cell.id]))}: leave one of the two out"
            )
        seen.setdefault(judged.cell.id, run_dir)
    markers = list(dict.fromkeys(device.marker for device, _ in found))
    if len(markers) > 1:
        problems.append(f"found runs of {', '.join(markers)}, expected those of one device: a table is of one")
    if problems:
        raise SuiteError("\n".join(problems))
    return found[0][0], [one for _, one in found]


def filling(judged: Judged, run: str) -> Filling:
    """Return what a run measured where the table of its cell is blank; p_core is synchronised with the device.

    Raises SuiteError for a run whose numbers belong in no table: invalid, restarted, of one device among others, or of
    data that the table is not about.
    """
    evidence, cell, verdict = judged.evidence, judged.cell, judged.verdict
    problem = ""
    if verdict.outcome is Verdict.INVALID:
        more = f"; and {len(verdict.reasons) - _REASONS_QUOTED} more" if len(verdict.reasons) > _REASONS_QUOTED else ""
        problem = f"is invalid and proves nothing: {'; '.join(verdict.reasons[:_REASONS_QUOTED])}{more}"
    elif verdict.restarts:
        problem = f"was restarted {times(verdict.restarts)}, expected an unbroken run: only one is proof"
    elif evidence.stopped:
        problem = f"was ended early by --fail-fast, expected a whole run: {evidence.stopped}"
    elif cell.card is not None:
        problem = (
            "was made by --each-card, beside runs on the other devices, expected one that had the machine to itself"
        )
    elif verdict.protocol in UNJUDGED:
        problem = f"is a run of protocol {verdict.protocol}, expected one that trains as the table says"
    elif on_other_data(evidence, judged.device):
        problem = f"was given a data set with --data: {OWN_DATA}"
    if problem:
        raise SuiteError(f"{run}: {problem}")
    values: dict[str, float] = {}
    remarks: list[str] = []
    if verdict.without:
        remarks.append(f"made without {', '.join(verdict.without)}, as --recipe or --without asked for")
    found = judged.measurements
    for name in METRICS:
        if cell.expectations[name].state != UNPUBLISHED:
            continue
        if name not in found or found[name].doubt:
            why = found[name].doubt if name in found else verdict.metrics[name].reason
            remarks.append(f"{name} left blank: {why}")
            continue
        values[name] = found[name].value
        remarks += _remarks(found[name])
    if cell.timing == "host" and "p_core" in values:
        remarks.append(_as_published(judged.measurements.get("p_core_host"), evidence))
    beside = [
        f"{name} {quantity(found[name].value, found[name].unit)}{_by_how_much(name, found[name].value, verdict)}"
        for name in METRICS
        if cell.expectations[name].state != UNPUBLISHED and name in found and not found[name].doubt
    ]
    if beside:
        remarks.append(f"measured, where the table keeps its own: {', '.join(beside)}")
    environment = environment_findings(evidence, judged.device)
    return Filling(cell.id, run, evidence.simulated, values, tuple(remarks), environment)


def table_lines(device: Device, fillings: Sequence[Filling], style: Style) -> list[str]:
    """Return the performance table as lines of Markdown, and below it which cells came from which run."""
    by_cell = {one.cell_id: one for one in fillings}
    rows = [PRINTED_COLUMNS, *(_row(device, cell, by_cell.get(cell.id), style) for cell in device.cells)]
    return [*aligned(rows), *_below(device, fillings)]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of texts, the headings first, as an aligned pipe table; wide characters take two columns."""
    widths = [max(3, *(_width(row[column]) for row in rows)) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(text + " " * (width - _width(text)) for text, width in zip(row, widths)) + " |"
        for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def number_text(name: str, value: float, style: Style) -> str:
    """Return a number as the table prints it, without rounding: reading it gives the same float back."""
    if name == "map" and style.percent and value >= _LEAST_PERCENT:
        return f"{_plain(Decimal(repr(value)).scaleb(2, _EXACT))}%"
    text = repr(value)
    # Counts of a second or of images rarely have decimals, memory is printed with one always.
    return text[:-2] if text.endswith(".0") and name != "mem" else text


def rounded(value: float, style: Style) -> float:
    """Return a measurement as it is printed: four significant digits and all before the point, unless `style.exact`."""
    if style.exact or not value:
        return value
    return round(value, min(12, max(0, 3 - math.floor(math.log10(abs(value)))))) or value


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _width(text: str) -> int:
    """Return the columns that a terminal takes: wide characters two, combining ones none."""
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text
    )


def _by_how_much(name: str, value: float, verdict: RunVerdict) -> str:
    """Return " (98.6 % of the published, 5.1 % inside its bound)" where it is this value that was judged by a bound."""
    judged = verdict.metrics.get(name)
    if judged is None or judged.measured != value or not margin(judged):
        return ""
    return f" ({of_published(judged)} of the published, {margin(judged)} its bound)"


def _remarks(found: Measurement) -> list[str]:
    remarks = []
    if found.metric in RATES and found.interval is None:
        remarks.append(f"{found.metric} comes from {found.n} steps, too few for a confidence interval")
    if found.metric == "map" and not found.value:
        remarks.append("map is 0, which no device file takes")
    return remarks


def _as_published(host: Measurement | None, evidence: Evidence) -> str:
    """Return what p_core would be as the published ones of a table of host timing were read."""
    own = "p_core is synchronised with the device; the table's own are read with the host's clock"
    if host is None:
        return f"{own}, which this run was not"
    read = f"{own}, by which this run has {host.value:.4g} images/s"
    if all(start.host_clock for _, start in evidence.starts):
        return read
    return f"{read}, without a wait for the device after each step, which published ones of this timing had"


def _row(device: Device, cell: Cell, filled: Filling | None, style: Style) -> tuple[str, ...]:
    values = {} if filled is None else filled.values
    numbers = [_cell_text(device, cell, name, values.get(name), style) for name in METRICS]
    hyper = f"bs={cell.batch_size},lr={cell.learning_rate!r}"
    return (quoted(device.name) + _topology_words(cell), cell.precision, hyper, *numbers)


def _topology_words(cell: Cell) -> str:
    nodes, cards = cell.topology.nodes, cell.topology.devices
    machines = f"{_MANY[nodes]}机" if nodes in _MANY else f" {nodes}机"
    return f"{machines}{'单' if cards == 1 else cards}卡（{cell.topology}）"


def _cell_text(device: Device, cell: Cell, name: str, measured: float | None, style: Style) -> str:
    known = cell.expectations[name]
    if known.state == NOT_APPLICABLE:
        return "/"
    value = known.value if known.state == PUBLISHED else None
    if value is None and measured is not None:
        value = rounded(measured, style)
    if value is None:
        return ""
    capacity = known.capacity or device.card_memory_gib
    text = number_text(name, value, style)
    return text if name != "mem" or capacity is None else f"{text}/{capacity!r}"


def _below(device: Device, fillings: Sequence[Filling]) -> list[str]:
    if not fillings:
        return []
    cells = {cell.id: cell for cell in device.cells}
    lines = ["", "由运行结果填写 (filled from runs):", ""]
    for one in fillings:
        cell = cells[one.cell_id]
        row = f"{cell.topology} {cell.precision} bs={cell.batch_size},lr={cell.learning_rate!r}"
        names = ", ".join(one.values) or "nothing"
        simulated = ", simulated: no real device was measured" if one.simulated else ""
        lines.append(f"- {row}: {names} from {quoted(one.run) or 'a run'}{simulated}")
        lines += [f"  - {quoted(remark)}" for remark in (*one.remarks, *_out_of_order(cell, one))]
    return lines


def _out_of_order(cell: Cell, one: Filling) -> list[str]:
    """Return what is odd about a row that has published and measured rates side by side."""
    known = {name: cell.expectations[name].value for name in ("p_whole", "p_train", "p_core")}
    rates = [(name, known[name] if known[name] is not None else one.values.get(name)) for name in known]
    given = [(name, value) for name, value in rates if value is not None]
    return [
        f"{faster} is below {slower}: one is published, the other measured"
        for (slower, low), (faster, high) in zip(given, given[1:])
        if low > high
    ]
