"""Baseline files: a site's accepted values and waivers, and everything that is refused in them."""

from __future__ import annotations

import datetime
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expected import ACCEPTED, METRICS, Expectation, ExpectationError, Site, Waiver, load_site
from expected.metrics import LARGEST_TOLERANCE
from expected.site import is_date
from tests.expected.sample import change, load, write
from tests.expected.sites import ACCEPTED as BLOCK
from tests.expected.sites import SITE, WAIVER, load_text

CELL = "x100-1x1-fp32-bs16"
OTHER = "x100-1x8-amp-bs2"


def without_clock(metric: str, unit: str, value: float, measured: str) -> str:
    """The accepted block of another metric than p_core."""
    text = BLOCK.replace('clock = "device"\n', "").replace('metric = "p_core"', f'metric = "{metric}"')
    text = text.replace('unit = "images/s"', f'unit = "{unit}"').replace("value = 55.1", f"value = {value!r}")
    return text.replace("measured = [55.0, 55.1, 55.2, 11.0]", f"measured = {measured}")


def test_an_accepted_value_is_read_with_the_bounds_of_its_tolerance(tmp_path: Path) -> None:
    site = load_text(tmp_path)

    source = "accepted in site.toml: mean of 3 runs, 2026-11-20 to 2026-11-22"
    assert site.path == tmp_path / "site.toml"
    assert site.accepted == {
        (CELL, "p_core"): Expectation(ACCEPTED, 55.1, 53.447, None, None, source, "device", "epoch")
    }


def test_a_waiver_is_read_and_found_by_cell_and_metric(tmp_path: Path) -> None:
    site = load_text(tmp_path)

    waiver = Waiver(OTHER, "p_train", "the loader's disk is being replaced", "OPS-17", "2026-12-31")
    assert site.waivers == (waiver,)
    assert site.waiver(OTHER, "p_train") == waiver
    assert site.waiver(OTHER, "p_core") is None
    assert site.waiver(CELL, "p_train") is None


@pytest.mark.parametrize("question", ["skew", "health"])
def test_stragglers_and_health_can_be_waived(question: str, tmp_path: Path) -> None:
    site = load_text(tmp_path, change('metric = "p_train"', f'metric = "{question}"', SITE))

    assert [(one.cell, one.metric) for one in site.waivers] == [(OTHER, question)]


def test_a_waiver_may_be_of_an_item_of_the_environment(tmp_path: Path) -> None:
    site = load_text(tmp_path, SITE.replace('metric = "p_train"', 'item = "driver"'))

    assert site.waiver(OTHER, "driver") == site.waivers[0]
    assert site.waiver(OTHER, "p_train") is None


def test_a_site_may_say_nothing_yet(tmp_path: Path) -> None:
    site = load_text(tmp_path, "schema = 1\n")

    assert (dict(site.accepted), site.waivers) == ({}, ())


@pytest.mark.parametrize(
    ("today", "holds"),
    [("2026-12-30", True), ("2026-12-31", True), ("2027-01-01", False), ("2026-02-01", True), ("2030-01-01", False)],
)
def test_a_waiver_holds_to_the_end_of_its_last_day(tmp_path: Path, today: str, holds: bool) -> None:
    assert load_text(tmp_path).waivers[0].holds_on(today) is holds


@pytest.mark.parametrize("today", ["", "today", "2026-1-1", "2026-02-30", "2026-12-31T10:00"])
def test_a_day_that_is_none_does_not_keep_a_waiver_in_force(tmp_path: Path, today: str) -> None:
    with pytest.raises(ExpectationError, match="expected a day of the calendar, YYYY-MM-DD"):
        load_text(tmp_path).waivers[0].holds_on(today)


@pytest.mark.parametrize("written", ["2028-02-29", '"2028-02-29"'])
def test_the_last_day_may_be_a_date_or_a_string(tmp_path: Path, written: str) -> None:
    site = load_text(tmp_path, SITE.replace("2026-12-31", written))

    assert site.waivers[0].until == "2028-02-29"


