"""Mutants of what a site accepts as its own baseline."""

from __future__ import annotations

from tests.mutants.mutant import mutants_of

OF_ACCEPTANCE = (
    *mutants_of(
        "accept",
        ("if len(run_dirs) < MIN_RUNS:", "if len(run_dirs) < 2:", "two runs make a baseline"),
        ("*_twice(run_dirs, runs), ", "", "one run counts as several"),
        ("*_other_cells(judged), ", "", "runs of two cells make one baseline"),
        ("*_invalid(judged), ", "", "invalid runs make a baseline"),
        (", *_differing(runs)]", "]", "runs of two states of a machine make one baseline"),
        ("one.verdict.outcome == INVALID:", "one.verdict.outcome == FAIL:", "invalid runs make a baseline"),
        (
            "for name in (name for name in cell.applicable if cell.expectations[name].state == UNPUBLISHED):",
            "for name in cell.applicable:",
            "a site accepts its own value where the vendor publishes one",
        ),
        (
            "if one.verdict.metrics[name].measured is None]",
            "if one.verdict.metrics[name].measured == 0]",
            "a run that did not measure the metric is one of three",
        ),
        ("    _refuse(problems)\n", "", "what scatters too much is left out without a word"),
        ("if name in RATES and measurement.interval is None:", "if name in RATES and not measurement:", "short runs"),
        ("        elif measurement.doubt:", "        elif not measurement:", "memory still rising makes a baseline"),
        ("    if on_other_data(evidence, device):", "    if not device:", "runs on other data make a baseline"),
        ("    if verdict.without:", "    if not verdict:", "a run that was slowed down makes a baseline"),
        ("    if verdict.restarts:", "    if not verdict:", "restarted runs make a baseline"),
        ("backend=device.backend)", "backend=None)", "runs of another backend make a baseline"),
        ("for run in runs[1:]:", "for run in runs[2:]:", "the second run may differ"),
        ("if metric.verdict in (FAIL, INCONCLUSIVE):", "if metric.verdict in ():", "nobody hears of a failed metric"),
        ("one.interval.low < low]", "one.interval.high < low]", "nobody hears of runs that are undecided"),
    ),
    *mutants_of(
        "spread",
        ('name: 0.002 if name == "map" else 0.01', 'name: 0.02 if name == "map" else 0.01', "a baseline of map is lax"),
        ('0.002 if name == "map" else 0.01', '0.002 if name == "map" else 0.1', "a baseline is ten times as lax"),
        ("LARGEST_SCORE = 3.5", "LARGEST_SCORE = 35.0", "outliers are part of the baseline"),
        ("if len(readings) <= MIN_RUNS:", "if len(readings) < MIN_RUNS:", "one of three runs is an outlier"),
        ("if distance > near and", "if", "readings next to the median are outliers"),
        ("statistics.median(distances.values())", "statistics.mean(distances.values())", "outliers hide themselves"),
        ("if tolerance > LARGEST_TOLERANCE[name]:", "if tolerance > 1:", "what nobody can reproduce is a baseline"),
        ("math.sqrt(1 + 1 / len(kept))", "math.sqrt(1 / len(kept))", "the tolerance is that of the mean, not of a run"),
        (
            "max(Decimal(repr(half_width)), *(abs(Decimal(repr(reading)) - centre) for reading in kept))",
            "Decimal(repr(half_width))",
            "a run may fail by the value that it was accepted into",
        ),
        ("statistics.mean(kept)", "statistics.mean(readings.values())", "outliers are part of the mean"),
        ("statistics.mean(kept)", "max(kept)", "the best run is the baseline"),
        ("ROUND_CEILING)))", '"ROUND_FLOOR")))', "a run fails by a rounding"),
        ("    freedom = len(kept) - 1\n", "    freedom = len(kept)\n", "the tolerance is too narrow"),
        (
            "return max(SMALLEST_TOLERANCE[name], float",
            "return min(SMALLEST_TOLERANCE[name], float",
            "no tolerance at all",
        ),
        ("    if value <= 0:", "    if value < 0:", "a rate of zero is a baseline"),
        ("low is not None and low <= 0:", "low is not None and low < -1:", "a bound below zero always passes"),
        ("run not in self.trimmed)", "run in self.trimmed)", "the value is told to be the mean of its outliers"),
    ),
    *mutants_of(
        "provenance",
        ('            "protocol": self.protocol,\n', "", "runs of two protocols make one baseline"),
        ('            "card": self.card,\n', "", "runs on two cards make one baseline"),
        ('            "driver": self.driver,\n', "", "runs with two drivers make one baseline"),
        ("            **self.versions,\n", "", "runs with two versions of torch make one baseline"),
        ('"steady": f" of {run.steps} steps"', '"steady": ""', "a short steady run counts as a long one"),
    ),
    *mutants_of(
        "baseline_file",
        (
            "        _refuse_second(load_site(path, devices), acceptance.cell.id)\n",
            "",
            "a second baseline stands beside the first",
        ),
        ('{"clock": "device"} if value.metric == "p_core" else {}', "{}", "a baseline is held against another clock"),
        ('"tolerance": value.tolerance,', '"tolerance": 10 * value.tolerance,', "a baseline is ten times as lax"),
        ("        if cell == cell_id\n", "        if cell != cell_id\n", "a second baseline stands beside the first"),
    ),
)
