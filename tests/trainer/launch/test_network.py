"""The hosts of a run meet at an address that all of them reach, on a port that is free."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from dataclasses import replace
from typing import Iterator

import psutil
import pytest

from trainer.launch.messages import Hello
from trainer.launch.network import free_port, interface_towards, meeting_address, own_addresses, port_problem

FIRST = Hello(0, "gpu-0", 0.0, 1, "abc", True, 29500, [], [], [])


def host(node: int, *addresses: str) -> Hello:
    split = [address.split("/") for address in addresses]
    return replace(FIRST, node=node, host=f"gpu-{node}", addresses=[[text, int(length)] for text, length in split])


@contextlib.contextmanager
def listening(address: str = "") -> Iterator[int]:
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as taken:
        taken.bind((address, 0))
        taken.listen(1)
        yield taken.getsockname()[1]


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ([host(0, "10.0.0.1/24"), host(1, "10.0.0.2/24")], "10.0.0.1"),
        # The management network first, the one that both are in second.
        ([host(0, "192.168.1.5/24", "10.0.0.1/16"), host(1, "10.0.7.2/16", "172.20.0.3/24")], "10.0.0.1"),
        # A container bridge has the same address everywhere, and leads nowhere.
        ([host(0, "172.17.0.1/16", "10.0.0.1/24"), host(1, "172.17.0.1/16", "10.0.0.2/24")], "10.0.0.1"),
        ([host(0, "172.17.0.1/16", "10.0.0.1/24"), host(1, "172.17.0.1/16", "10.9.0.2/24")], "gpu-0"),
        # All others have to be in it.
        ([host(0, "10.1.0.1/24", "10.2.0.1/24"), host(1, "10.1.0.2/24", "10.2.0.2/24"), host(2, "10.2.0.3/24")],
         "10.2.0.1"),
        ([host(0, "10.1.0.1/24"), host(1, "10.1.0.2/24"), host(2, "10.2.0.3/24")], "gpu-0"),
        ([host(0), host(1, "10.0.0.2/24")], "gpu-0"),
        ([host(0, "10.0.0.1/24"), host(1)], "gpu-0"),
        ([host(0, "10.0.0.1/32"), host(1, "10.0.0.2/32")], "gpu-0"),
        ([host(0, "10.0.0.1/24")], "10.0.0.1"),
        ([host(0)], "gpu-0"),
    ],
)  # fmt: skip
def test_they_meet_where_the_first_host_is_in_a_network_of_all(hosts: list[Hello], expected: str) -> None:
    assert meeting_address(hosts) == expected


def test_the_own_addresses_are_those_of_interfaces_without_loopback() -> None:
    own = own_addresses()

    known = {entry.address for entries in psutil.net_if_addrs().values() for entry in entries}
    assert all(text in known and not str(text).startswith("127.") for text, _ in own)
    assert all(isinstance(length, int) and 0 <= length <= 32 for _, length in own)
    assert all(ipaddress.ip_address(str(text)).version == 4 for text, _ in own)


def test_a_port_that_is_taken_is_a_problem_that_says_what_to_do() -> None:
    with listening() as port:
        problem = port_problem(port)

    assert f"port {port} of {socket.gethostname()}: Address already in use" in problem
    assert "--rendezvous HOST:PORT" in problem


def test_a_port_that_is_taken_on_one_address_is_taken() -> None:
    with listening("127.0.0.1") as port:
        assert port_problem(port) != ""


def test_a_free_port_is_no_problem() -> None:
    port = free_port()

    assert 1024 <= port <= 65535
    assert port_problem(port) == ""


def test_the_way_to_this_host_itself_is_by_loopback() -> None:
    name = interface_towards("127.0.0.1")

    assert name is not None
    assert any(entry.address == "127.0.0.1" for entry in psutil.net_if_addrs()[name])


def test_the_way_to_an_own_address_is_the_interface_that_has_it() -> None:
    for text, _ in own_addresses():
        name = interface_towards(str(text))
        assert name is not None
        assert any(entry.address == text for entry in psutil.net_if_addrs()[name])


def test_what_cannot_be_reached_has_no_interface() -> None:
    assert interface_towards("fe80::1") is None


def test_a_name_that_is_loopback_on_this_host_alone_says_nothing_of_the_others() -> None:
    real = socket.getaddrinfo("localhost", 9, socket.AF_INET)
    assert real[0][4][0].startswith("127.")

    assert interface_towards("localhost") is None
