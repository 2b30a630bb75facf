"""The items of an environment, and what a device's table states of each."""

from __future__ import annotations

from expected import Device, Topology
from expected.metrics import COCO_TRAIN_IMAGES
from verdict.checks.data import COCO_VAL_IMAGES
from verdict.environment.stated import is_demand, split_machine

COCO_TRAIN_LISTED = 118_287
"""Images of train2017 before those without a valid box are dropped."""
BACKBONE_SHA256 = "0676ba61"
"""The first digits of the benchmark's backbone, which torchvision puts into the file's name."""

MACHINE = ("machine", "card", "card_count", "card_memory", "network")
"""What no release changes: it has to be the stated one."""
PACKAGES = ("python", "torch", "torchvision", "numpy", "pillow")
"""Items of their own, in whichever table of the device they are."""
BENCHMARK = ("train_images", "val_images", "backbone")
"""The benchmark's own recipe."""
SOFTWARE = ("os", "kernel", "driver", "image", "framework", "dependencies")
OTHERS = ("docker", "firmware")
"""Items that documents state, or releases change, and that no rule reads on a machine."""
ITEMS = (*MACHINE, *SOFTWARE, *PACKAGES, *BENCHMARK)
"""In the order of the document, and then of the benchmark's recipe. What else a table states comes last."""
READ = ("card_memory", "kernel", *PACKAGES, *BENCHMARK)
"""Items that every machine shows, so that nobody has to tell."""

_BOTH = "machine_and_card"
_TEXTS = (
    ("hardware", "machine"),
    ("hardware", "card"),
    ("hardware", "network"),
    *(("software", name) for name in SOFTWARE),
)


def stated_items(
    device: Device, topology: Topology, *, pretrained_backbone: bool, own_data: bool = False, smoke: bool = False
) -> dict[str, str]:
    """What has to be found on every host, by item in the order of ITEMS.

    A text that every machine satisfies ("any x86-64 machine") states nothing, nor does "无". The network is that
    between machines, and is left out for a single one. `own_data`: the run was given other data than the set of the
    device's table. `smoke`: data and weights are not those of the benchmark's recipe, so nothing is stated of them.
    """
    stated = {name: device.environment.get(table, {}).get(name, "") for table, name in _TEXTS}
    both = device.environment.get("hardware", {}).get(_BOTH, "")
    if is_demand(both):
        machine, card = split_machine(both, device.name)
        stated.update(machine=stated["machine"] or machine, card=stated["card"] or card)
    if topology.nodes < 2:
        stated["network"] = ""
    if device.cards_per_host is not None:
        stated["card_count"] = f"{topology.devices} or more"
    if device.card_memory_gib is not None:
        stated["card_memory"] = f"{device.card_memory_gib:g} GiB"
    software, packages = device.environment.get("software", {}), device.environment.get("packages", {})
    stated.update({name: packages.get(name) or software.get(name, "") for name in PACKAGES})
    if device.shapes is None:
        stated["train_images"] = f"{COCO_TRAIN_IMAGES:,} of {COCO_TRAIN_LISTED:,}"
        stated["val_images"] = f"{COCO_VAL_IMAGES:,}"
    elif not own_data:
        # Some of the images are generated without a box; how many, its seed decides.
        stated["train_images"] = f"{device.shapes['train_images']:,} listed"
        stated["val_images"] = f"{device.shapes['val_images']:,}"
    if pretrained_backbone:
        stated["backbone"] = f"SHA-256 {BACKBONE_SHA256}..."
    if smoke:
        stated.update(dict.fromkeys(BENCHMARK, ""))
    others = {
        name: text
        for table in device.environment.values()
        for name, text in table.items()
        if name not in stated and name not in (*ITEMS, _BOTH)
    }
    return {
        name: text
        for name, text in [*((item, stated.get(item, "")) for item in ITEMS), *others.items()]
        if is_demand(text)
    }
