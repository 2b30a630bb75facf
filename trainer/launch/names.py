"""Names of hosts as they come from a command line: checked before they reach any other command's."""

from __future__ import annotations

import re
from typing import Sequence

# What ssh, srun and torchrun take without anybody having to quote it. A leading dash would be an option.
_HOST = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*@)?[A-Za-z0-9][A-Za-z0-9._:%-]*")
_RENDEZVOUS = re.compile(r"(?P<host>[A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9a-fA-F:.]+\])(?::(?P<port>[0-9]{1,5}))?")


def check_hosts(hosts: Sequence[str]) -> str:
    """Return what is wrong with the names of --hosts, "" where nothing is."""
    for host in hosts:
        if not _HOST.fullmatch(host):
            return (
                f"--hosts: found {host!r}, expected a host's name or address, as in gpu-07, user@gpu-07 or 10.0.0.7; "
                "other characters are refused, as the name becomes part of a command"
            )
    twice = sorted({host for host in hosts if hosts.count(host) > 1})
    return f"--hosts: {', '.join(twice)} is there twice; name each machine once" if twice else ""


def check_rendezvous(text: str) -> str:
    """Return what is wrong with the value of --rendezvous, "" where nothing is or there is none."""
    if not text:
        return ""
    match = _RENDEZVOUS.fullmatch(text)
    if match is None or not 0 <= int(match.group("port") or 0) <= 65535:
        return f"--rendezvous: found {text!r}, expected HOST or HOST:PORT, as in 10.0.0.7:29500"
    return ""


def split_rendezvous(text: str) -> tuple[str, int]:
    """Return (host, port) of a checked --rendezvous; "" and 0 where it says nothing of one."""
    match = _RENDEZVOUS.fullmatch(text)
    if match is None:
        return "", 0
    return match.group("host").strip("[]"), int(match.group("port") or 0)
