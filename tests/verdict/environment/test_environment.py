"""What the document states against what a run's hosts wrote of themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evidence.bundle import read_run
from expected import Topology
from tests.suite.stored import bundle_of
from tests.support import device_of
from tests.verdict.bundles import Bundle
from trainer.settings import Settings
from verdict.environment.findings import EnvironmentFinding, environment_findings
from verdict.environment.items import BACKBONE_SHA256, ITEMS, stated_items

EIGHT = Topology(1, 8)


def found(bundle: Bundle, folder: Path, marker: str = "r300") -> dict[str, list[EnvironmentFinding]]:
    findings: dict[str, list[EnvironmentFinding]] = {}
    for one in environment_findings(read_run(bundle.write(folder / "run")), device_of(marker)):
        findings.setdefault(one.item, []).append(one)
    return findings


def one_host(item: str, folder: Path, **change: Any) -> EnvironmentFinding:
    """The finding of an item on the one host of a sound run, after changes to what the host wrote."""
    bundle = bundle_of("r300", "1x1", steps=40)
    bundle.one("environment").update(change)
    (finding,) = found(bundle, folder)[item]
    return finding


def test_the_shipped_document_states_these_items() -> None:
    stated = stated_items(device_of("r300"), EIGHT, pretrained_backbone=True)

    assert list(stated) == [item for item in ITEMS if item != "network"]
    assert stated["card_count"] == "8 or more"
    assert stated["card_memory"] == "32 GiB"
    assert stated["train_images"] == "117,266 of 118,287"
    assert stated["python"] == "3.8"


def test_the_network_between_machines_is_asked_about_where_there_are_several() -> None:
    assert stated_items(device_of("r300"), Topology(2, 8), pretrained_backbone=True)["network"] == "InfiniBand，200Gb/s"


def test_what_fits_every_machine_is_not_asked() -> None:
    stated = stated_items(device_of("cpu"), Topology(1, 1), pretrained_backbone=False)

    assert stated == {
        "torch": "1.12 or later",
        "torchvision": "0.13 or later",
        "train_images": "256 listed",
        "val_images": "64",
    }


def test_packages_may_stand_in_a_table_of_their_own_or_under_software() -> None:
    device = device_of("r300")
    moved = replace(device, environment={"hardware": {}, "software": {"python": "3.7"}, "packages": {"numpy": "1.2"}})

    stated = stated_items(moved, EIGHT, pretrained_backbone=False)

    assert (stated["python"], stated["numpy"]) == ("3.7", "1.2")


def test_the_backbone_is_the_trainers() -> None:
    default = Settings(run_dir=Path(), data=Path(), pretrained_backbone=False).backbone_sha256

    assert default == BACKBONE_SHA256


def test_a_host_as_stated_matches_in_everything(tmp_path: Path) -> None:
    findings = found(bundle_of("r300", "2x8"), tmp_path)

    assert list(findings) == list(ITEMS)
    assert {one.verdict for mine in findings.values() for one in mine} == {"match"}
    assert [one.host for one in findings["driver"]] == ["node0", "node1"]


@pytest.mark.parametrize(
    ("item", "change", "verdict", "says"),
    [
        ("driver", {"driver": "4.0.31"}, "differs", "4.0.31"),
        ("kernel", {"kernel": "5.15.0-1-generic"}, "differs", "5.15.0-1-generic"),
        ("machine", {"machine": {"vendor": "Inspur", "product": "NF5468M6"}}, "unknown", "Inspur NF5468M6"),
        ("card", {"cards": ["a device", "R200"]}, "differs", "a device, R200"),
        ("card", {"cards": ["a device", "R200", "R300"]}, "unknown", "a device, R200, R300"),
        ("card", {"cards": ["a device"]}, "unknown", "a device"),
        ("card_count", {"card_count": 0}, "differs", "0"),
        ("card_count", {"card_count": 1}, "match", "1"),
        ("os", {"os": {"name": "Ubuntu", "version": "22.04", "of": "host"}}, "differs", "Ubuntu 22.04"),
        ("os", {"os": {"name": "Ubuntu", "version": "20.04", "of": "image"}}, "unknown", "Ubuntu 20.04"),
        ("image", {"image": "another:v1"}, "differs", "another:v1"),
        ("python", {"packages": {"python": "3.9.1"}}, "differs", "3.9.1"),
        ("framework", {"packages": {"torch_xmlir": "1.0"}}, "unknown", "torch_xmlir 1.0"),
        ("dependencies", {"packages": {"torch": "1.13.1"}}, "differs", "torch 1.13.1"),
        ("backbone", {"backbone_sha256": "ffff"}, "differs", "ffff"),
    ],
)
def test_what_is_not_as_stated_is_told(item: str, change: Any, verdict: str, says: str, tmp_path: Path) -> None:
    finding = one_host(item, tmp_path, **change)

    assert (finding.verdict, finding.found) == (verdict, says)


def test_what_was_not_found_is_unknown_with_the_reason_that_the_host_gave(tmp_path: Path) -> None:
    finding = one_host("driver", tmp_path, driver=None, absent={"driver": "none of xpu_smi is on PATH"})

    assert (finding.verdict, finding.found, finding.reason) == ("unknown", "", "none of xpu_smi is on PATH")


@pytest.mark.parametrize(("kept", "listed", "verdict"), [(117_266, None, "unknown"), (117_265, 118_287, "differs")])
def test_images_are_counted_as_the_recipe_states(kept: int, listed: Any, verdict: str, tmp_path: Path) -> None:
    bundle = bundle_of("r300", "1x1")
    bundle.one("data")["train"] = {"images": kept, "images_listed": listed}

    (finding,) = found(bundle, tmp_path)["train_images"]

    assert finding.verdict == verdict


def test_a_generated_set_has_as_many_images_as_its_table_says(tmp_path: Path) -> None:
    bundle = bundle_of("cpu", "1x1")
    bundle.one("data").update(train={"images": 250, "images_listed": 256}, val={"images": 63})

    findings = found(bundle, tmp_path, "cpu")

    assert [(one.verdict, one.found) for one in findings["train_images"]] == [("match", "250 of 256")]
    assert [(one.verdict, one.found) for one in findings["val_images"]] == [("differs", "63")]


def test_other_data_than_the_tables_is_found_and_not_stated(tmp_path: Path) -> None:
    bundle = bundle_of("cpu", "1x1")
    bundle.run["own_data"] = True

    assert [one.verdict for one in found(bundle, tmp_path, "cpu")["train_images"]] == ["unstated"]


def test_what_nobody_states_is_found_all_the_same(tmp_path: Path) -> None:
    finding = found(bundle_of("a100", "1x1"), tmp_path, "a100")["network"][0]

    assert (finding.verdict, finding.stated) == ("unstated", "")
    assert finding.found == "InfiniBand, 200 Gb/sec (4X HDR), 4: ACTIVE"


def test_a_device_of_another_size_differs(tmp_path: Path) -> None:
    bundle = bundle_of("r300", "1x1")
    bundle.one("start")["capacity_gib"] = 16.0

    (finding,) = found(bundle, tmp_path)["card_memory"]

    assert (finding.verdict, finding.stated, finding.found) == ("differs", "32 GiB", "16.0 GiB")


def test_one_right_device_does_not_excuse_another_of_the_host(tmp_path: Path) -> None:
    bundle = bundle_of("r300", "1x8")
    for rank in bundle.ranks:
        bundle.one("start", rank)["device_name"] = "R200" if rank == 5 else "R300"

    (finding,) = found(bundle, tmp_path)["card"]

    assert (finding.verdict, finding.found) == ("differs", "R200, R300, a device, 昆仑芯AI加速卡R300")


def test_evidence_from_before_the_event_leaves_the_items_unknown(tmp_path: Path) -> None:
    bundle = bundle_of("r300", "1x1")
    bundle.drop("environment")

    findings = found(bundle, tmp_path)

    known = {item for item, mine in findings.items() if mine[0].verdict != "unknown"}
    assert known == {"card_memory", "train_images", "val_images"}  # of which ranks always told
    assert findings["driver"][0].reason == "the evidence has no event 'environment' of this host"
    assert "driver" in findings


def test_a_host_that_says_less_than_its_sibling_is_named(tmp_path: Path) -> None:
    bundle = bundle_of("r300", "2x8")
    bundle.drop("environment", rank=8)

    assert [(one.host, one.verdict) for one in found(bundle, tmp_path)["kernel"]] == [
        ("node0", "match"),
        ("node1", "unknown"),
    ]


def test_a_run_of_which_nothing_came_has_its_items_all_the_same(tmp_path: Path) -> None:
    bundle = bundle_of("r300", "1x1")
    bundle.ranks.clear()

    findings = found(bundle, tmp_path)

    assert set(findings) == set(stated_items(device_of("r300"), Topology(1, 1), pretrained_backbone=True))
    assert {(one.host, one.verdict) for mine in findings.values() for one in mine} == {("", "unknown")}


def test_without_run_json_nothing_can_be_held_against_anything(tmp_path: Path) -> None:
    folder = bundle_of("r300", "1x1").write(tmp_path / "run")
    (folder / "run.json").unlink()

    assert environment_findings(read_run(folder), device_of("r300")) == ()


def test_a_topology_that_nobody_can_read_leaves_nothing_to_hold_hosts_against(tmp_path: Path) -> None:
    bundle = bundle_of("r300", "1x1")
    bundle.run["cell"]["topology"] = "1y8"

    assert environment_findings(read_run(bundle.write(tmp_path / "run")), device_of("r300")) == ()


def test_an_item_that_no_rule_reads_is_asked_and_unknown(tmp_path: Path) -> None:
    device = device_of("r300")
    tables = {**device.environment, "software": {**device.environment["software"], "bios": "1.2"}}
    evidence = read_run(bundle_of("r300", "1x1").write(tmp_path / "run"))

    finding = environment_findings(evidence, replace(device, environment=tables))[-1]

    assert (finding.item, finding.verdict) == ("bios", "unknown")
    assert "no rule reads this item" in finding.reason


def test_words_from_a_host_are_carried_as_they_are(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>\"\n\x00\u2028'"

    assert one_host("driver", tmp_path, driver=hostile).found == hostile
