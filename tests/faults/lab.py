"""Where faults are planted: real runs of the virtual device, and altered copies of one that was sound, sealed again."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, Sequence

from filelock import FileLock

from expected import METRICS, Cell, Expectation
from fixtures.boot import boot
from tests.suite.stored import site_file, store, waiver
from tests.support import cell_of, device_of, options_for
from verdict import RunVerdict, judge_run, read_run
from verdict.seal import write_seal

DEVICE = "virtual"
STEPS = 100
_MORE_TRIES = 2
Event = Dict[str, Any]


def the_cell() -> Cell:
    """Two simulated cards; p_train, p_core and mem are published, and a run without faults passes them."""
    return cell_of(DEVICE, "1x2")


def the_full_cell() -> Cell:
    """One epoch and its evaluations on one card, every metric published as any sound run delivers it."""
    cell = cell_of(DEVICE, "1x1")
    easy = {"e2e_time": {"high": 1e6}, "map": {"low": 0.0}, "mem": {"high": 32.0, "capacity": 32.0}}
    expectations = {
        name: Expectation("published", value=1.0, source="a test", **easy.get(name, {"low": 1e-3})) for name in METRICS
    }
    return replace(cell, recipe=replace(cell.recipe, epochs=1), expectations=expectations)


class Stored:
    """A copy of a sound run's folder, to be altered at will."""

    def __init__(self, folder: Path, cell: Cell) -> None:
        self.folder = folder
        self.cell = cell

    def path(self, name: str) -> Path:
        return self.folder / name

    def edit_run(self, change: Callable[[Event], Any]) -> None:
        """Change run.json."""
        record = json.loads(self.path("run.json").read_text())
        change(record)
        self.path("run.json").write_text(json.dumps(record))

    def edit(self, name: str, change: Callable[[list[Event]], Any]) -> None:
        """Change the events of a file."""
        events = [json.loads(line) for line in self.path(name).read_text().splitlines()]
        change(events)
        self.path(name).write_text("".join(json.dumps(event) + "\n" for event in events))

    def judged(self, cell: Cell | None = None, *, seal: bool = True) -> RunVerdict:
        """Seal what was altered, as one would who wants it to pass, and judge it."""
        if seal:
            write_seal(self.folder)
        cell = cell or self.cell
        return judge_run(read_run(self.folder), cell, backend=device_of(cell.device).backend)


class Lab:
    """Runs in `shared`, a folder of the whole session, and in `folder`, the test's own."""

    def __init__(self, shared: Path, folder: Path) -> None:
        self._shared = shared
        self._folder = folder

    def run(self, scenario: str, *, cell: Cell | None = None, stall_timeout_s: float = 60.0) -> RunVerdict:
        """Boot the virtual device with a scenario and judge what it left."""
        path = self._folder / "scenario.toml"
        path.write_text(scenario)
        cell = cell or the_cell()
        run_dir = self._folder / f"run-{len(list(self._folder.glob('run-*')))}"
        _boot(cell, run_dir, scenario=path, steps=STEPS, stall_timeout_s=stall_timeout_s)
        return judge_run(read_run(run_dir), cell, backend=device_of(DEVICE).backend)

    def stored(self) -> Stored:
        """A copy of a sound steady run of two ranks."""
        return self._copy("steady", the_cell(), steps=STEPS)

    def stored_full(self) -> Stored:
        """A copy of a sound run with evaluations."""
        return self._copy("full", the_full_cell())

    def stored_r300(self) -> Path:
        """The folder of a made-up run of the R300 at 1x8, whose row has blanks."""
        return store(self._folder / "r300")

    def waivers(self, metrics: Sequence[str], *, ended: str) -> Path:
        """A site's file that waives these metrics of that run; the waiver of `ended` is past its date."""
        blocks = [waiver(metric, until="2020-01-01" if metric == ended else "2999-12-31") for metric in metrics]
        return site_file(self._folder / "site.toml", {}, blocks)

    def _copy(self, name: str, cell: Cell, **options: Any) -> Stored:
        original = self._shared / name
        with FileLock(str(self._shared / f"{name}.lock")):
            if not (original / "SHA256SUMS").exists():
                unless_too_busy(lambda: _boot_and_judge(cell, original, **options))
        copy = self._folder / name
        shutil.copytree(str(original), str(copy))
        return Stored(copy, cell)


def unless_too_busy(plant: Callable[[], RunVerdict]) -> RunVerdict:
    """The verdict on a run that is to be a sound one, of another try where it is invalid.

    A host that has too much else to do is no sound simulated card. The run then says that it proves nothing, and only
    such a run is worth a retry.
    """
    verdict = plant()
    for _ in range(_MORE_TRIES):
        if verdict.outcome != "invalid":
            break
        verdict = plant()
    return verdict


def _boot_and_judge(cell: Cell, run_dir: Path, **options: Any) -> RunVerdict:
    shutil.rmtree(str(run_dir), ignore_errors=True)
    _boot(cell, run_dir, **options)
    return judge_run(read_run(run_dir), cell, backend=device_of(DEVICE).backend)


def _boot(cell: Cell, run_dir: Path, **options: Any) -> None:
    run_dir.mkdir(parents=True)
    boot(cell, device_of(DEVICE), options_for(run_dir.parent, **options), run_dir, lambda line: None)
