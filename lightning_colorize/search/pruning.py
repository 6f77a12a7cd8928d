"""Hyperband, asked by Optuna's name for it."""

from typing import Literal

from optuna import Study
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from lightning_colorize.search.hyperband import Standing, standing
from lightning_colorize.search.sweep_file import Hyperband


class HyperbandPruner(BasePruner):
    """W&B's early termination over a study's trials, whose steps count logged values.

    Args:
        goal: Which way is better.
        rule: The bands.
    """

    def __init__(self, goal: Literal["minimize", "maximize"], rule: Hyperband) -> None:
        self._goal = goal
        self._rule = rule

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Return whether a trial is to be stopped."""
        judged = self.standing(study, trial)
        return judged is not None and judged.behind

    def standing(self, study: Study, trial: FrozenTrial) -> Standing | None:
        """Return how a trial stands at the last band that it has passed; None before the first."""
        others = [
            history_of(other)
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number
        ]
        return standing(history_of(trial), others, self._goal, self._rule)


def history_of(trial: FrozenTrial) -> list[float]:
    """Return the logged values of a trial's metric, in their order."""
    return [value for _, value in sorted(trial.intermediate_values.items())]
