"""The trials of a study as a worker deals with them: taken once, kept while he lives, told once."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from lightning_colorize.sweeps.hyperband import RungResult, rung_result
from lightning_colorize.sweeps.lease import STALE_AFTER, Holder, is_dead
from lightning_colorize.sweeps.outcome import Outcome
from lightning_colorize.sweeps.records import (
    AGAIN,
    EPOCH,
    INTERRUPTIONS,
    LEASE,
    REASON,
    SECONDS,
    history_of,
    latest,
    seconds_of,
    values_of,
)
from lightning_colorize.sweeps.retry import first_line, patiently
from lightning_colorize.sweeps.space import combination_keys, sampler_of
from lightning_colorize.sweeps.study import Study

Result = TypeVar("Result")

MOST_INTERRUPTIONS = 3
"""How often a trial that nobody here interrupted goes back into the queue."""

_STATES = {
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
_PATIENCE = 300.0


@dataclass(frozen=True)
class TakenTrial:
    """A trial that this worker runs.

    Attributes:
        number: From 0, in the order in which trials were made.
        id: Its number in the storage.
        values: By dotted name, in the file's order.
        folder: Its run folder.
        history: The metric's values that earlier attempts have logged.
    """

    number: int
    id: int
    values: dict[str, Any]
    folder: Path
    history: list[float]


class Trials:
    """A worker's access to a study; calls go on through a restart of the database.

    Args:
        study: Whose trials.
        stale_after: Seconds after which another worker's trial is taken over if its lease is still
            what it was. They are this worker's own: clocks of machines may differ.

    Attributes:
        patience: Seconds for which a database may be away.
    """

    def __init__(self, study: Study, stale_after: float = STALE_AFTER) -> None:
        self.patience = _PATIENCE
        self._study = study
        self._storage = study.storage
        self._stale_after = stale_after
        self._holder = Holder.me()
        # Others' leases, by the trial's id, and since when they are what they are.
        self._seen: dict[int, tuple[Mapping[str, Any], float]] = {}
        self._failed_at = float("-inf")

    def take(self) -> TakenTrial | None:
        """Return a trial that is now this worker's; None if there is none to be had now."""
        return self._in_turn(self._take)

    def all_ended(self) -> bool:
        """Return whether there is nothing left to do, for no worker."""
        trials = latest(self._patiently(self._all))
        total = self._study.sweep.trial_count
        return (
            total is not None
            and len(trials) >= total
            and all(trial.state.is_finished() for trial in trials)
        )

    def stopped(self) -> str | None:
        """Return whether workers are told to end, `after` their trial or `now`."""
        return self._patiently(lambda: self._study.stopped)

    def renew(self, trial: TakenTrial) -> bool:
        """Say that this worker lives; returns False if the trial is not its own any more."""
        return self._in_turn(lambda: self._renew(trial))

    def report(self, trial: TakenTrial, index: int, value: float) -> None:
        """Store one logged value of the metric; once more is harmless."""
        self._write(lambda: self._storage.set_trial_intermediate_value(trial.id, index, value))

    def take_back(self, trial: TakenTrial, index: int) -> None:
        """Let a logged value be none: the run that had it has begun anew."""
        self.report(trial, index, math.nan)

    def report_epoch(self, trial: TakenTrial, epoch: int) -> None:
        """Store how far a trial is."""
        self._write(lambda: self._storage.set_trial_user_attr(trial.id, EPOCH, epoch))

    def behind(self, trial: TakenTrial) -> RungResult | None:
        """Return where a trial falls behind so that it is to be stopped; None if it goes on."""
        metric, rule = self._study.sweep.metric, self._study.sweep.early_terminate
        if metric is None or rule is None:
            return None
        histories = [history_of(known) for known in latest(self._patiently(self._all))]
        own = histories.pop(trial.number)
        judged = rung_result(own, histories, metric.goal, rule)
        return judged if judged is not None and judged.behind else None

    def tell(self, trial: TakenTrial, outcome: Outcome) -> bool:
        """Close a trial, or put it back into the queue if it was interrupted.

        Returns:
            Whether it was still this worker's; if not, nothing is told.
        """
        return self._in_turn(lambda: self._tell(trial, outcome))

    def give_back(self, trial: TakenTrial) -> bool:
        """Put a trial back into the queue that this worker interrupted itself; as `tell`."""
        return self._in_turn(lambda: self._give_back(trial))

    def retry_failed(self) -> int:
        """Put all failed trials into the queue once more; returns how many there are."""
        return self._in_turn(self._retry_failed)

    def _take(self) -> TakenTrial | None:
        trials = latest(self._all())
        # By Optuna's number, which is another for what is tried again.
        waiting = {}
        for number, known in enumerate(trials):
            if known.state == TrialState.RUNNING and self._is_stale(known):
                self._requeue(known._trial_id)
            elif known.state != TrialState.WAITING:
                continue
            waiting[known.number] = number
        total = self._study.sweep.trial_count
        if not waiting and total is not None and len(trials) >= total:
            return None
        number = waiting[min(waiting)] if waiting else len(trials)
        sweep, inner = self._study.sweep, self._study.inner
        inner.sampler = sampler_of(sweep.method, self._study.seed, number)
        if not waiting and sweep.method == "grid":
            inner.enqueue_trial(combination_keys(sweep.parameters, number))
        # Optuna's takes the first that waits, or makes one.
        trial = inner.ask()
        id_ = self._storage.get_trial_id_from_study_id_trial_number(self._study.id, trial.number)
        self._storage.set_trial_user_attr(id_, LEASE, self._holder.lease())
        # One that was taken before has its values already.
        values = values_of(sweep, trial)
        history = history_of(trials[number]) if waiting else []
        return TakenTrial(number, id_, values, self._study.folder_of(number), history)

    def _retry_failed(self) -> int:
        failed = [
            (number, known)
            for number, known in enumerate(latest(self._all()))
            if known.state == TrialState.FAIL
        ]
        for number, known in failed:
            again = create_trial(
                state=TrialState.WAITING,
                params=known.params,
                distributions=known.distributions,
                user_attrs={AGAIN: number, SECONDS: seconds_of(known)},
            )
            self._storage.create_new_trial(self._study.id, again)
        return len(failed)

    def _renew(self, trial: TakenTrial) -> bool:
        if not self._is_mine(self._storage.get_trial(trial.id)):
            return False
        self._storage.set_trial_user_attr(trial.id, LEASE, self._holder.lease())
        return True

    def _tell(self, trial: TakenTrial, outcome: Outcome) -> bool:
        known = self._storage.get_trial(trial.id)
        if known.state.is_finished():
            # Told before, and the answer was lost.
            return self._signed(known)
        if not self._is_mine(known):
            return False
        if outcome.state == "interrupted":
            times = known.user_attrs.get(INTERRUPTIONS, 0) + 1
            if times <= MOST_INTERRUPTIONS:
                self._storage.set_trial_user_attr(trial.id, INTERRUPTIONS, times)
                return self._give_back(trial)
            outcome = Outcome("failed", reason=f"{outcome.reason}, {times} times")
        if outcome.reason is not None:
            self._storage.set_trial_user_attr(trial.id, REASON, outcome.reason)
        value = outcome.value
        if value is None and outcome.state == "finished":
            value = 0.0  # Optuna wants one; only a sweep without metric has none.
        values = None if value is None else [value]
        self._storage.set_trial_state_values(trial.id, _STATES[outcome.state], values)
        return True

    def _give_back(self, trial: TakenTrial) -> bool:
        known = self._storage.get_trial(trial.id)
        if not self._is_mine(known):
            return False
        self._storage.set_trial_user_attr(trial.id, SECONDS, seconds_of(known))
        self._requeue(trial.id)
        return True

    def _requeue(self, id_: int) -> None:
        self._storage.set_trial_state_values(id_, TrialState.WAITING)

    def _all(self) -> Sequence[FrozenTrial]:
        # A copy of each of many trials would take longer than all the rest.
        return self._storage.get_all_trials(self._study.id, deepcopy=False)

    def _signed(self, known: FrozenTrial) -> bool:
        lease: Mapping[str, Any] | None = known.user_attrs.get(LEASE)
        return lease is not None and lease["worker"] == self._holder.worker

    def _is_mine(self, known: FrozenTrial) -> bool:
        return known.state == TrialState.RUNNING and self._signed(known)

    def _is_stale(self, known: FrozenTrial) -> bool:
        lease: Any = known.user_attrs.get(LEASE)
        if is_dead(lease):
            return True
        was, since = self._seen.get(known._trial_id, (None, 0.0))
        if lease == was:
            return monotonic() - since > self._stale_after
        self._seen[known._trial_id] = lease, monotonic()
        return False

    def _write(self, call: Callable[[], None]) -> None:
        # Closed by a worker who took it over while this one was asleep: the next renewal tells.
        with suppress(UpdateFinishedTrialError):
            self._patiently(call)

    def _in_turn(self, section: Callable[[], Result]) -> Result:
        """Do something under the study's lock; again from its beginning if the lock is lost."""

        def locked() -> Result:
            with self._study.lock:
                return section()

        return self._patiently(locked)

    def _patiently(self, call: Callable[[], Result]) -> Result:
        return patiently(call, lambda: self.patience, self._failed)

    def _failed(self, error: Exception) -> None:
        # Nobody could renew: the others get the time to do it once it answers.
        self._seen.clear()
        was_well = monotonic() - self._failed_at > self._stale_after
        self._failed_at = monotonic()
        if was_well:
            said = first_line(error)
            print(f"the study's database does not answer ({said}); trying again", file=sys.stderr)
