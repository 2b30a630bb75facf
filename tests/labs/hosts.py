"""Two hosts on this machine: namespaces of their own, a cable between them, and a real sshd on each."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Sequence

from tests.labs.holder import network_of, processes_in

# Nothing but the two hosts is in their networks, so that any number of labs can use the same addresses at once.
ADDRESSES = ("10.83.0.1", "10.83.0.2")
LINK = "cable0"
_ENTER = ("--net", "--uts", "--mount")
_HOLDER = Path(__file__).with_name("holder.py")
_TIME_OF_DAY = Path(__file__).with_name("time_of_day.c")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

SSHD_CONFIG = """\
Port 22
ListenAddress 0.0.0.0
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
# The folder of a test lies under /tmp, where others may write.
StrictModes no
# The time of day of a host's logins is set there.
PermitUserEnvironment yes
MaxStartups 100
PrintMotd no
PrintLastLog no
"""

SSH_CONFIG = """\
Host *
    User root
    IdentityFile {folder}/key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    UpdateHostKeys no
    BatchMode yes
    ConnectTimeout 10
"""


@functools.lru_cache(maxsize=None)
def requirements() -> str:
    """Return why there can be no lab of two hosts here, "" where there can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "needs root on Linux: makes network namespaces"
    if int(Path("/proc/self/uid_map").read_text().split()[2]) < 65536:
        return "needs root with all users, not that of a user namespace of one: sshd changes users"
    programs = ("ip", "unshare", "nsenter", "mount", "sshd", "ssh", "ssh-keygen")
    missing = [program for program in programs if not which(program)]
    if missing:
        return f"needs {', '.join(missing)}: apt-get install openssh-server iproute2 util-linux"
    # unshare itself would refuse what a container forbids, and ip what the kernel cannot do.
    trial = ["unshare", *_ENTER, "--propagation", "slave", "sh", "-c"]
    trial.append("mount -t tmpfs lab /run && ip link add trial0 type veth peer name trial1 && ip link set lo up")
    tried = subprocess.run(trial, capture_output=True, text=True, env={**os.environ, "PATH": _path()})
    return f"namespaces are not to be had here: {tried.stderr.strip()}" if tried.returncode else ""


@functools.lru_cache(maxsize=None)
def clock_requirements() -> str:
    """Return why no host's time of day can be shifted here, "" where it can."""
    if not which("cc"):
        return "needs a C compiler: apt-get install gcc libc6-dev"
    check = ["cc", "-fsyntax-only", "-Werror=implicit-function-declaration", str(_TIME_OF_DAY)]
    tried = subprocess.run(check, capture_output=True, text=True)
    return f"needs glibc 2.30 or later: {tried.stderr.strip()}" if tried.returncode else ""


def which(program: str) -> str | None:
    """Return a program's path; daemons are found also where PATH is a user's."""
    return shutil.which(program, path=_path())


def _path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Host:
    """One host: `name` is what it takes itself for, `pid` the process that keeps its namespaces.

    `network` names its network namespace; unlike a process id, it is not soon another's.
    """

    name: str
    address: str
    folder: Path
    pid: int
    network: str

    def command(self, argv: Sequence[str], cwd: str | os.PathLike[str] | None = None) -> list[str]:
        """Return the command that runs `argv` on this host, in `cwd` or the folder that is current now.

        The process that is started becomes `argv` itself: what is sent to it reaches `argv`. A `cwd` of Popen's own
        would be lost on the way into the host.
        """
        enter = ["nsenter", "--target", str(self.pid), *_ENTER, "--", "sh", "-c", 'cd "$0" && exec "$@"']
        return [*enter, os.fspath(cwd or Path.cwd()), *map(os.fspath, argv)]

    def seen(self, path: Path) -> Path:
        """Return where this process finds what the host finds at `path`, also in a folder that is the host's own."""
        return Path(f"/proc/{self.pid}/root{path.resolve()}")


