"""One trial: its command, and Optuna's objective, which runs it in its run folder."""

import errno
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.exceptions import UpdateFinishedTrialError as TrialFinished

from lightning_colorize.common.errors import UsageError
from lightning_colorize.metrics.spec import cost
from lightning_colorize.runs.folder import (
    is_running,
    is_stop_requested,
    read_stop_reason,
    request_stop,
)
from lightning_colorize.runs.result import RUNNING, RunResult
from lightning_colorize.runs.validation_log import ValidationReader
from lightning_colorize.sweeps.process import GRACE, INTERRUPTED, TrialProcess, ending
from lightning_colorize.sweeps.spec import VARIABLE, Sweep
from lightning_colorize.sweeps.study import Study, number_of

# Attributes of a trial.
REASON, EPOCH, SECONDS, INTERRUPTIONS = "reason", "epoch", "seconds", "interruptions"

MOST_INTERRUPTIONS = 3
"""How often a trial that no worker interrupted is queued again."""

_NO_PROGRAM = (errno.ENOENT, errno.EACCES, errno.ENOEXEC)
# Seconds.
_POLL_EVERY = 0.2
_TICK_EVERY = 10.0
_START_PHASE = 60.0


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
    PATH: a trial needs the packages that the sweep was started with.
    """
    macros = _arguments(values)
    macros["${env}"] = ["/usr/bin/env"]
    macros["${interpreter}"] = [sys.executable]
    macros["${program}"] = [] if sweep.program is None else [sweep.program]
    with_variables = (
        VARIABLE.sub(lambda match: os.environ.get(match[1], match[1]), token)
        for token in sweep.command
    )
    return [word for token in with_variables for word in macros.get(token, [token])]


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


class TrialFailed(Exception):
    """The trial's process failed: the message says why."""


class TrialInterrupted(Exception):
    """The trial did not end: another attempt resumes it."""


class Objective:
    """Runs a trial's process in its run folder, and returns the best value of the metric.

    An earlier process of the trial, which was killed, left its validations, its checkpoint or its
    result there. `urgency` is polled: 0 to continue, 1 to interrupt the process, 2 to kill it.

    Raises:
        TrialFailed, TrialInterrupted, TrialPruned: In place of a value.
    """

    def __init__(self, study: Study, urgency: Callable[[], int]) -> None:
        self._study = study
        self._urgency = urgency
        self.failures = 0  # in a row, within a minute and before a validation
        self.is_interrupted = False  # whether the last trial must be queued again
        self.trial = -1  # its number in Optuna
        self.obstacle: OSError | None = None  # which any trial would meet

    def __call__(self, trial: optuna.Trial) -> float:
        """Run a trial to its end."""
        self.is_interrupted, self.trial = False, trial.number
        attempt = _Attempt(self._study, trial, self._urgency)
        try:
            if not self._study.is_ours(trial):
                raise TrialFinished
            value = attempt.run()
        except TrialFinished:  # another worker has it: this one seemed dead, or came second
            raise TrialInterrupted from None
        except TrialFailed as error:
            trial.set_user_attr(REASON, str(error))
            self.failures = self.failures + 1 if attempt.is_at_start else 0
            raise
        except (OSError, StorageInternalError, TrialInterrupted) as error:
            self.obstacle = error if isinstance(error, OSError) else None
            self.is_interrupted = True
            raise TrialInterrupted from error
        self.failures = 0
        return value


