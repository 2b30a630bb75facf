"""Scaling in real sessions over stored runs: what is asked of which topologies, and what the answers come to."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence

import pytest

from tests.suite.junit import Session, run_suite
from tests.suite.stored import EIGHT, ONE, UNTIL, bundle_of, site_file, store, virtual_bundle, waiver

PAIR = f"test_efficiency[{ONE}-to-1x8]"
SKEW = f"test_skew[{EIGHT}]"


def judged(
    folder: Path, *options: Any, eight_ns: int = 400_000_000, waivers: Sequence[Any] = (), **published: float
) -> Session:
    """Judge a run of one device and one of eight, whose steps take so long, by the p_core that the site accepted."""
    runs = [store(folder / "one", topology="1x1"), store(folder / "eight", compute_ns=eight_ns)]
    accepted = {cell: {"p_core": published[name]} for name, cell in (("one", ONE), ("eight", EIGHT)) if published}
    baseline = [f"--baseline={site_file(folder / 'site.toml', accepted, waivers)}"] if accepted else []
    return run_suite(folder, *options, *baseline, *(f"--replay={run}" for run in runs))


def test_devices_that_keep_their_speed_pass(tmp_path: Path) -> None:
    session = judged(tmp_path, "-n", "2", one=40.0, eight=320.0)

    case = session.cases[PAIR]
    assert case.outcome == "passed"
    facts = {name: case.properties[name] for name in ("cell", "than", "metric", "verdict", "bound")}
    assert facts == {"cell": EIGHT, "than": ONE, "metric": "efficiency", "verdict": "pass", "bound": ">= 0.9500"}
    assert float(case.properties["measured"]) == pytest.approx(1.0)
    assert float(case.properties["expected"]) == 1.0
    assert float(case.properties["p_train_efficiency"]) == pytest.approx(1.0, rel=1e-3)
    skew = session.cases[SKEW]
    assert (skew.outcome, skew.properties["metric"], skew.properties["bound"]) == ("passed", "skew", "<= 1.0500")
    assert float(skew.properties["measured"]) == pytest.approx(1.0)
    (line,) = [line for line in session.output.splitlines() if line.startswith(f"{EIGHT}   {ONE}")]
    assert "= scaling =" in session.output
    assert line.split("   ")[2].startswith("1.0000 ± ")
    assert line.split("   ")[3:5] == [">= 0.9500", "pass"]
    assert line.endswith("rank 0 (device 0 of node0)")


def test_devices_that_lose_speed_together_fail_and_the_gate_says_so(tmp_path: Path) -> None:
    session = judged(tmp_path, "--gate", eight_ns=500_000_000, one=30.0, eight=300.0)

    assert session.cases[PAIR].outcome == "failure"
    assert session.last_line == f"GATE: FAIL  {EIGHT}: p_core; {ONE}-to-1x8: efficiency"


def test_a_smaller_topology_that_became_better_fails_nothing(tmp_path: Path) -> None:
    session = judged(tmp_path, "--gate", eight_ns=500_000_000, one=30.0, eight=240.0)

    case = session.cases[PAIR]
    assert (case.outcome, case.properties["verdict"]) == ("skipped", "recorded")
    assert case.message.endswith("recorded only, as p_core passes at both topologies")
    assert session.last_line.startswith("GATE: INCOMPLETE")  # of what no site has accepted yet
    assert "efficiency: efficiency 0.8" in session.output


def test_a_p_core_that_is_waived_fails_no_efficiency_either(tmp_path: Path) -> None:
    session = judged(tmp_path, eight_ns=500_000_000, waivers=[waiver("p_core")], one=30.0, eight=300.0)

    assert session.cases[PAIR].outcome == "skipped"
    assert session.cases[PAIR].properties["verdict"] == "recorded"


def test_the_gate_passes_a_straggler_that_is_waived_and_says_so(tmp_path: Path) -> None:
    bundle, cell = virtual_bundle("1x2"), "virtual-1x2-fp32-bs2"
    for window in bundle.all("window", 1):
        window["forward_ns"] = int(window["forward_ns"] * 1.2)
    site = site_file(tmp_path / "site.toml", {}, [waiver("skew", cell=cell)])

    session = run_suite(tmp_path, "--gate", f"--replay={bundle.write(tmp_path / 'two')}", f"--baseline={site}")

    waived = f"GATE: PASS, simulated, 1 waived  {cell}; waived: skew of {cell} until {UNTIL} (OPS-7); "
    assert session.last_line.startswith(waived)
    assert session.code == 0
    case = session.cases[f"test_skew[{cell}]"]
    assert case.outcome == "skipped"
    assert "(OPS-7): the new firmware; verdict: fail: rank 1 (device 1 of node0) is 20% slower" in case.message
    assert case.properties["verdict"] == "fail"
    assert case.properties["waiver"].startswith("waived until")


def test_without_numbers_it_is_recorded_and_stands_in_nobodys_way(tmp_path: Path) -> None:
    session = judged(tmp_path, "--gate")

    assert session.cases[PAIR].outcome == "skipped"
    assert "no p_core is published or accepted at 1x1 and 1x8" in session.cases[PAIR].message
    assert "efficiency" not in session.last_line


def test_a_run_that_cannot_be_trusted_is_an_error_of_the_comparison(tmp_path: Path) -> None:
    bundle = bundle_of("r300", "1x8")
    bundle.drop("end", 3)
    runs = store(tmp_path / "one", topology="1x1"), bundle.write(tmp_path / "eight")

    session = run_suite(tmp_path, *(f"--replay={run}" for run in runs))

    assert {session.cases[name].outcome for name in (PAIR, SKEW)} == {"error"}
    assert "rank 3: found 0 'end' events" in session.cases[PAIR].message


def test_the_slow_rank_is_named_with_device_and_host_and_fails_the_gate(tmp_path: Path) -> None:
    bundle = bundle_of("r300", "1x8")
    for window in bundle.all("window", 5):
        window["forward_ns"] = int(window["forward_ns"] * 1.2)

    session = run_suite(tmp_path, "--gate", f"--replay={bundle.write(tmp_path / 'eight')}")

    case = session.cases[SKEW]
    assert case.outcome == "failure"
    assert "rank 5 (device 5 of node0) is 20% slower than its siblings, expected at most 5%" in case.message
    assert (case.properties["rank"], case.properties["card"], case.properties["host"]) == ("5", "5", "node0")
    assert session.last_line == f"GATE: FAIL  {EIGHT}: skew"


def test_ranks_that_share_a_hosts_cores_are_only_recorded(tmp_path: Path) -> None:
    session = run_suite(tmp_path, f"--replay={store(tmp_path / 'two', 'cpu', '1x2')}", "-k", "skew")

    (case,) = session.cases.values()
    assert case.outcome == "skipped"
    assert "the ranks share the host's cores" in case.message