def test_memory_is_never_accepted_above_the_devices_capacity(tmp_path: Path) -> None:
    block = without_clock("mem", "GiB", 31.5, "[31.5, 31.5, 31.5, 31.5]")

    site = load_text(tmp_path, "schema = 1\n" + block)

    known = site.accepted[CELL, "mem"]
    assert (known.low, known.high, known.capacity, known.clock) == (None, 32.0, 32.0, "")


def test_map_has_an_absolute_tolerance(tmp_path: Path) -> None:
    device = change('map = "not applicable"', 'map = "unpublished"')
    block = without_clock("map", "0..1", 0.365, "[0.365, 0.365, 0.365, 0.365]").replace("0.03", "0.01")

    site = load_text(tmp_path, "schema = 1\n" + block, device)

    assert (site.accepted[CELL, "map"].low, site.accepted[CELL, "map"].high) == (0.355, None)


def test_a_simulated_value_is_for_simulated_cells_only_and_says_so(tmp_path: Path) -> None:
    simulated = SITE.replace("simulated = false", "simulated = true")
    with pytest.raises(ExpectationError, match=r"simulated: found true; what simulated devices did is not a baseline"):
        load_text(tmp_path, simulated)

    good = replace(load(tmp_path), marker="virtual")
    cells = tuple(replace(cell, device="virtual") for cell in good.cells)
    path = tmp_path / "virtual.toml"
    path.write_text(simulated.replace('"x100-', '"virtual-'))
    site = load_site(path, {"virtual": replace(good, cells=cells)})

    (accepted,) = site.accepted.values()
    assert accepted.source.endswith("2026-11-22 (simulated)")


def test_the_driver_may_be_unknown(tmp_path: Path) -> None:
    assert load_text(tmp_path, SITE.replace('driver = "1.2.3"\n', "")).accepted


def test_a_site_fills_in_only_what_its_own_cell_leaves_unpublished(tmp_path: Path) -> None:
    device = load(tmp_path)
    site = load_text(tmp_path)

    first, second = (site.apply(cell) for cell in device.cells)

    assert first.expectations["p_core"] == site.accepted[CELL, "p_core"]
    unchanged = set(METRICS) - {"p_core"}
    assert {name: first.expectations[name] for name in unchanged} == {
        name: device.cells[0].expectations[name] for name in unchanged
    }
    assert second == device.cells[1]


def test_a_published_number_stays_even_if_a_site_has_one(tmp_path: Path) -> None:
    cell = load(tmp_path).cells[1]
    site = Site(tmp_path, {(cell.id, name): Expectation(ACCEPTED, 1.0, 0.9) for name in METRICS}, ())

    applied = site.apply(cell).expectations

    covered = {name: replace(known, covered=1.0) for name, known in cell.expectations.items() if name in METRICS}
    assert applied == {**cell.expectations, **covered}


def beside_the_published(value: float, clock: str = "host") -> str:
    """A site with a p_core beside the 120.0 images/s, read by the host's clock, that are published."""
    text = BLOCK.replace(CELL, OTHER).replace("value = 55.1", f"value = {value}").replace('"device"', f'"{clock}"')
    return "schema = 1\n" + text.replace("[55.0, 55.1, 55.2, 11.0]", f"[{value}, {value}, {value}, 11.0]")


def test_a_number_by_far_above_the_published_one_is_kept_beside_it(tmp_path: Path) -> None:
    site = load_text(tmp_path, beside_the_published(181.0))

    applied = site.apply(load(tmp_path).cells[1]).expectations["p_core"]

    assert site.accepted[OTHER, "p_core"].clock == "host"
    assert (applied.state, applied.value, applied.low, applied.covered) == ("published", 120.0, 114.0, 181.0)


@pytest.mark.parametrize(
    ("value", "clock", "says"),
    [
        (180.0, "host", "metric: found p_core, for which the vendor publishes 120.0; a site cannot replace"),
        (181.0, "device", "clock: found the string 'device', expected one of host"),
    ],
)
def test_a_number_near_the_published_one_or_of_another_clock_is_refused(
    tmp_path: Path, value: float, clock: str, says: str
) -> None:
    with pytest.raises(ExpectationError, match=re.escape(says)):
        load_text(tmp_path, beside_the_published(value, clock))


