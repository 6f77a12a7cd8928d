"""How a trial's values are chosen: by its number, the sweep's seed and what has been tried."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from lightning_colorize.sweeps import grid
from lightning_colorize.sweeps.parameters import Categorical
from lightning_colorize.sweeps.sweep_file import Sweep


def sampler_of(sweep: Sweep, seed: int, number: int) -> BaseSampler:
    """Return what chooses the values of one trial.

    Each trial has a random generator of its own. Were there one a worker, all workers would begin
    with the same values, and those of a trial would depend on who runs it.

    Args:
        sweep: What to choose from.
        seed: The sweep's.
        number: The trial's.
    """
    if sweep.method == "grid":
        return GridSampler(sweep, number)
    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    if sweep.method == "random":
        return RandomSampler(seed=own)
    return TPESampler(seed=own, multivariate=True, constant_liar=True)


def trials_in_all(sweep: Sweep) -> int | None:
    """Return how many trials a sweep has; None for no limit."""
    if sweep.method != "grid":
        return sweep.run_cap
    size = grid.size(sweep)
    return size if sweep.run_cap is None else min(size, sweep.run_cap)


class GridSampler(BaseSampler):
    """Trial number k is combination k.

    Optuna's own draws combinations at random, and may run one twice where workers are several.

    Args:
        sweep: Its method is grid.
        number: The trial's, which Optuna may call otherwise.
    """

    def __init__(self, sweep: Sweep, number: int) -> None:
        self._values = grid.combination(sweep, number)
        self._sweep = sweep

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return nothing: each parameter is looked up alone."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return nothing, as there is nothing to choose together."""
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return what stands in Optuna for the combination's value."""
        parameter = self._sweep.parameters[param_name]
        assert isinstance(parameter, Categorical)
        value = self._values[param_name]
        # By identity: True equals 1.
        index = next(i for i, choice in enumerate(parameter.choices) if choice is value)
        return parameter.keys[index]
