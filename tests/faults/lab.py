"""Where faults are planted: runs of the virtual device, and stored ones that were sound, altered and sealed again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Mapping

from evidence.bundle import Evidence, read_run, with_signature
from evidence.seal import sign_seal, write_seal
from evidence.verdict import RunVerdict
from expected import METRICS, Cell, Expectation
from fixtures.boot.boot import boot
from tests.evidence import signing
from tests.suite.stored import EIGHT, UNTIL, bundle_of, site_file, virtual_bundle, waiver
from tests.support import cell_of, device_of, options_for
from tests.verdict.bundles import Bundle
from verdict.judge import judge_run
from verdict.metrics.throughput import STEADY_MIN_STEPS

DEVICE = "virtual"
Event = Dict[str, Any]
_SOUND = {"e2e_time": 20.0, "p_whole": 15.0, "p_train": 20.0, "p_core": 20.0, "map": 1.0, "mem": 16.0}

_UNHEALTHY: dict[str, Evidence] = {}


def the_cell() -> Cell:
    """Two simulated devices; p_train, p_core and mem are published, and a run without faults passes them."""
    return cell_of(DEVICE, "1x2")


def the_full_cell() -> Cell:
    """One epoch and its evaluations on one device, every metric published as any sound run delivers it."""
    cell = cell_of(DEVICE, "1x1")
    easy = {"e2e_time": {"high": 1e6}, "map": {"low": 0.0}, "mem": {"high": 32.0, "capacity": 32.0}}
    expectations = {
        name: Expectation("published", value=_SOUND[name], source="a test", **easy.get(name, {"low": 1e-3}))
        for name in METRICS
    }
    return replace(cell, recipe=replace(cell.recipe, epochs=1), expectations=expectations)


class Stored:
    """The folder of a sound run, to be altered at will."""

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
        return self._judged(read_run(self.folder), cell or self.cell)

    def evidence(self) -> Evidence:
        """Seal what was altered, and read it."""
        write_seal(self.folder)
        return read_run(self.folder)

    def signed(self) -> Path:
        """Sign the run as its launcher would; return the file of those who may."""
        place = self.folder.parent
        allowed = signing.signers(place / "allowed", f"{signing.LAB} {signing.fake_key(place / 'key')}")
        with signing.on_path(signing.fake_program(place / "bin")):
            sign_seal(self.folder, place / "key")
        return allowed

    def judged_as_signed(self, allowed: Path) -> RunVerdict:
        """Judge it as under --require-signature."""
        with signing.on_path(self.folder.parent / "bin"):
            return self._judged(with_signature(read_run(self.folder), allowed), self.cell)

    @staticmethod
    def _judged(evidence: Evidence, cell: Cell) -> RunVerdict:
        return judge_run(evidence, cell, backend=device_of(cell.device).backend)


class Lab:
    """Runs below `folder`, the test's own; the data set that they train on is kept in `shared`."""

    def __init__(self, folder: Path, shared: Path) -> None:
        self._folder = folder
        self._shared = shared

    def run(self, scenario: str, steps: int, stall_timeout_s: float) -> RunVerdict:
        """Boot the virtual device with a scenario and judge what it left."""
        return judge_run(self.evidence(scenario, steps, stall_timeout_s), the_cell(), backend=device_of(DEVICE).backend)

    def evidence(self, scenario: str, steps: int, stall_timeout_s: float = 60.0) -> Evidence:
        """Boot the virtual device with a scenario and read what it left; the steps are those after the warm-up."""
        path, run_dir = self._folder / "scenario.toml", self._folder / "run"
        path.write_text(scenario)
        run_dir.mkdir()
        options = options_for(self._shared, scenario=path, steps=steps, stall_timeout_s=stall_timeout_s)
        if steps < STEADY_MIN_STEPS:  # then a warm-up of nine: this device is steady from its first step
            options = replace(options, training={**options.training, "steady_warmup": 4, "window": 5})
        boot(the_cell(), device_of(DEVICE), options, run_dir, lambda line, phase: None)
        return read_run(run_dir)

    def unhealthy(self, scenario: str, steps: int) -> Evidence:
        """The run of a scenario in which training itself is sound; booted once for all rows that ask of it."""
        if scenario not in _UNHEALTHY:
            _UNHEALTHY[scenario] = self.evidence(scenario, steps)
        return _UNHEALTHY[scenario]

    def stored(self, **changes: Any) -> Stored:
        """A sound steady run of two ranks."""
        return self._write(virtual_bundle("1x2", **changes), the_cell())

    def stored_coco(self, **changes: Any) -> Stored:
        """A made-up run of the R300 at 1x8, trained on COCO."""
        return self._write(bundle_of("r300", "1x8", **changes), cell_of("r300", "1x8"))

    def stored_full(self) -> Stored:
        """A sound run with evaluations."""
        cell = the_full_cell()
        return self._write(virtual_bundle("1x1", protocol="full", warmup=0, recipe=cell.recipe, maps=(0.02,)), cell)

    def stored_a100(self, cell: Cell, **changes: Any) -> RunVerdict:
        """The verdict on a made-up run of a real A100 as that cell, whose numbers are published."""
        bundle = bundle_of("a100", str(cell.topology), **{"batch_size": cell.batch_size, **changes})
        return self._write(bundle, cell, elapsed_s=6000.0).judged()

    def stored_r300(self, topology: str = "1x8", environment: Mapping[str, Any] | None = None, **changes: Any) -> Path:
        """The folder of a made-up run of the R300, whose rows have blanks; `environment` is what its hosts found."""
        bundle = bundle_of("r300", topology, **changes)
        bundle.one("environment").update(environment or {})
        return bundle.write(self._folder / "r300")

    def stored_slow_rank(self) -> Path:
        """The folder of a sound steady run of two ranks but for this: one takes a fifth longer than the other."""
        bundle = virtual_bundle("1x2")
        for window in bundle.all("window", 1):
            window["forward_ns"] = int(window["forward_ns"] * 1.2)
        return self._write(bundle, the_cell()).folder

    def stored_without_numerics(self) -> Path:
        """The folder of a sound steady run that did not ask what its devices compute."""
        bundle = virtual_bundle("1x2")
        bundle.run["numerics"] = "none"
        return self._write(bundle, the_cell()).folder

    def waivers(
        self,
        metrics: Iterable[str],
        *,
        cell: str = EIGHT,
        ended: str = "",
        until: str = UNTIL,
        reason: str = "the new firmware",
    ) -> Path:
        """A site's file that waives these metrics of that run; the waiver of `ended` is past its date."""
        days = {metric: "2020-01-01" if metric == ended else until for metric in metrics}
        blocks = [{**waiver(metric, cell=cell, until=day), "reason": reason} for metric, day in days.items()]
        return site_file(self._folder / "site.toml", {}, blocks)

    def _write(self, bundle: Bundle, cell: Cell, elapsed_s: float = 60.0) -> Stored:
        bundle.run["boot"].update(elapsed_s=elapsed_s, elapsed_utc_s=elapsed_s)
        return Stored(bundle.write(self._folder / cell.id), cell)