@dataclass
class Hosts:
    """Two hosts and the cable between them; `ssh_config` is for `ssh -F` on either, by address or name."""

    a: Host
    b: Host
    folder: Path
    _sshd: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def ssh_config(self) -> Path:
        return self.folder / "ssh_config"

    def run(
        self, host: Host, argv: Sequence[str], *, cwd: str | os.PathLike[str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[Any]:
        """Run a command on a host to its end, `options` being those of subprocess.run."""
        return subprocess.run(host.command(argv, cwd), **options)

    def popen(
        self, host: Host, argv: Sequence[str], *, cwd: str | os.PathLike[str] | None = None, **options: Any
    ) -> subprocess.Popen[Any]:
        """Start a command on a host, `options` being those of subprocess.Popen."""
        return subprocess.Popen(host.command(argv, cwd), **options)

    def ssh(self, argv: Sequence[str]) -> list[str]:
        """Return the words of an ssh command with the lab's settings: `hosts.ssh([address, "true"])`."""
        return ["ssh", "-F", str(self.ssh_config), *argv]

    def cut(self) -> None:
        """Pull the cable: what is sent gets lost, connections hang and nobody is told."""
        # Only host b's end is switched off: host a, where a session runs, keeps its route and sees silence.
        _ip(self.b, "link", "set", LINK, "down")

    def join(self) -> None:
        """Plug the cable in again."""
        _ip(self.b, "link", "set", LINK, "up")

    def forget_key(self, host: Host) -> None:
        """Take a host out of known_hosts: ssh ends with "Host key verification failed"."""
        known = self.folder / "known_hosts"
        lines = known.read_text().splitlines(keepends=True)
        known.write_text("".join(line for line in lines if host.address not in line.split()[0].split(",")))

    def refuse_login(self, host: Host) -> None:
        """Have a host know nobody's key: ssh ends with "Permission denied"."""
        (host.folder / "authorized_keys").write_text("")

    def stop_sshd(self, host: Host) -> None:
        """End a host's sshd: ssh ends with "Connection refused". Logins that there are stay."""
        end(self._sshd.pop(host.name))

    def start_sshd(self, host: Host) -> None:
        """Start a host's sshd, and return when it listens."""
        command = host.command([str(which("sshd")), "-D", "-f", host.folder / "sshd_config", "-E", host.folder / "log"])
        daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        self._sshd[host.name] = daemon
        wait_for(lambda: daemon.poll() is not None or listens(host, 22), f"sshd on {host.name}", host.folder / "log")
        if daemon.poll() is not None:
            raise RuntimeError(f"sshd on {host.name} ended: {(host.folder / 'log').read_text()}")

    def shift_clock(self, host: Host, offset: str) -> None:
        """Have later logins on a host see a time of day that is off by `offset`, as in "+1h" or "-90s"; "" is none.

        Clocks that count from the start of the machine stay as they are, and so do the times of files. Raises
        RuntimeError where clock_requirements() says why.
        """
        match = re.fullmatch(r"([+-][0-9]{1,9})([smhd])", offset or "+0s")
        if match is None:
            raise ValueError(f"found {offset!r}, expected a whole number of seconds, minutes, hours or days, as in +1h")
        if clock_requirements():
            raise RuntimeError(clock_requirements())
        library = self.folder / "time_of_day.so"
        if not library.exists():
            subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(_TIME_OF_DAY)], check=True)
        shift_s = int(match.group(1)) * _SECONDS[match.group(2)]
        self._authorize(host, {"LD_PRELOAD": str(library), "LAB_SHIFT_S": str(shift_s)} if shift_s else {})

    def leftovers(self, host: Host) -> list[str]:
        """Return the command lines of what lives on a host, beside sshd and its logins."""
        return list(self._leftovers(host).values())

    def end_leftovers(self, host: Host) -> None:
        """Kill what leftovers() lists, and return when it is gone."""
        for pid in self._leftovers(host):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not self.leftovers(host), f"the end of what lives on {host.name}")

    def _leftovers(self, host: Host) -> dict[int, str]:
        found = {pid: command_line(pid) for pid in processes_in(host.network) if pid != host.pid}
        return {pid: line for pid, line in found.items() if line and not re.match(r"(\S*/)?sshd\b", line)}

    def _end_sshd(self) -> None:
        for daemon in self._sshd.values():
            end(daemon)

    def _authorize(self, host: Host, environment: Mapping[str, str]) -> None:
        given = ",".join(f'environment="{name}={value}"' for name, value in environment.items())
        key = (self.folder / "key.pub").read_text()
        (host.folder / "authorized_keys").write_text(f"{given} {key}".lstrip())


