"""A worker: a process that runs a sweep's trials one after the other, each as Optuna's objective.

Downwards: `work` calls Optuna's `optimize` for one trial, `optimize` the objective, the objective
`_Trial.run`, which starts the trial's process in its run folder.
"""

import errno
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import optuna
from optuna.exceptions import StorageInternalError
from optuna.exceptions import UpdateFinishedTrialError as TrialFinished
from optuna.trial import FrozenTrial, TrialState

from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.runs.folder import (
    is_running,
    is_stop_requested,
    read_stop_reason,
    request_stop,
)
from lightning_colorize.runs.result import RUNNING, RunResult, Validation, read_validations
from lightning_colorize.sweeps.command_line import expand
from lightning_colorize.sweeps.labels import Labels
from lightning_colorize.sweeps.process import (
    INTERRUPTED,
    STUDY,
    caught_signals,
    ending,
    remove_launcher_variables,
    run_main,
    run_process,
)
from lightning_colorize.sweeps.study import (
    EPOCH,
    REASON,
    SECONDS,
    Study,
    database_message,
    is_database_error,
    lost_if_away,
    number_of,
    open_study,
    retry,
)

# Seconds.
_CHECK_STOPPED_EVERY = 2.0
_IDLE = 1.0
_POLL_EVERY = 0.2
_READ_EVERY = 1.0
_TICK_EVERY = 10.0
_START_PHASE = 60.0

_MOST_ERRORS = 10  # of the database, in a row
_MOST_FAILURES = 5  # in a row; same as W&B's agent
# How often a trial that no worker interrupted is queued again; an attribute counts them.
_MOST_INTERRUPTIONS, _INTERRUPTIONS = 3, "interruptions"

_NO_PROGRAM = (errno.ENOENT, errno.EACCES, errno.ENOEXEC)


class TrialFailed(Exception):
    """The trial's process failed: the message says why."""


class TrialInterrupted(Exception):
    """The trial did not end: another attempt resumes it."""


def work(study: Study) -> int:
    """Run trials until none is left, the sweep is stopped, or a signal arrives.

    Call it in the main thread of a process that does nothing else. Trials see its GPUs and its
    environment.

    Returns:
        0, or 130 after SIGINT, 143 after SIGTERM.

    Raises:
        WorkError: If the study's database stays unreachable, a trial cannot be started for
            reasons that are not its own, or several in a row failed at their start.
    """
    worker = _Worker(study)
    errors = 0
    with caught_signals(worker.signals.append):
        while not worker.signals:
            try:
                if not worker.run_next():
                    return 0
                errors = 0
            except Exception as error:
                # The server went away during a transaction. Optuna hides that behind other errors.
                errors += 1
                if not is_database_error(error):
                    raise
                if errors > _MOST_ERRORS:
                    raise WorkError(
                        f"the database is unreachable ({database_message(error)}); "
                        f"when it answers again: {study.command('resume')}"
                    ) from error
                time.sleep(_IDLE)
    return 128 + worker.signals[0]


