"""run.json: what was launched, for which cell, where, and how the launch ended.

Written before anything is started, so that a run that dies leaves its question behind, and again when it has ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Mapping

from evidence.codec import FieldError, decode, dumps, encode, parse_object
from evidence.files import RUN_FILE, other_schema, write_whole

TRAINING = ("full", "epoch", "steady", "smoke")
"""The protocols that train."""
BY_STEPS = ("steady", "smoke")
"""The protocols that train a number of steps after a warm-up, instead of epochs."""
PROBES = "probes"
"""The protocol that trains nothing: environment and probes only, without data set and network."""
PROTOCOLS = (*TRAINING, PROBES)
UNJUDGED = ("smoke", PROBES)
"""The protocols whose runs are not compared with any number, and are no attempt at a release."""
PRECISIONS = ("fp32", "tf32", "amp", "fp16", "bf16")
"""tf32: fp32 whose products and convolutions use TF32."""


@dataclass(frozen=True)
class RunCell:
    """The cell as it was when the run began."""

    id: str
    device: str
    topology: str
    precision: str
    batch_size: int
    learning_rate: float
    timing: str | None = None


@dataclass(frozen=True)
class RunDevice:
    """The device's name in its table."""

    marker: str = ""
    name: str = ""
    vendor: str = ""


@dataclass(frozen=True)
class Broken:
    """Why an attempt ended early; `phase` is preflight (nothing was started), boot or run."""

    phase: str = ""
    message: str = ""

    def __str__(self) -> str:
        return f"{self.phase}: {self.message}"


@dataclass(frozen=True)
class Repeat:
    """Which boot of a cell this is, from 1, of how many declared beforehand; `first` is the id of the first."""

    number: int
    of: int
    first: str


@dataclass(frozen=True)
class Boot:
    """How the launch ended; with neither exit code nor failure nor `stopped` it never came to an end.

    `elapsed_s` and `elapsed_utc_s` are its length by a monotonic clock and by the time of day. `stopped` is why
    --fail-fast ended the run before its end: what could no longer pass.
    """

    exit_code: int | None = None
    failure: Broken | None = None
    elapsed_s: float | None = None
    elapsed_utc_s: float | None = None
    stopped: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the launch ended in a failure."""
        return self.failure is not None

    @property
    def phase(self) -> str:
        """The failure's phase; "" without one."""
        return self.failure.phase if self.failure else ""

    @property
    def message(self) -> str:
        """The failure's message; "" without one."""
        return self.failure.message if self.failure else ""


@dataclass(frozen=True)
class Launcher:
    """The host that the session ran on, and the versions of its packages (null where one is not installed)."""

    host: str = ""
    os: str = ""
    kernel: str = ""
    processor: str = ""
    cores: int | None = None
    python: str = ""
    packages: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Digests:
    """SHA-256 of what decided: the device file, the suite's own code, and the site's baseline file ("" without one).

    All are "" in a run of a version that did not record them.
    """

    table: str = ""
    suite: str = ""
    baseline: str = ""


@dataclass(frozen=True)
class Run:
    """run.json. `steps` and `epochs` are the limits in force.

    `restarts` has an entry for each attempt that broke off; the ranks' files are those of the last attempt. `own_data`:
    whether the data set was the user's own rather than generated. `expectation` is by metric, as it was when the run
    began. `command` is what started the ranks of the first host, `starts` how the session reached the hosts.
    `variables` are the environment variables that explain a run; credentials are left out. `scenario` is what a
    simulated device was to do. `under_test` and `stated` are the options `--under-test` and `--state`, by item of the
    environment; older bundles lack them. `repeat` is None for the only boot of its cell.
    """

    schema: int
    id: str
    cell: RunCell
    protocol: str
    recipe: Mapping[str, Any]
    simulated: bool
    backend: str
    boot: Boot
    device: RunDevice = RunDevice()
    own_data: bool = True
    without: tuple[str, ...] = ()  # optimizations of the trainer that were switched off
    steps: int | None = None
    epochs: int | None = None
    card_memory_gib: float | None = None
    expectation: Mapping[str, Any] | None = None
    restarts: tuple[Broken, ...] = ()
    repeat: Repeat | None = None
    numerics: str = ""  # how much the operators probe asked; "": the run is older than the probe
    links: str = ""  # how much the probes of links, copies, memory and peaks asked, likewise
    started_utc: str = ""
    ended_utc: str = ""
    environment: Launcher = Launcher()
    command: tuple[str, ...] = ()
    launcher: str = ""
    starts: Any = ()
    launch_environment: Mapping[str, Any] = field(default_factory=dict)
    variables: Any = ()
    scenario: Mapping[str, Any] | None = None
    under_test: Mapping[str, str] = field(default_factory=dict)
    stated: Mapping[str, str] = field(default_factory=dict)
    digests: Digests = Digests()

    @property
    def has_ended(self) -> bool:
        """Whether the launch came to an end; not so while it runs, or if what watched over it was killed."""
        return self.boot.exit_code is not None or self.boot.failed or bool(self.ended_utc)


def decode_run(raw: bytes) -> Run:
    """Return what run.json holds. Raises FieldError, which names the field, or ValueError for other than an object."""
    record = parse_object(raw)
    schema = record.get("schema")
    if type(schema) is int and other_schema(schema):
        raise FieldError(f"{other_schema(schema)}; judge it with the version that wrote it")
    return decode(Run, record)


def write_run(run_dir: Path, run: Run) -> None:
    """Write run.json atomically."""
    write_whole(run_dir / RUN_FILE, dumps(encode(run), indent=1) + "\n")
