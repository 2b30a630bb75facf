"""What a vendor publishes, as data: devices, cells, recipes and expectations."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Mapping

from expected.metrics import METRICS
from expected.topology import Topology

PUBLISHED = "published"
ACCEPTED = "accepted"
UNPUBLISHED = "unpublished"
NOT_APPLICABLE = "not_applicable"

_CARD = "-card"
"""What stands in a cell's id before its card; no table's id has it, as they all end with the batch size."""

PRECISIONS = ("fp32", "amp", "fp16", "bf16")
TIMINGS = ("host", "device")

SMI_NAMES = ("nvml", "mx-smi", "ixsmi")
"""The management tools of devices that share the backend `cuda`."""


@dataclass(frozen=True)
class Expectation:
    """What the vendor, or a site that accepted a value of its own, says about one metric, and the bounds that decide.

    `state` is PUBLISHED, ACCEPTED, UNPUBLISHED or NOT_APPLICABLE; `value`, `low` and `high` are in the metric's
    unit, and a side that is None does not decide. `capacity` is the memory of a card in GiB (metric `mem` only).
    `clock` says how an accepted p_core was timed ("host" or "device"); "" is as the cell's `timing`. `protocol` is the
    one of the runs that a value was accepted from; "" is any.
    """

    state: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    capacity: float | None = None
    source: str = ""
    clock: str = ""
    protocol: str = ""

    @property
    def has_number(self) -> bool:
        """Whether there is a number to judge against: the vendor's or the site's."""
        return self.state in (PUBLISHED, ACCEPTED)


@dataclass(frozen=True)
class Recipe:
    """How a cell is trained; the defaults are the benchmark's, anything else is a declared deviation."""

    model: str = "fasterrcnn_resnet50_fpn"
    num_classes: int = 91
    pretrained_backbone: bool = True
    momentum: float = 0.9
    weight_decay: float = 1e-4
    lr_milestones: tuple[int, ...] = (
        16,
        22,
    )  # epochs before which the learning rate is multiplied by lr_gamma
    lr_gamma: float = 0.1
    warmup_steps: int = 1000
    warmup_factor: float = 0.001
    epochs: int = 26
    target_map: float = 0.36
    horizontal_flip: float = 0.5  # probability
    aspect_ratio_groups: int = 3  # the k of torchvision's reference
    workers: int = 4  # loader processes of a rank
    seed: int = 0
    gradient_clip: float = 0.0  # largest norm of the gradient; 0 = off
    tf32: bool = False


@dataclass(frozen=True)
class Cell:
    """One row of a table: a device at a topology, its hyper-parameters, and what is expected of each metric.

    `device` is the device's marker, `batch_size` is per card, `timing` says how the published p_core was read
    ("host" or "device" clock), `expectations` has all six metrics by name. `card` is the one of the host that the run
    is to use; None, as in every table, is any.
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

    @property
    def id(self) -> str:
        """The cell's name in tests, reports and evidence: "r300-1x8-fp32-bs16", of one card "...-bs16-card3"."""
        card = "" if self.card is None else f"{_CARD}{self.card}"
        return f"{self.device}-{self.topology}-{self.precision}-bs{self.batch_size}{card}"

    def without_numbers(self, source: str) -> Cell:
        """The same cell with nothing published; `source` says why its table's numbers do not hold."""
        blank = Expectation(UNPUBLISHED, source=source)
        table = {name: known if known.state == NOT_APPLICABLE else blank for name, known in self.expectations.items()}
        return replace(self, expectations=table)

    @property
    def applicable(self) -> tuple[str, ...]:
        """Names of the metrics that the table does not mark as not applicable, in the table's order."""
        return tuple(name for name in METRICS if self.expectations[name].state != NOT_APPLICABLE)

    @property
    def protocol(self) -> str:
        """The default protocol: "full" where map or e2e_time has a number to be judged against, "epoch" elsewhere."""
        return "full" if any(self.expectations[name].has_number for name in ("map", "e2e_time")) else "epoch"


def split_card(cell_id: str) -> tuple[str, int | None]:
    """The id of the table's cell that a cell's id is of, and the card in it: ("r300-1x1-fp32-bs16", 3)."""
    table_id, found, card = cell_id.rpartition(_CARD)
    is_number = card.isascii() and card.isdigit() and str(int(card)) == card
    return (table_id, int(card)) if found and is_number else (cell_id, None)


@dataclass(frozen=True)
class Device:
    """A model of card: one file of `expected/`, one pytest marker.

    `smi` names the management tool that watches its cards, one of SMI_NAMES, "" where the backend has its own.
    `environment` holds the texts of the vendor's document under "hardware" and "software", and under "packages", where
    the file has that table, what the document does not print of its software; `shapes` the
    generated data set (train_images, val_images, seed) of the backends `cpu` and `virtual`, None elsewhere;
    `source` the document, `method` how it measured, `path` the file that this came from.
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
