"""The process of a trial: its environment, its output, its end."""

import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from lightning_colorize.runs.folder import OUTPUT, SWEEP, TRIAL

STUDY = "LIGHTNING_COLORIZE_STUDY"
"""Environment variable in which a worker is told its study's address, passwords and all."""

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_DEVICES = "CUDA_VISIBLE_DEVICES"
_PR_SET_PDEATHSIG = 1
_END_OF_OUTPUT = 4096
# Below it may stand what is accepted instead.
_SAYS_WHY = re.compile(r"lightning-colorize[a-z ]*: ")


class TrialProcess:
    """A trial's command in a process group of its own.

    Args:
        command: The words.
        folder: The run's; is made. Output is appended to a file in it.
        start: The folder in which the command is called.
        sweep: The sweep's name, by which loggers group its trials.
        devices: The GPUs that it sees; None for all of this process's.
        threads: How many threads libraries may use, unless the environment says so; None for all.

    Raises:
        OSError: If the program cannot be called (the error's `filename` is the first word then),
            or a folder cannot be used.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        start: Path,
        sweep: str = "",
        devices: Sequence[str] | None = None,
        threads: int | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._output = folder / OUTPUT
        with self._output.open("ab") as output:
            self._start = output.tell()
            self._process = subprocess.Popen(
                command,
                cwd=start,
                env=_environment(folder, sweep, devices, threads),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=ends_with_parent(),
            )

    def wait(self, seconds: float) -> int | None:
        """Return the exit code; None if it still runs after some seconds."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def terminate(self) -> None:
        """Ask the whole group to end, with a checkpoint."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End what is left of the group at once."""
        self._signal(signal.SIGKILL)

    def end(self, grace: float) -> None:
        """Leave nothing behind: not the process, if it still runs, nor what it has started.

        A rank that waits for one that has crashed would keep its GPU from the next trial.

        Args:
            grace: Seconds that it has to write a checkpoint.
        """
        if self.wait(0) is None:
            self.terminate()
            self.wait(grace)
        self.kill()
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        # The group may be gone; macOS says so in the second way.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def last_line(self) -> str:
        """Return the last line that it printed; of this package's commands, that which says why."""
        with self._output.open("rb") as output:
            end = output.seek(0, os.SEEK_END)
            output.seek(max(self._start, end - _END_OF_OUTPUT))
            text = output.read().decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return ([line for line in lines if _SAYS_WHY.match(line)] or lines or [""])[-1]


def _environment(
    folder: Path, sweep: str, devices: Sequence[str] | None, threads: int | None
) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name != STUDY}
    environment |= {TRIAL: str(folder.resolve()), SWEEP: sweep}
    if devices is not None:
        environment[_DEVICES] = ",".join(devices)
    if threads is not None and not any(name in environment for name in _THREADS):
        environment[_THREADS[0]] = str(threads)
    return environment


def ends_with_parent() -> Callable[[], None] | None:
    """Return what a process does at its start so that it is terminated when its parent dies.

    Also when the parent is killed. Linux only.
    """
    if sys.platform != "linux":
        return None
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl

    def promise() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(128 + signal.SIGTERM)

    return promise
