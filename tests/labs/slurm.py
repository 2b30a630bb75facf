"""A real Slurm of two nodes on this machine: munged and slurmd on each of two hosts, slurmctld on the first."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterator, Sequence

from tests.labs import hosts as lab
from tests.labs.hosts import Host, Hosts, two_hosts

NODES = ("node-a", "node-b")
CONTROLLER_PORT, NODE_PORT = 6817, 6818
_SETTINGS = ("SLURM_", "SALLOC_", "SBATCH_", "SQUEUE_", "SINFO_")
_DAEMONS = ("munged", "slurmctld", "slurmd", "slurmstepd")

# Daemons' sockets lie in /run, which is each host's own: the path of a test's folder is too long for a socket's.
SLURM_CONF = """\
ClusterName=lab
SlurmctldHost={a.name}({a.address})
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir=/run/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=0
# The nodes claim more CPUs than this machine has.
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
MessageTimeout=10
SlurmctldTimeout=30
SlurmdTimeout=30
InactiveLimit=0
WaitTime=0
NodeName={a.name} NodeAddr={a.address} CPUs=4 State=UNKNOWN
NodeName={b.name} NodeAddr={b.address} CPUs=4 State=UNKNOWN
PartitionName=lab Nodes=ALL Default=YES MaxTime=10 State=UP
"""


@functools.lru_cache(maxsize=None)
def requirements() -> str:
    """Return why there can be no Slurm here, "" where there can."""
    missing = [name for name in ("munged", "slurmctld", "slurmd", "srun", "salloc", "squeue") if not lab.which(name)]
    if missing:
        return f"needs {', '.join(missing)}: apt-get install slurm-wlm munge"
    return lab.requirements()


@dataclass
class Cluster:
    """Slurm on two hosts; its commands are run on the first, by `command` and with `environment`."""

    hosts: Hosts
    folder: Path
    _daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of Slurm's commands: this process's, where Slurm's settings are, and no job's variables."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
        return {**kept, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def command(self, argv: Sequence[str], cwd: str | os.PathLike[str] | None = None) -> list[str]:
        """Return the command that runs `argv` where Slurm's commands reach the cluster: on the first host."""
        return self.hosts.a.command(argv, cwd)

    def run(self, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        """Run a command of Slurm's to its end, `options` being those of subprocess.run."""
        return self.hosts.run(self.hosts.a, argv, **{"env": self.environment, **options})

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a command of Slurm's, `options` being those of subprocess.Popen."""
        return self.hosts.popen(self.hosts.a, argv, **{"env": self.environment, **options})

    def wait_idle(self, within_s: float = 30.0) -> None:
        """Return when both nodes are free. Raises TimeoutError, with what slurmctld said, when they do not get so."""
        log = self.folder / "slurmctld.log"
        lab.wait_for(lambda: self._states() == ["idle", "idle"], "two idle nodes", log, within_s)

    def jobs(self) -> list[str]:
        """Return "id state" of each job that there is, as in "3 RUNNING"."""
        listed = self.run(["squeue", "--noheader", "--format=%i %T"], capture_output=True, text=True, check=True)
        return [str(line) for line in listed.stdout.splitlines()]

    def cancel_all(self) -> None:
        """End all jobs, and return when the nodes are free again."""
        for job in self.jobs():
            self.run(["scancel", "--quiet", job.split()[0]])  # which fails where the job has just ended
        self.wait_idle()

    def leftovers(self) -> list[str]:
        """Return the command lines of what lives on the nodes, beside the daemons."""
        lines = self.hosts.leftovers(self.hosts.a) + self.hosts.leftovers(self.hosts.b)
        return [line for line in lines if Path(line.split()[0].rstrip(":")).name not in _DAEMONS]

    def _states(self) -> list[str]:
        listed = self.run(["sinfo", "--noheader", "--Node", "--format=%t"], capture_output=True, text=True)
        return [str(state) for state in listed.stdout.split()]

    def _start(self, host: Host, name: str, program: str, *flags: str) -> None:
        # Foreground, so that they are this process's children; what they say before they log goes to a file too.
        with open(self.folder / f"{name}.out", "ab") as out:
            command = host.command([str(lab.which(program)), *flags])
            daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.environment)
        self._daemons.append(daemon)

    def _end(self) -> None:
        for daemon in self._daemons:
            lab.end(daemon)


@contextlib.contextmanager
def slurm_cluster(folder: Path) -> Iterator[Cluster]:
    """Two idle nodes, `node-a` and `node-b`; everything is gone at the end, also when this process is killed."""
    folder = folder.resolve()
    with two_hosts(folder, names=NODES, resolve=True) as hosts, contextlib.ExitStack() as ends:
        cluster = Cluster(hosts, folder)
        ends.callback(cluster._end)
        _write_settings(cluster)
        for host in (hosts.a, hosts.b):
            key, log = f"--key-file={folder / 'munge.key'}", f"--log-file={folder}/munged-{host.name}.log"
            seed = "--seed-file=/run/munge/seed"
            # --force: the key's folder is a test's, not one that only root may write to.
            cluster._start(host, f"munged-{host.name}", "munged", "--foreground", "--force", key, log, seed)
        for host in (hosts.a, hosts.b):
            socket = host.seen(Path("/run")) / "munge/munge.socket.2"
            lab.wait_for(socket.exists, f"munged on {host.name}", folder / f"munged-{host.name}.log")
        cluster._start(hosts.a, "slurmctld", "slurmctld", "-D", "-c", "-L", str(folder / "slurmctld.log"))
        lab.wait_for(lambda: lab.listens(hosts.a, CONTROLLER_PORT), "slurmctld", folder / "slurmctld.log")
        for host in (hosts.a, hosts.b):
            cluster._start(host, f"slurmd-{host.name}", "slurmd", "-D", "-L", str(folder / f"slurmd-{host.name}.log"))
        cluster.wait_idle()
        yield cluster


def _write_settings(cluster: Cluster) -> None:
    folder = cluster.folder
    (folder / "state").mkdir(exist_ok=True)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    ports = {"controller_port": CONTROLLER_PORT, "node_port": NODE_PORT}
    values = {"folder": folder, "a": cluster.hosts.a, "b": cluster.hosts.b, **ports}
    (folder / "slurm.conf").write_text(SLURM_CONF.format(**values))
    # No control groups: they are the machine's, and none of the settings above asks for them.
    (folder / "cgroup.conf").write_text("CgroupPlugin=autodetect\n")
