"""Kill a run over shards again and again; what comes out must be what an undisturbed run leaves.

    python tests/distributed/soak.py --json benchmarks/results/soak.json

One process is killed with SIGKILL or SIGTERM at random moments, also while it writes a checkpoint,
and started again with `fit --run.auto_resume true` until it is through. Its attempts are forked
from this process, which has imported everything: an import of Lightning takes longer than the work.
A run of two processes follows, of which one loses its life at a time; those are started as users
start them.
"""

import argparse
import json
import os
import random
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from lightning_colorize.benchmarking import write_report
from lightning_colorize.cli import main as command
from lightning_colorize.runs.folder import BEST, LAST
from lightning_colorize.runs.result import RunResult
from tests.conftest import Commands, write_images
from tests.distributed.account import read_account
from tests.distributed.launchers import FIT, kill_group, start

IMAGES = 22
BATCH = 4
STEPS_PER_EPOCH = IMAGES // BATCH
STEPS_PER_KILL = 8
SAVE_EVERY = 3
DEADLINE = 400.0


class Soak:
    """Runs over the same shards: one that is left alone, and one that is killed.

    Args:
        folder: Of images, shards, runs and accounts.
        kills: How often; the run has steps enough for them.
        seed: Of the moments.
        processes: Of each run.
    """

    def __init__(self, folder: Path, kills: int, seed: int, processes: int) -> None:
        self.folder = folder
        self.kills = kills
        self.random = random.Random(seed)
        self.processes = processes
        self.shards = folder / "shards"
        self.commands = Commands(self.shards, folder / f"runs-{processes}")
        self.epochs = max(2, kills * STEPS_PER_KILL // STEPS_PER_EPOCH)
        self.moments: list[dict[str, Any]] = []

    def words(self, name: str) -> list[str]:
        """Return the words after `fit`."""
        own = BATCH // self.processes
        account = self.account(name)
        account.mkdir(parents=True, exist_ok=True)
        # What is left of two processes waits no longer than this for the one that is gone.
        strategy = ["--trainer.strategy", "DDPStrategy", "--trainer.strategy.timeout", "0:01:30"]
        return self.commands.words(
            name,
            *(strategy if self.processes > 1 else []),
            *("--data.batch_size", own, "--data.cache", "never", "--data.num_workers", 1),
            *("--data.grey_jitter", 0.5, "--data.rotation", 5, "--run.auto_resume", "true"),
            *("--run.save_every_n_steps", SAVE_EVERY, "--trainer.max_epochs", self.epochs),
            *("--trainer.devices", self.processes, "--run.grid_images", 0),
            *("--trainer.callbacks+", "tests.distributed.account.Account"),
            *("--trainer.callbacks.folder", account),
        )

    def account(self, name: str) -> Path:
        """Return the folder in which each process writes down its batches."""
        return self.folder / f"account-{self.processes}-{name}"

    def run(self, name: str) -> Path:
        """Return the run's folder."""
        return self.commands.root / "tiny" / name

    def batches(self, name: str) -> int:
        """Return how many batches the first process has written down, over all attempts."""
        account = read_account(self.account(name))
        return len(account[0]) if account else 0

    def undisturbed(self) -> None:
        """Train without a kill."""
        attempt = self.attempt(self.words("undisturbed"))
        code = attempt.wait()
        assert code == 0, attempt.log()

    def killed(self) -> None:
        """Train, kill, go on, until it has been killed often enough; then let it end."""
        words = self.words("killed")
        for number in range(self.kills):
            self.one_kill(number, words)
        attempt = self.attempt(words)
        code = attempt.wait()
        assert code == 0, attempt.log()

    def one_kill(self, number: int, words: list[str]) -> None:
        """Start or go on, kill at a random moment, and look at what is left."""
        before = self.batches("killed")
        attempt = self.attempt(words)
        wanted = before + self.random.randint(1, STEPS_PER_KILL)
        deadline = time.monotonic() + DEADLINE
        while self.batches("killed") < wanted:
            assert attempt.alive(), f"ended by itself before kill {number}: {attempt.log()}"
            assert time.monotonic() < deadline, attempt.log()
            time.sleep(0.002)
        # Anywhere in a step, or in the writing of a checkpoint.
        time.sleep(self.random.uniform(0, 0.1))
        last, best = (self.run("killed") / name for name in (LAST, BEST))
        had_checkpoint = last.is_file()
        kind = attempt.kill(self.random)
        code = attempt.wait()
        assert code != 0, "the run was through before it could be killed"
        step = None
        if last.is_file():
            step = int(torch.load(last, weights_only=True)["global_step"])
        if best.is_file():
            torch.load(best, weights_only=True)
        assert step is not None or not had_checkpoint, "a checkpoint has vanished"
        self.moments.append(
            {
                "kill": number,
                "kind": kind,
                "code": code,
                "batches_of_attempt": self.batches("killed") - before,
                "checkpoint_before": had_checkpoint,
                "goes_on_from_step": step,
            }
        )

    def attempt(self, words: list[str]) -> "Attempt":
        """Start the command."""
        log = self.folder / f"attempt-{self.processes}.log"
        return (Forked if self.processes == 1 else Started)(words, log)

    def check(self) -> dict[str, Any]:
        """Compare both runs; returns the figures of the soak.

        Raises:
            AssertionError: If weights, results or the surviving history differ.
        """
        first, second = (
            torch.load(self.run(name) / LAST, weights_only=True)
            for name in ("undisturbed", "killed")
        )
        for key, value in first["state_dict"].items():
            assert torch.equal(second["state_dict"][key], value), key
        assert second["global_step"] == first["global_step"] == self.epochs * STEPS_PER_EPOCH
        result = RunResult.read(self.run("killed"))
        assert result is not None
        assert result.status == "finished"
        going_on = sum(moment["goes_on_from_step"] is not None for moment in self.moments)
        assert result.restarts == going_on
        histories = [surviving(self.account(name)) for name in ("undisturbed", "killed")]
        assert histories[0] == histories[1]
        for epoch in range(self.epochs):
            names = [
                name
                for history in histories[1]
                for (of, _), line in history.items()
                if of == epoch
                for name in line["names"]
            ]
            assert len(names) == len(set(names)) == STEPS_PER_EPOCH * BATCH, f"epoch {epoch}"
        steps = self.epochs * STEPS_PER_EPOCH
        # Before the first checkpoint a run begins again, which is the easier part.
        between = sum(moment["checkpoint_before"] for moment in self.moments)
        assert between > self.kills // 2 or self.kills == 1, self.moments
        return {
            "processes": self.processes,
            "kills": self.kills,
            "steps": steps,
            "epochs": self.epochs,
            "between_first_and_last_checkpoint": between,
            "batches_trained_in_vain": self.batches("killed") - steps,
            "moments": self.moments,
        }


def surviving(account: Path) -> list[dict[tuple[int, int], dict[str, Any]]]:
    """Return each process's batches by (epoch, number): of those trained twice, the later ones."""
    return [
        {(line["epoch"], line["batch"]): line for line in lines} for lines in read_account(account)
    ]


class Forked:
    """An attempt in a fork of this process."""

    def __init__(self, words: list[str], log: Path) -> None:
        self._log = log
        self._code: int | None = None
        self.pid = os.fork()
        if self.pid:
            return
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        code = 1
        try:
            code = command(["fit", *words])
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 1
        except BaseException as error:
            os.write(2, repr(error).encode())
        finally:
            os._exit(code)

    def alive(self) -> bool:
        """Return whether it is still at work."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code is None

    def kill(self, random: random.Random) -> str:
        """Send it a signal; returns which."""
        number = random.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        os.kill(self.pid, number)
        return number.name

    def wait(self) -> int:
        """Wait for its end, then end its workers; returns the exit code."""
        deadline = time.monotonic() + 10 * DEADLINE
        while self.alive():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.005)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        assert self._code is not None
        return self._code

    def log(self) -> str:
        """Return the end of what it printed."""
        return self._log.read_text(errors="replace")[-3000:]


class Started:
    """An attempt of two processes, started as a user starts it."""

    def __init__(self, words: list[str], log: Path) -> None:
        self.process = start(*FIT, *words)
        self._err = ""

    def alive(self) -> bool:
        """Return whether the first process is still at work."""
        return self.process.poll() is None

    def kill(self, random: random.Random) -> str:
        """Kill one of the two processes; returns which."""
        rank = random.choice([0, 1])
        os.kill(self.process.pid if rank == 0 else second_process(self.process.pid), signal.SIGKILL)
        return f"SIGKILL to rank {rank}"

    def wait(self) -> int:
        """Wait until both processes have ended; returns the first one's exit code."""
        try:
            _, err = self.process.communicate(timeout=DEADLINE)
            self._err += err
        finally:
            kill_group(self.process)
        return self.process.returncode

    def log(self) -> str:
        """Return its exit code and the end of what it printed; to be called once it has ended."""
        if self.process.stderr is not None and not self.process.stderr.closed:
            self.wait()
        return f"exit code {self.process.returncode}: {self._err[-3000:]}"


Attempt = Forked | Started


def second_process(first: int) -> int:
    """Return the process that Lightning has started for rank 1."""
    children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    for pid in map(int, children):
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        if b"LOCAL_RANK=1" in environment:
            return pid
    raise AssertionError(f"process {first} has no second rank among {children}")


def pack(folder: Path) -> None:
    """Make images and pack them into shards of five."""
    write_images(folder / "photos/train", IMAGES)
    write_images(folder / "photos/val", 3, first=100)
    words = ["pack", folder / "photos", folder / "shards", "--size", 36, "--images-per-shard", 5]
    assert command([str(word) for word in words]) == 0


def soak(folder: Path, kills: int, kills_of_two: int, seed: int = 0) -> list[dict[str, Any]]:
    """Run both soaks in a folder; returns their figures."""
    torch.set_num_threads(1)
    pack(folder)
    figures = []
    for processes, number in ((1, kills), (2, kills_of_two)):
        if number:
            soaked = Soak(folder, number, seed, processes)
            soaked.undisturbed()
            soaked.killed()
            figures.append(soaked.check())
    return figures


def main(show: Callable[[str], None] = print) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=32, help="of the run of one process")
    parser.add_argument("--kills-of-two", type=int, default=8, help="of the run of two")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = soak(Path(folder), args.kills, args.kills_of_two, args.seed)
    for run in figures:
        show(json.dumps({key: value for key, value in run.items() if key != "moments"}))
    if args.json:
        words = ["python", "tests/distributed/soak.py", *sys.argv[1:]]
        write_report(args.json, shlex.join(words), {"soaks": figures})


if __name__ == "__main__":
    main()