class _Worker:
    def __init__(self, study: Study) -> None:
        self._study = study
        self.signals: list[int] = []
        self._failures = 0  # in a row, within a minute and before a validation
        self._error: Exception | None = None  # of the last trial, of a type that Optuna raises too
        self._has_begun = False  # whether Optuna has started the last trial
        self._interruption: str | None = None  # why it must be queued again
        self._obstacle: OSError | None = None  # which any trial would meet
        self._stopped: str | None = None
        self._checked = float("-inf")

    def run_next(self) -> bool:
        """Run a trial if one waits; returns False if there will be no more."""
        study = self._study
        self._stopped, self._checked = study.stopped, time.monotonic()
        if self._stopped:
            return False
        study.recover()
        states = {trial.state for trial in study.trials().values()}
        if study.sweep.trial_count is not None and TrialState.WAITING not in states:
            if study.all_ended():
                return False
            time.sleep(_IDLE)  # another worker may die, and its trial wait again
            return True
        self._has_begun = False
        try:
            study.optuna.optimize(
                self._objective,
                n_trials=1,
                catch=(TrialFailed, TrialInterrupted, TrialFinished),
                callbacks=[self._after],
            )
        except (ValueError, AssertionError) as error:
            if error is self._error or not self._has_begun:
                raise
            # Optuna refuses the outcome of a trial that another worker has taken over.
        if self._obstacle is not None:
            raise WorkError(
                f"trials cannot be run here ({self._obstacle}); "
                f"when that is fixed: {study.command('resume')}"
            )
        if self._failures == _MOST_FAILURES:
            raise WorkError(
                f"{_MOST_FAILURES} trials in a row failed at their start; the reasons are in "
                f"`{study.command('export')}`; when that is fixed: "
                f"{study.command('resume', '--retry-failed')}"
            )
        return True

    def _objective(self, trial: optuna.Trial) -> float:
        """Run a trial to its end; returns the best value of the metric."""
        self._interruption, self._has_begun = None, True
        if not self._study.is_ours(trial):
            raise TrialFinished
        # It failed and was queued again, with all its attributes.
        if trial.user_attrs.get(REASON) is not None:
            trial.set_user_attr(REASON, None)
            trial.set_user_attr(_INTERRUPTIONS, 0)
        attempt = _Trial(self._study, trial, self._urgency)
        try:
            value = attempt.run()
        except TrialFailed as error:
            trial.set_user_attr(REASON, str(error))
            self._failures = self._failures + 1 if attempt.is_at_start else 0
            raise
        except (OSError, StorageInternalError, TrialInterrupted) as error:
            self._obstacle = error if isinstance(error, OSError) else None
            self._interruption = (
                str(error) if isinstance(error, TrialInterrupted) else "interrupted"
            )
            raise TrialInterrupted from error
        except (ValueError, AssertionError) as error:
            self._error = error
            with suppress(TrialFinished):
                trial.set_user_attr(REASON, f"{type(error).__name__}: {error}")
            raise
        self._failures = 0
        return value

    def _after(self, study: optuna.Study, trial: FrozenTrial) -> None:
        if self._interruption is not None:
            retry(study, trial, self._interruption)

    def _urgency(self) -> int:
        """Return 0 to let a trial run, 1 to interrupt it, 2 to kill it."""
        now = time.monotonic()
        if now - self._checked >= _CHECK_STOPPED_EVERY and not self.signals:
            self._checked = now
            with lost_if_away():
                self._stopped = self._study.stopped
        return min(2, len(self.signals)) or int(self._stopped == "now")


