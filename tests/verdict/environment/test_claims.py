"""What is under test is held against its own name, and what is stated counts where nothing else decides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Mapping

import pytest

from evidence.bundle import read_run
from expected import Device
from tests.suite.stored import bundle_of
from tests.support import device_of
from verdict.environment.claims import Claims
from verdict.environment.findings import EnvironmentFinding, environment_findings

ITEMS = ("driver", "framework", "dependencies", "torch", "python", "os", "image", "machine", "kernel")


def finding(
    item: str, folder: Path, claims: Claims, *, device: Device | None = None, **change: Any
) -> EnvironmentFinding:
    """The finding of an item on a sound host of an R300, after changes to what the host wrote."""
    bundle = bundle_of("r300", "1x1", steps=40)
    bundle.one("environment").update(change)
    evidence = read_run(bundle.write(folder / "run"))
    found = environment_findings(evidence, device or device_of("r300"), claims)
    return next(one for one in found if one.item == item)


@pytest.mark.parametrize(
    ("item", "value", "change", "verdict"),
    [
        ("driver", "4.0.31", {"driver": "4.0.31"}, "match"),
        ("driver", "4.0.31", {}, "differs"),
        ("driver", "4.0", {}, "differs"),  # the document's 4.0.25 is found, and 4.0 does not name it in full
        ("driver", "4.0.31", {"driver": "4.0.31-rc1"}, "differs"),
        ("driver", "4.0.31", {"driver": "", "absent": {}}, "unknown"),
        ("framework", "xmlir+1a2b3c4d", {"packages": {"torch_xmlir": "XPYTORCH: XMLIR--1a2b3c4d5e"}}, "match"),
        ("framework", "xmlir+1a2b3c4d", {"packages": {"torch_xmlir": "XPYTORCH: XMLIR--e70db8f6"}}, "differs"),
        ("framework", "xmlir+1a2b3c4d", {"packages": {"xmlir": "0.0.1"}}, "unknown"),
        ("torch", "1.13.0+cpu", {"packages": {"torch": "1.13.0+cpu"}}, "match"),
        ("torch", "1.13.0", {"packages": {"torch": "1.13.0+cpu"}}, "differs"),
        ("image", "new:v2", {"image": "registry/new:v2"}, "match"),
        ("os", "Ubuntu 22.04", {"os": {"name": "Ubuntu", "version": "22.04", "of": "host"}}, "match"),
        ("kernel", "5.15.0-1-generic", {"kernel": "5.15.0-1-generic"}, "match"),
        ("kernel", "5.15.0", {"kernel": "5.15.0-1-generic"}, "differs"),
        ("docker", "24.0.7", {}, "unknown"),
    ],
)
def test_what_is_under_test_has_to_be_found_as_named(
    item: str, value: str, change: Mapping[str, Any], verdict: str, tmp_path: Path
) -> None:
    found = finding(item, tmp_path, Claims(under_test={item: value}), **change)

    assert (found.verdict, found.stated, found.under_test) == (verdict, value, value)
    assert "under test; the document states" in found.reason


def test_a_package_under_test_is_so_in_every_item_that_names_it(tmp_path: Path) -> None:
    claims = Claims(under_test={"torch": "1.13.0+cpu"})
    packages = {"packages": {"torch": "1.13.0+cpu"}}

    found = finding("dependencies", tmp_path, claims, **packages)

    assert (found.stated, found.verdict, found.under_test) == ("torch 1.13.0+cpu", "match", "torch 1.13.0+cpu")


def test_a_framework_under_test_is_the_package_of_its_name(tmp_path: Path) -> None:
    wheel = "torch-2.1.0+mc2.19-cp310-cp310-linux_x86_64.whl"
    packages = {"packages": {"torch": "2.1.0+mc2.19", "python": "3.10.4"}}

    found = finding("torch", tmp_path, Claims(under_test={"framework": wheel}), **packages)

    assert (found.stated, found.verdict) == ("2.1.0+mc2.19", "match")


@pytest.mark.parametrize(
    ("item", "value", "change", "verdict"),
    [
        ("image", "pytorch1.12.1-cpu-ubuntu18.04:v0.04", {"image": ""}, "match"),
        ("image", "another:v1", {"image": ""}, "differs"),
        ("machine", "R480-X8", {"machine": {"vendor": "Inspur", "product": "NF5468M6"}}, "match"),
        ("machine", "R480-X4", {"machine": {"vendor": "Inspur", "product": "NF5468M6"}}, "differs"),
        ("card", "R300", {"cards": ["a device"]}, "match"),
        ("card", "R200", {"cards": ["a device"]}, "differs"),
        ("card_count", "8", {"card_count": None}, "match"),
        ("card_count", "0", {"card_count": None}, "differs"),
        ("card_count", "eight", {"card_count": None}, "differs"),
        ("os", "Ubuntu 20.04", {"os": {"name": "Ubuntu", "version": "18.04", "of": "image"}}, "match"),
        ("os", "Ubuntu 22.04", {"os": {"name": "Ubuntu", "version": "18.04", "of": "image"}}, "differs"),
        ("driver", "4.0.25", {"driver": "4.0"}, "match"),
        ("driver", "4.0.25", {"driver": "4.1"}, "differs"),
        ("driver", "4.0.25", {"driver": "4.0.26"}, "differs"),
        ("framework", "xmlir+e70db8f6", {"packages": {"xmlir": "0.0.1"}}, "match"),
        ("framework", "xmlir+1a2b3c4d", {"packages": {"xmlir": "0.0.1"}}, "differs"),
    ],
)
def test_what_is_stated_counts_where_what_was_read_does_not_decide(
    item: str, value: str, change: Mapping[str, Any], verdict: str, tmp_path: Path
) -> None:
    assert finding(item, tmp_path, Claims(stated={item: value}), **change).verdict == verdict


def test_the_network_between_machines_can_be_stated(tmp_path: Path) -> None:
    bundle = bundle_of("r300", "2x8")
    for rank in (0, 8):
        bundle.one("environment", rank).update(network=[])
    evidence = read_run(bundle.write(tmp_path / "run"))

    def verdicts(said: str) -> list[str]:
        found = environment_findings(evidence, device_of("r300"), Claims(stated={"network": said}))
        return [one.verdict for one in found if one.item == "network"]

    assert verdicts("IB 200 Gbps") == ["match", "match"]
    assert verdicts("IB 100 Gbps") == ["differs", "differs"]
    assert verdicts("RoCE 200 Gb/s") == ["differs", "differs"]


def test_the_engine_of_a_container_is_stated_by_who_runs_it(tmp_path: Path) -> None:
    device = device_of("r300")
    software = {**device.environment["software"], "docker": "20.10.8"}
    device = replace(device, environment={**device.environment, "software": software})

    unsaid = finding("docker", tmp_path / "a", Claims(), device=device)
    said = finding("docker", tmp_path / "b", Claims(stated={"docker": "20.10.8"}), device=device)
    other = finding("docker", tmp_path / "c", Claims(stated={"docker": "24.0.7"}), device=device)

    assert (unsaid.verdict, said.verdict, other.verdict) == ("unknown", "match", "differs")
    assert (said.found, said.declared) == ("20.10.8, as stated", "20.10.8")


def test_a_statement_changes_nothing_that_was_read(tmp_path: Path) -> None:
    claims = Claims(stated={"driver": "4.0.25"})

    agreed, denied = (
        finding("driver", tmp_path / "a", claims),
        finding("driver", tmp_path / "b", claims, driver="4.0.31"),
    )

    assert (agreed.verdict, agreed.declared) == ("match", "")
    assert (denied.verdict, denied.declared) == ("differs", "")


def test_what_is_under_test_and_cannot_be_read_is_stated_beside_it(tmp_path: Path) -> None:
    value = {"image": "new:v2"}

    found = finding("image", tmp_path, Claims(value, value), image="")

    assert (found.verdict, found.under_test, found.declared) == ("match", "new:v2", "new:v2")


def test_claims_on_other_items_stay_those_of_the_run(tmp_path: Path) -> None:
    bundle = bundle_of("r300", "1x1")
    bundle.run.update(under_test={"driver": "4.0.31", "torch": "1.13.0"}, stated={"image": "new:v1"})
    evidence = read_run(bundle.write(tmp_path / "run"))

    found = environment_findings(evidence, device_of("r300"), Claims({"driver": "4.0.32"}))

    under_test = {one.item: one.under_test for one in found if one.under_test and one.item != "dependencies"}
    assert under_test == {"driver": "4.0.32", "torch": "1.13.0"}


def test_a_record_of_claims_that_cannot_be_made_counts_for_nothing(tmp_path: Path) -> None:
    bundle = bundle_of("r300", "1x1")
    bundle.run.update(under_test={"card": "R200", "train_images": "5"}, stated={"kernel": "5.4.0-26-generic"})
    bundle.one("environment").update(cards=["a device", "R200"], kernel="")
    evidence = read_run(bundle.write(tmp_path / "run"))

    found = {one.item: one for one in environment_findings(evidence, device_of("r300"))}

    assert (found["card"].verdict, found["card"].under_test) == ("differs", "")
    assert (found["kernel"].verdict, found["train_images"].under_test) == ("unknown", "")


STATED = {"driver": "4.0.25", "bios": "1.2"}


@pytest.mark.parametrize(
    ("under_test", "stated", "says"),
    [
        ({"drvier": "4.0.31"}, {}, "--under-test: found the item 'drvier', expected one of machine, "),
        ({"drvier": "4.0.31"}, {}, "did you mean driver?"),
        ({}, {"xyz": "1"}, "--state: found the item 'xyz'"),
        ({"card": "R300"}, {}, "--under-test card=R300: the machine has to be the one"),
        ({"card_count": "4"}, {}, "the machine has to be the one"),
        ({"train_images": "5"}, {}, "it belongs to the benchmark"),
        ({}, {"backbone": "0676ba61"}, "--state backbone=0676ba61: it is read on the machine"),
        ({}, {"kernel": "5.4.0"}, "it is read on the machine"),
        ({"driver": "any"}, {}, "--under-test driver=any: the value names nothing"),
        ({"driver": "4.0 or later"}, {}, "the value names nothing"),
        ({}, {"docker": "无"}, "--state docker=无: the value names nothing"),
        ({"image": "new:v2"}, {"image": "new:v3"}, "image: found --under-test new:v2 and --state new:v3"),
        ({"torch": "1", "framework": "pytorch-2"}, {}, "found torch 1 and torch 2, expected one version"),
    ],
)
def test_claims_that_cannot_be_are_named(under_test: Mapping[str, str], stated: Mapping[str, str], says: str) -> None:
    assert says in "\n".join(Claims(under_test, stated).problems(STATED))


def test_claims_that_can_be_have_no_problem() -> None:
    claims = Claims(
        {"driver": "4.0.31", "framework": "xmlir+1a2b3c4", "image": "new:v2", "bios": "1.3", "firmware": "7"},
        {"image": "new:v2", "docker": "20.10.8", "machine": "R480-X8", "network": "IB 200 Gb/s"},
    )

    assert list(claims.problems(STATED)) == []
