"""Slurm's queue, for a user's own jobs."""

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lightning_colorize.common.errors import UsageError

_TIMEOUT = 60.0


class Queue:
    """A set of this user's jobs, given the log file of each by job ID.

    `say` is called with a line when a job starts, is requeued, or ends.
    """

    def __init__(self, logs: Mapping[str, Path], say: Callable[[str], None]) -> None:
        self._logs = logs
        self._say = say
        self._states: dict[str, str] = {}
        self._left = set(logs)
        self._answers = True

    def check(self) -> bool:
        """Report changes; return whether any job is still in the queue."""
        done = call(["squeue", "--me", "--noheader", "--array", "--format=%i|%T|%r|%N"])
        if done.returncode:
            if self._answers:
                self._say(f"Slurm does not answer ({reason(done.stderr)}); trying again")
            self._answers = False
            return True
        self._answers = True
        lines = [line.split("|") for line in done.stdout.splitlines()]
        known = {job: words for job, *words in lines if job in self._left}
        for job, (state, why, nodes) in known.items():
            if self._states.get(job) != state and state != "COMPLETING":
                more = f" on {nodes}" if nodes else "" if why == "None" else f" ({why})"
                self._say(f"job {job}: {state.lower()}{more}")
            self._states[job] = state
        for job in sorted(self._left - known.keys()):
            self._say(f"job {job} has ended; its log: {self._logs[job]}")
        self._left &= known.keys()
        return bool(self._left)

    def cancel_waiting(self) -> None:
        """Cancel the jobs that have not started; `scancel` ignores those that have ended."""
        call(["scancel", "--state=PENDING", *sorted(self._logs)])


def require_slurm(command: str) -> None:
    """Refuse to run without Slurm's commands."""
    if shutil.which("sbatch") is None:
        raise UsageError(f"{command}: sbatch not found; run this on a login node")


def reason(said: str) -> str:
    """Return the last line of a Slurm command's output, without its prefix."""
    lines = said.strip().splitlines() or ["it does not say why"]
    return re.sub(r"^\w+: (error: |fatal: )?(Batch job submission failed: )?", "", lines[-1])


def call(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Call a program that answers at once; one that hangs fails after a minute."""
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 1, "", f"no answer within {_TIMEOUT:g} s")