def test_the_annotations_of_the_runs_are_kept_with_a_value(tmp_path: Path) -> None:
    digests = {"train2017": "ab" * 32, "val2017": "cd" * 32}
    table = f'annotations = {{ train2017 = "{"ab" * 32}", val2017 = "{"cd" * 32}" }}\n'

    site = load_text(tmp_path, SITE.replace("versions = {", table + "versions = {"))

    assert site.accepted[CELL, "p_core"].annotations == digests
    with pytest.raises(ExpectationError, match=r"annotations\.val2017: found .*expected the 64 hexadecimal digits"):
        load_text(tmp_path, SITE.replace("versions = {", table.replace("cd" * 32, "cd" * 31) + "versions = {"))


def test_what_was_taken_off_a_cell_for_a_reason_is_taken_off_with_the_sites_values(tmp_path: Path) -> None:
    cell = load_text(tmp_path).apply(load(tmp_path).cells[0])

    assert not any(known.has_number for known in cell.without_numbers("other data").expectations.values())


def test_a_reason_may_be_in_a_script_without_spaces(tmp_path: Path) -> None:
    text = change('reason = "the loader\'s disk is being replaced"', 'reason = "磁盘正在更换"', SITE)

    assert load_text(tmp_path, text).waivers[0].reason == "磁盘正在更换"


def test_the_newest_run_behind_a_value_and_the_files_digest_are_known(tmp_path: Path) -> None:
    site = load_text(tmp_path)

    assert site.accepted_on == {(CELL, "p_core"): "2026-11-22"}
    assert site.sha256 == hashlib.sha256((tmp_path / "site.toml").read_bytes()).hexdigest()


BAD = [
    ("schema = 1\n", "", "schema"),
    ("schema = 1", "schema = 2\nlater = true", "schema"),
    ("schema = 1", "schema = 1\nwaivers = 3", "waivers"),
    (BLOCK, "accepted = [3]\n", "accepted[1]"),
    # accepted
    (f'cell = "{CELL}"', 'cell = "x100-2x1-fp32-bs16"', "accepted[1].cell"),
    (f'cell = "{CELL}"\n', "", "accepted[1].cell"),
    ('metric = "p_core"', 'metric = "p_cor"', "accepted[1].metric"),
    ('unit = "images/s"', 'unit = "GiB"', "accepted[1].unit"),
    ('unit = "images/s"\n', "", "accepted[1].unit"),
    ("value = 55.1", "value = 0", "accepted[1].value"),
    ("value = 55.1", "value = 54.99", "accepted[1].value"),
    ("tolerance = 0.03\n", "", "accepted[1].tolerance"),
    ("tolerance = 0.03", "tolerance = 0.11", "accepted[1].tolerance"),
    ("tolerance = 0.03", "tolerance = -0.01", "accepted[1].tolerance"),
    ('clock = "device"\n', "", "accepted[1].clock"),
    ('clock = "device"', 'clock = "host"', "accepted[1].clock"),
    ('clock = "device"', 'clok = "device"', "accepted[1].clok"),
    # where it comes from
    (BLOCK, BLOCK[: BLOCK.index("\n[accepted.")], "accepted[1].provenance"),
    ("trimmed =", "trimed =", "accepted[1].provenance.trimed"),
    ('runs = ["a", "b", "c", "d"]', 'runs = ["a", "b", 3, "d"]', "accepted[1].provenance.runs[3]"),
    ('runs = ["a", "b", "c", "d"]', 'runs = ["a", "b", "c"]', "accepted[1].provenance.dates"),
    ("[55.0, 55.1, 55.2, 11.0]", "[55.0, 55.1, 0, 11.0]", "accepted[1].provenance.measured[3]"),
    ('protocol = "epoch"', "protocol = 3", "accepted[1].provenance.protocol"),
    ('card = "X100"\n', "", "accepted[1].provenance.card"),
    ('driver = "1.2.3"', 'driver = ""', "accepted[1].provenance.driver"),
    ('torch = "1.12.1"', "torch = 1.12", "accepted[1].provenance.versions.torch"),
    ("simulated = false\n", "", "accepted[1].provenance.simulated"),
    # waivers
    (f'cell = "{OTHER}"', 'cell = "x100"', "waiver[1].cell"),
    ('metric = "p_train"', 'metric = "speed"', "waiver[1].metric"),
    (f'"{OTHER}"\nmetric = "p_train"', f'"{CELL}"\nmetric = "map"', "waiver[1].metric"),
    (f'"{OTHER}"\nmetric = "p_train"', f'"{CELL}"\nmetric = "skew"', "waiver[1].metric"),  # one rank alone
    ('metric = "p_train"', 'metric = "efficiency"', "waiver[1].metric"),
    ('metric = "p_train"', 'item = "speed"', "waiver[1].item"),
    ('metric = "p_train"', 'item = "card"', "waiver[1].item"),
    ('metric = "p_train"', 'metric = "p_train"\nitem = "driver"', "waiver[1].item"),
    ('reason = "the loader\'s disk is being replaced"', 'reason = " "', "waiver[1].reason"),
    ('reason = "the loader\'s disk is being replaced"', 'reason = "."', "waiver[1].reason"),
    ('reason = "the loader\'s disk is being replaced"', 'reason = "ok - 17"', "waiver[1].reason"),
    ('ticket = "OPS-17"\n', "", "waiver[1].ticket"),
    ('ticket = "OPS-17"', 'ticket = "-"', "waiver[1].ticket"),
    ("until = 2026-12-31\n", "", "waiver[1].until"),
    ("until = 2026-12-31", 'until = "2027-02-29"', "waiver[1].until"),
    ("until = 2026-12-31", "until = 2026-12-31T10:00:00", "waiver[1].until"),
    ("until = 2026-12-31", "until = 20261231", "waiver[1].until"),
    ('ticket = "OPS-17"', 'ticket = "OPS-17"\nowner = "me"', "waiver[1].owner"),
]


