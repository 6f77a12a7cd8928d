"""The trials that workers share: each is taken once, leased while it runs, and closed once."""

import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from time import monotonic
from typing import Any, Concatenate, ParamSpec, TypeVar

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from lightning_colorize.sweeps.hyperband import stop_reason
from lightning_colorize.sweeps.space import combination, sampler_of
from lightning_colorize.sweeps.storage import PATIENCE, answered
from lightning_colorize.sweeps.study import (
    EPOCH,
    INTERRUPTIONS,
    LEASE,
    REASON,
    RETRY_OF,
    SECONDS,
    Study,
    history_of,
    seconds_of,
)
from lightning_colorize.sweeps.trial import Outcome

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

STALE_AFTER = 60.0
"""Seconds without renewal after which a worker is considered dead."""

MOST_INTERRUPTIONS = 3
"""How often a trial that no worker interrupted is queued again."""

_STATES = {
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


@dataclass(frozen=True)
class TakenTrial:
    """A trial that this worker runs; `history` contains the values logged by earlier processes."""

    number: int
    id: int
    values: dict[str, Any]
    folder: Path
    history: list[float]


def _locked(
    section: Callable[Concatenate["TrialQueue", Arguments], Result],
) -> Callable[Concatenate["TrialQueue", Arguments], Result]:
    """Call a method under the study's lock; again from its start if the lock is lost."""

    @wraps(section)
    def locked(queue: "TrialQueue", /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        def call() -> Result:
            with queue._study.lock:
                return section(queue, *args, **kwargs)

        return queue._retry(call)

    return locked


class TrialQueue:
    """A worker's access to the trials of a study; calls survive a restart of the database.

    A lease of another worker that does not change for `stale_after` seconds is considered dead,
    by this worker's clock: clocks of machines may differ.
    """

    def __init__(self, study: Study, stale_after: float = STALE_AFTER) -> None:
        self.patience = PATIENCE  # seconds for which a database may be unreachable
        self._study = study
        self._storage = study.storage
        self._stale_after = stale_after
        # A name that this process has not used before.
        self._worker = secrets.token_hex(8)
        # Leases of other workers by trial id, and the time of their last change.
        self._seen: dict[int, tuple[Mapping[str, Any], float]] = {}

    @_locked
    def take(self) -> TakenTrial | None:
        """Take a trial; None if none is available at the moment."""
        study, sweep = self._study, self._study.sweep
        trials = study.trials()
        # By Optuna's number, which differs for a retried trial.
        waiting = {}
        for number, known in enumerate(trials):
            if known.state == TrialState.RUNNING and self._is_stale(known):
                self._storage.set_trial_state_values(known._trial_id, TrialState.WAITING)
            elif known.state != TrialState.WAITING:
                continue
            waiting[known.number] = number
        total = sweep.trial_count
        if not waiting and total is not None and len(trials) >= total:
            return None
        number = waiting[min(waiting)] if waiting else len(trials)
        study.inner.sampler = sampler_of(sweep.method, study.seed, number)
        if not waiting and sweep.method == "grid":
            study.inner.enqueue_trial(combination(sweep.parameters, number))
        # Optuna takes the first waiting trial, or creates one.
        trial = study.inner.ask()
        id_ = self._storage.get_trial_id_from_study_id_trial_number(study.id, trial.number)
        self._storage.set_trial_user_attr(id_, LEASE, self._lease())
        # A trial that was taken before has its values already.
        values = study.values_of(trial)
        for name, drawn in trial.params.items():
            # optuna-dashboard shows the value next to the probability that Optuna stores.
            if isinstance(drawn, float) and drawn != values[name]:
                # With a space: the name may be one of the attributes above.
                self._storage.set_trial_user_attr(id_, f"value of {name}", values[name])
        history = history_of(trials[number]) if waiting else []
        return TakenTrial(number, id_, values, study.folder_of(number), history)

    def all_ended(self) -> bool:
        """Return whether no worker has anything left to do."""
        trials = self._retry(self._study.trials)
        total = self._study.sweep.trial_count
        return (
            total is not None
            and len(trials) >= total
            and all(trial.state.is_finished() for trial in trials)
        )

    def stopped(self) -> str | None:
        """Return whether workers should stop, `after` their trial or `now`."""
        return self._retry(lambda: self._study.stopped)

    @_locked
    def renew(self, trial: TakenTrial) -> bool:
        """Renew the lease; returns False if another worker has taken the trial over."""
        if not self._is_mine(self._storage.get_trial(trial.id)):
            return False
        self._storage.set_trial_user_attr(trial.id, LEASE, self._lease())
        return True

    def report(self, trial: TakenTrial, index: int, value: float) -> None:
        """Store one logged value of the metric, NaN to retract it; idempotent."""
        self._write(lambda: self._storage.set_trial_intermediate_value(trial.id, index, value))

    def report_epoch(self, trial: TakenTrial, epoch: int) -> None:
        """Store the progress of a trial."""
        self._write(lambda: self._storage.set_trial_user_attr(trial.id, EPOCH, epoch))

    def stop_reason(self, trial: TakenTrial) -> str | None:
        """Return why hyperband stops a trial; None if it continues."""
        metric, rule = self._study.sweep.metric, self._study.sweep.early_terminate
        if metric is None or rule is None:
            return None
        histories = [history_of(known) for known in self._retry(self._study.trials)]
        own = histories.pop(trial.number)
        reason = stop_reason(own, histories, metric.mode, rule)
        return None if reason is None else f"hyperband: {metric.name} {reason}"

    @_locked
    def tell(self, trial: TakenTrial, outcome: Outcome) -> bool:
        """Close a trial, or queue it again if it was interrupted or returned.

        Return whether this worker still held the trial; if not, nothing is stored.
        """
        known = self._storage.get_trial(trial.id)
        if known.state.is_finished():
            # Already closed; the answer was lost.
            return self._has_my_lease(known)
        if not self._is_mine(known):
            return False
        if outcome.state == "interrupted":
            times = known.user_attrs.get(INTERRUPTIONS, 0) + 1
            if times <= MOST_INTERRUPTIONS:
                self._storage.set_trial_user_attr(trial.id, INTERRUPTIONS, times)
                outcome = Outcome("returned")
            else:
                outcome = Outcome("failed", reason=f"{outcome.reason}, {times} times")
        if outcome.state == "returned":
            self._storage.set_trial_user_attr(trial.id, SECONDS, seconds_of(known))
            self._storage.set_trial_state_values(trial.id, TrialState.WAITING)
            return True
        if outcome.reason is not None:
            self._storage.set_trial_user_attr(trial.id, REASON, outcome.reason)
        value = outcome.value
        if value is None and outcome.state == "finished":
            value = 0.0  # Optuna requires a value even if the sweep has no metric.
        values = None if value is None else [value]
        self._storage.set_trial_state_values(trial.id, _STATES[outcome.state], values)
        return True

    @_locked
    def retry_failed(self) -> int:
        """Queue all failed trials again; returns their number."""
        trials = enumerate(self._study.trials())
        failed = [(number, known) for number, known in trials if known.state == TrialState.FAIL]
        for number, known in failed:
            again = create_trial(
                state=TrialState.WAITING,
                params=known.params,
                distributions=known.distributions,
                user_attrs={RETRY_OF: number, SECONDS: seconds_of(known)},
            )
            self._storage.create_new_trial(self._study.id, again)
        return len(failed)

    def _lease(self) -> dict[str, Any]:
        machine, pid = _machine(), os.getpid()
        return {"worker": self._worker, "machine": machine, "pid": pid, "renewed": time.time()}

    def _has_my_lease(self, known: FrozenTrial) -> bool:
        lease: Mapping[str, Any] | None = known.user_attrs.get(LEASE)
        return lease is not None and lease["worker"] == self._worker

    def _is_mine(self, known: FrozenTrial) -> bool:
        return known.state == TrialState.RUNNING and self._has_my_lease(known)

    def _is_stale(self, known: FrozenTrial) -> bool:
        lease: Any = known.user_attrs.get(LEASE)
        if is_dead(lease):
            return True
        before, since = self._seen.get(known._trial_id, (None, 0.0))
        if lease == before:
            return monotonic() - since > self._stale_after
        self._seen[known._trial_id] = lease, monotonic()
        return False

    def _write(self, call: Callable[[], None]) -> None:
        # A worker that took the trial over may have closed it: the next renewal reports that.
        with suppress(UpdateFinishedTrialError):
            self._retry(call)

    def _retry(self, call: Callable[[], Result]) -> Result:
        # No worker could renew its lease: all leases start again once the database answers.
        return answered(call, lambda: self.patience, self._seen.clear)


def is_dead(lease: Mapping[str, Any] | None) -> bool:
    """Return whether a lease's holder is certainly gone.

    If the caller holds the study's lock, a missing lease means that a worker was killed between
    taking a trial and signing it.
    """
    if lease is None:
        return True
    if lease["machine"] is None or lease["machine"] != _machine():
        return False
    try:
        os.kill(lease["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _machine() -> str | None:
    """Return an id shared by processes that see each other's PIDs: boot and PID namespace.

    A host name is not enough: containers on two machines may share it.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return None
