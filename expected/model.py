"""Devices, cells, recipes and expectations: a vendor's publication as data."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Mapping

from expected.metrics import FURTHER_METRICS, METRICS
from expected.rates import Rate
from expected.toml_file import ExpectationError

PUBLISHED = "published"
ACCEPTED = "accepted"
DERIVED = "derived"
UNPUBLISHED = "unpublished"
NOT_APPLICABLE = "not_applicable"

SMOKE = "a smoke run is not compared with any number"
"""The source of the expectations of a smoke run's cell."""

_PLACE = re.compile(r"(?P<cell>.+?)-(?:card(?P<card>0|[1-9][0-9]*)|host-(?P<host>.+))", re.ASCII)
"""Precedes the device index in a cell's id; ids of tables end with the batch size."""

TIMINGS = ("host", "device")

_LIMIT = 9999  # four digits each: far above any machine, far below a number that is a typing accident
_FORM = re.compile(r"([1-9][0-9]{0,3})x([1-9][0-9]{0,3})")


@dataclass(frozen=True, order=True)
class Topology:
    """`nodes` machines of `devices` devices each, one rank a device: "1x8".

    >>> Topology.parse("2x8").ranks
    16
    """

    nodes: int
    devices: int

    @property
    def ranks(self) -> int:
        """The world size."""
        return self.nodes * self.devices

    def __str__(self) -> str:
        return f"{self.nodes}x{self.devices}"

    @classmethod
    def parse(cls, text: str) -> Topology:
        """Parse "1x8". Raises ExpectationError for any other form."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise ExpectationError(
                f"found the topology {text!r}, expected NODESxDEVICES: two whole numbers from 1 to "
                f"{_LIMIT} without leading zeros around a small x, as in 1x8 (one machine of eight devices)"
            )
        return cls(int(match.group(1)), int(match.group(2)))


@dataclass(frozen=True)
class Expectation:
    """The published or accepted number of one metric, and the bounds that decide.

    `state` is PUBLISHED, DERIVED (from published numbers), ACCEPTED (by a site's baseline), UNPUBLISHED or
    NOT_APPLICABLE; `value`, `low` and `high` are
    in the metric's unit, and a side that is None does not decide. `capacity` is the device memory in GiB (metric `mem`
    only). `clock` is how an accepted p_core was timed ("host" or "device"; "" for the cell's `timing`), `protocol` that
    of the runs that a value was accepted from ("" for any). `annotations` are the SHA-256 of the annotation files of
    those runs, by split. `covered` is a value that the site accepted beside a published one which its devices exceed by
    far. `epoch_s` is the time of the one epoch more that the high bound of e2e_time allows, where it does.
    """

    state: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    capacity: float | None = None
    source: str = ""
    clock: str = ""
    protocol: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    covered: float | None = None
    epoch_s: float | None = None

    @property
    def has_number(self) -> bool:
        """Whether there is a number to judge against."""
        return self.state in (PUBLISHED, DERIVED, ACCEPTED)


@dataclass(frozen=True)
class Recipe:
    """How a cell is trained. The defaults are the benchmark's; anything else is a declared deviation."""

    model: str = "fasterrcnn_resnet50_fpn"
    num_classes: int = 91
    pretrained_backbone: bool = True
    momentum: float = 0.9
    weight_decay: float = 1e-4
    lr_milestones: tuple[int, ...] = (16, 22)  # epochs before which the learning rate is multiplied by lr_gamma
    lr_gamma: float = 0.1
    warmup_steps: int = 1000
    warmup_factor: float = 0.001
    epochs: int = 26
    target_map: float = 0.36
    horizontal_flip: float = 0.5  # probability
    aspect_ratio_groups: int = 3  # the k of torchvision's reference
    workers: int = 4  # loader processes a rank
    seed: int = 0
    gradient_clip: float = 0.0  # maximum gradient norm; 0 = off
    tf32: bool = False
    deterministic: bool = False  # torch.backends.cudnn.deterministic
    cudnn_benchmark: bool = False  # torch.backends.cudnn.benchmark
    lowered: tuple[str, ...] = ()  # variables that lower precision and belong to the row, as NAME=VALUE


@dataclass(frozen=True)
class Smoke:
    """How a smoke run differs from the recipe of its row.

    `batch_size` is per device; None for the row's. `sides` are the pixels to which the shorter side of a picture is
    resized, and the most that the longer one may have then; None for the model's own.
    """

    batch_size: int | None = None
    steps: int = 20
    sides: tuple[int, int] | None = None


@dataclass(frozen=True)
class Cell:
    """One row of a table: device, topology, hyper-parameters, and the expectation of each metric.

    `device` is the marker, `batch_size` is per device, `timing` how the published p_core was timed ("host", "device"),
    `expectations` has all columns of the table by name, and further metrics with a number. `card` is the index of the
    one device to use, `host` the name in --hosts of the one host; None, as in every table, for any. `peak_tflops` is
    the device's specified peak at the precision; None if it is not stated. `rates` are the device's [[link]] and
    [[peak]] rows.
    """

    device: str
    topology: Topology
    precision: str
    batch_size: int
    learning_rate: float
    timing: str
    recipe: Recipe
    expectations: Mapping[str, Expectation] = field(hash=False)
    source: str = ""
    note: str = ""
    card: int | None = None
    host: str | None = None
    peak_tflops: float | None = None
    rates: tuple[Rate, ...] = field(default=(), hash=False)

    @property
    def id(self) -> str:
        """The name in tests, reports and evidence: "r300-1x8-fp32-bs16", with `card` "r300-1x1-fp32-bs16-card3"."""
        place = "" if self.card is None else f"-card{self.card}"
        place += "" if self.host is None else f"-host-{self.host}"
        return f"{self.device}-{self.topology}-{self.precision}-bs{self.batch_size}{place}"

    def without_numbers(self, source: str) -> Cell:
        """Return the cell with nothing published; `source` is the reason."""
        blank = Expectation(UNPUBLISHED, source=source)
        table = {name: known if known.state == NOT_APPLICABLE else blank for name, known in self.expectations.items()}
        return replace(self, expectations=table)

    @property
    def applicable(self) -> tuple[str, ...]:
        """The metrics to judge: in the table's order the columns not marked as not applicable, then further ones."""
        columns = (name for name in METRICS if self.expectations[name].state != NOT_APPLICABLE)
        further = (name for name in FURTHER_METRICS if name in self.expectations and self.expectations[name].has_number)
        return (*columns, *further)

    def expectation(self, metric: str) -> Expectation:
        """Return what is expected of any metric; nothing is published of one that no table has."""
        return self.expectations.get(metric) or Expectation(UNPUBLISHED, source=self.source)

    @property
    def protocol(self) -> str:
        """The default protocol: "full" if map or e2e_time has a number to judge against, else "epoch"."""
        return "full" if any(self.expectations[name].has_number for name in ("map", "e2e_time")) else "epoch"


def split_place(cell_id: str) -> tuple[str, dict[str, Any]]:
    """Split a cell's id into the id in its table and the fields of Cell that bind it to one device or host.

    >>> split_place("r300-1x1-fp32-bs16-card3")
    ('r300-1x1-fp32-bs16', {'card': 3})
    >>> split_place("r300-1x8-fp32-bs16-host-gpu-07")
    ('r300-1x8-fp32-bs16', {'host': 'gpu-07'})
    """
    match = _PLACE.fullmatch(cell_id)
    if match is None:
        return cell_id, {}
    return match["cell"], {"host": match["host"]} if match["card"] is None else {"card": int(match["card"])}


@dataclass(frozen=True)
class Device:
    """A model of accelerator: one file of `expected/`, one pytest marker.

    `smi` names the SMI tool (trainer/telemetry has the names), "" if the backend has its own. `environment` holds the
    texts of the vendor's document under "hardware" and "software", and optionally under "packages" software that it
    does not list. `shapes` is the generated data set (train_images, val_images, seed) of the backends `cpu` and
    `virtual`, else None; `source` the document, `method` how it measured, `path` the file, `sha256` its digest.
    `is_released`: whether the release has this file, to the byte. `smoke`: how a smoke run of it differs.
    """

    marker: str
    name: str
    vendor: str
    backend: str
    card_memory_gib: float | None
    cards_per_host: int | None
    environment: Mapping[str, Mapping[str, str]] = field(hash=False)
    source: str
    cells: tuple[Cell, ...]
    shapes: Mapping[str, int] | None = field(hash=False)
    path: Path
    method: str = ""
    notes: str = ""
    smi: str = ""
    sha256: str = ""
    is_released: bool = False
    smoke: Smoke = Smoke()

    def smoke_cell(self, topology: Topology, precision: str | None = None) -> Cell:
        """Return the cell of a smoke run, with nothing published, at any topology and precision.

        Its hyper-parameters are those of the first row of that topology and precision, else of that topology, else of
        the table.

        >>> from expected import load_devices
        >>> load_devices()["r300"].smoke_cell(Topology(4, 8)).id
        'r300-4x8-fp32-bs16'
        """
        here = [cell for cell in self.cells if cell.topology == topology]
        alike = [cell for cell in here if cell.precision == precision]
        row = next(iter((*alike, *here, *self.cells)))
        wanted = precision or row.precision
        # The peak of a row is that of its own precision.
        peak = row.peak_tflops if wanted == row.precision else None
        batch_size = self.smoke.batch_size or row.batch_size
        cell = replace(row, topology=topology, precision=wanted, batch_size=batch_size, peak_tflops=peak)
        return cell.without_numbers(SMOKE)
