"""What tests of launches need: orders, real agents on a fake torch, scripted ones, and what is left of them all."""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Mapping

import psutil

from trainer.launch.control import Control, Ending
from trainer.launch.hosts import source_digest
from trainer.launch.launchers import Start, agent_command
from trainer.launch.protocol import Order

HERE = Path(__file__).parent
TOKEN = "0123456789abcdef"
WAIT_S = 60.0


def fake_software(folder: Path) -> Path:
    """Return a folder for PYTHONPATH with a torch that has nothing but a torchrun, and what else has to be there."""
    (folder / "torch" / "distributed").mkdir(parents=True)
    for name in ("torch", "torch/distributed", "torchvision", "pycocotools"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "__init__.py").touch()
    shutil.copyfile(str(HERE / "fake_torchrun.py"), str(folder / "torch" / "distributed" / "run.py"))
    return folder


def fake_data(folder: Path) -> Path:
    """Return a folder that looks like COCO 2017 from outside."""
    for name in ("annotations", "train2017", "val2017"):
        (folder / name).mkdir(parents=True)
    for split in ("train", "val"):
        (folder / "annotations" / f"instances_{split}2017.json").touch()
    return folder


def order_for(folder: Path, *flags: str, **changes: Any) -> Order:
    """Return an order for a run in `folder`/run, whose torchrun does what `flags` say."""
    if not (folder / "data").exists():
        fake_data(folder / "data")
    order = Order(
        token=TOKEN,
        run_dir=str(folder / "run"),
        source=source_digest(),
        flags=[f"cd:{folder / 'run'}", *flags],
        backend="cpu",
        nodes=1,
        ranks_per_node=2,  # a rank that is alone has no torchrun
        data=str(folder / "data"),
        leases=str(folder / "leases"),
        lease_wait_s=0.2,
    )
    return replace(order, **changes)


def real_agent(folder: Path, node: int = 0, prefix: tuple[str, ...] = (), name: str = "this host") -> Start:
    """Return how to start an agent on this host, for which torch is the fake one."""
    software = folder / "software"
    if not software.exists():
        fake_software(software)
    return Start(agent_command(prefix, None, node), (node,), name, {"PYTHONPATH": str(software)})


def fake_agent(node: int, *steps: Mapping[str, Any], name: str = "") -> Start:
    """Return how to start an agent that follows a script."""
    command = [sys.executable, str(HERE / "fake_agent.py"), str(node), json.dumps(steps)]
    return Start(command, (node,), name or f"gpu-{node}")


def hello(node: int = 0, **changes: Any) -> dict[str, Any]:
    """Return the step that says hello as a host without problems does; `off_s` sets its clock."""
    record = {"host": f"host-{node}", "utc_s": None, "pid": 1, "source": source_digest(), "shared": True}
    record.update({"port": 29500, "devices": [], "addresses": [[f"10.0.0.{node + 1}", 24]], "problems": []})
    return {"say": {"hello": {**record, **changes}}}


def ended(exit_code: int | None = 0, reason: str = "", **changes: Any) -> dict[str, Any]:
    """Return the step that says how it ended."""
    record = {"exit_code": exit_code, "reason": reason, "free_bytes": 10**9}
    return {"say": {"ended": {**record, **changes}}}


def control_for(folder: Path, starts: list[Start], order: Order | None = None, **changes: Any) -> Control:
    """Return the session's end of a launch whose own folder of the run is `folder`/session."""
    run_dir = folder / "session"
    run_dir.mkdir(exist_ok=True)
    found = order or order_for(folder, run_dir=str(run_dir), nodes=sum(len(start.nodes) for start in starts))
    values: dict[str, Any] = {"rendezvous": ("", 0), "timeout_s": WAIT_S, **changes}
    return Control(starts, found, run_dir, **values)


def until(condition: Callable[[], Any], wait_s: float = WAIT_S) -> bool:
    """Wait for something; return whether it came."""
    deadline_s = time.monotonic() + wait_s
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.02)
    return False


def polled(control: Control, condition: Callable[[], Any]) -> bool:
    """Move a launch on until something comes."""

    def moved() -> Any:
        control.poll()
        return condition()

    return until(moved)


def seen_through(control: Control, reason: str = "the run is over") -> Ending:
    """Return how a launch ended, and leave nothing of it."""
    try:
        control.begin()
        assert control.ending is not None or polled(control, lambda: control.ending), control.status()
        ending = control.ending
        assert ending is not None
        return ending
    finally:
        control.end(reason)


def left(folder: Path) -> list[str]:
    """Return the processes, by their command lines, that have something to do with a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            environment = process.environ().get("PYTHONPATH", "")
        except psutil.Error:
            continue
        if str(folder) in " ".join(words) or str(folder) in environment:
            found.append(" ".join(words))
    return found
