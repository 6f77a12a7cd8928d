"""A worker: a process that runs a sweep's trials one after the other."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial

from lightning_colorize.cluster.queue import call
from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.sweeps.process import STUDY, clean
from lightning_colorize.sweeps.study import Study, is_database_error, open_study, retry
from lightning_colorize.sweeps.trial import Objective, TrialFailed, TrialInterrupted

# Seconds.
_CHECK_STOPPED_EVERY = 2.0
_IDLE = 1.0

_MOST_ERRORS = 10  # of the database, in a row
_MOST_FAILURES = 5  # in a row; same as W&B's agent


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


def work(study: Study) -> int:
    """Run trials until none is left, the sweep is stopped, or a signal arrives.

    Call it in the main thread of a process that does nothing else. Trials see its GPUs and its
    environment.

    Returns:
        0, or 130 after SIGINT, 143 after SIGTERM.

    Raises:
        WorkError: If the study's database is unreachable for minutes, a trial cannot be started for
            reasons that are not its own, or several in a row failed at their start.
    """
    worker = _Worker(study)
    with caught_signals(worker.handle):
        return worker.work()


class _Worker:
    def __init__(self, study: Study) -> None:
        self._study = study
        self._objective = Objective(study, self._urgency)
        self._signals: list[int] = []
        self._stopped: str | None = None
        self._checked = float("-inf")

    def handle(self, number: int) -> None:
        self._signals.append(number)

    def work(self) -> int:
        errors = 0
        while not self._signals:
            try:
                if self._is_done():
                    return 0
                errors = 0
            except Exception as error:
                # The server went away during a transaction. Optuna hides that behind other errors.
                errors += 1
                if errors > _MOST_ERRORS or not is_database_error(error):
                    raise
                time.sleep(_IDLE)
        return 128 + self._signals[0]

    def _is_done(self) -> bool:
        """Run a trial if there is one; returns whether there will be no more."""
        study, objective = self._study, self._objective
        self._stopped, self._checked = study.stopped, time.monotonic()
        if self._stopped:
            return True
        study.recover()
        if study.sweep.trial_count is not None and not study.are_waiting():
            if study.all_ended():
                return True
            time.sleep(_IDLE)  # another worker may die, and its trial wait again
            return False
        try:
            study.optuna.optimize(
                objective,
                n_trials=1,
                catch=(TrialFailed, TrialInterrupted),
                callbacks=[self._after],
            )
        except (ValueError, AssertionError):
            # Optuna refuses the outcome of a trial that another worker has taken over.
            if not study.optuna.get_trials(deepcopy=False)[objective.trial].state.is_finished():
                raise
        if objective.obstacle is not None:
            raise WorkError(
                f"trials cannot be run here ({objective.obstacle}); "
                f"when that is fixed: {study.command('resume')}"
            )
        if objective.failures == _MOST_FAILURES:
            raise WorkError(
                f"{_MOST_FAILURES} trials in a row failed at their start; the reasons are in "
                f"`{study.command('export')}`; when that is fixed: "
                f"{study.command('resume', '--retry-failed')}"
            )
        return False

    def _after(self, study: optuna.Study, trial: FrozenTrial) -> None:
        if self._objective.is_interrupted:
            retry(study, trial)

    def _urgency(self) -> int:
        """Return 0 to let a trial run, 1 to interrupt it, 2 to kill it."""
        now = time.monotonic()
        if now - self._checked >= _CHECK_STOPPED_EVERY and not self._signals:
            self._checked = now
            with suppress(StorageInternalError):
                self._stopped = self._study.stopped
        return min(2, len(self._signals)) or int(self._stopped == "now")


def main_of(run: Callable[[], int]) -> int:
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


def main() -> int:
    """Run a worker of the study in the environment and the sweep named by the first argument."""

    def run() -> int:
        clean(os.environ, "SLURM_JOB_ID")
        return work(open_study(os.environ[STUDY], sys.argv[1], patient=True))

    return main_of(run)


if __name__ == "__main__":
    sys.exit(main())
