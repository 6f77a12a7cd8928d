"""A worker: takes trials one after the other and runs each as a process."""

import errno
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from lightning_colorize.cluster.queue import call
from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.runs.folder import is_running, request_stop
from lightning_colorize.sweeps.queue import STALE_AFTER, TakenTrial, TrialQueue
from lightning_colorize.sweeps.storage import answered
from lightning_colorize.sweeps.study import Study, open_study
from lightning_colorize.sweeps.trial import (
    GRACE,
    STUDY,
    Outcome,
    TrialProcess,
    TrialRun,
    clean,
    expand,
)

# Seconds.
_CHECK_STOPPED_EVERY = 2.0
_POLL_EVERY = 0.2
_IDLE = 1.0
_START_PHASE = 60.0
_PATIENCE_ONCE_SIGNALED = 10.0

IN_JOB = "--in-job"
"""Argument of a worker that is a Slurm job."""

_MOST_FAILURES = 5  # in a row; same as W&B's agent
_NO_PROGRAM = (errno.ENOENT, errno.EACCES, errno.ENOEXEC)
_RETURNED = Outcome("returned")


@dataclass(frozen=True)
class WorkerOptions:
    """Times of a worker, in seconds."""

    renew_every: float = 10.0  # between two renewals of the trial's lease
    stale_after: float = STALE_AFTER  # without a renewal; another worker then takes it over
    grace: float = GRACE  # for an interrupted trial to write a checkpoint


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


def work(study: Study, options: WorkerOptions | None = None) -> int:
    """Run trials until none is left, the sweep is stopped, or a signal arrives.

    Call it in the main thread of a process that does nothing else. Trials see its GPUs and its
    environment.

    Returns:
        0, or 130 after SIGINT, 143 after SIGTERM.

    Raises:
        WorkError: If the study's database is unreachable for minutes, a trial cannot be started for
            reasons that are not its own, or several in a row failed at their start.
    """
    worker = _Worker(study, options or WorkerOptions())
    with caught_signals(worker.handle):
        return worker.work()


class _Worker:
    def __init__(self, study: Study, options: WorkerOptions) -> None:
        self._study = study
        self._options = options
        self._queue = TrialQueue(study, options.stale_after)
        self._failures = 0
        self._signals: list[int] = []
        self._stopped: str | None = None
        self._checked = float("-inf")

    def handle(self, number: int) -> None:
        self._signals.append(number)
        self._queue.patience = _PATIENCE_ONCE_SIGNALED

    def work(self) -> int:
        while not self._signals:
            if self._is_stopped():
                return 0
            trial = self._queue.take()
            if trial is not None:
                self._run(trial)
            elif self._queue.all_ended():
                return 0
            else:
                # Another worker may die and release its trial.
                time.sleep(min(_IDLE, self._options.renew_every))
        return 128 + self._signals[0]

    def _run(self, trial: TakenTrial) -> None:
        """Run a trial and store its outcome."""
        runner = TrialRunner(self._study, self._queue, trial, self._options, self._urgency)
        try:
            outcome = runner.run()
        except OSError as error:
            self._queue.tell(trial, _RETURNED)
            raise WorkError(
                f"trial {trial.number} cannot be run here ({error}); "
                f"when that is fixed: {self._study.command('resume')}"
            ) from None
        self._queue.tell(trial, outcome)
        self._failures = self._failures + 1 if outcome.state == "failed" and runner.at_start else 0
        if self._failures == _MOST_FAILURES:
            again = self._study.command("resume", "--retry-failed")
            raise WorkError(
                f"{_MOST_FAILURES} trials in a row failed at their start, the last one with "
                f"'{outcome.reason}'; when that is fixed: {again}"
            )

    def _is_stopped(self) -> bool:
        self._checked = time.monotonic()
        self._stopped = self._queue.stopped()
        return self._stopped is not None

    def _urgency(self) -> int:
        """Return 0 to let a trial run, 1 to interrupt it, 2 to kill it."""
        if time.monotonic() - self._checked >= _CHECK_STOPPED_EVERY and not self._signals:
            self._is_stopped()
        return min(2, len(self._signals)) or int(self._stopped == "now")