class _Trial:
    """A trial, of which an earlier process may have left validations, a checkpoint or a result."""

    def __init__(self, study: Study, trial: optuna.Trial, urgency: Callable[[], int]) -> None:
        self._study = study
        self._sweep = study.sweep
        self._trial = trial
        self._urgency = urgency
        self._folder = study.folder_of(number_of(trial))
        self._validations: list[Validation] = []
        self._values: list[float] = []  # of the metric, finite ones
        self._reported = 0  # how many of them
        self._read = 0.0  # when
        self._earlier_seconds: float = trial.user_attrs.get(SECONDS, 0.0)
        self._began = self._ticked = time.monotonic()

    @property
    def is_at_start(self) -> bool:
        """Whether it started within the last minute and has not validated."""
        return time.monotonic() - self._began < _START_PHASE and not self._validations

    def run(self) -> float:
        """Return the value of the metric, or raise what became of the trial."""
        while is_running(self._folder):  # a process that outlived its worker
            self._tick()
            if self._urgency():
                raise TrialInterrupted("interrupted")
            time.sleep(_POLL_EVERY)
        values = self._study.values_of(self._trial)
        words, changes = expand(self._sweep, values), Labels(self._sweep).changes(values)
        self._report()
        result, reason = self._result(), "interrupted"
        if result is None or not result.ended:  # else its worker was killed before it could say so
            result, reason = self._run_process(words, changes)
        self._tick(0)
        if result is None or not result.ended:
            raise self._unfinished(result, reason)
        return self._value(result)

    def _run_process(self, words: list[str], changes: str) -> tuple[RunResult | None, str]:
        """Run the trial's process; returns its result, None without a new one, and its ending."""
        before = RunResult.stamp(self._folder)

        def tick() -> None:
            with lost_if_away():
                self._tick()
                if time.monotonic() - self._read >= _READ_EVERY:
                    with suppress(OSError):  # reported next time
                        self._report(process_runs=True)

        try:
            place = (self._folder, self._study.start, self._sweep.name)
            code, line = run_process(words, *place, self._urgency, tick, changes)
        except OSError as error:
            if error.filename != words[0] or error.errno not in _NO_PROGRAM:
                raise
            raise TrialFailed(f"{words[0]} cannot be run: {error.strerror}") from None
        self._report()
        result = self._result() if RunResult.stamp(self._folder) != before else None
        reason = f"{ending(code)}: {line or 'no output'}"
        return result, "interrupted" if code in INTERRUPTED else reason

    def _result(self) -> RunResult | None:
        if RunResult.stamp(self._folder) is None:  # or it raises that the folder is not usable
            return None
        try:
            return RunResult.read(self._folder)
        except UsageError as error:
            raise TrialFailed(str(error).removeprefix(f"{self._folder}{os.sep}")) from None

    def _tick(self, seconds: float = _TICK_EVERY) -> None:
        """Store the run time; this also finds out whether another worker has the trial.

        At first more often, so that a kill loses at most a tenth of the time.
        """
        now = time.monotonic()
        if now - self._ticked >= min(seconds, 0.1 * (now - self._began)):
            self._ticked = now
            self._trial.set_user_attr(SECONDS, self._earlier_seconds + now - self._began)

    def _report(self, process_runs: bool = False) -> None:
        """Report new values of the metric; stop a running process that is behind the others."""
        self._read = time.monotonic()
        before, self._validations = self._validations, read_validations(self._folder)
        metric, rule = self._sweep.metric, self._sweep.early_terminate
        name = "" if metric is None else metric.name
        logged = (record.metrics.get(name) for record in self._validations)
        self._values = [value for value in logged if value is not None]
        for step in range(self._reported + 1, len(self._values) + 1):
            value = self._values[step - 1]
            if rule is not None and not rule.strict:
                value = self._sweep.best_of(self._values[:step])
            self._trial.report(value, step)
            self._reported = step
            # Optuna also needs the rank of a run that has ended.
            if rule is not None and self._trial.should_prune() and process_runs:
                reason = f"hyperband: {name} {value:.5g} is behind at validation {step}"
                request_stop(self._folder, reason)
        if self._validations and self._validations != before:
            self._trial.set_user_attr(EPOCH, self._validations[-1].epoch)

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
        if self._values:
            return self._sweep.best_of(self._values)
        name = self._sweep.metric.name
        value = result.metrics.get(name)
        if value is None:
            logged = (result.metrics, *(record.metrics for record in self._validations))
            is_logged = any(name in metrics for metrics in logged)
            missing = "never a number" if is_logged else "not logged"
            raise TrialFailed(f"{name} was {missing}; to train again, remove its folder")
        return value

    def _unfinished(self, result: RunResult | None, reason: str) -> Exception:
        """Return what became of a trial whose process ended early."""
        if self._urgency():
            return TrialInterrupted("interrupted")
        status = None if result is None else result.status
        if reason != "interrupted" and status not in ("interrupted", RUNNING):
            return TrialFailed(reason)
        # Another program interrupted or killed it.
        times = self._trial.user_attrs.get(_INTERRUPTIONS, 0) + 1
        if times > _MOST_INTERRUPTIONS:
            return TrialFailed(f"{reason}, {times} times")
        self._trial.set_user_attr(_INTERRUPTIONS, times)
        cause = reason.partition(":")[0]
        return TrialInterrupted(f"{cause}, retried {times} of {_MOST_INTERRUPTIONS}")


def main() -> int:
    """Run a worker of the study in the environment and the sweep named by the first argument."""

    def run() -> int:
        remove_launcher_variables(os.environ, "SLURM_JOB_ID")
        return work(open_study(os.environ[STUDY], sys.argv[1], patient=True))

    return run_main(run)


if __name__ == "__main__":
    sys.exit(main())
