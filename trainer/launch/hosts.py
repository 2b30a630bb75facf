"""The hosts of a run: their names, their source and clocks, the address they meet at and the interface towards it."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import re
import socket
from typing import Mapping, Sequence

from trainer.launch.launchers import PROGRAM_FOLDER
from trainer.launch.protocol import Hello

CLOCK_TOLERANCE_S = 5.0
"""A larger difference between hosts' times of day makes their evidence and logs disagree."""

# Host names that need no quoting for ssh, srun and torchrun. A leading dash would be an option.
_HOST = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*@)?[A-Za-z0-9][A-Za-z0-9._:%-]*")
_RENDEZVOUS = re.compile(r"(?P<host>[A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9a-fA-F:.]+\])(?::(?P<port>[0-9]{1,5}))?")


def check_hosts(hosts: Sequence[str]) -> str:
    """Return what is wrong with the names of --hosts, "" if nothing.

    >>> check_hosts(["gpu-07", "user@10.0.0.7"])
    ''
    """
    for host in hosts:
        if not _HOST.fullmatch(host):
            return (
                f"--hosts: found {host!r}, expected a host's name or address, as in gpu-07, user@gpu-07 or 10.0.0.7; "
                "other characters are refused, as the name becomes part of a command"
            )
    twice = sorted({host for host in hosts if hosts.count(host) > 1})
    return f"--hosts: {', '.join(twice)} is there twice; name each machine once" if twice else ""


def check_rendezvous(text: str) -> str:
    """Return what is wrong with the value of --rendezvous, "" if nothing; "" is a valid value."""
    match = _RENDEZVOUS.fullmatch(text)
    if text and (match is None or int(match.group("port") or 0) > 65535):
        return f"--rendezvous: found {text!r}, expected HOST or HOST:PORT, as in 10.0.0.7:29500"
    return ""


def split_rendezvous(text: str) -> tuple[str, int]:
    """Return (host, port) of a checked --rendezvous; "" and 0 for what it leaves open."""
    match = _RENDEZVOUS.fullmatch(text)
    return ("", 0) if match is None else (match.group("host").strip("[]"), int(match.group("port") or 0))


def source_digest() -> str:
    """Return twelve hex digits of the SHA-256 over every module that a rank runs, to compare hosts' versions."""
    digest = hashlib.sha256()
    for path in sorted(path for part in ("evidence", "trainer") for path in (PROGRAM_FOLDER / part).rglob("*.py")):
        digest.update(path.relative_to(PROGRAM_FOLDER).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def unfit(hellos: Sequence[Hello], heard_utc_s: Mapping[int, float], names: Mapping[int, str]) -> list[str]:
    """Return why the hosts cannot do the run together, each reason once; empty if they can.

    `heard_utc_s` is this machine's time of day when each host answered, `names` how to call the hosts in messages, both
    by the host's number; without names there is one host only.
    """
    by_problem: dict[str, list[str]] = {}
    by_name: dict[str, list[str]] = {}
    off = []
    for hello in hellos:
        name = names.get(hello.node, "")
        by_name.setdefault(hello.host, []).append(name)
        for problem in hello.problems:
            by_problem.setdefault(problem, []).append(name)
        off_s = hello.utc_s - heard_utc_s[hello.node]
        if abs(off_s) > CLOCK_TOLERANCE_S:
            off.append(
                f"{name or 'this host'}: its clock is {abs(off_s):.0f} s {'ahead of' if off_s > 0 else 'behind'} this "
                f"machine's, expected at most {CLOCK_TOLERANCE_S:.0f} s; set both by NTP (chronyc tracking)"
            )
    problems = [f"{', '.join(who)}: {text}" if any(who) else text for text, who in by_problem.items()]
    same = [
        f"{' and '.join(who)} are one machine: each calls itself {name}; every host needs a name of its own"
        for name, who in by_name.items()
        if len(who) > 1
    ]
    return [*problems, *off, *same]


def own_addresses() -> list[list[object]]:
    """Return this host's IPv4 addresses as [address, prefix length], loopback left out."""
    found: list[list[object]] = []
    import psutil  # here, as a replay runs where it is not installed

    for entries in psutil.net_if_addrs().values():
        for entry in entries:
            if entry.family == socket.AF_INET and entry.netmask and not entry.address.startswith("127."):
                network = ipaddress.IPv4Network(f"0.0.0.0/{entry.netmask}")
                found.append([entry.address, network.prefixlen])
    return found


def name_leads_here() -> bool:
    """Return whether this host's name, which c10d's rendezvous hands to the ranks as their address, leads to it.

    In a container it often leads nowhere, and the ranks would wait for half an hour.
    """
    import psutil

    own = {entry.address.partition("%")[0] for entries in psutil.net_if_addrs().values() for entry in entries}
    try:
        found = {str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(socket.getfqdn(), None)}
    except (OSError, UnicodeError):  # no such name; one that no name service takes
        return False
    return all(address in own or ipaddress.ip_address(address).is_loopback for address in found)


def free_port() -> int:
    """Return a TCP port of this host that is free right now."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def port_problem(port: int) -> str:
    """Return why nothing can listen on a TCP port of this host, "" if the port is free."""
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
    """Return the network interface by which this host reaches `address`, None if it cannot be determined.

    gloo uses the address that the host's own name resolves to, which on many hosts is a loopback address.
    """
    try:
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
            probe.connect((address, 9))  # sends no packet: the kernel only chooses the route
            own = probe.getsockname()[0]
    except OSError:
        return None
    if own.startswith("127.") and not address.startswith("127."):
        return None  # the host's own name, by its /etc/hosts: others reach it through another interface
    import psutil

    for name, entries in psutil.net_if_addrs().items():
        if any(entry.family == socket.AF_INET and entry.address == own for entry in entries):
            return name
    return None


def meeting_address(hellos: Sequence[Hello]) -> str:
    """Return the address of the first host in a network that all hosts are in; without one, the first host's name.

    Addresses that several hosts have, as those of container bridges, belong to no common network.
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
