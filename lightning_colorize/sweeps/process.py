"""Processes of a sweep: workers, and trials in their run folders."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO

from lightning_colorize.cluster.queue import call
from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.runs.folder import OUTPUT, SWEEP, TRIAL, VALUES

INTERRUPTED = {code for n in (signal.SIGINT, signal.SIGTERM) for code in (-n, 128 + n)}
"""Exit codes: -signal if Python did not catch the signal, 128 + signal if it did."""

STUDY = "LIGHTNING_COLORIZE_STUDY"
"""Environment variable with a worker's study: its folder or URL, including the password."""

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

# Seconds.
_GRACE = 25.0  # for a checkpoint; a cluster kills 30 s after its signal
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


def remove_launcher_variables(environment: MutableMapping[str, str], *kept: str) -> None:
    """Remove the variables of an outer Slurm task or launcher, except for those to be kept."""
    for name in [*environment]:
        if name not in ("SLURM_CONF", *kept) and (name.startswith(_OUTER) or name in _OUTER_NAMES):
            del environment[name]


def prctl(option: int, value: int) -> None:
    """Set a property of this process; only on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


@contextmanager
def caught_signals(handle: Callable[[int], None]) -> Iterator[None]:
    """Pass the numbers of SIGINT and SIGTERM to a function, then restore their handlers."""
    before = {
        number: signal.signal(number, lambda number, frame: handle(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_main(run: Callable[[], int]) -> int:
    """Run a process of a sweep; an error becomes one line and an exit code.

    In a Slurm job, SIGUSR2 terminates it, like SIGTERM; then the job is requeued.
    """
    time_is_up: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        time_is_up.append(number)
        signal.raise_signal(signal.SIGTERM)

    signal.signal(signal.SIGUSR2, handle)
    try:
        code = run()
        if time_is_up:
            job = os.environ["SLURM_JOB_ID"]
            done = call(["scontrol", "requeue", job])
            if done.returncode:
                raise WorkError(f"job {job} is not requeued: {done.stderr.strip()}")
        return code
    except (UsageError, WorkError, OSError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1


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


def run_process(
    command: Sequence[str],
    folder: Path,
    start: Path,
    sweep: str,
    urgency: Callable[[], int],
    tick: Callable[[], None] = lambda: None,
    values: str = "",
) -> tuple[int, str]:
    """Run a trial's command in `start`, with its output appended to a file in the run folder.

    Loggers group the trials of a sweep by its name, and name each by its swept `values`. Both
    functions are called until the process ends; `urgency` returns 0 to let it run, 1 to
    interrupt it, 2 to kill it.

    Returns:
        The exit code, and the last line of output; of this package's commands, the error line.

    Raises:
        OSError: If the program cannot be started (`filename` is then the first word), or a folder
            is not usable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / OUTPUT).open("ab+") as output:
        begin = output.tell()
        environment = {**os.environ, TRIAL: str(folder.resolve()), SWEEP: sweep, VALUES: values}
        environment.pop(STUDY, None)  # it may contain a password
        process = start_process(command, environment, output, start)
        try:
            while not _has_ended(process) and not urgency():
                tick()
        finally:
            _end(process, urgency)
        output.seek(max(begin, output.seek(0, os.SEEK_END) - _END_OF_OUTPUT))
        text = output.read().decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR_LINE.match(line)]
    return process.returncode, (errors or lines or [""])[-1]


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    with suppress(subprocess.TimeoutExpired):
        process.wait(_POLL_EVERY)
    return process.returncode is not None


def _end(process: subprocess.Popen[bytes], urgency: Callable[[], int]) -> None:
    """End the process and its whole group, after a grace period for a checkpoint.

    A rank that waits for a crashed one would block its GPU for the next trial.
    """
    # The group may be gone; macOS reports that as the second error.
    with suppress(ProcessLookupError, PermissionError):
        until = time.monotonic() + _GRACE
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        while not _has_ended(process) and time.monotonic() < until and urgency() < 2:
            pass
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def ending(code: int | None) -> str:
    """Return how a process ended."""
    if code is not None and code < 0:
        names = {each.value: each.name for each in signal.Signals}
        remark = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"killed by {names.get(-code, f'signal {-code}')}{remark}"
    return f"exit code {code}"
