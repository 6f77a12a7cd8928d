"""A Slurm cluster of two nodes on this machine, of this session's own: `cluster`."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.conftest import until

CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2
MaxArraySize=100
GresTypes=gpu
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 Gres=gpu:4
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 Gres=gpu:4
PartitionName=two Nodes=n1,n2 Default=YES State=UP
"""
GRES = "NodeName=n[1-2] Name=gpu File={folder}/gpu[0-3]\n"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")


class Cluster:
    """Slurm's daemons, with configuration, state and ports of their own."""

    def __init__(self, folder):
        self._folder = folder
        self.conf = folder / "slurm.conf"
        (folder / "state").mkdir()
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o400)
        values = {"host": socket.gethostname().partition(".")[0], "user": getpass.getuser()}
        self.conf.write_text(CONF.format(folder=folder, ports=free_ports(3), **values))
        # No GPUs, but Slurm allocates them and sets CUDA_VISIBLE_DEVICES.
        (folder / "gres.conf").write_text(GRES.format(folder=folder))
        for number in range(4):
            (folder / f"gpu{number}").symlink_to("/dev/null")
        self._daemons = []

    def start(self):
        files = [
            f"--{option}={self._folder}/munge.{suffix}"
            for option, suffix in [
                *(("key-file", "key"), ("socket", "socket"), ("pid-file", "pid")),
                *(("log-file", "log"), ("seed-file", "seed")),
            ]
        ]
        self._daemon("munged", "--foreground", "--force", *files)
        until((self._folder / "munge.socket").exists)
        self._daemon("slurmctld", "-D")
        for node in ("n1", "n2"):
            self._daemon("slurmd", "-D", "-N", node)
        until(lambda: self("sinfo", "--noheader", "--format=%T %D", check=False) == "idle 2", 60)

    def __call__(self, *words, check=True):
        """Call one of Slurm's commands; returns what it printed."""
        environment = {**os.environ, "SLURM_CONF": str(self.conf)}
        done = subprocess.run(
            words, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()

    def logs(self):
        """Return the last output of each daemon."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}"
            for path in sorted(self._folder.glob("*.log"))
        )

    def clear(self):
        self("scancel", "--user", getpass.getuser(), check=False)
        until(lambda: not self("squeue", "--noheader", check=False), 60)

    def end(self):
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in self._daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        # Processes of jobs are not in the daemons' process groups.
        for pid in belonging_to(self.conf):
            os.kill(pid, signal.SIGKILL)

    def _daemon(self, program, *words):
        number = len(self._daemons)
        with (self._folder / f"{number}-{program}.log").open("wb") as log:
            self._daemons.append(
                subprocess.Popen(
                    [find(program), *words],
                    env={**os.environ, "SLURM_CONF": str(self.conf)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )


def belonging_to(conf):
    """Return the processes that were started with this configuration, but not this one."""
    mark = f"SLURM_CONF={conf}".encode()
    pids = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        pid = int(environment.parent.name)
        try:
            if pid != os.getpid() and mark in environment.read_bytes().split(b"\0"):
                pids.append(pid)
        except OSError:
            continue  # ended meanwhile, or of another user
    return pids


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


def find(program):
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


@pytest.fixture(scope="session")
def running_cluster():
    missing = [program for program in PROGRAMS if find(program) is None]
    if missing:
        pytest.skip(f"needs Slurm (Debian: slurm-wlm, munge); missing: {', '.join(missing)}")
    pytest.importorskip("submitit")
    # Not in pytest's folder: a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    except AssertionError:
        print(cluster.logs())
        raise
    finally:
        cluster.end()
        shutil.rmtree(folder)


@pytest.fixture
def cluster(running_cluster, monkeypatch):
    """The cluster, selected for the commands of this process."""
    monkeypatch.setenv("SLURM_CONF", str(running_cluster.conf))
    # Otherwise gloo looks for this machine's address by its name.
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    yield running_cluster
    running_cluster.clear()