class TrialRunner:
    """Runs a taken trial: starts its process, reads its run folder, reports its values.

    `urgency` is polled several times a second: 0 to continue, 1 to interrupt, 2 to kill.
    """

    def __init__(
        self,
        study: Study,
        queue: TrialQueue,
        trial: TakenTrial,
        options: WorkerOptions,
        urgency: Callable[[], int],
    ) -> None:
        self._study = study
        self._queue = queue
        self._trial = trial
        self._options = options
        self._urgency = urgency
        self._run = TrialRun(trial.folder, study.sweep.metric)
        self._reported = trial.history
        self._started = self._renewed = time.monotonic()
        self._is_mine = True
        self._interrupted = False

    @property
    def at_start(self) -> bool:
        """Whether it started within the last minute and has not validated."""
        return time.monotonic() - self._started < _START_PHASE and self._run.epoch is None

    def run(self) -> Outcome:
        """Run the trial to its outcome.

        Raises:
            OSError: If it cannot be run for reasons that are not its own.
        """
        if not self._wait_until_free():
            return _RETURNED
        self._report()
        # Its worker was killed, or asleep, before it could close the trial.
        return self._run.outcome() or self._outcome_of_process()

    def _outcome_of_process(self) -> Outcome:
        self._run.mark_start()
        words = expand(self._study.sweep, self._trial.values)
        try:
            process = TrialProcess(
                words, self._trial.folder, self._study.start, self._study.sweep.name
            )
        except OSError as error:
            if error.filename != words[0] or error.errno not in _NO_PROGRAM:
                raise
            return Outcome("failed", reason=f"{words[0]} cannot be run: {error.strerror}")
        try:
            code = self._watch(process)
        finally:
            process.end(self._options.grace)
        if self._interrupted:
            return self._run.outcome() or _RETURNED
        outcome = self._run.outcome(code, process.last_line()) or _RETURNED
        # A cluster signals the trial along with the worker, and the trial may be faster.
        return _RETURNED if outcome.state == "interrupted" and self._urgency() else outcome

    def _wait_until_free(self) -> bool:
        """Wait until a process that outlived its worker has written its checkpoint."""
        while is_running(self._trial.folder):
            self._renew()
            if self._urgency() or not self._is_mine:
                return False
            time.sleep(_POLL_EVERY)
        return True

    def _watch(self, process: TrialProcess) -> int:
        """Watch a process until it has ended; returns its exit code."""
        kill_at = float("inf")
        while (code := process.wait(_POLL_EVERY)) is None:
            self._renew()
            if self._report() and (reason := self._queue.stop_reason(self._trial)) is not None:
                request_stop(self._trial.folder, reason)
            urgency = self._urgency()
            if (urgency or not self._is_mine) and not self._interrupted:
                self._interrupted = True
                process.terminate()
                kill_at = time.monotonic() + self._options.grace
            elif urgency > 1 or time.monotonic() > kill_at:
                process.kill()
        self._report()
        return code

    def _renew(self) -> None:
        if self._is_mine and time.monotonic() - self._renewed >= self._options.renew_every:
            self._is_mine = self._queue.renew(self._trial)
            self._renewed = time.monotonic()

    def _report(self) -> bool:
        """Report the logged values; returns whether there are new ones."""
        is_new, values = self._run.read(), self._run.values
        if not is_new and values == self._reported:
            return False
        for index, value in enumerate(values):
            if self._reported[index : index + 1] != [value]:
                self._queue.report(self._trial, index, value)
        for index in range(len(values), len(self._reported)):
            # The run has started over.
            self._queue.report(self._trial, index, math.nan)
        self._reported = values
        if self._run.epoch is not None:
            self._queue.report_epoch(self._trial, self._run.epoch)
        return True


def main() -> int:
    """Run a worker of the study in the environment and the sweep named by the first argument."""
    sweep, *more = sys.argv[1:]
    if IN_JOB not in more:
        return exit_code(lambda: _work(sweep))
    clean(os.environ, "SLURM_JOB_ID")
    return exit_code(lambda: in_job(lambda: _work(sweep)))


def exit_code(run: Callable[[], int]) -> int:
    """Run a process of a sweep; an error becomes one line and an exit code."""
    try:
        return run()
    except (UsageError, WorkError, OSError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1


def _work(sweep: str) -> int:
    return work(answered(lambda: open_study(os.environ[STUDY], sweep)))


def in_job(run: Callable[[], int]) -> int:
    """Run as a Slurm job: SIGUSR2 terminates `run`, like SIGTERM, then the job is requeued."""
    time_is_up = []

    def handle(number: int, frame: FrameType | None) -> None:
        time_is_up.append(number)
        signal.raise_signal(signal.SIGTERM)

    signal.signal(signal.SIGUSR2, handle)
    code = run()
    if time_is_up:
        job = os.environ["SLURM_JOB_ID"]
        done = call(["scontrol", "requeue", job])
        if done.returncode:
            raise WorkError(f"job {job} is not requeued: {done.stderr.strip()}")
    return code


if __name__ == "__main__":
    sys.exit(main())
