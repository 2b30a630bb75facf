"""What the cuda backend makes of the facts that a version of torch, or a vendor's build of it, has or lacks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from trainer.devices.cuda import _pci_address


def test_the_address_of_a_card_is_written_as_the_kernel_writes_it() -> None:
    facts = SimpleNamespace(pci_domain_id=0, pci_bus_id=0x1B, pci_device_id=0)

    assert _pci_address(facts) == "0000:1b:00.0"


@pytest.mark.parametrize(
    "facts", [{}, {"pci_bus_id": 3}, {"pci_domain_id": 0, "pci_bus_id": "0000:1b:00.0", "pci_device_id": 0}]
)
def test_a_card_without_an_address_has_none(facts: dict[str, Any]) -> None:
    assert _pci_address(SimpleNamespace(**facts)) is None
