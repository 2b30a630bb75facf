"""Complete, consistent evidence bundles to judge, and to break one fault at a time."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, Mapping

from evidence.bundle import read_run
from evidence.seal import write_seal
from expected import METRICS, Cell, Expectation, Recipe, Topology, default_bounds
from verdict.metrics.measure import measure

DEVICE_GIB = 32.0
SMALL = Recipe(
    model="fasterrcnn_resnet18_fpn_small", pretrained_backbone=False, epochs=4, lr_milestones=(), warmup_steps=10
)

Event = Dict[str, Any]

HONEST_CLOCK = {
    "work_ns": [20_000_000] * 3,
    "synchronise_ns": [20_000_000] * 3,
    "after_ns": [100_000] * 3,
    "timer_ns": [19_800_000] * 3,
    "timer_wall_ns": [20_100_000] * 3,
    "steps_back": 0,
}

PARAMETERS = {
    "fasterrcnn_resnet50_fpn": {"parameters": 41_755_286, "trained": 41_532_886},
    "fasterrcnn_resnet18_fpn_small": {"parameters": 12_297_827, "trained": 12_297_827},
    "fasterrcnn_tiny": {"parameters": 5_427, "trained": 5_427},
}
HEALTHY: Event = {
    "pci": "0000:1b:00.0",
    "sources": ["sysfs", "a tool", "kernel log"],
    "ecc_corrected": 3,
    "ecc_uncorrected": 0,
    "retired_pages": 1,
    "retirement_pending": False,
    "pcie_width": 16,
    "pcie_width_max": 16,
    "pcie_generation": 4,
    "pcie_generation_max": 4,
    "link_errors": {"pcie correctable": 2},
    "kernel_log": [],
    "absent": {},
}
RETESTED = ("synchronise_ns", "after_ns", "timer_ns", "timer_wall_ns")

TWO_DEVICES = Topology(1, 2)


@dataclass(frozen=True)
class Plan:
    """What happens in the run; times in ns, one entry of `maps` an epoch that is trained."""

    topology: Topology = TWO_DEVICES
    protocol: str = "full"
    device: str = "r300"
    backend: str = "kunlunxin"
    recipe: Recipe = SMALL
    maps: tuple[float, ...] = (0.21, 0.38)
    epochs: int | None = None  # the limit in force; the recipe's without one
    steps: int = 120  # an epoch; under steady the steps to measure
    warmup: int = 0
    window: int = 10
    batch_size: int = 4
    wait_ns: int = 2_000_000
    copy_ns: int = 1_000_000
    compute_ns: int = 40_000_000
    host_ns: int = 38_000_000
    gap_ns: int = 500_000  # bookkeeping of a window
    eval_ns: int = 1_500_000_000
    jitter: int = 0  # compute time varies by up to so many percent, the same way in every run
    slower: Mapping[int, float] = field(default_factory=dict)  # rank -> factor on its times
    images_of_rank: int = 64  # validation images
    used_gib: float = 20.0
    sample_ns: int = 1_000_000_000  # between two samples of a device
    simulated: bool = False
    pixels: int = 0  # padded, an image; 0 is what the recipe's model makes of them
    proposals: int = 200  # an image
    positives: int = 3  # an image
    clock: Mapping[str, Any] = field(default_factory=lambda: dict(HONEST_CLOCK))
    uneven: bool = True  # every seventh batch lacks an image, as no sampler's does; not of a resumed run
    unused: int = 0  # images that an epoch leaves out
    restarts: int = 0  # attempts that broke off
    resumed: tuple[int, int] | None = None  # epoch, and the step in it, where the last attempt took it up

    @property
    def pixels_of_image(self) -> int:
        """Padded pixels of an image, as the recipe's model makes them."""
        return self.pixels or (800 * 1088 if self.recipe.model == Recipe().model else 96 * 96)

    @property
    def sampled_of_image(self) -> int:
        """Boxes of an image that the box head is given."""
        return 512 if self.recipe.model == Recipe().model else 32

    @property
    def train_images(self) -> int:
        """Images of the data set: those of an epoch, or of all steps under steady."""
        steps = self.warmup + self.steps
        lacking = sum(self.images_of_step(step) < self.batch_size for step in range(steps))
        return (steps * self.batch_size - lacking) * self.topology.ranks + self.unused

    def images_of_step(self, step: int) -> int:
        """Images of a rank's batch."""
        of_pass = step if self.protocol == "steady" else step % self.steps
        return self.batch_size - (self.uneven and self.resumed is None and of_pass % 7 == 6)

    @property
    def limit(self) -> int:
        """Epochs at most."""
        return self.recipe.epochs if self.epochs is None else self.epochs

    @property
    def reason(self) -> str:
        """Why the run ends."""
        if self.protocol == "steady":
            return "steps"
        reached = self.protocol == "full" and self.maps[-1] >= self.recipe.target_map
        return "target" if reached else "last_epoch"


