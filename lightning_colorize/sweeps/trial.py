"""One trial: its command line, its process in one run folder, the outcome found there."""

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from lightning_colorize.common.errors import UsageError
from lightning_colorize.metrics.spec import cost
from lightning_colorize.runs.folder import OUTPUT, SWEEP, TRIAL, is_stop_requested, read_stop_reason
from lightning_colorize.runs.result import RUNNING, RunResult
from lightning_colorize.runs.validation_log import ValidationReader
from lightning_colorize.sweeps.spec import VARIABLE, Sweep, SweepMetric

INTERRUPTED = {
    *(-signal.SIGINT, -signal.SIGTERM),
    *(128 + signal.SIGINT, 128 + signal.SIGTERM),
}
"""Exit codes: -signal if Python did not catch the signal, 128 + signal if it did."""

STUDY = "LIGHTNING_COLORIZE_STUDY"
"""Environment variable with a worker's study: its folder or URL, including the password."""

GRACE = 25.0
"""Seconds for an interrupted trial to write a checkpoint. A cluster kills 30 s after its signal."""

NOT_STARTED = 127
"""Exit code of a shell for a program that cannot be started."""

_OURS = "lightning-colorize"
_PR_SET_PDEATHSIG = 1
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


def unset_variables(sweep: Sweep) -> list[str]:
    """Return the environment variables of the command that are not set.

    W&B substitutes the name of a variable that is not set.
    """
    named = (name for token in sweep.command for name in VARIABLE.findall(token))
    return [name for name in dict.fromkeys(named) if name not in os.environ]


def expand(sweep: Sweep, values: Mapping[str, Any]) -> list[str]:
    """Return the command line of a trial.

    Arguments are sorted by name, as W&B sends them: `model.loss` precedes its argument
    `model.loss.beta`. `${interpreter}` is the running Python, where W&B takes the first `python` of
    PATH: a trial needs the packages that the sweep was started with. For the same reason
    `lightning-colorize` is the script next to that Python, if there is one.
    """
    macros = _arguments(values)
    macros["${env}"] = ["/usr/bin/env"] if os.name == "posix" else []
    macros["${interpreter}"] = [sys.executable]
    macros["${program}"] = [] if sweep.program is None else [sweep.program]
    with_variables = (
        VARIABLE.sub(lambda match: os.environ.get(match[1], match[1]), token)
        for token in sweep.command
    )
    words = [word for token in with_variables for word in macros.get(token, [token])]
    for index, word in enumerate(words):
        if word == _OURS:
            beside = shutil.which(_OURS, path=str(Path(sys.executable).parent))
            words[index] = beside or _OURS
        # `env` may have `NAME=value` before the program.
        if word not in macros["${env}"] and "=" not in word:
            break
    return words


def _arguments(values: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the expansion of each macro of arguments."""
    pairs = [(name, values[name]) for name in sorted(values)]
    plain = [f"{name}={value}" for name, value in pairs]
    return {
        "${args}": [f"--{word}" for word in plain],
        "${args_no_equals}": [word for name, value in pairs for word in (f"--{name}", str(value))],
        "${args_no_hyphens}": plain,
        "${args_no_boolean_flags}": [
            f"--{name}" if value is True else f"--{name}={value}"
            for name, value in pairs
            if value is not False
        ],
        "${args_json}": [json.dumps(dict(pairs))],
        "${args_append_hydra}": [f"+{word}" for word in plain],
        "${args_override_hydra}": [f"++{word}" for word in plain],
    }


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

    def terminate(self) -> None:
        """Ask the whole group to write a checkpoint and exit."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the rest of the group."""
        self._signal(signal.SIGKILL)

    def end(self, grace: float) -> None:
        """End the process and its whole group.

        A rank that waits for a crashed one would block its GPU for the next trial.
        """
        if self.wait(0) is None:
            self.terminate()
            self.wait(grace)
        self.kill()
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


def start_process(
    command: Sequence[str],
    environment: Mapping[str, str],
    output: IO[bytes] | None = None,
    start: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own, which ends with this one.

    Ctrl-C on a terminal reaches it once, through this process.
    """
    return subprocess.Popen(
        command,
        cwd=start,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_ends_with_parent(),
    )


def _ends_with_parent() -> Callable[[], None] | None:
    """Return a `preexec_fn` that terminates a process when its parent dies, even if killed.

    Linux only; None elsewhere.
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


@dataclass(frozen=True)
class Outcome:
    """The outcome of a trial's process."""

    # A trial that another program `interrupted`, or its worker `returned`, can resume from its
    # checkpoint.
    state: Literal["finished", "pruned", "failed", "interrupted", "returned"]
    value: float | None = None  # of the metric; None without one
    reason: str | None = None  # why it did not finish


class TrialRun:
    """The validations and the result in a trial's run folder."""

    def __init__(self, folder: Path, metric: SweepMetric | None) -> None:
        self.values: list[float] = []  # finite values of the metric so far, by step
        self._folder = folder
        self._metric = metric
        self._reader = ValidationReader(folder)
        self._earlier_result: tuple[int, int] | None = None

    @property
    def epoch(self) -> int | None:
        """The epoch of the last validation; None before the first."""
        records = self._reader.records
        return records[-1].epoch if records else None

    def read(self) -> bool:
        """Read new validations; returns whether any changed."""
        is_new = self._reader.read()
        if is_new and self._metric is not None:
            name = self._metric.name
            logged = (record.metrics.get(name) for record in self._reader.records)
            self.values = [value for value in logged if value is not None]
        return is_new

    def mark_start(self) -> None:
        """From now on, only a newer result counts as the process's own."""
        self._earlier_result = RunResult.stamp(self._folder)

    def outcome(self, code: int | None = None, last_line: str = "") -> Outcome | None:
        """Return the outcome of the run; its result decides, not the exit code.

        Without an exit code, it is None unless the run is complete, by a result of the process's
        own.
        """
        result = None
        reason = f"{ending(code)}: {last_line or 'no output'}"
        try:
            if RunResult.stamp(self._folder) != self._earlier_result:
                result = RunResult.read(self._folder)
        except UsageError as error:
            reason = str(error).removeprefix(f"{self._folder}{os.sep}")
        if result is not None and result.ended:
            return self._ended(result)
        if code is None:
            return None
        status = None if result is None else result.status
        if status == "interrupted" or code in INTERRUPTED:
            return Outcome("interrupted", reason="interrupted by another program")
        return Outcome("interrupted" if status == RUNNING else "failed", reason=reason)

    def _ended(self, result: RunResult) -> Outcome:
        value = None
        if self._metric is not None and self.values:
            goal = self._metric.mode
            value = min(self.values, key=lambda each: cost(each, goal))
        requested = result.stop_requested
        if requested is None:  # programs other than `fit` do not report it
            requested = is_stop_requested(self._folder)
        if result.status == "stopped_early" and requested:
            return Outcome("pruned", value, read_stop_reason(self._folder))
        if self._metric is None:
            return Outcome("finished")
        name = self._metric.name
        if not any(name in record.metrics for record in self._reader.records):
            if name not in result.metrics:
                return Outcome("failed", reason=f"{name} was not logged")
            value = result.metrics[name]
        if value is None:
            return Outcome("failed", reason=f"{name} was never a number")
        return Outcome("finished", value)


def ending(code: int | None) -> str:
    """Return how a process ended."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"exit code {code}"