@pytest.mark.parametrize(("old", "new", "key"), BAD)
def test_a_bad_file_is_refused_by_file_and_key(tmp_path: Path, old: str, new: str, key: str) -> None:
    with pytest.raises(ExpectationError, match=rf"^site\.toml: {re.escape(key)}: "):
        load_text(tmp_path, change(old, new, SITE))


SAID = [
    (
        BLOCK,
        "[accepted]\ncell = 3\n",
        "accepted: found the table {'cell': 3}, expected [[accepted]], with two brackets",
    ),
    (WAIVER, WAIVER + "\n" + WAIVER, f"waiver[2].metric: found p_train of {OTHER}, which block 1 of its kind has"),
    ('metric = "p_core"', 'metric = "map"', f"accepted[1].metric: found map, which does not apply to {CELL}"),
    (f'cell = "{CELL}"', f'cell = "{OTHER}"', "accepted[1].metric: found p_core, for which the vendor publishes 120.0"),
    (
        "value = 55.1",
        "value = 55.21",
        "accepted[1].value: found 55.21, expected a mean of what its runs measured, 55.0 to",
    ),
    ('metric = "p_core"', 'metric = "p_train"', "accepted[1].clock: belongs to p_core only"),
    ('runs = ["a", "b", "c", "d"]', 'runs = ["a", "b", "b", "d"]', "accepted[1].provenance.runs: found a run twice"),
    (
        "[55.0, 55.1, 55.2, 11.0]",
        "[55.0, 55.1, 55.2]",
        "accepted[1].provenance.measured: found 3 entries, expected one for each of the 4 runs",
    ),
    ('trimmed = ["d"]', 'trimmed = ["e"]', "accepted[1].provenance.trimmed: found a run that is not among runs"),
    ('trimmed = ["d"]', 'trimmed = ["d", "a"]', "accepted[1].provenance.runs: found 2 runs that were not trimmed"),
    (
        '"2026-11-21"]',
        '"yesterday"]',
        "accepted[1].provenance.dates: found 'yesterday', expected it to begin with YYYY-MM-DD",
    ),
    (
        "until = 2026-12-31",
        'until = "soon"',
        "waiver[1].until: found the string 'soon', expected a day of the calendar",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), SAID)