STEADY = Plan(protocol="steady", warmup=20)
EPOCH = Plan(protocol="epoch", maps=(0.1,))
CPU = Plan(device="cpu", backend="cpu")


def a_cell(plan: Plan, **expectations: Any) -> Cell:
    """The cell that `plan` runs: each metric unpublished but those given, by number or as an Expectation."""
    table = {name: Expectation("unpublished", source="a table") for name in METRICS}
    for name, given in expectations.items():
        table[name] = given if isinstance(given, Expectation) else published(name, given)
    return Cell(
        device=plan.device,
        topology=plan.topology,
        precision="fp32",
        batch_size=plan.batch_size,
        learning_rate=0.02,
        timing="device",
        recipe=plan.recipe,
        expectations=table,
        source="a table",
    )


def reached_by(plan: Plan, *names: str) -> dict[str, Expectation]:
    """The metrics (all, if none is named) as published numbers that a run of `plan` reaches with some room."""
    with tempfile.TemporaryDirectory() as folder:
        found = measure(read_run(build(plan).write(Path(folder) / "run")))
    known = {name: found[name].value for name in names or METRICS if name in found}
    return {name: Expectation("published", value, 0.9 * value, 1.1 * value) for name, value in known.items()}


def published(name: str, value: float) -> Expectation:
    """`value` as the vendor publishes it, with the default bounds."""
    capacity = DEVICE_GIB if name == "mem" else None
    low, high = default_bounds(METRICS[name], value, capacity=capacity)
    return Expectation("published", value, low, high, capacity, "a table")


def with_timing(cell: Cell, timing: str) -> Cell:
    """The cell with its p_core published from another clock."""
    return replace(cell, timing=timing)


