"""A worker: takes trials one after the other, and runs each as a process."""

import argparse
import os
import sys
import time
from collections.abc import Sequence

from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.sweeps.attempt import Attempt, Terms
from lightning_colorize.sweeps.lease import STALE_AFTER
from lightning_colorize.sweeps.process import STUDY
from lightning_colorize.sweeps.signals import noted
from lightning_colorize.sweeps.study import Study, open_study
from lightning_colorize.sweeps.trials import Trials

# Seconds.
_ASK_WHETHER_STOPPED_EVERY = 2.0
_IDLE = 1.0
_PATIENCE_ONCE_SIGNALLED = 10.0

_MOST_FAILURES = 5  # in a row; as W&B's agent


def work(study: Study, terms: Terms | None = None, stale_after: float = STALE_AFTER) -> int:
    """Run trials until none is left, the sweep is stopped, or a signal says to end.

    To be called in the main thread of a process that does nothing else.

    Args:
        study: Whose trials.
        terms: How they are run.
        stale_after: Seconds without a sign of life after which another worker's trial is taken
            over.

    Returns:
        0, or after SIGINT 130, after SIGTERM 143.

    Raises:
        WorkError: If the study's database is away for minutes, a trial cannot be started for
            reasons that are not its own, or several in a row have failed at their start.
    """
    worker = _Worker(study, terms or Terms(), stale_after)
    with noted(worker.hear):
        return worker.work()


class _Worker:
    def __init__(self, study: Study, terms: Terms, stale_after: float) -> None:
        self._study = study
        self._terms = terms
        self._trials = Trials(study, stale_after)
        self._failures: list[str] = []
        self._signals: list[int] = []
        self._stopped: str | None = None
        self._asked = float("-inf")

    def hear(self, number: int) -> None:
        self._signals.append(number)
        self._trials.patience = _PATIENCE_ONCE_SIGNALLED

    def work(self) -> int:
        while not self._signals:
            if self._is_stopped():
                return 0
            trial = self._trials.take()
            if trial is not None:
                attempt = Attempt(self._study, self._trials, trial, self._terms, self._urgency)
                self._count(attempt.run())
            elif self._trials.all_ended():
                return 0
            else:
                # Another worker may die and leave its trial.
                time.sleep(min(_IDLE, self._terms.renew_every))
        return 128 + self._signals[0]

    def _count(self, failure: str | None) -> None:
        """End where each trial fails at its start: the next ones would too."""
        self._failures = [] if failure is None else [*self._failures, failure]
        if len(self._failures) == _MOST_FAILURES:
            again = self._study.command("resume", "--retry-failed")
            raise WorkError(
                f"{_MOST_FAILURES} trials in a row have failed at their start, the last one with "
                f"'{failure}'; once that is mended: {again}"
            )

    def _is_stopped(self) -> bool:
        self._asked = time.monotonic()
        self._stopped = self._trials.stopped()
        return self._stopped is not None

    def _urgency(self) -> int:
        """Return 0 to let a trial run, 1 to interrupt it, 2 to kill it."""
        if time.monotonic() - self._asked >= _ASK_WHETHER_STOPPED_EVERY and not self._signals:
            self._is_stopped()
        return min(2, len(self._signals)) or int(self._stopped == "now")


def main(argv: Sequence[str] | None = None) -> int:
    """Be a worker of the study that the environment names; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="the sweep's")
    parser.add_argument("--devices", help="GPUs that trials see, separated by commas; '' for none")
    parser.add_argument("--threads", type=int, help="of a trial's libraries")
    arguments = parser.parse_args(argv)
    devices = arguments.devices
    terms = Terms(
        devices=None if devices is None else [name for name in devices.split(",") if name],
        threads=arguments.threads,
    )
    try:
        return work(open_study(os.environ[STUDY], arguments.name), terms)
    except (UsageError, WorkError, OSError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1


if __name__ == "__main__":
    sys.exit(main())
