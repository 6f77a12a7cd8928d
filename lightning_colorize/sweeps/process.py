"""Processes of a sweep: workers, and trials in their run folders."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from lightning_colorize.runs.folder import OUTPUT, SWEEP, TRIAL

INTERRUPTED = {
    *(-signal.SIGINT, -signal.SIGTERM),
    *(128 + signal.SIGINT, 128 + signal.SIGTERM),
}
"""Exit codes: -signal if Python did not catch the signal, 128 + signal if it did."""

STUDY = "LIGHTNING_COLORIZE_STUDY"
"""Environment variable with a worker's study: its folder or URL, including the password."""

GRACE = 25.0
"""Seconds for an interrupted trial to write a checkpoint. A cluster kills 30 s after its signal."""

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

_POLL_EVERY = 0.2
_END_OF_OUTPUT = 4096
# Lines below it may list the accepted values.
_ERROR_LINE = re.compile(r"lightning-colorize[a-z ]*: ")

# By these, Lightning would take the trial for one process of an outer launcher, or connect all
# trials of a machine to the same port. Without them it chooses a free port per trial.
_OUTER = ("SLURM_", "SLURMD_", "PMI_", "PMIX_")
_OUTER_NAMES = {
    *("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "NODE_RANK", "GROUP_RANK"),
    *("LOCAL_RANK", "LOCAL_WORLD_SIZE"),
}


def clean(environment: MutableMapping[str, str], *kept: str) -> None:
    """Remove the variables of an outer Slurm task or launcher, except for those to be kept."""
    for name in [*environment]:
        if name not in ("SLURM_CONF", *kept) and (name.startswith(_OUTER) or name in _OUTER_NAMES):
            del environment[name]


def prctl(option: int, value: int) -> None:
    """Set a property of this process; only on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


def start_process(
    command: Sequence[str],
    environment: Mapping[str, str],
    output: IO[bytes] | None = None,
    start: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own, which is terminated when this one dies, on Linux.

    Ctrl-C on a terminal reaches it once, through this process. The commands next to this Python
    come first on its PATH.
    """
    parent = os.getpid()

    def promise() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(128 + signal.SIGTERM)

    path = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
    return subprocess.Popen(
        command,
        cwd=start,
        env={**environment, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=promise,
    )


class TrialProcess:
    """A trial's command in a process group of its own.

    The run folder is created if missing, and output is appended to a file in it. Loggers group the
    trials of a sweep by its name.

    Raises:
        OSError: If the program cannot be started (`filename` is then the first word), or a folder
            is not usable.
    """

    def __init__(self, command: Sequence[str], folder: Path, start: Path, sweep: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._output = folder / OUTPUT
        with self._output.open("ab") as output:
            self._start = output.tell()
            environment = {**os.environ, TRIAL: str(folder.resolve()), SWEEP: sweep}
            # It may contain a password.
            environment.pop(STUDY, None)
            self._process = start_process(command, environment, output, start)

    def wait(self, seconds: float) -> int | None:
        """Return the exit code; None if the process still runs after some seconds."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def end(self, grace: float, at_once: Callable[[], bool] = lambda: False) -> None:
        """End the process and its whole group, after a grace period of seconds for a checkpoint.

        A rank that waits for a crashed one would block its GPU for the next trial.
        """
        until = time.monotonic() + grace
        if self.wait(0) is None:
            self._signal(signal.SIGTERM)
        while self.wait(_POLL_EVERY) is None and time.monotonic() < until and not at_once():
            pass
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        # The group may be gone; macOS reports that as the second error.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def last_line(self) -> str:
        """Return the last line of output; of this package's commands, the error line."""
        with self._output.open("rb") as output:
            end = output.seek(0, os.SEEK_END)
            output.seek(max(self._start, end - _END_OF_OUTPUT))
            text = output.read().decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return ([line for line in lines if _ERROR_LINE.match(line)] or lines or [""])[-1]


def ending(code: int | None) -> str:
    """Return how a process ended."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"exit code {code}"
