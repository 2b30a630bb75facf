"""A scenario file says what it means, and everything that it could not mean is an error that names file and key."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import ROOT
from trainer.devices.scenario import FAULTS, SCENARIO, Scenario, _read_faults, load_scenario
from trainer.errors import DeviceError

NUMBERS = set(SCENARIO) - {"name", "clock", "timing"}

WHOLE = """
seed = 7
name = "Another device"
timing = "windows"
image_ms = 25
noise = 0.03
autocorrelation = 0.5
forward_share = 0.3
memory_gib = 12.5
capacity_gib = 16

[[fault]]
kind = "slow"
factor = 1.07
ranks = [1]

[[fault]]
kind = "loss"
value = nan
from_step = 9
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_that_says_nothing_is_the_steady_device(tmp_path: Path) -> None:
    assert load_scenario(written(tmp_path, ""), world_size=1) == Scenario()


def test_every_key_is_read(tmp_path: Path) -> None:
    scenario = load_scenario(written(tmp_path, WHOLE), world_size=2)

    assert (scenario.seed, scenario.name, scenario.timing) == (7, "Another device", "windows")
    assert (scenario.image_ms, scenario.noise, scenario.autocorrelation) == (25.0, 0.03, 0.5)
    assert (scenario.forward_share, scenario.memory_gib, scenario.capacity_gib) == (0.3, 12.5, 16.0)
    assert [fault.kind for fault in scenario.faults] == ["slow", "loss"]
    assert (scenario.faults[0]["factor"], scenario.faults[0]["from_step"]) == (1.07, 0)


def test_a_fault_happens_on_its_ranks_and_on_all_where_it_names_none(tmp_path: Path) -> None:
    scenario = load_scenario(written(tmp_path, WHOLE), world_size=2)

    assert [len(scenario.of_kind("slow", rank, rank)) for rank in (0, 1)] == [0, 1]
    assert [len(scenario.of_kind("loss", rank, rank)) for rank in (0, 1)] == [1, 1]


def test_a_fault_of_devices_goes_with_the_device_whatever_rank_uses_it(tmp_path: Path) -> None:
    scenario = load_scenario(written(tmp_path, "[[fault]]\nkind = 'slow'\nfactor = 2\ncards = [5, 7]"), world_size=1)

    assert [card for card in range(8) if scenario.of_kind("slow", 0, card)] == [5, 7]


def test_a_fault_of_ranks_and_devices_happens_where_both_are_met(tmp_path: Path) -> None:
    text = "[[fault]]\nkind = 'slow'\nfactor = 2\nranks = [1]\ncards = [3]"
    scenario = load_scenario(written(tmp_path, text), world_size=2)

    assert [place for place in ((0, 3), (1, 2), (1, 3)) if scenario.of_kind("slow", *place)] == [(1, 3)]


def test_a_fault_of_a_host_happens_there_and_one_without_hosts_everywhere(tmp_path: Path) -> None:
    text = "[[fault]]\nkind = 'slow'\nfactor = 2\nhosts = ['b']\n[[fault]]\nkind = 'slow'\nfactor = 3"
    scenario = load_scenario(written(tmp_path, text), world_size=1)

    assert [fault["factor"] for fault in scenario.on_host("a").faults] == [3]
    assert [fault["factor"] for fault in scenario.on_host("b").faults] == [2, 3]


