"""Faults that are planted in the bundle of a valid run, one at a time, and the check that has to notice each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, List, NamedTuple

from evidence.bundle import Evidence, read_run
from evidence.verdict import Verdict
from expected import Recipe, Topology
from tests.verdict.bundles import Bundle, Plan, a_cell, build
from verdict.checks.invariants import CHECKS, Case
from verdict.judge import judge_run
from verdict.metrics.measure import measure

FULL = Plan()
FOUR = Plan(topology=Topology(2, 2))
BENCHMARK = Plan(recipe=replace(Recipe(), epochs=4))
FAST = "faster-coco-eval 1.8.0"
EASY = {"e2e_time": 1e6, "p_whole": 1e-3, "p_train": 1e-3, "p_core": 1e-3, "map": 0.01, "mem": 30.0}
"""Numbers that any run reaches: if a bad one is not stopped by a check, it passes."""


class Fault(NamedTuple):
    """What to break in the bundle of a plan, the check that has to notice (None: reading the files), and who is named.

    `says` is how the reason begins: the rank, device or file and the key, and for one fault a message all of its words.
    """

    check: str | None
    says: str
    break_it: Callable[[Bundle], Any]
    plan: Plan = FULL
    name: str = ""

    @property
    def id(self) -> str:
        return f"{self.check or 'file'}: {self.name or self.says}"


class Faults(List[Fault]):
    """The faults of a module of checks."""

    def add(self, check: str | None, says: str, plan: Plan = FULL) -> Callable[[Callable[[Bundle], Any]], Any]:
        """Add the fault of the decorated function, which breaks a bundle."""

        def register(break_it: Callable[[Bundle], Any]) -> Callable[[Bundle], Any]:
            self.append(Fault(check, says, break_it, plan, break_it.__name__))
            return break_it

        return register


def require_named(fault: Fault, folder: Path) -> None:
    """Assert that the fault makes the run invalid, and that its check says so."""
    bundle = build(fault.plan)
    fault.break_it(bundle)
    evidence = read_run(bundle.write(folder / "run"))

    reasons = judged(evidence, fault.plan)

    case = Case(evidence, a_cell(fault.plan, **EASY), measure(evidence), fault.plan.backend)
    found = evidence.problems if fault.check is None else tuple(CHECKS[fault.check].find(case))
    assert any(reason in reasons and reason.startswith(fault.says) for reason in found), found


def judged(evidence: Evidence, plan: Plan) -> list[str]:
    """Judge a run against numbers that any run reaches; assert that nothing passes; return the reasons."""
    verdict = judge_run(evidence, a_cell(plan, **EASY), backend=plan.backend)
    assert verdict.outcome == Verdict.INVALID
    assert {metric.verdict for metric in verdict.metrics.values()} == {Verdict.INVALID}
    assert set(verdict.metrics) == set(EASY)
    assert all(metric.reason for metric in verdict.metrics.values())
    return list(verdict.reasons)


def one(event: str, of_rank: int = 0, /, **values: Any) -> Callable[[Bundle], Any]:
    """Change the first event of that kind."""
    return nth(event, 0, of_rank, **values)


def nth(event: str, index: int, of_rank: int = 0, /, **values: Any) -> Callable[[Bundle], Any]:
    """Change one of the events of that kind."""
    return lambda bundle: bundle.all(event, of_rank)[index].update(values)


def run(part: str = "", /, **values: Any) -> Callable[[Bundle], Any]:
    """Change run.json, or a part of it."""
    return lambda bundle: (bundle.run[part] if part else bundle.run).update(values)


def ledger(bundle: Bundle, *items: tuple[str, bool, str]) -> None:
    """Let rank 0 tell of those optimizations: name, whether it was on, why not."""
    rest = dict.fromkeys(("what", "published", "allowed", "proof"), "")
    found = [{"name": name, "on": on, "why": why, **rest} for name, on, why in items]
    bundle.ranks[0].insert(1, {"event": "optimizations", "t_ns": bundle.one("start")["t_ns"], "items": found})


def checked(bundle: Bundle, index: int, **facts: Any) -> None:
    """Have the fast library score every evaluation, and pycocotools that one."""
    for event in bundle.all("eval_end"):
        event["scorer"] = FAST
    event = bundle.all("eval_end")[index]
    event.update({"checked_map": event["map"], "check_difference": 0.0, **facts})


def book(bundle: Bundle, **shares: float) -> None:
    """Book that share of rank 1's training without evaluations on a part of the ledger, and less on compute."""
    ledger = bundle.one("train_end", rank=1)["ledger"]
    free_ns = sum(ledger.values()) - ledger["evaluation_ns"]
    for part, share in shares.items():
        ledger["compute_ns"] -= int(share * free_ns) - ledger[f"{part}_ns"]
        ledger[f"{part}_ns"] = int(share * free_ns)