class _Attempt:
    def __init__(self, study: Study, trial: optuna.Trial, urgency: Callable[[], int]) -> None:
        self._sweep = study.sweep
        self._start = study.start
        self._values_of = study.values_of
        self._trial = trial
        self._urgency = urgency
        self._folder = study.folder_of(number_of(trial))
        self._validations = ValidationReader(self._folder)
        self._reported = 0
        self._earlier_seconds: float = trial.user_attrs.get(SECONDS, 0.0)
        self._began = self._ticked = time.monotonic()

    @property
    def is_at_start(self) -> bool:
        """Whether it started within the last minute and has not validated."""
        return time.monotonic() - self._began < _START_PHASE and not self._validations.records

    def run(self) -> float:
        """Return the value of the metric, or raise what became of the trial."""
        while is_running(self._folder):  # a process that outlived its worker
            self._tick()
            if self._urgency():
                raise TrialInterrupted
            time.sleep(_POLL_EVERY)
        values = self._values_of(self._trial)
        self._report()
        result, reason = self._result(), "interrupted"
        if result is None or not result.ended:  # else its worker was killed before it could say so
            result, reason = self._run_process(expand(self._sweep, values))
        self._tick(0)
        if result is not None and result.ended:
            return self._value(result)
        raise self._unfinished(result, reason)

    def _run_process(self, words: Sequence[str]) -> tuple[RunResult | None, str]:
        """Run the trial's process; returns its result, None without a new one, and its ending."""
        before = RunResult.stamp(self._folder)
        try:
            process = TrialProcess(words, self._folder, self._start, self._sweep.name)
        except OSError as error:
            if error.filename != words[0] or error.errno not in _NO_PROGRAM:
                raise
            raise TrialFailed(f"{words[0]} cannot be run: {error.strerror}") from None
        try:
            while (code := process.wait(_POLL_EVERY)) is None and not self._urgency():
                self._tick()
                with suppress(StorageInternalError):  # reported at the next poll
                    self._report(process_runs=True)
        finally:
            process.end(GRACE, lambda: self._urgency() > 1)
        self._report()
        code = process.wait(0)
        result = self._result() if RunResult.stamp(self._folder) != before else None
        if code in INTERRUPTED:
            return result, "interrupted"
        return result, f"{ending(code)}: {process.last_line() or 'no output'}"

    def _result(self) -> RunResult | None:
        if RunResult.stamp(self._folder) is None:
            return None
        try:
            return RunResult.read(self._folder)
        except UsageError as error:
            raise TrialFailed(str(error).removeprefix(f"{self._folder}{os.sep}")) from None

    def _tick(self, seconds: float = _TICK_EVERY) -> None:
        """Store the run time; this also finds out whether another worker has the trial."""
        now = time.monotonic()
        if now - self._ticked >= seconds:
            self._ticked = now
            self._trial.set_user_attr(SECONDS, self._earlier_seconds + now - self._began)

    def _report(self, process_runs: bool = False) -> None:
        """Report new values of the metric; stop a running process that is behind the others."""
        is_new = self._validations.read()
        values = self._values()
        rule = self._sweep.early_terminate
        for index in range(self._reported, len(values)):
            is_strict = rule is None or rule.strict
            value = values[index] if is_strict else self._best(values[: index + 1])
            self._trial.report(value, index + 1)
            self._reported = index + 1
            # Optuna also needs the rank of a run that has ended.
            is_behind = rule is not None and self._trial.should_prune()
            if is_behind and process_runs and self._sweep.metric is not None:
                name = self._sweep.metric.name
                reason = f"hyperband: {name} {value:.5g} is behind at validation {index + 1}"
                request_stop(self._folder, reason)
        if is_new and self._validations.records:
            self._trial.set_user_attr(EPOCH, self._validations.records[-1].epoch)

    def _values(self) -> list[float]:
        """Return the finite values of the metric, by step."""
        if self._sweep.metric is None:
            return []
        name = self._sweep.metric.name
        logged = (record.metrics.get(name) for record in self._validations.records)
        return [value for value in logged if value is not None]

    def _best(self, values: Sequence[float]) -> float:
        assert self._sweep.mode is not None
        mode = self._sweep.mode
        return min(values, key=lambda value: cost(value, mode))

    def _value(self, result: RunResult) -> float:
        """Return the best value of a run that has ended."""
        requested = result.stop_requested
        if requested is None:  # programs other than `fit` do not report it
            requested = is_stop_requested(self._folder)
        if result.status == "stopped_early" and requested:
            self._trial.set_user_attr(REASON, read_stop_reason(self._folder))
            raise optuna.TrialPruned
        if self._sweep.metric is None:
            return 0.0  # Optuna requires one
        name, values = self._sweep.metric.name, self._values()
        if values:
            return self._best(values)
        is_logged = any(name in record.metrics for record in self._validations.records)
        if not is_logged and name not in result.metrics:
            raise TrialFailed(f"{name} was not logged")
        value = None if is_logged else result.metrics[name]
        if value is None:
            raise TrialFailed(f"{name} was never a number")
        return value

    def _unfinished(self, result: RunResult | None, reason: str) -> Exception:
        """Return what became of a trial whose process ended early."""
        if self._urgency():
            return TrialInterrupted()
        status = None if result is None else result.status
        if reason != "interrupted" and status not in ("interrupted", RUNNING):
            return TrialFailed(reason)
        # Another program interrupted or killed it.
        times = self._trial.user_attrs.get(INTERRUPTIONS, 0) + 1
        if times > MOST_INTERRUPTIONS:
            return TrialFailed(f"{reason}, {times} times")
        self._trial.set_user_attr(INTERRUPTIONS, times)
        return TrialInterrupted()
