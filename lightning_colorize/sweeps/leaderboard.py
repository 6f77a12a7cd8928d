"""The order of a sweep's trials, with those together that differ only in their seed."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from lightning_colorize.sweeps.hyperband import Goal, cost
from lightning_colorize.sweeps.status import TrialRow

SEED = "seed_everything"
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Place:
    """Finished trials of one configuration.

    Attributes:
        trials: One a seed, the best first.
        repeats: Further trials of a seed that is counted already.
        missing: Trials of further seeds that failed or were stopped early: `trials` may be the
            lucky ones.
        values: What they have in common, by dotted name.
        value: Mean of the metric over `trials`.
        spread: Its standard deviation (n - 1); None for a single trial.
        low: Lower end of the mean's t-interval over seeds; None for a single trial.
        high: Upper end.
    """

    trials: list[TrialRow]
    repeats: list[TrialRow]
    missing: list[TrialRow]
    values: dict[str, Any]
    value: float
    spread: float | None
    low: float | None
    high: float | None


def leaderboard(rows: Sequence[TrialRow], goal: Goal) -> list[Place]:
    """Return the configurations of all finished trials that have a value, the best first.

    Args:
        rows: All trials.
        goal: Which way is better.
    """
    groups: dict[str, list[TrialRow]] = {}
    for row in rows:
        others = {name: value for name, value in row.values.items() if name != SEED}
        groups.setdefault(json.dumps(others, sort_keys=True), []).append(row)
    places = [_place(group, goal) for group in groups.values() if any(map(_is_ranked, group))]
    return sorted(places, key=lambda place: cost(place.value, goal))


def winner(rows: Sequence[TrialRow], goal: Goal) -> TrialRow | None:
    """Return the best trial of the best configuration; None where none has finished."""
    places = leaderboard(rows, goal)
    return places[0].trials[0] if places else None


def _place(group: Sequence[TrialRow], goal: Goal) -> Place:
    by_seed: dict[str, TrialRow] = {}
    repeats = []
    for row in filter(_is_ranked, group):
        seed = _seed(row)
        if seed in by_seed:
            repeats.append(row)
        else:
            by_seed[seed] = row
    lost = {_seed(row): row for row in group if row.state in ("failed", "pruned")}
    missing = [row for seed, row in lost.items() if seed not in by_seed]
    trials = sorted(by_seed.values(), key=lambda row: cost(_value(row), goal))
    values = dict(trials[0].values)
    if len(trials) > 1:
        del values[SEED]
    scores = [_value(row) for row in trials]
    return Place(trials, repeats, missing, values, mean(scores), *_sureness(scores))


def _sureness(scores: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """Return standard deviation and the interval of the mean."""
    if len(scores) < 2:
        return None, None, None
    # Takes a while to import, and most sweeps have no seeds.
    from scipy.special import stdtrit

    spread = stdev(scores)
    t = float(stdtrit(len(scores) - 1, (1 + CONFIDENCE) / 2))
    half = t * spread / math.sqrt(len(scores))
    return spread, mean(scores) - half, mean(scores) + half


def _is_ranked(row: TrialRow) -> bool:
    return row.state == "finished" and row.value is not None


def _seed(row: TrialRow) -> str:
    return json.dumps(row.values.get(SEED))


def _value(row: TrialRow) -> float:
    assert row.value is not None
    return row.value
