"""A study's trials as plain rows: what tables, reports and exports are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from lightning_colorize.sweeps.hyperband import Goal, cost
from lightning_colorize.sweeps.lease import STALE_AFTER, is_dead, is_old
from lightning_colorize.sweeps.records import (
    EPOCH,
    LEASE,
    REASON,
    history_of,
    latest,
    seconds_of,
    values_of,
)
from lightning_colorize.sweeps.study import Study

State = Literal["waiting", "running", "finished", "pruned", "failed"]

_STATES: dict[TrialState, State] = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True)
class TrialRow:
    """A trial.

    Attributes:
        number: From 0, in the order in which trials were made.
        state: A trial whose worker is gone is waiting for another.
        values: By dotted name, in the file's order.
        value: Best value of the metric; None before the end, and where there is none.
        epoch: Of the last validation.
        reason: Why it did not finish.
        folder: Its run folder.
        seconds: How long it ran, all attempts together; None before the first.
        history: The metric's values that were logged.
    """

    number: int
    state: State
    values: dict[str, Any]
    value: float | None
    epoch: int | None
    reason: str | None
    folder: Path
    seconds: float | None
    history: list[float]


def rows(study: Study) -> list[TrialRow]:
    """Return all trials, by number."""
    trials = study.storage.get_all_trials(study.id, deepcopy=False)
    return [_row(study, number, trial) for number, trial in enumerate(latest(trials))]


def best(all_rows: Sequence[TrialRow], goal: Goal) -> TrialRow | None:
    """Return the finished trial with the best value, the first of several; None without any."""
    finished = [(row.value, row) for row in all_rows if row.state == "finished"]
    valued = [(value, row) for value, row in finished if value is not None]
    return min(valued, key=lambda pair: cost(pair[0], goal))[1] if valued else None


def _row(study: Study, number: int, trial: FrozenTrial) -> TrialRow:
    known = trial.user_attrs
    state = _STATES[trial.state]
    reason = known.get(REASON)
    lease = known.get(LEASE)
    # One without a lease is being taken right now.
    if state == "running" and lease and (is_dead(lease) or is_old(lease, STALE_AFTER)):
        state, reason = "waiting", "its worker is gone"
    has_value = study.sweep.metric is not None and trial.values is not None
    return TrialRow(
        number=number,
        state=state,
        # Those of a trial that is being taken now are not chosen yet.
        values=values_of(study.sweep, trial) if _is_chosen(study, trial) else {},
        value=trial.values[0] if has_value else None,
        epoch=known.get(EPOCH),
        reason=reason,
        folder=study.folder_of(number),
        seconds=seconds_of(trial),
        history=history_of(trial),
    )


def _is_chosen(study: Study, trial: FrozenTrial) -> bool:
    return all(
        parameter.constant or name in trial.params
        for name, parameter in study.sweep.parameters.items()
    )
