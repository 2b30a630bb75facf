"""Tests of tests/labs/hosts.py: what other tests rely on when they start ranks on two hosts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Iterator

import pytest

from tests.labs.hosts import Host, Hosts, clock_requirements, command_line, requirements, two_hosts, wait_for
from tests.support import ROOT

pytestmark = pytest.mark.skipif(bool(requirements()), reason=requirements())

ECHO = "import sys; [(sys.stdout.write(line), sys.stdout.flush()) for line in sys.stdin]; open(sys.argv[1], 'w')"


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory: Any) -> Iterator[Hosts]:
    """Two hosts for tests that leave them as they were."""
    with two_hosts(Path(str(tmp_path_factory.mktemp("hosts")))) as hosts:
        yield hosts


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with two_hosts(tmp_path / "lab", private=[_made(tmp_path / "own")]) as hosts:
        yield hosts


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def login(hosts: Hosts, host: Host, *words: str) -> subprocess.CompletedProcess[str]:
    """Log in to a host from host a."""
    return hosts.run(hosts.a, hosts.ssh([host.address, *words]), capture_output=True, text=True)


def test_nothing_but_the_other_host_is_within_reach(unharmed: Hosts) -> None:
    routes = unharmed.run(unharmed.b, ["ip", "route"], capture_output=True, text=True).stdout.splitlines()

    assert [route.split()[0] for route in routes] == ["10.83.0.0/30"]


def test_bytes_pass_a_login_both_ways_and_its_input_ends_with_the_client(unharmed: Hosts, tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    command = unharmed.a.command(unharmed.ssh([unharmed.b.address, f'{sys.executable} -c "{ECHO}" {ended}']))
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    assert client.stdin is not None
    assert client.stdout is not None

    for line in ("first\n", "x" * 200_000 + "\n"):
        client.stdin.write(line)
        client.stdin.flush()
        assert client.stdout.readline() == line
    assert not ended.exists()
    client.kill()

    wait_for(ended.exists, "the end of input on host b")
    client.communicate()
    wait_for(lambda: not unharmed.leftovers(unharmed.b), "the end of the remote command")


def test_what_a_killed_client_leaves_behind_is_told(unharmed: Hosts) -> None:
    client = unharmed.popen(unharmed.a, unharmed.ssh([unharmed.b.address, "exec sleep 987"]))
    wait_for(lambda: unharmed.leftovers(unharmed.b) == ["sleep 987"], "the remote command")

    client.kill()
    client.wait()

    assert unharmed.leftovers(unharmed.a) == []
    assert unharmed.leftovers(unharmed.b) == ["sleep 987"]
    unharmed.end_leftovers(unharmed.b)
    assert unharmed.leftovers(unharmed.b) == []


def test_a_private_folder_is_the_second_hosts_own(hosts: Hosts, tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "here").write_text("a")

    hosts.run(hosts.b, ["sh", "-c", f"ls {own}; echo b >{own}/there; echo b >{tmp_path}/shared"], check=True)

    assert [path.name for path in own.iterdir()] == ["here"]
    assert [path.name for path in hosts.b.seen(own).iterdir()] == ["there"]
    assert hosts.a.seen(own / "here").read_text() == "a"
    assert (tmp_path / "shared").read_text() == "b\n"


def test_names_mean_something_only_where_it_is_asked_for(unharmed: Hosts, tmp_path: Path) -> None:
    unknown = login(unharmed, unharmed.b, "getent hosts host-a")
    with two_hosts(tmp_path, resolve=True) as hosts:
        known = login(hosts, hosts.b, "getent hosts host-a")

    assert unknown.stdout == ""
    assert known.stdout.split() == ["10.83.0.1", "host-a"]


def test_a_cut_cable_is_silence_until_it_is_joined(hosts: Hosts) -> None:
    argv = hosts.ssh([hosts.b.address, f"{sys.executable} -c '{ECHO}' /dev/null"])
    client = hosts.popen(hosts.a, argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    client.stdin.write("before\n")
    before = client.stdout.readline()

    hosts.cut()
    client.stdin.write("meanwhile\n")
    unreachable = login(hosts, hosts.b, "-o", "ConnectTimeout=1", "true").stderr
    running = client.poll() is None
    hosts.join()
    after = client.stdout.readline()

    assert (before, running, after) == ("before\n", True, "meanwhile\n")
    assert "timed out" in unreachable or "No route to host" in unreachable
    client.kill()
    client.communicate()


@pytest.mark.skipif(bool(clock_requirements()), reason=clock_requirements())
def test_a_shifted_clock_moves_the_time_of_day_alone(hosts: Hosts) -> None:
    hosts.shift_clock(hosts.b, "+1h")
    ask = f"{sys.executable} -c 'import time; print(time.time(), time.monotonic())'"

    day_s, monotonic_s = map(float, login(hosts, hosts.b, ask).stdout.split())
    others_day_s = float(login(hosts, hosts.a, ask).stdout.split()[0])
    hosts.shift_clock(hosts.b, "")
    right_s = float(login(hosts, hosts.b, ask).stdout.split()[0])

    assert day_s - time.time() == pytest.approx(3600, abs=300)
    assert monotonic_s == pytest.approx(time.monotonic(), abs=300)
    assert others_day_s == pytest.approx(time.time(), abs=300)
    assert right_s == pytest.approx(time.time(), abs=300)


@pytest.mark.skipif(bool(clock_requirements()), reason=clock_requirements())
def test_waiting_takes_as_long_as_ever_with_a_shifted_clock(hosts: Hosts) -> None:
    hosts.shift_clock(hosts.b, "+1h")
    waits = "time.sleep(0.1); threading.Event().wait(0.1); s = threading.Lock(); s.acquire(); s.acquire(timeout=0.1)"
    ask = f"{sys.executable} -c 'import threading, time; {waits}; print(\"done\")'"

    said = hosts.run(hosts.a, hosts.ssh([hosts.b.address, ask]), capture_output=True, text=True, timeout=60)

    assert (said.stdout, said.stderr) == ("done\n", "")


def test_nothing_is_left_when_a_test_fails(tmp_path: Path) -> None:
    before = _interfaces_and_mounts()

    networks = set()

    def fail() -> None:
        with two_hosts(tmp_path, private=[_made(tmp_path / "own")]) as hosts:
            hosts.run(hosts.b, ["sh", "-c", "setsid sleep 986 >/dev/null 2>&1 &"], cwd="/", check=True)
            networks.update((hosts.a.network, hosts.b.network))
            raise KeyError("the test fails")

    with pytest.raises(KeyError):
        fail()

    assert _interfaces_and_mounts() == before
    assert not networks & _networks()
    assert not _processes_that_mention(tmp_path)


def test_nothing_is_left_when_the_test_itself_is_killed(tmp_path: Path) -> None:
    before = _interfaces_and_mounts()
    program = (
        "import sys, time; from pathlib import Path; from tests.labs.hosts import two_hosts\n"
        "with two_hosts(Path(sys.argv[1])) as hosts:\n"
        "    hosts.popen(hosts.b, ['sleep', '985'], cwd='/')\n"
        "    print(hosts.a.network, hosts.b.network, flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    test = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True)
    assert test.stdout is not None
    networks = set(test.stdout.readline().split())
    there = networks & _networks()

    os.killpg(test.pid, signal.SIGKILL)
    test.communicate()

    assert len(there) == 2
    wait_for(lambda: not networks & _networks(), "the end of the hosts")
    wait_for(lambda: not _processes_that_mention(tmp_path), "the end of sshd")
    assert _interfaces_and_mounts() == before


def _interfaces_and_mounts() -> tuple[list[str], list[str]]:
    # Other tests mount disks of their own meanwhile; a lab's mounts are named so.
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if line.startswith("lab ")]
    return sorted(os.listdir("/sys/class/net")), mounts


def _networks() -> set[str]:
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            found.add(os.readlink(f"/proc/{name}/ns/net"))
        except OSError:
            continue
    return found


def _processes_that_mention(folder: Path) -> list[str]:
    mine = {os.getpid(), os.getppid()}
    lines = [command_line(int(name)) for name in filter(str.isdigit, os.listdir("/proc")) if int(name) not in mine]
    return [line for line in lines if str(folder) in line]
