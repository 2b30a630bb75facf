"""Mutants of what is said about several runs: are they alike, how do they differ, where did a level change?"""

from __future__ import annotations

from tests.mutants.mutant import mutants_of

OF_HISTORY = (
    *mutants_of(
        "likeness",
        ('"simulated" if evidence.simulated else "real"', '"real"', "simulated runs are held against real ones"),
        ("    if run.invalid:", "    if not run:", "an invalid run is compared"),
        (
            "if one.why and not one.on]",
            "if not one.on and not one.why]",
            "a package that is missing makes no difference",
        ),
        ("        **_speed_ups(evidence, run.without),\n", "", "a run that was slowed down is compared"),
        ("    if run.restarts:", "    if not run:", "a restarted run is compared"),
        ("        if pair[0] != pair[1]:", "        if pair[0] < pair[1]:", "half of the differences are not seen"),
        ("    if not run.facts:", "    if not run:", "a run of which nothing is known is compared"),
    ),
    *mutants_of(
        "contrast",
        ("ratio = rates[1] / rates[0]", "ratio = rates[0] / rates[1]", "the slower one is called the faster"),
        ("math.sqrt((1 + r) / (1 - r))", "1.0", "neighbours count as if they knew nothing of each other"),
        ("(count - rank) * p_values[name]", "p_values[name]", "many questions are asked as if they were one"),
        ("    if len(sides) < 2:", "    if len(sides) < 1:", "too few steps decide"),
    ),
    *mutants_of(
        "steps_in_time",
        ("FALSE_STEPS = 0.01", "FALSE_STEPS = 0.5", "scatter is told as steps"),
        ("_CLIP = 3.0", "_CLIP = 300.0", "an outlier is a step"),
        ("    if count < 2 * FEWEST:", "    if count < 2000 * FEWEST:", "no step is ever found"),
        ("    if chance > FALSE_STEPS and count <= _FEW:", "    if count < 0:", "steps in few values are not found"),
    ),
)