def test_what_contradicts_itself_or_the_vendors_table_is_refused_with_the_reason(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(ExpectationError, match="^" + re.escape(f"site.toml: {message}")):
        load_text(tmp_path, change(old, new, SITE))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (without_clock("mem", "GiB", 33.0, "[33.0, 33.0, 33.0, 33.0]"), "above the device's capacity of 32.0 GiB"),
        (without_clock("p_train", "images/s", 1e-320, "[55.0, 1.0, 2.0, 3.0]"), "expected a mean of what"),
    ],
)
def test_a_value_that_cannot_be_is_refused(tmp_path: Path, block: str, message: str) -> None:
    with pytest.raises(ExpectationError, match=r"^site\.toml: accepted\[1\]\.value: ") as caught:
        load_text(tmp_path, "schema = 1\n" + block)

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("metric", "unit", "value", "device"),
    [
        ("map", "0..1", 0.02, change('map = "not applicable"', 'map = "unpublished"')),
        ("e2e_time", "s", 1.7e308, change('e2e_time = "not applicable"', 'e2e_time = "unpublished"')),
    ],
)
def test_a_value_without_a_bound_that_decides_is_refused(
    tmp_path: Path, metric: str, unit: str, value: float, device: str
) -> None:
    block = without_clock(metric, unit, value, f"[{value!r}, {value!r}, {value!r}, {value!r}]")
    block = block.replace("tolerance = 0.03", f"tolerance = {LARGEST_TOLERANCE[metric]}")

    with pytest.raises(ExpectationError, match=r"accepted\[1\]\.value: .*leaves no bound that decides"):
        load_text(tmp_path, "schema = 1\n" + block, device)


def test_a_missing_file_is_refused_with_the_command_that_writes_one(tmp_path: Path) -> None:
    with pytest.raises(ExpectationError, match=r"nowhere\.toml: cannot be read: .*conformance accept"):
        load_site(tmp_path / "nowhere.toml", {})


def test_the_cells_are_those_of_the_devices_given(tmp_path: Path) -> None:
    with pytest.raises(ExpectationError, match=r"accepted\[1\]\.cell: found the string 'x100-1x1-fp32-bs16'"):
        load_site(write(tmp_path, SITE, "site.toml"), {})


@given(st.dates())
def test_every_day_of_the_calendar_is_a_date(day: datetime.date) -> None:
    assert is_date(day.isoformat())


@given(st.integers(0, 9999), st.integers(0, 99), st.integers(0, 99))
def test_no_other_day_is(year: int, month: int, day: int) -> None:
    try:
        datetime.date(year, month, day)
        exists = True
    except ValueError:
        exists = False

    assert is_date(f"{year:04d}-{month:02d}-{day:02d}") is exists


@given(st.dates(), st.dates())
def test_a_waiver_is_void_from_the_day_after_its_last(until: datetime.date, today: datetime.date) -> None:
    waiver = Waiver(CELL, "map", "a reason", "a ticket", until.isoformat())

    assert waiver.holds_on(today.isoformat()) is (today <= until)


EPOCHS = """\
[[accepted]]
cell = "x100-1x1-fp32-bs16"
metric = "epochs_to_target"
unit = "epochs"
value = 17.0
tolerance = 1.0

[accepted.provenance]
protocol = "full"
simulated = false
card = "X100"
runs = ["a", "b", "c"]
dates = ["2026-11-20", "2026-11-21", "2026-11-22"]
measured = [17.0, 17.0, 17.0]
trimmed = []
versions = { python = "3.8.18" }
"""


def test_a_site_accepts_a_metric_that_no_table_has(tmp_path: Path) -> None:
    cell = load(tmp_path).cells[0]

    found = load_text(tmp_path, f"schema = 1\n{EPOCHS}").apply(cell)

    known = found.expectations["epochs_to_target"]
    assert (known.state, known.low, known.high) == (ACCEPTED, 16.0, 18.0)
    assert "epochs_to_target" in found.applicable
    assert "epochs_to_target" not in load_text(tmp_path).apply(cell).expectations


def test_a_site_does_not_replace_a_number_that_follows_from_published_ones(tmp_path: Path) -> None:
    text = EPOCHS.replace("x100-1x1-fp32-bs16", "x100-1x8-amp-bs2")

    with pytest.raises(ExpectationError, match=r"which follows from what the vendor publishes: 10\.23; a site cannot"):
        load_text(tmp_path, f"schema = 1\n{text}")
