"""Keeps the namespaces of a lab's host alive, and ends everything in them when the test that asked for them is gone.

Run as a program by `unshare`; it prints one line when the host is there and ends when its stdin does, which also
happens when the test is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time


def network_of(pid: int) -> str:
    """Return the name of a process's network namespace, "" where the process is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def processes_in(network: str) -> list[int]:
    """Return the ids of all living processes in a network namespace; a zombie is in none."""
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if network_of(pid) == network]


def end_all(network: str, spare: int, within_s: float = 10.0) -> None:
    """Kill whatever lives in a network namespace, also what is started meanwhile, but for the process `spare`."""
    if network == network_of(1):  # never the machine's own
        raise RuntimeError(f"{network} is the machine's own network, not a lab's")
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found = [pid for pid in processes_in(network) if pid != spare]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def main(name: str, hosts_file: str, *private: str) -> None:
    """Furnish this process's own, new namespaces and hold them.

    The host gets its name, its own /etc/hosts where `hosts_file` is not "", its own /run (daemons' sockets and pid
    files) and an empty file system at each path of `private`.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    socket.sethostname(name)
    for path in ("/run", *private):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "lab", path], check=True)
    if hosts_file:
        subprocess.run(["mount", "--bind", hosts_file, "/etc/hosts"], check=True)
    for folder in ("/run/sshd", "/run/munge"):
        os.mkdir(folder, 0o755)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    print("ready", flush=True)
    with contextlib.suppress(OSError):
        sys.stdin.read()
    end_all(network_of(os.getpid()), spare=os.getpid())


if __name__ == "__main__":
    main(*sys.argv[1:])
