"""Mutants of the verdicts themselves, of their order, and of how they are stored and told."""

from __future__ import annotations

from tests.mutants.mutant import mutants_of

OF_JUDGEMENT = (
    *mutants_of(
        "judge",
        ("outcome = min(verdicts,", "outcome = max(verdicts,", "a run is as good as its best metric"),
        (
            "VERDICTS = (INVALID, FAIL, INCONCLUSIVE,",
            "VERDICTS = (INVALID, INCONCLUSIVE, FAIL,",
            "a failed metric hides behind an undecided one",
        ),
        ("MISSING, RECORDED, PASS)", "RECORDED, MISSING, PASS)", "a missing metric hides behind a recorded one"),
        ("        outcome = INVALID\n", "        outcome = RECORDED\n", "broken evidence counts as recorded"),
        (
            'verdict, reason = INVALID, "; ".join',
            'verdict, reason = RECORDED, "; ".join',
            "a broken metric is recorded",
        ),
        (
            "    if broken:\n        more",
            "    if broken and measurement is None:\n        more",
            "broken evidence is believed where it has a number",
        ),
        ("reason = MISSING, unmeasured", "reason = RECORDED, unmeasured", "what was never measured counts as recorded"),
        (
            'verdict, reason = INVALID, f"found no {name}',
            'verdict, reason = RECORDED, f"found no {name}',
            "a metric without a number counts as recorded",
        ),
        ("verdict, reason = RECORDED, f", "verdict, reason = PASS, f", "a metric without a published number passes"),
        (
            "elif measurement is None or not _is_number(measurement):",
            "elif measurement is None:",
            "NaN is compared as if it were a number",
        ),
        (
            "shown = measurement if measurement is not None and _is_number(measurement) else None",
            "shown = measurement",
            "NaN is shown as the measured value",
        ),
        ("(measurement.value, *ends))", "(measurement.value,))", "an interval of NaN counts as one"),
        (
            'deciding = low if metric.better == "higher" else high',
            'deciding = high if metric.better == "higher" else low',
            "the bound that decides is the other one",
        ),
        ("for bound in (low, high)):", "for bound in (low,)):", "nothing is above an upper bound of NaN"),
        (
            "capacity is not None and value > capacity:",
            "capacity is not None and value > 1.1 * capacity:",
            "more memory than the card has passes",
        ),
        (
            "if measurement.interval is None and measurement.metric in RATES:",
            'if measurement.interval is None and measurement.metric == "p_core":',
            "a handful of steps passes for p_train and p_whole",
        ),
        (
            "max(1, (measurement.least or MIN_STEPS) - measurement.n)",
            "max(1, MIN_STEPS - measurement.n)",
            "too few steps are said to be needed",
        ),
        ("interval.high < low,", "interval.low < low,", "an undecided rate fails"),
        ("interval.high < low,", "interval.high <= low,", "a rate at the lower bound fails"),
        ("interval.high < low,", "interval.high < 0.9 * low,", "a rate clearly below the bound does not fail"),
        ("interval.low > high,", "interval.high > high,", "an undecided metric fails above"),
        ("interval.low > high,", "interval.low >= high,", "a metric at its upper bound fails"),
        ("low is None or interval.low >= low)", "low is None or value >= low)", "a rate passes on its point estimate"),
        ("low is None or interval.low >= low)", "low is None or interval.low > low)", "the bound itself does not pass"),
        (
            "high is None or interval.high <= high)",
            "high is None or interval.low <= high)",
            "half of an interval above the bound passes",
        ),
        (
            "    if measurement.doubt:\n        return INCONCLUSIVE,",
            "    if measurement.doubt:\n        return PASS,",
            "a number in doubt passes",
        ),
        ("if len(known) < len(more):", "if len(known) > len(more):", "advice of more steps where none would decide"),
        ("{max(known)} more steps", "{min(known)} more steps", "the advice decides one of two bounds only"),
        (
            "and metric.verdict in (FAIL, INCONCLUSIVE)",
            "and metric.verdict in (FAIL,)",
            "the slow rank behind an undecided rate is not named",
        ),
        (
            'if name == "p_core" and expectation.has_number:',
            'if name == "p_core" and not expectation.has_number:',
            "a number read by the host's clock is held against the device's",
        ),
        (
            "compared_value(expectation.clock or cell.timing, measurements)",
            "compared_value(cell.timing, measurements)",
            "an accepted value is held against another clock than its own",
        ),
        (
            "_unmeasured(name, evidence) or _unlike(name, expectation, evidence)",
            "_unmeasured(name, evidence)",
            "a value accepted from steady runs is held against a full one",
        ),
        (
            'if expectation.protocol in ("", found):',
            'if found in ("", expectation.protocol):',
            "what is published for every protocol is missing in most",
        ),
        ("simulated=evidence.simulated,", "simulated=False,", "a simulated run is told as a real one"),
        ("workload=fingerprint(evidence),", "workload=None,", "no fingerprint stands beside the rates"),
        ("changed=changes(evidence, cell),", "changed=(),", "changed expectations are not told"),
        ("if metric.verdict != PASS)", "if metric.verdict == PASS)", "the reasons are those of what passed"),
        (
            "violations(evidence, cell, measurements, backend=backend)",
            "violations(evidence, cell, measurements)",
            "the host's backend may stand in for the device's",
        ),
    ),
    *mutants_of(
        "invariants",
        ("    identity.device_is_real,\n", "", "a simulated device passes for a real one"),
        ("    clocks.synchronise_waits,\n", "", "a device is timed by a synchronise that does not wait"),
        ("    workload.images_have_their_size,\n", "", "small images pass for the benchmark's"),
        ("    accounts.ledger_adds_up,\n", "", "time that is in no account passes"),
        ("(identity.booted, identity.no_failures)", "(identity.booted,)", "a rank that gave up passes"),
        ("(*causes, *evidence.problems, *consequences)", "(*causes, *consequences)", "damaged evidence passes"),
        ("else _run(CHECKS, case)", "else _run(CHECKS[1:], case)", "the first check is never asked"),
        ("else _run(CHECKS, case)", "else _run(CHECKS[:-1], case)", "the last check is never asked"),
        ("texts += found[:_SPELLED_OUT]", "texts += found[1:_SPELLED_OUT]", "a single violation is swallowed"),
        ("if len(found) > _SPELLED_OUT:", "if len(found) >= _SPELLED_OUT:", "zero more violations are told"),
        (
            "Case(evidence, cell, measurements, backend)",
            "Case(evidence, cell, measurements)",
            "the backend is not asked",
        ),
    ),
    *mutants_of(
        "record",
        ('"outcome": run_verdict.outcome,', '"outcome": max(VERDICTS),', "verdict.json has another outcome"),
        ('"simulated": run_verdict.simulated,', '"simulated": False,', "verdict.json tells a simulated run as real"),
        ("value = [value.low, value.high]", "value = [value.high, value.low]", "intervals are written upside down"),
        (
            "elif isinstance(value, float) and not math.isfinite(value):",
            "elif isinstance(value, float) and math.isnan(value):",
            "verdict.json cannot be written where a number is infinite",
        ),
        ("if schema != SCHEMA:", "if schema > SCHEMA:", "an older verdict is read as if it had today's fields"),
        ("    if value not in VERDICTS:", "    if value is None:", "any word is read as a verdict"),
        ("or len(value) != 2:", "or len(value) < 2:", "an interval of three numbers is read as one"),
        ('"reasons": list(run_verdict.reasons),', '"reasons": [],', "verdict.json gives no reasons"),
    ),
    *mutants_of(
        "changes",
        ("run is None or run.cell.id != cell.id:", "run is None:", "a run of another cell is told to have changed"),
        ("if not any(recorded.values()):", "if not all(recorded.values()):", "a part of a record counts as none"),
        (
            'return "" if known.state == NOT_APPLICABLE else unknown',
            'return ""',
            "an expectation that was not recorded is silently today's",
        ),
        (
            "timing = cell.timing if run_cell.timing is None else run_cell.timing",
            "timing = cell.timing",
            "another clock behind the published rate is not told",
        ),
        ("if known.low is not None else []", "if known.low is None else []", "a lowered bound is not told"),
        ("if known.high is not None else []", "if known.high is None else []", "a raised bound is not told"),
        ("{known.clock or timing}", "{timing}", "another clock behind an accepted rate is not told"),
        ("if known.capacity is not None else []", "if known.capacity is None else []", "another card is not told"),
    ),
    *mutants_of(
        "wording",
        ("float(figure(value, digits)) == bound:", "float(figure(value, digits)) != bound:", "185.0 is below 185.0"),
        ("{'-' if slack >= 0 else '+'}", "{'+' if slack >= 0 else '-'}", "the slack of map has the wrong sign"),
    ),
    *mutants_of(
        "__main__",
        (
            "    if verdict.outcome == INVALID:\n        return EXIT_INVALID",
            "    if verdict.outcome == INVALID:\n        return EXIT_OK",
            "the command says yes to an invalid run",
        ),
        ("in (PASS, RECORDED) else EXIT_NOT_SHOWN", "in (PASS, RECORDED) else EXIT_OK", "the command always says yes"),
        (
            "        print(error, file=sys.stderr)\n        return EXIT_INVALID",
            "        print(error, file=sys.stderr)\n        return EXIT_OK",
            "the command says yes where there is no run",
        ),
        ("backend=device.backend)", "backend=None)", "a stored run of another backend is judged as the device's"),
        ("if verdict.changed:", "if not verdict.changed:", "changed expectations are not told"),
    ),
)