@contextlib.contextmanager
def two_hosts(
    folder: Path, *, private: Sequence[Path] = (), names: tuple[str, str] = ("host-a", "host-b"), resolve: bool = False
) -> Iterator[Hosts]:
    """Two hosts that see the same files, but for /run and, on host b, the folders of `private`, which start out empty.

    Keys and logs are kept in `folder`. Their names mean nothing to them unless `resolve`: the addresses do. Everything
    is gone at the end, also when this process is killed.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    hosts_file = folder / "hosts"
    hosts_file.write_text("".join(map("{} {}\n".format, ("127.0.0.1", *ADDRESSES), ("localhost", *names))))
    with contextlib.ExitStack() as ends:
        made = [
            ends.enter_context(_host(folder, name, address, hosts_file if resolve else None, unseen))
            for name, address, unseen in zip(names, ADDRESSES, ((), private))
        ]
        hosts = Hosts(*made, folder)
        ends.callback(hosts._end_sshd)
        plug = ["link", "add", LINK, "netns", str(hosts.a.pid), "type", "veth", "peer", "name", LINK]
        subprocess.run([str(which("ip")), *plug, "netns", str(hosts.b.pid)], check=True)
        for host in made:
            _ip(host, "address", "add", f"{host.address}/30", "dev", LINK)
            _ip(host, "link", "set", LINK, "up")
        _write_keys(hosts)
        for host in made:
            hosts.start_sshd(host)
        yield hosts


@contextlib.contextmanager
def _host(folder: Path, name: str, address: str, hosts_file: Path | None, private: Sequence[Path]) -> Iterator[Host]:
    own = folder / name
    own.mkdir(exist_ok=True)
    command = ["unshare", *_ENTER, "--propagation", "slave", sys.executable, "-I", str(_HOLDER)]
    command += [name, str(hosts_file or ""), *map(str, private)]
    # A session of its own: what kills the test and its group must leave somebody to clear up.
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    holder = subprocess.Popen(command, **pipes, env={**os.environ, "PATH": _path()}, start_new_session=True)
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        if holder.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the namespaces of {name} were not made: see what was printed above")
        yield Host(name, address, own, holder.pid, network_of(holder.pid))
    finally:
        holder.stdin.close()  # which has the holder end all that is there, and itself
        holder.stdout.close()
        try:
            holder.wait(timeout=15)
        except subprocess.TimeoutExpired:
            holder.kill()
            holder.wait()


def _write_keys(hosts: Hosts) -> None:
    _make_key(hosts.folder / "key")
    known = []
    for host in (hosts.a, hosts.b):
        _make_key(host.folder / "host_key")
        (host.folder / "sshd_config").write_text(SSHD_CONFIG.format(folder=host.folder))
        hosts._authorize(host, {})
        known.append(f"{host.address} {(host.folder / 'host_key.pub').read_text()}")
    (hosts.folder / "known_hosts").write_text("".join(known))
    named = "".join(f"Host {host.name}\n    HostName {host.address}\n" for host in (hosts.a, hosts.b))
    hosts.ssh_config.write_text(named + SSH_CONFIG.format(folder=hosts.folder))


def _make_key(path: Path) -> None:
    path.unlink(missing_ok=True)
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(path)]
    subprocess.run(make, check=True, stdin=subprocess.DEVNULL)


def _ip(host: Host, *words: str) -> None:
    subprocess.run(host.command([str(which("ip")), *words]), check=True)


def end(daemon: subprocess.Popen[bytes]) -> None:
    """Kill a daemon and see it off."""
    daemon.kill()
    daemon.wait()


def command_line(pid: int) -> str:
    """Return a process's command line, "" where it is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def listens(host: Host, port: int) -> bool:
    """Return whether anything on a host listens at a TCP port, without connecting to it."""
    rows = (line.split() for line in Path(f"/proc/{host.pid}/net/tcp").read_text().splitlines()[1:])
    return any(row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port for row in rows)


def wait_for(condition: Callable[[], object], what: str, log: Path | None = None, within_s: float = 20.0) -> None:
    """Return when a condition holds. Raises TimeoutError, with what a log says, when it does not within the time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            said = log.read_text(errors="replace")[-2000:] if log and log.exists() else ""
            raise TimeoutError(f"{what}: not there after {within_s:g} s. {said}")
        time.sleep(0.02)
