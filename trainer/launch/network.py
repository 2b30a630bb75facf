"""Which address the hosts of a run meet at, and which network interface leads there."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import Sequence

import psutil

from trainer.launch.messages import Hello


def own_addresses() -> list[list[object]]:
    """Return this host's IPv4 addresses as [address, prefix length], loopback left out."""
    found: list[list[object]] = []
    for entries in psutil.net_if_addrs().values():
        for entry in entries:
            if entry.family == socket.AF_INET and entry.netmask and not entry.address.startswith("127."):
                network = ipaddress.IPv4Network(f"0.0.0.0/{entry.netmask}")
                found.append([entry.address, network.prefixlen])
    return found


def free_port() -> int:
    """Return a TCP port that nobody listens on right now."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def port_problem(port: int) -> str:
    """Return why nothing can listen on a TCP port of this host, "" where something can."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
            probe.listen(1)
        except OSError as error:
            return (
                f"the ranks cannot meet on port {port} of {socket.gethostname()}: {error.strerror}; "
                "give another with --rendezvous HOST:PORT, or none to have a free one chosen"
            )
    return ""


def interface_towards(address: str) -> str | None:
    """Return the network interface by which this host reaches `address`, None where that cannot be told.

    Gloo asks what this host's own name resolves to; on many that is a loopback address, where no other host gets to.
    """
    try:
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
            probe.connect((address, 9))  # no packet is sent: the kernel only chooses the way
            own = probe.getsockname()[0]
    except OSError:
        return None
    if own.startswith("127.") and not address.startswith("127."):
        return None  # a host's own name, as its /etc/hosts has it: others reach it by another interface
    for name, entries in psutil.net_if_addrs().items():
        if any(entry.family == socket.AF_INET and entry.address == own for entry in entries):
            return name
    return None


def meeting_address(hellos: Sequence[Hello]) -> str:
    """Return the address of the first host that the others can reach: one in a network that they all have a part in.

    Addresses that several hosts have, as those of container bridges, belong to no common network. Where there is none,
    the first host's name has to do.
    """
    first, others = hellos[0], hellos[1:]
    seen = [address for hello in hellos for address, _ in hello.addresses]
    for address, prefix in first.addresses:
        if seen.count(address) > 1:
            continue
        network = ipaddress.ip_network(f"{address}/{prefix}", strict=False)
        if all(any(ipaddress.ip_address(other) in network for other, _ in hello.addresses) for hello in others):
            return str(address)
    return first.host
