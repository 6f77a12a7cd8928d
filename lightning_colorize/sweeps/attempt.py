"""One run of a trial's process, from its start to what is told of it."""

import errno
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lightning_colorize.common.errors import WorkError
from lightning_colorize.common.files import write_atomic
from lightning_colorize.runs.folder import STOP, is_running
from lightning_colorize.sweeps.command import expand
from lightning_colorize.sweeps.hyperband import RungResult
from lightning_colorize.sweeps.lease import RENEW_EVERY
from lightning_colorize.sweeps.outcome import History, Outcome, ended, judge, stamp
from lightning_colorize.sweeps.process import TrialProcess
from lightning_colorize.sweeps.study import Study
from lightning_colorize.sweeps.trials import TakenTrial, Trials

_LOOK_EVERY = 0.2
_AT_THE_START = 60.0
_NO_PROGRAM = (errno.ENOENT, errno.EACCES, errno.ENOEXEC)


@dataclass(frozen=True)
class Terms:
    """How a worker runs its trials.

    Attributes:
        devices: The GPUs that they see; None for all of the worker's.
        threads: How many threads their libraries may use; None for as many as they like.
        renew_every: Seconds between two renewals of the lease.
        grace: Seconds to write a checkpoint when a trial is interrupted. A cluster kills 30 s
            after it has asked to end.
    """

    devices: Sequence[str] | None = None
    threads: int | None = None
    renew_every: float = RENEW_EVERY
    grace: float = 25.0


class Attempt:
    """A taken trial on its way through this worker.

    Args:
        study: The trial's.
        trials: This worker's access to it.
        trial: Taken.
        terms: How to run it.
        urgency: Asked some times a second: 0 to go on, 1 to interrupt, 2 to kill.
    """

    def __init__(
        self,
        study: Study,
        trials: Trials,
        trial: TakenTrial,
        terms: Terms,
        urgency: Callable[[], int],
    ) -> None:
        self._study = study
        self._sweep = study.sweep
        self._trials = trials
        self._trial = trial
        self._terms = terms
        self._urgency = urgency
        self._metric = None if study.sweep.metric is None else study.sweep.metric.name
        self._history = History(trial.folder, self._metric)
        self._reported = trial.history
        self._begun = time.monotonic()
        self._renewed = time.monotonic()
        self._is_mine = True
        self._interrupted = False

    def run(self) -> str | None:
        """Run the trial and tell how it went; put it back into the queue if it is interrupted.

        Returns:
            Why it failed at its start, within a minute and before its first validation, as others
            may for the same reason; None for all else.

        Raises:
            WorkError: If it cannot be run for reasons that are not its own; it is put back.
        """
        try:
            outcome = self._outcome()
        except OSError as error:
            self._trials.give_back(self._trial)
            raise WorkError(
                f"trial {self._trial.number} cannot be run here ({error}); "
                f"once that is mended: {self._study.command('resume')}"
            ) from None
        if outcome is None:
            self._trials.give_back(self._trial)
            return None
        self._trials.tell(self._trial, outcome)
        at_once = time.monotonic() - self._begun < _AT_THE_START and self._history.epoch is None
        return outcome.reason if outcome.state == "failed" and at_once else None

    def _outcome(self) -> Outcome | None:
        """Return how the trial ended; None if this worker has interrupted it."""
        folder, metric = self._trial.folder, self._sweep.metric
        if not self._is_free():
            return None
        self._report()
        if ended(folder):
            # Whoever ran it was killed, or asleep, before it could tell.
            return judge(folder, self._history, metric, None, True, "")
        before = stamp(folder)
        words = expand(self._sweep, self._trial.values)
        try:
            process = TrialProcess(
                words,
                folder,
                self._study.start,
                self._sweep.name,
                self._terms.devices,
                self._terms.threads,
            )
        except OSError as error:
            if error.filename != words[0] or error.errno not in _NO_PROGRAM:
                raise
            return Outcome("failed", reason=f"{words[0]} cannot be run: {error.strerror}")
        try:
            code = self._watch(process)
        finally:
            process.end(self._terms.grace)
        has_result = stamp(folder) != before
        if self._interrupted and not (has_result and ended(folder)):
            return None
        last_line = process.last_line()
        outcome = judge(folder, self._history, metric, code, has_result, last_line)
        # A cluster signals the trial when it signals the worker, and the trial may be faster.
        return None if outcome.state == "interrupted" and self._urgency() else outcome

    def _is_free(self) -> bool:
        """Wait until a process that outlived its worker has written its checkpoint."""
        while is_running(self._trial.folder):
            self._keep()
            if self._urgency() or not self._is_mine:
                return False
            time.sleep(_LOOK_EVERY)
        return True

    def _watch(self, process: TrialProcess) -> int:
        """Look after a process until it has ended; returns its exit code."""
        kill_at = float("inf")
        while (code := process.wait(_LOOK_EVERY)) is None:
            self._keep()
            if self._report():
                self._stop_if_behind()
            urgency = self._urgency()
            if (urgency or not self._is_mine) and not self._interrupted:
                self._interrupted = True
                process.terminate()
                kill_at = time.monotonic() + self._terms.grace
            elif urgency > 1 or time.monotonic() > kill_at:
                process.kill()
        self._report()
        return code

    def _keep(self) -> None:
        """Renew the lease when it is time."""
        if self._is_mine and time.monotonic() - self._renewed >= self._terms.renew_every:
            self._is_mine = self._trials.renew(self._trial)
            self._renewed = time.monotonic()

    def _report(self) -> bool:
        """Report what the run has logged; returns whether there is anything new."""
        is_new, values = self._history.read(), self._history.values
        if not is_new and values == self._reported:
            return False
        for index, value in enumerate(values):
            if self._reported[index : index + 1] != [value]:
                self._trials.report(self._trial, index, value)
        for index in range(len(values), len(self._reported)):
            self._trials.take_back(self._trial, index)
        self._reported = values
        if self._history.epoch is not None:
            self._trials.report_epoch(self._trial, self._history.epoch)
        return True

    def _stop_if_behind(self) -> None:
        behind = self._trials.behind(self._trial)
        if behind is not None and not (self._trial.folder / STOP).exists():
            write_atomic(self._trial.folder / STOP, self._reason(behind))

    def _reason(self, behind: RungResult) -> str:
        return (
            f"hyperband: {self._metric} {behind.value:.5g} is behind {behind.threshold:.5g} "
            f"at validation {behind.band}\n"
        )