def test_the_facts_are_everything_that_is_planted_in_a_form_that_json_has(tmp_path: Path) -> None:
    facts = load_scenario(written(tmp_path, WHOLE), world_size=2).facts()

    text = json.dumps(facts, allow_nan=False)
    assert json.loads(text) == facts
    assert set(facts) == {*SCENARIO, "faults"}
    assert facts["faults"] == [
        {"kind": "slow", "factor": 1.07, "from_step": 0, "ranks": [1], "cards": [], "hosts": []},
        {"kind": "loss", "value": "nan", "from_step": 9, "ranks": [], "cards": [], "hosts": []},
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("step_time = 5", "'step_time': unknown key (allowed here: seed, name, clock, timing, image_ms,"),
        ("imagems = 5", "'imagems': unknown key; did you mean image_ms?"),
        ("image_ms = 0", "image_ms: found 0, expected a number >= 0.1 and <= 60000"),
        ("image_ms = '5'", "image_ms: found '5', expected a number"),
        ("image_ms = nan", "image_ms: found nan, expected a number"),
        ("image_ms = true", "image_ms: found True, expected a number"),
        ("noise = 0.5", "noise: found 0.5, expected a number >= 0 and <= 0.3"),
        ("autocorrelation = 1", "autocorrelation: found 1, expected"),
        ("forward_share = 0", "forward_share: found 0, expected"),
        ("seed = -1", "seed: found -1, expected a whole number >= 0"),
        ("seed = 1.0", "seed: found 1.0, expected a whole number"),
        ("name = ' '", "name: found ' ', expected a text that is not blank"),
        ("timing = 'host'", "timing: found 'host', expected one of events, windows"),
        ("timing = ['events']", "timing: found ['events'], expected one of events, windows"),
        ("memory_gib = 33", "memory_gib: found 33.0, expected at most capacity_gib, 32"),
        ("[fault]\nkind = 'slow'", "fault: found {'kind': 'slow'}, expected [[fault]], with two brackets"),
        ("fault = [1]", "fault[1]: found 1, expected a table"),
        ("[[fault]]\nkind = 'slwo'", "fault[1].kind: found 'slwo', expected one of slow, stall,"),
        ("[[fault]]\nfactor = 2", "fault[1].kind: found None, expected one of slow"),
        ("[[fault]]\nkind = 'slow'", "fault[1].factor: missing; expected a number > 0"),
        ("[[fault]]\nkind = 'slow'\nfactor = 0", "fault[1].factor: found 0, expected a number > 0"),
        ("[[fault]]\nkind = 'slow'\nfactor = 2\nshare = 1", "fault[1].'share': unknown key (allowed here: factor,"),
        ("[[fault]]\nkind = 'stall'\nfactor = 2\nshare = 1.5", "fault[1].share: found 1.5, expected a number >= 0"),
        ("[[fault]]\nkind = 'warmup'\nsteps = 0\nfactor = 2", "fault[1].steps: found 0, expected a whole number >= 1"),
        ("[[fault]]\nkind = 'warmup'\nsteps = 1\nfactor = 2\ndecay = 1", "fault[1].decay: found 1, expected true or"),
        ("[[fault]]\nkind = 'fast_timer'\nfactor = 1", "fault[1].factor: found 1, expected a number > 1"),
        ("[[fault]]\nkind = 'die'", "fault[1].step: missing; expected a whole number >= 0"),
        ("[[fault]]\nkind = 'hang'\nstep = 1\nranks = 1", "fault[1].ranks: found 1, expected an array of different"),
        ("[[fault]]\nkind = 'hang'\nstep = 1\nranks = [1, 1]", "fault[1].ranks: found [1, 1], expected an array"),
        ("[[fault]]\nkind = 'hang'\nstep = 1\nranks = [-1]", "fault[1].ranks: found [-1], expected an array"),
        ("[[fault]]\nkind = 'hang'\nstep = 1\nranks = [0, 2]", "fault[1].ranks: found (0, 2), expected ranks below 2"),
        (
            "[[fault]]\nkind = 'hang'\nstep = 1\ncards = [0.5]",
            "fault[1].cards: found [0.5], expected an array of different",
        ),
        ("[[fault]]\nkind = 'card'", "fault[1]: found {'name': None, "),
        ("[[fault]]\nkind = 'memory_creep'", "expected gib_per_step or gib_per_s above 0, one of the two"),
        ("[[fault]]\nkind = 'memory_creep'\ngib_per_s = 1\ngib_per_step = 1", "above 0, one of the two"),
        ("[[fault]]\nkind = 'no_samples'\nhow = 'never'", "fault[1].how: found 'never', expected one of missing, fail"),
        (
            "timing = 'windows'\n[[fault]]\nkind = 'fast_timer'\nfactor = 2",
            "fault[1].kind: found 'fast_timer', expected timing = \"events\" beside it",
        ),
        ("image_ms = ", "is not valid TOML"),
        ("a = " + "[" * 5000, "is not valid TOML"),
    ],
)
def test_what_it_could_not_mean_is_an_error(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=re.escape(says)) as caught:
        load_scenario(written(tmp_path, text), world_size=2)

    assert "plan.toml: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_documentation_has_every_key_with_its_default_and_every_kind_of_fault() -> None:
    text = (ROOT / "docs" / "virtual.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:3] == "| `"]
    keys = {row[0].strip("`"): row[1] for row in rows if row[0].strip("`") in SCENARIO}
    kinds = {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[1])) for row in rows if row[0].strip("`") in FAULTS}

    assert keys == {key: f"{known.default:g}" if key in NUMBERS else known.default for key, known in SCENARIO.items()}
    assert kinds == {kind: set(known) - {"ranks", "cards", "hosts"} for kind, known in FAULTS.items()}
    assert len(rows) == len(SCENARIO) + len(FAULTS)


def test_a_file_that_is_not_there_or_is_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"nowhere\.toml: cannot be read: No such file.*--scenario names a TOML"):
        load_scenario(tmp_path / "nowhere.toml", world_size=1)
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(DeviceError, match=r"latin\.toml: is not valid TOML"):
        load_scenario(tmp_path / "latin.toml", world_size=1)


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.lists(st.integers())


@given(
    kind=st.sampled_from(sorted(FAULTS)),
    given_keys=st.dictionaries(st.sampled_from(sorted({key for keys in FAULTS.values() for key in keys})), values),
)
def test_no_fault_table_fails_in_another_way(kind: str, given_keys: dict[str, object]) -> None:
    try:
        (fault,) = _read_faults("plan.toml", [{"kind": kind, **given_keys}])
    except DeviceError:
        return
    assert set(fault.values) == set(FAULTS[kind])