@dataclass
class Bundle:
    """The files of a run before they are written, to be changed at will."""

    run: Event
    ranks: dict[int, list[Event]]
    telemetry: list[Event]

    def write(self, folder: Path) -> Path:
        """Write the files into `folder`, sealed, and return it."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_text(json.dumps(self.run))
        for rank, events in self.ranks.items():
            (folder / f"rank-{rank:04d}.jsonl").write_text(lines(events))
        (folder / "telemetry.jsonl").write_text(lines(self.telemetry))
        write_seal(folder)
        return folder

    def all(self, event: str, rank: int = 0) -> list[Event]:
        """The events of a rank by name."""
        return [one for one in self.ranks[rank] if one["event"] == event]

    def one(self, event: str, rank: int = 0) -> Event:
        """The first event of a rank by name."""
        return self.all(event, rank)[0]

    def drop(self, event: str, rank: int = 0) -> None:
        """Remove the events of a rank by name."""
        self.ranks[rank] = [one for one in self.ranks[rank] if one["event"] != event]


def lines(events: list[Event]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(event) + "\n" for event in events)


def build(plan: Plan) -> Bundle:
    """A run as `plan` tells it, in which everything adds up."""
    cell = a_cell(plan)
    ranks = {rank: _Rank(plan, rank, cell.id).tell() for rank in range(plan.topology.ranks)}
    return Bundle(_run_file(plan, cell), ranks, _telemetry(plan, ranks))


def _run_file(plan: Plan, cell: Cell) -> Event:
    return {
        "schema": 3,
        "id": "20260101T000000Z",
        "cell": {
            "id": cell.id,
            "device": cell.device,
            "topology": str(cell.topology),
            "precision": cell.precision,
            "batch_size": cell.batch_size,
            "learning_rate": cell.learning_rate,
            "timing": cell.timing,
        },
        "own_data": False,
        "protocol": plan.protocol,
        "recipe": asdict(plan.recipe),
        "steps": plan.steps if plan.protocol == "steady" else None,
        "epochs": plan.limit if plan.protocol == "full" else 1,
        "command": ["torchrun"],
        "started_utc": "2026-01-01T00:00:00Z",
        "simulated": plan.simulated,
        "backend": plan.backend,
        "card_memory_gib": None if plan.backend == "cpu" else DEVICE_GIB,
        "expectation": {},
        **({"restarts": [{"phase": "run", "message": "rank 1 ended"}] * plan.restarts} if plan.restarts else {}),
        "boot": {"exit_code": 0, "failure": None},
    }


def _telemetry(plan: Plan, ranks: dict[int, list[Event]]) -> list[Event]:
    samples = []
    for rank, events in ranks.items():
        start, end = events[0], events[-1]
        for t_ns in range(start["t_ns"], end["t_ns"], plan.sample_ns):
            samples.append(
                {
                    "t_ns": t_ns,
                    "host": start["host"],
                    "rank": rank,
                    "source": "xpu_smi",
                    "card": start["card"],
                    "memory_used_gib": plan.used_gib,
                    "memory_total_gib": DEVICE_GIB,
                }
            )
    return samples


class _Rank:
    """Tells the story of one rank, keeping its clock and its books."""

    def __init__(self, plan: Plan, rank: int, cell_id: str) -> None:
        self.plan, self.rank, self.cell_id = plan, rank, cell_id
        self.now = 1_000_000_000 * (rank + 1)  # clocks of different processes have nothing in common
        self.events: list[Event] = []
        self.step = self.images = self.steps = self.taken = 0
        self.retested = False
        if plan.resumed is not None:
            self.step = plan.resumed[0] * plan.steps + plan.resumed[1]
        self.ledger = dict.fromkeys(
            ("compute", "data_wait", "copy", "evaluation", "checkpoint", "bookkeeping", "idle"), 0
        )

    def say(self, event: str, **facts: Any) -> None:
        self.events.append({"event": event, "t_ns": self.now, **facts})

    def spend(self, phase: str, ns: int) -> None:
        self.now += ns
        self.ledger[phase] += ns

    def tell(self) -> list[Event]:
        plan = self.plan
        self._introduce()
        self.now += 2_000_000_000
        split = {"dropped": {}, "crowds": 3, "categories": 3, "annotations_sha256": "ab" * 32}
        train = {"images": plan.train_images, "id_sum": _all_ids(plan), **split}
        self.say("data", train=train, val={"images": self._val_images, "boxes": 300, **split})
        self.say("clock_test", **self.plan.clock)
        self._health("before")
        self.say("model", name=plan.recipe.model, **PARAMETERS.get(plan.recipe.model, {"parameters": 1, "trained": 1}))
        self.say("progress", phase="data", done=1, total=1)
        self._parameters()
        if plan.resumed is not None:
            epoch, step = plan.resumed
            self.say("resumed", epoch=epoch, step=step, steps_left=plan.steps - step, first_step=self.step, file="a.pt")
        elif plan.protocol == "full":
            self._evaluate(-1, 0.0)
        self._windows(plan.warmup, epoch=0, warmup=True)
        self.ledger = dict.fromkeys(self.ledger, 0)
        self.images = self.steps = 0
        self._read_agent()
        self.say("train_begin")
        if plan.protocol == "steady":
            self._windows(plan.steps, epoch=0)
        else:
            begun, first = plan.resumed or (0, 0)
            for epoch, score in enumerate(plan.maps):
                if epoch >= begun:
                    self._epoch(epoch, score, first if epoch == begun else 0)
        self.spend("idle", 10_000_000)
        ledger = {f"{phase}_ns": ns for phase, ns in self.ledger.items()}
        self.say("train_end", images=self.images, steps=self.steps, ledger=ledger)
        self._read_agent()
        if plan.protocol == "steady":
            self._pass(0, 0, plan.warmup + plan.steps)
        self._parameters()
        self._health("after")
        on_device = plan.backend != "cpu"
        self.say(
            "memory",
            allocated_gib=plan.used_gib * 0.8 if on_device else None,
            reserved_gib=plan.used_gib * 0.9 if on_device else None,
            resident_gib=1.5,
        )
        self.now += 500_000_000
        self.say("end", reason=plan.reason)
        return self.events

    @property
    def _val_images(self) -> int:
        return self.plan.images_of_rank * self.plan.topology.ranks

    def _introduce(self) -> None:
        plan = self.plan
        self.say(
            "start",
            schema=3,
            cell=self.cell_id,
            rank=self.rank,
            local_rank=self.rank % plan.topology.devices,
            world_size=plan.topology.ranks,
            local_world_size=plan.topology.devices,
            host=f"node{self.rank // plan.topology.devices}",
            pid=1000 + self.rank,
            backend=plan.backend,
            simulated=plan.simulated,
            device_name="a device",
            card=self.rank % plan.topology.devices,
            capacity_gib=DEVICE_GIB,
            precision="fp32",
            batch_size=plan.batch_size,
            learning_rate=0.02,
            model=plan.recipe.model,
            seed=plan.recipe.seed,
            tf32=plan.recipe.tf32,
            protocol=plan.protocol,
            attempt=plan.restarts,
            timing="synchronised",
            host_clock=True,
            versions={"python": "3.8"},
        )

    def _health(self, when: str) -> None:
        """As sound devices have it; a share of the host has none."""
        if self.plan.backend != "cpu":
            self.say("health", when=when, card=self.rank % self.plan.topology.devices, **HEALTHY)

    def _read_agent(self) -> None:
        """The agent's clock runs as the rank's does, with a zero of its own, and it answers at once."""
        self.say("agent_clock", asked_ns=self.now, agent_ns=self.now + 10**15)

    def _epoch(self, epoch: int, score: float, first: int) -> None:
        steps, before = self.plan.steps - first, self.images
        if steps:
            unused = self.plan.unused
            self.say("epoch_begin", epoch=epoch, steps=steps, images_unused=unused, from_step=first or None)
            self._windows(steps, epoch)
            self._pass(epoch, first, steps)
            self.say("epoch_end", epoch=epoch, steps=steps, images=self.images - before)
            self._parameters()
            self.spend("checkpoint", 20_000_000)
            self.say("checkpoint", epoch=epoch, step=self.plan.steps, file="checkpoint.pt", bytes=1)
        self._evaluate(epoch, score)

    def _parameters(self) -> None:
        moved = 60 if self.taken else 0
        self.say("parameters", steps=self.taken, sha256=f"{self.taken:064x}", tensors=60, moved=moved, unmoved=[])

    def _pass(self, epoch: int, first: int, steps: int) -> None:
        """Every rank has images of its own, the same in every epoch."""
        begun = epoch * self.plan.steps + first
        self.say(
            "pass",
            epoch=epoch,
            from_step=first,
            steps=steps,
            images=sum(map(self.plan.images_of_step, range(begun, begun + steps))),
            repeated=0,
            id_sum=_id_sum(self.rank),
            smallest=[100 * self.rank + at for at in range(16)],
            unused=self.plan.unused,
            unused_sum=self.plan.unused,
        )

    def _evaluate(self, epoch: int, score: float) -> None:
        self.say("eval_begin", epoch=epoch)
        self.spend("evaluation", self.plan.eval_ns)
        facts: Event = {"epoch": epoch, "images": self.plan.images_of_rank, "detections": 9}
        if self.rank == 0:
            facts.update(images_total=self._val_images, images_expected=self._val_images, map=score, stats=[score] * 12)
        self.say("eval_end", **facts)

    def _windows(self, steps: int, epoch: int, warmup: bool = False) -> None:
        for first in range(0, steps, self.plan.window):
            self._window(min(self.plan.window, steps - first), epoch, warmup)

    def _window(self, size: int, epoch: int, warmup: bool) -> None:
        plan, factor = self.plan, self.plan.slower.get(self.rank, 1.0)
        begun = self.now
        # The same sequence for every plan: a table of remainders scatters evenly and needs no random numbers.
        wobble = [1 + plan.jitter / 100 * (((self.step + at) * 37 % 101) / 50 - 1) for at in range(size)]
        compute_ns = [int(plan.compute_ns * factor * part) for part in wobble]
        wait_ns, copy_ns = (int(ns * factor) * size for ns in (plan.wait_ns, plan.copy_ns))
        self.spend("data_wait", wait_ns)
        self.spend("copy", copy_ns)
        self.spend("compute", sum(compute_ns))
        self.spend("bookkeeping", plan.gap_ns)
        images = [plan.images_of_step(self.step + at) for at in range(size)]
        self.say(
            "window",
            epoch=epoch,
            step=self.step,
            warmup=warmup,
            lr=0.02,
            wall_ns=self.now - begun,
            wait_ns=wait_ns,
            copy_ns=copy_ns,
            compute_host_ns=sum(int(plan.host_ns * factor * part) for part in wobble),
            forward_ns=int(sum(compute_ns) * 0.3),
            images=images,
            compute_ns=compute_ns,
            padded_pixels=sum(images) * plan.pixels_of_image,
            proposals=sum(images) * plan.proposals,
            sampled=sum(images) * plan.sampled_of_image,
            positives=sum(images) * plan.positives,
            loss=[2.0 + 1 / (1 + self.step + at) for at in range(size)],
            backward_steps=size,
            gradient_norm=1.0 + 1 / (1 + self.step),
            moved=9,
            skipped=[],
            loss_scale=None,
            forward_images=sum(images),
            read_ns=100_000,
            span_ns=0,
            span_device_ns=0,
        )
        if not warmup and not self.retested:
            self.say("clock_retest", step=self.step + size, **{name: self.plan.clock[name] for name in RETESTED})
            self.retested = True
        self.step += size
        self.taken += size
        self.steps += size
        self.images += sum(images)


def _id_sum(rank: int) -> int:
    return 2**60 + rank


def _all_ids(plan: Plan) -> int:
    return (sum(map(_id_sum, range(plan.topology.ranks))) + plan.unused) % 2**61
