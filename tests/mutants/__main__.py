"""`python -m tests.mutants` breaks verdict/ in one place at a time and tells which test notices."""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import Queue
from typing import Sequence

from tests.mutants.mutant import Mutant
from tests.mutants.mutants import MUTANTS
from tests.mutants.run import ROOT, Outcome, Workshop

LEAST_KILLED = 0.95
"""Share of the mutants that some test has to notice."""

_MODULE = max(len(mutant.module) for mutant in MUTANTS)
_WORDS = max(len(mutant.lets_through) for mutant in MUTANTS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the mutants and return the exit code: 0 where enough are killed, 1 where not, 2 where nothing can be told."""
    modules = sorted({mutant.module for mutant in MUTANTS})
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", metavar="MODULE", action="append", choices=modules, help="; ".join(modules))
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="mutants at a time; 1 without it")
    arguments = parser.parse_args(argv)
    chosen = [mutant for mutant in MUTANTS if not arguments.only or mutant.module in arguments.only]
    stale = [problem for mutant in chosen for problem in _stale(mutant)]
    if stale:
        print("\n".join(stale), file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        return _run(chosen, Path(folder), max(1, arguments.jobs))


def _stale(mutant: Mutant) -> list[str]:
    try:
        mutant.applied((ROOT / "verdict" / f"{mutant.module}.py").read_text(encoding="utf-8"))
    except ValueError as error:
        return [str(error)]
    return []


def _run(chosen: Sequence[Mutant], folder: Path, jobs: int) -> int:
    first = Workshop.of_the_project(folder / "0")
    print(f"{len(chosen)} mutants; the tests without any of them ...", flush=True)
    unharmed = first.all_tests()
    if unharmed != Outcome("", ""):
        print(f"the tests fail already: {unharmed.failed or unharmed.trouble}; mend them first", file=sys.stderr)
        return 2
    free: Queue[Workshop] = Queue()
    for workshop in (first, *(first.copied(folder / str(number)) for number in range(1, jobs))):
        free.put(workshop)
    with ThreadPoolExecutor(jobs) as pool:
        asked = {pool.submit(_outcome, mutant, free): mutant for mutant in chosen}
        outcomes = []
        try:
            for done, future in enumerate(as_completed(asked), start=1):
                outcomes.append((asked[future], future.result()))
                print(f"{done:>4}/{len(chosen)}  {_line(*outcomes[-1])}", flush=True)
        finally:
            for future in asked:
                future.cancel()  # those that wait still, when somebody has had enough
    survivors = [(mutant, outcome) for mutant, outcome in outcomes if not outcome.failed]
    for mutant, outcome in survivors:
        print(f"\nverdict/{mutant.module}.py: {mutant.lets_through}; nothing noticed {outcome.trouble}")
        print(f"-   {mutant.text.strip()}\n+   {mutant.replacement.strip()}")
    share = 1 - len(survivors) / len(chosen)
    print(f"\n{len(chosen) - len(survivors)} of {len(chosen)} mutants killed ({100 * share:.1f} %)")
    return 0 if share >= LEAST_KILLED else 1


def _outcome(mutant: Mutant, free: Queue[Workshop]) -> Outcome:
    workshop = free.get()
    try:
        return workshop.killer(mutant)
    finally:
        free.put(workshop)


def _line(mutant: Mutant, outcome: Outcome) -> str:
    result = f"killed by {outcome.failed}" if outcome.failed else f"SURVIVED {outcome.trouble}"
    return f"{mutant.module:<{_MODULE}}  {mutant.lets_through:<{_WORDS}}  {result}"


if __name__ == "__main__":
    sys.exit(main())
