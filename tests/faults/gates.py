"""Sessions with `--gate` that must not pass, each over a stored run that has nothing wrong with it."""

from __future__ import annotations

from typing import Callable, Mapping, NamedTuple

from tests.faults.lab import Lab
from tests.suite.stored import ONE


class SessionRow(NamedTuple):
    """A session with `--gate` over a stored run that has nothing wrong with it; `words` are in its last line."""

    name: str
    gate: str
    words: str
    arguments: Callable[[Lab], list[object]]
    environment: Mapping[str, str] = {}


_OF_ONE = ("p_whole", "p_train", "p_core", "mem")  # all that apply to the R300 at 1x1
_BLANKS = ("e2e_time", "p_whole", "p_train", "p_core")  # of the R300's row at 1x8
SESSIONS: list[SessionRow] = [
    SessionRow(
        "metrics that are blank, and no baseline",
        "INCOMPLETE",
        "unpublished and no --baseline",
        lambda lab: ["--replay", lab.stored_r300()],
    ),
    SessionRow(
        "everything deselected",
        "INCOMPLETE",
        "p_train, p_core, mem, clock, environment, health, skew, step_times not run",
        lambda lab: ["--replay", lab.stored().folder, "-k", "no_test_has_this_name"],
    ),
    SessionRow(
        "the question that fails deselected",
        "INCOMPLETE",
        "skew not run",
        lambda lab: ["--replay", lab.stored_slow_rank(), "-k", "not skew"],
    ),
    SessionRow(
        "a file of questions ignored",
        "INCOMPLETE",
        "clock not run",
        lambda lab: ["--replay", lab.stored().folder, "--ignore", "suite/test_clock.py"],
    ),
    SessionRow(
        "a run made with --numerics none",
        "INCOMPLETE",
        "operators, blocks, fp32_is_fp32, special_values, ties, repeatable, devices_agree, "
        "gradients, trajectory, replayed_step not run",
        lambda lab: ["--replay", lab.stored_without_numerics()],
    ),
    SessionRow(
        "only some files named",
        "INCOMPLETE",
        "clock, environment, health, skew, step_times not run",
        lambda lab: ["--replay", lab.stored().folder, "suite/test_throughput.py", "suite/test_memory.py"],
    ),
    SessionRow(
        "a plug-in that calls failed tests passed",
        "FAIL",
        "skew fail, but its test passed",
        lambda lab: ["-p", "tests.suite.meddling", "--replay", lab.stored_slow_rank()],
        {"MEDDLE": "flatter"},
    ),
    SessionRow(
        "a plug-in that skips what it likes",
        "INCOMPLETE",
        "pass, but its test was skipped",
        lambda lab: ["-p", "tests.suite.meddling", "--replay", lab.stored().folder],
        {"MEDDLE": "skip"},
    ),
    SessionRow(
        "every metric of a cell waived",
        "INCOMPLETE",
        "every metric is waived",
        lambda lab: ["--replay", lab.stored_r300("1x1", used_gib=20.0), "--baseline", lab.waivers(_OF_ONE, cell=ONE)],
    ),
    SessionRow(
        "a waiver until the year 9999",
        "INCOMPLETE",
        "until: found 9999-12-31, expected",
        lambda lab: ["--replay", lab.stored_r300(), "--baseline", lab.waivers(_BLANKS, until="9999-12-31")],
    ),
    SessionRow(
        "a waiver without words in its reason",
        "INCOMPLETE",
        "reason: found the string '.', expected the reason in words",
        lambda lab: ["--replay", lab.stored_r300(), "--baseline", lab.waivers(_BLANKS, reason=".")],
    ),
    SessionRow(
        "a waiver past its date",
        "INCOMPLETE",
        "the waiver OPS-7 ended on 2020-01-01",
        lambda lab: ["--replay", lab.stored_r300(), "--baseline", lab.waivers(_BLANKS, ended="p_core")],
    ),
    SessionRow(
        "a driver that is newer than the document's",
        "FAIL",
        "environment (driver) differs",
        lambda lab: ["--replay", lab.stored_r300(environment={"driver": "4.0.31"})],
    ),
    SessionRow(
        "a driver that is not the one under test",
        "FAIL",
        "environment (driver) differs",
        lambda lab: ["--replay", lab.stored_r300(environment={"driver": "4.0.31"}), "--under-test", "driver=4.0.32"],
    ),
    SessionRow(
        "the old driver, where a new one is under test",
        "FAIL",
        "environment (driver) differs",
        lambda lab: ["--replay", lab.stored_r300(), "--under-test", "driver=4.0.31"],
    ),
    SessionRow(
        "an image that cannot be read, and is not stated",
        "INCOMPLETE",
        "environment (image) unknown",
        lambda lab: ["--replay", lab.stored_r300(environment={"image": ""})],
    ),
    SessionRow(
        "a driver stated as the document's, and another one read",
        "FAIL",
        "environment (driver) differs",
        lambda lab: ["--replay", lab.stored_r300(environment={"driver": "4.0.31"}), "--state", "driver=4.0.25"],
    ),
    SessionRow(
        "another machine, called under test",
        "INCOMPLETE",
        "the machine has to be the one that the vendor's document states",
        lambda lab: ["--replay", lab.stored_r300(environment={"card_count": 4}), "--under-test", "card_count=4"],
    ),
    SessionRow(
        "nothing collected but the names of the tests",
        "INCOMPLETE",
        "nothing was run: --collect-only",
        lambda lab: ["--replay", lab.stored().folder, "--collect-only"],
    ),
]
