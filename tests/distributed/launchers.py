"""Launchers: a fork, one process, two processes, and two torchrun nodes of one process each."""

import csv
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from lightning_utilities.core.rank_zero import rank_zero_only

from lightning_colorize.cli import main

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    # All connections are local, whatever the host name resolves to.
    "GLOO_SOCKET_IFNAME": "lo",
}
FIT = ["-m", "lightning_colorize", "fit"]


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def start(
    *words: object, stdout: int = subprocess.DEVNULL, **environment: str
) -> subprocess.Popen[str]:
    """Start Python with these arguments, in its own process group."""
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        env={**os.environ, **ENVIRONMENT, **environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


# Commands start from a process that has imported them and has no threads, which a fork would lose.
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["lightning_colorize.training.cli", "lightning_colorize.cli"])


def _run(words: list[str], stdout: Path, environment: dict[str, str]) -> None:
    os.setsid()
    os.environ |= environment | ENVIRONMENT
    os.environ.pop("LIGHTNING_COLORIZE_RUN_FOLDER", None)  # of a run in the parent process
    rank_zero_only.rank = int(environment.get("RANK", 0))
    sys.stdout = stdout.open("w")
    os.dup2(sys.stdout.fileno(), 1)
    sys.argv = [str(ROOT / "lightning_colorize" / "__main__.py"), *words]  # of other ranks
    sys.exit(main(words))


def fork(*words: object, stdout: Path = Path(os.devnull), **environment: str) -> ForkServerProcess:
    """Start the command in a fork, in its own group."""
    given = [str(word) for word in words]
    process = _server.Process(target=_run, args=(given, stdout, {**os.environ, **environment}))
    process.start()
    return process


def complete(*words: object, stdout: Path = Path(os.devnull)) -> None:
    """Run the command in a fork, which must exit with 0."""
    process = fork(*words, stdout=stdout)
    process.join(240)
    kill_group(process)
    assert process.exitcode == 0


def end(*processes: subprocess.Popen[str], timeout: float = 240) -> list[str | None]:
    """Wait for all to exit with 0; kill the rest and their children; return the output of each."""
    printed = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=timeout)
            assert process.returncode == 0, err[-3000:]
            printed.append(out)
        return printed
    finally:
        for process in processes:
            kill_group(process)


def kill_group(process: subprocess.Popen[str] | ForkServerProcess) -> None:
    """Kill a process and its children, if they are alive."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait() if isinstance(process, subprocess.Popen) else process.join()


def steps_of(run: Path) -> list[int]:
    """Return the training steps in a run's metrics.csv, in its order."""
    try:
        with (run / "metrics.csv").open() as file:
            return [int(row["step"]) for row in csv.DictReader(file) if row["train/loss"]]
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return []  # not there yet, or being written


def two_processes(words: list[str]) -> None:
    end(start(*FIT, *words, "--trainer.devices", 2))


def start_nodes(words: list[str], restarts: int = 0) -> list[subprocess.Popen[str]]:
    """Start two torchrun nodes of one process each, as docs/how-to/several_gpus.md does."""
    torchrun = ["-m", "torch.distributed.run", "--nnodes", 2, "--nproc-per-node", 1]
    torchrun += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}"]
    torchrun += ["--local-addr", "127.0.0.1", "--monitor-interval", 0.2]
    torchrun += ["--max-restarts", restarts]
    trainer = ["--trainer.devices", 1, "--trainer.num_nodes", 2]
    store = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    return [start(*torchrun, *FIT, *words, *trainer, **store) for _ in range(2)]


def train_in_two_forks(words: list[str]) -> None:
    """Run `fit` in two forks, with the environment of torchrun's processes."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    shared |= {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"}
    given = ("fit", *words, "--trainer.devices", 2)
    forks = [fork(*given, RANK=rank, LOCAL_RANK=rank, **shared) for rank in "01"]
    for process in forks:
        process.join(240)
        kill_group(process)
    assert [process.exitcode for process in forks] == [0, 0]
