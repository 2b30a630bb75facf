"""Host names are safe in commands; hosts with other source or clocks are refused; all hosts reach where they meet."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import shlex
import shutil
import socket
import string
from dataclasses import replace
from pathlib import Path
from typing import Any, Iterator

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.launch import hosts
from trainer.launch.hosts import (
    CLOCK_TOLERANCE_S,
    check_hosts,
    check_rendezvous,
    free_port,
    interface_towards,
    meeting_address,
    name_leads_here,
    own_addresses,
    port_problem,
    source_digest,
    split_rendezvous,
    unfit,
)
from trainer.launch.launchers import PROGRAM_FOLDER
from trainer.launch.protocol import Hello

PLAIN = string.ascii_letters + string.digits + "._:%-@"
MISCHIEF = " \t\n\r\0;&|<>$`\"'\\*?[](){}!#~=,/^+"


@pytest.mark.parametrize(
    "host",
    [
        *("gpu-07", "gpu07.example.org", "10.0.0.7", "localhost", "GPU_7", "7"),
        *("user@gpu-07", "svc_ci@10.0.0.7", "_builder@gpu", "first.last@gpu"),
        *("fe80::1%eth0", "2001:db8::7", "user@fe80::1%ib0"),
    ],
)
def test_what_people_call_their_machines_is_taken(host: str) -> None:
    assert check_hosts([host]) == ""


@pytest.mark.parametrize(
    "host",
    [
        *("", " ", "-oProxyCommand=id", "-V", "user@-oProxyCommand=id", "@gpu", "user@", "a@b@c"),
        *("gpu 07", " gpu", "gpu\n", "gpu;id", "$(id)", "`id`", "gpu|id", "gpu/../x", "gpü", "gpu\u2028"),
    ],
)
def test_what_is_no_name_is_refused_and_shown(host: str) -> None:
    problem = check_hosts(["gpu-07", host])

    assert problem.startswith("--hosts: found ")
    assert repr(host) in problem
    assert "user@gpu-07" in problem


@given(st.text(), st.sampled_from(MISCHIEF), st.text())
def test_no_sign_that_means_something_to_a_shell_is_let_through(before: str, sign: str, after: str) -> None:
    assert check_hosts([before + sign + after]) != ""
    assert check_rendezvous(f"{before}{sign}{after}") != "" or sign in "[]"


@given(st.text(alphabet=PLAIN) | st.text())
def test_a_name_that_is_taken_needs_no_quotes_and_is_no_option(host: str) -> None:
    if check_hosts([host]) == "":
        assert shlex.quote(host) == host or "%" in host
        assert host.isascii()
        assert host == host.strip() != ""
        assert not host.startswith("-")
        assert not host.rpartition("@")[2].startswith("-")


def test_a_machine_that_is_named_twice_is_pointed_out() -> None:
    assert check_hosts(["b", "a", "b", "c", "a"]) == "--hosts: a, b is there twice; name each machine once"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("", 0)),
        ("gpu-07", ("gpu-07", 0)),
        ("10.0.0.7:29500", ("10.0.0.7", 29500)),
        ("gpu-07.example.org:0", ("gpu-07.example.org", 0)),
        ("[fe80::1]:29500", ("fe80::1", 29500)),
        ("[::1]", ("::1", 0)),
        ("gpu:65535", ("gpu", 65535)),
    ],
)
def test_a_rendezvous_is_a_host_and_perhaps_a_port(text: str, expected: tuple[str, int]) -> None:
    assert check_rendezvous(text) == ""
    assert split_rendezvous(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "gpu:65536",
        "gpu:99999",
        "gpu:",
        ":29500",
        "gpu:-1",
        "gpu:port",
        "fe80::1",
        "-x:1",
        "a b",
        "gpu:29500\n",
        "gpu:٣",
    ],
)
def test_what_is_no_rendezvous_is_refused_and_shown(text: str) -> None:
    assert f"found {text!r}, expected HOST or HOST:PORT" in check_rendezvous(text)


@given(st.text(alphabet=PLAIN + "[]") | st.text())
def test_a_rendezvous_that_is_taken_can_be_split(text: str) -> None:
    if text and check_rendezvous(text) == "":
        host, port = split_rendezvous(text)
        assert host
        assert not host.startswith("-")
        assert host == "".join(host.split())
        assert 0 <= port <= 65535


A = Hello(0, "gpu-1", 1000.0, 1, "abc", True, 29500, ["0"], [["10.0.0.1", 24]], [])
B = replace(A, node=1, host="gpu-2")
HEARD = {0: 1000.0, 1: 1000.0}
NAMES = {0: "node-1", 1: "node-2"}


def test_hosts_that_have_everything_are_fit() -> None:
    assert unfit([A, B], HEARD, NAMES) == []


def test_a_problem_of_both_is_told_once_with_both_names() -> None:
    both = [replace(host, problems=["no data", f"no {host.host}"]) for host in (A, B)]

    assert unfit(both, HEARD, NAMES) == ["node-1, node-2: no data", "node-1: no gpu-1", "node-2: no gpu-2"]


def test_a_problem_of_the_only_host_stands_for_itself() -> None:
    assert unfit([replace(A, problems=["no data"])], HEARD, {}) == ["no data"]


@pytest.mark.parametrize(("off_s", "words"), [(3600.0, "3600 s ahead of"), (-90.0, "90 s behind")])
def test_a_clock_that_is_off_is_named_with_how_far(off_s: float, words: str) -> None:
    (problem,) = unfit([A, replace(B, utc_s=B.utc_s + off_s)], HEARD, NAMES)

    assert problem.startswith(f"node-2: its clock is {words} this machine's")


def test_a_clock_may_be_off_by_as_much_as_starting_takes() -> None:
    assert unfit([A, replace(B, utc_s=B.utc_s - CLOCK_TOLERANCE_S)], HEARD, NAMES) == []


def test_two_names_of_one_machine_are_no_two_hosts() -> None:
    (problem,) = unfit([A, replace(B, host="gpu-1")], HEARD, NAMES)

    assert problem == "node-1 and node-2 are one machine: each calls itself gpu-1; every host needs a name of its own"


def test_the_program_is_started_where_the_trainer_lies() -> None:
    assert (PROGRAM_FOLDER / "trainer" / "__main__.py").is_file()


def test_the_digest_stands_for_the_text_of_every_module(tmp_path: Path, monkeypatch: Any) -> None:
    before = source_digest()
    for name in ("evidence", "trainer"):
        shutil.copytree(str(PROGRAM_FOLDER / name), str(tmp_path / name))
    monkeypatch.setattr(hosts, "PROGRAM_FOLDER", tmp_path)

    elsewhere = source_digest()
    with (tmp_path / "trainer" / "launch" / "agent.py").open("a") as module:
        module.write("\n")
    changed = source_digest()
    (tmp_path / "trainer" / "launch" / "agent.py").rename(tmp_path / "trainer" / "agent.py")

    assert re.fullmatch("[0-9a-f]{12}", before)
    assert elsewhere == before
    assert len({before, changed, source_digest()}) == 3


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


@pytest.mark.parametrize(
    ("addresses", "leads"),
    [
        (["127.0.1.1"], True),
        (["::1", "127.0.0.1"], True),
        (["192.0.2.7"], False),  # RFC 5737: of documentation, and no host's
        (["127.0.0.1", "192.0.2.7"], False),
        (socket.gaierror(-2, "Name or service not known"), False),
        (UnicodeError("label too long"), False),
    ],
)
def test_a_hosts_own_name_leads_to_it_or_not(monkeypatch: Any, addresses: Any, leads: bool) -> None:
    def getaddrinfo(name: str, port: Any) -> list[Any]:
        assert name == "gpu-7.example"
        if isinstance(addresses, Exception):
            raise addresses
        return [(None, None, None, "", (address, 0)) for address in addresses]

    monkeypatch.setattr(socket, "getfqdn", lambda: "gpu-7.example")
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    assert name_leads_here() is leads


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
