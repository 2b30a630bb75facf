"""A session that asks about links without training: one of sound links, one in which a rank receives a wrong bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.suite.junit import run_suite

CELL = "virtual-1x2-fp32-bs2"
ASKED = ("-m", "virtual", "--topo", "1x2", "--links", "quick", "--numerics", "none", "suite/test_links.py")
FAULT = '[[fault]]\nkind = "links"\nerror = "bit"\ncollective = "broadcast"\nleast_bytes = 4096\nranks = [1]\n'

pytestmark = pytest.mark.integration


def test_sound_links_pass_and_their_numbers_are_in_the_junit_report(tmp_path: Path) -> None:
    session = run_suite(tmp_path, *ASKED)

    names = ("collective_results", "buckets", "latency", "pairs")
    assert {name: session.cases[f"test_{name}[{CELL}]"].outcome for name in names} == dict.fromkeys(names, "passed")
    assert 19 < float(session.cases[f"test_latency[{CELL}]"].properties["latency_us"]) < 21
    assert float(session.cases[f"test_pairs[{CELL}]"].properties["slowest_devices_gb_per_s"]) > 30
    (line,) = [line for line in session.output.splitlines() if line.startswith("links ")]
    assert line.split()[-1] == "pass"


def test_a_wrong_bit_is_found_with_the_rank_that_received_it(tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.toml"
    scenario.write_text(FAULT)

    session = run_suite(tmp_path, *ASKED, "--scenario", scenario)

    case = session.cases[f"test_collective_results[{CELL}]"]
    assert case.outcome == "failure"
    assert "broadcast of 262148 B from rank 0 on rank 1 (device 1 of " in case.message
    assert session.cases[f"test_latency[{CELL}]"].outcome == "passed"
