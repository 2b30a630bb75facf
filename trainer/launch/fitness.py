"""Whether the hosts of a run, as they introduced themselves, can do it together."""

from __future__ import annotations

from typing import Mapping, Sequence

from trainer.launch.messages import Hello

CLOCK_TOLERANCE_S = 5.0
"""Hosts whose times of day differ by more leave evidence and logs that tell different stories."""


def unfit(hellos: Sequence[Hello], heard_utc_s: Mapping[int, float], names: Mapping[int, str]) -> list[str]:
    """Return why not, the same reason of several hosts once; empty where nothing is in the way.

    `heard_utc_s` is this machine's time of day when each introduced itself, `names` what to call them in messages, both
    by the host's number; without a name there is only this one.
    """
    by_problem: dict[str, list[str]] = {}
    for hello in hellos:
        for problem in hello.problems:
            by_problem.setdefault(problem, []).append(names.get(hello.node, ""))
    problems = [f"{', '.join(who)}: {text}" if any(who) else text for text, who in by_problem.items()]
    by_name: dict[str, list[str]] = {}
    for hello in hellos:
        by_name.setdefault(hello.host, []).append(names.get(hello.node, ""))
        off_s = hello.utc_s - heard_utc_s[hello.node]
        if abs(off_s) > CLOCK_TOLERANCE_S:
            side = "ahead of" if off_s > 0 else "behind"
            who = names.get(hello.node, "this host")
            problems.append(
                f"{who}: its clock is {abs(off_s):.0f} s {side} this machine's, expected at most "
                f"{CLOCK_TOLERANCE_S:.0f} s; set both by NTP (chronyc tracking)"
            )
    problems += [
        f"{' and '.join(who)} are one machine: each calls itself {name}; every host needs a name of its own"
        for name, who in by_name.items()
        if len(who) > 1
    ]
    return problems
