"""What a study keeps of a trial, beside what Optuna knows."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from optuna.trial import BaseTrial, FrozenTrial, TrialState

from lightning_colorize.sweeps.spec import Sweep

# Names of a trial's attributes.
LEASE, REASON, EPOCH, SECONDS = "lease", "reason", "epoch", "seconds"
INTERRUPTIONS, AGAIN = "interruptions", "again"


def latest(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return a sweep's trials, by number.

    Optuna opens no trial that has failed. One that is tried again is another trial there, which
    stands for the former: under its number, and thus in its folder and with its values.

    Args:
        trials: Optuna's, all of them, in their order.
    """
    by_number: list[FrozenTrial] = []
    for trial in trials:
        number = trial.user_attrs.get(AGAIN)
        if number is None:
            by_number.append(trial)
        else:
            by_number[number] = trial
    return by_number


def history_of(trial: FrozenTrial) -> list[float]:
    """Return the logged values of a trial's metric, in their order."""
    values = (value for _, value in sorted(trial.intermediate_values.items()))
    # Optuna deletes none: those that were taken back are NaN.
    return [value for value in values if math.isfinite(value)]


def seconds_of(trial: FrozenTrial) -> float | None:
    """Return how long a trial has run, all attempts together; None before the first."""
    earlier: float | None = trial.user_attrs.get(SECONDS)
    # What waits keeps the start of its last attempt.
    if trial.datetime_start is None or trial.state == TrialState.WAITING:
        return earlier
    last = (trial.datetime_complete or datetime.now()) - trial.datetime_start
    return (earlier or 0.0) + last.total_seconds()


def values_of(sweep: Sweep, trial: BaseTrial) -> dict[str, Any]:
    """Return a trial's values, in the file's order; Optuna chooses those that it has not yet."""
    return {name: parameter.suggest(trial, name) for name, parameter in sweep.parameters.items()}
