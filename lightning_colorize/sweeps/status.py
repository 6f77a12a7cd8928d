"""The state of a sweep: its trials as plain rows, the leaderboard, the time left, labels."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from statistics import mean, stdev
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from lightning_colorize.common.text import UNKNOWN, short_names
from lightning_colorize.metrics.spec import CONFIDENCE, Goal, cost
from lightning_colorize.runs.record import RunRecord
from lightning_colorize.sweeps.queue import STALE_AFTER, is_dead
from lightning_colorize.sweeps.space import Constant, Parameter, as_key, choices_of
from lightning_colorize.sweeps.spec import Sweep, SweepMetric
from lightning_colorize.sweeps.storage import answered
from lightning_colorize.sweeps.study import EPOCH, LEASE, REASON, Study, history_of, seconds_of

State = Literal["waiting", "running", "finished", "pruned", "failed"]

ENDED: tuple[State, ...] = ("finished", "pruned", "failed")
"""States of trials that have ended."""

SEED = "seed_everything"

_STATES: dict[TrialState, State] = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True)
class TrialRow:
    """A trial, by its number in the order of creation."""

    number: int
    state: State  # `waiting` also if its worker has died
    values: dict[str, Any]  # by dotted name, in the file's order
    value: float | None  # best value of the metric; None before the end, and without a metric
    epoch: int | None  # number of epochs up to the last validation
    reason: str | None
    folder: Path
    seconds: float | None  # total run time of its processes; None before the first
    history: list[float]  # the logged values of the metric


def rows(study: Study) -> list[TrialRow]:
    """Return all trials, by number; wait for a database that restarts.

    Raises:
        WorkError: If it is unreachable for minutes.
    """
    return answered(lambda: current_rows(study))


def current_rows(study: Study) -> list[TrialRow]:
    """Return all trials, by number; fail if the database does not answer."""
    return [_row(study, number, trial) for number, trial in enumerate(study.trials())]


def best(all_rows: Sequence[TrialRow], goal: Goal | None) -> TrialRow | None:
    """Return the finished trial with the best value, the first of several; None without any."""
    if goal is None:
        return None
    ranked = filter(_is_ranked, all_rows)
    return min(ranked, key=lambda row: cost(_value(row), goal), default=None)


def _row(study: Study, number: int, trial: FrozenTrial) -> TrialRow:
    known = trial.user_attrs
    state = _STATES[trial.state]
    reason = known.get(REASON)
    lease = known.get(LEASE)
    # A trial without a lease is being taken at this moment.
    if state == "running" and lease:
        is_stale = time.time() - float(lease["renewed"]) > STALE_AFTER
        if is_stale or is_dead(lease):
            state, reason = "waiting", "its worker is gone"
    parameters = study.sweep.parameters
    searched = [name for name, each in parameters.items() if not isinstance(each, Constant)]
    has_value = study.sweep.metric is not None and trial.values is not None
    return TrialRow(
        number=number,
        state=state,
        values=study.values_of(trial) if set(searched) <= trial.params.keys() else {},
        value=trial.values[0] if has_value else None,
        epoch=None if EPOCH not in known else known[EPOCH] + 1,
        reason=reason,
        folder=study.folder_of(number),
        seconds=seconds_of(trial),
        history=history_of(trial),
    )


@dataclass(frozen=True)
class LeaderboardEntry:
    """The finished trials of one configuration, which differ only in their seed."""

    trials: list[TrialRow]  # one per seed, the best first
    repeats: list[TrialRow]  # additional trials of a counted seed
    # Of other seeds, failed or stopped early, so `trials` may be a lucky selection.
    missing: list[TrialRow]
    values: dict[str, Any]  # their common values, by dotted name
    value: float  # mean of the metric over `trials`
    spread: float | None  # its standard deviation (n - 1); None for a single trial
    low: float | None  # ends of the mean's t-interval over seeds; None for a single trial
    high: float | None


def leaderboard(all_rows: Sequence[TrialRow], goal: Goal | None) -> list[LeaderboardEntry]:
    """Return the configurations of all finished trials, the best first; none without a metric."""
    if goal is None:
        return []
    groups: dict[str, list[TrialRow]] = {}
    for row in all_rows:
        others = {name: value for name, value in row.values.items() if name != SEED}
        groups.setdefault(json.dumps(others, sort_keys=True), []).append(row)
    entries = [_entry(group, goal) for group in groups.values() if any(map(_is_ranked, group))]
    return sorted(entries, key=lambda entry: cost(entry.value, goal))


def winner(all_rows: Sequence[TrialRow], goal: Goal | None) -> TrialRow | None:
    """Return the best trial of the best configuration; None without any."""
    entries = leaderboard(all_rows, goal)
    return entries[0].trials[0] if entries else None


def _entry(group: Sequence[TrialRow], goal: Goal) -> LeaderboardEntry:
    by_seed: dict[str, TrialRow] = {}
    repeats = []
    for row in filter(_is_ranked, group):
        if by_seed.setdefault(_seed(row), row) is not row:
            repeats.append(row)
    lost = {_seed(row): row for row in group if row.state in ("failed", "pruned")}
    missing = [row for seed, row in lost.items() if seed not in by_seed]
    trials = sorted(by_seed.values(), key=lambda row: cost(_value(row), goal))
    values, scores = dict(trials[0].values), [_value(row) for row in trials]
    if len(trials) == 1:
        return LeaderboardEntry(trials, repeats, missing, values, scores[0], None, None, None)
    # Slow to import, and most sweeps have no seeds.
    from scipy.special import stdtrit

    del values[SEED]
    center, spread = mean(scores), stdev(scores)
    half = float(stdtrit(len(scores) - 1, (1 + CONFIDENCE) / 2)) * spread / math.sqrt(len(scores))
    return LeaderboardEntry(
        trials, repeats, missing, values, center, spread, center - half, center + half
    )


def _is_ranked(row: TrialRow) -> bool:
    return row.state == "finished" and row.value is not None


def _seed(row: TrialRow) -> str:
    return json.dumps(row.values.get(SEED))


def _value(row: TrialRow) -> float:
    assert row.value is not None
    return row.value


def read_baselines(first: LeaderboardEntry, metric: SweepMetric) -> dict[str, float]:
    """Return the metric of each baseline by its name, on the images of the winner's run.

    A run may measure no baselines, and baselines lack some metrics, such as a loss.
    """
    measured = RunRecord(first.trials[0].folder).baselines
    return {name: values[metric.name] for name, values in measured.items() if metric.name in values}


def not_beaten(
    first: LeaderboardEntry, metric: SweepMetric, baselines: dict[str, float]
) -> str | None:
    """Return a warning if the best configuration is no better than a baseline."""
    if not baselines:
        return None
    name = min(baselines, key=lambda name: cost(baselines[name], metric.mode))
    if cost(first.value, metric.mode) < cost(baselines[name], metric.mode):
        return None
    subject = "configuration" if len(first.trials) > 1 else "trial"
    return (
        f"the best {subject} does not beat {name}: {metric.name} {format_value(first.value)}, "
        f"{name} {format_value(baselines[name])}"
    )


def seconds_left(all_rows: Sequence[TrialRow], sweep: Sweep, workers: int) -> float | None:
    """Estimate the seconds left, from the mean duration of trials that did not fail.

    None before any such trial has ended, or if the number of trials is unlimited.
    """
    total = sweep.trial_count
    ended = (row for row in all_rows if row.state in ("finished", "pruned"))
    taken = [row.seconds for row in ended if row.seconds is not None]
    if total is None or not taken:
        return None
    each = mean(taken)
    # A late trial may end at any time; an estimate from its delay would rise.
    left = [max(0.0, each - (row.seconds or 0.0)) for row in all_rows if row.state not in ENDED]
    left += [each] * (total - len(all_rows))
    # Other machines may run trials too.
    running = sum(row.state == "running" for row in all_rows)
    return max([*left, sum(left) / max(workers, running, 1)], default=0.0)


class Labels:
    """Short names of the parameters that a sweep varies, and of their values."""

    def __init__(self, sweep: Sweep) -> None:
        short = short_names(sweep.parameters)
        # The short names by dotted name, in the file's order.
        self.names = {
            name: short[name]
            for name, parameter in sweep.parameters.items()
            # A range may be too long for len().
            if (choices := choices_of(parameter)) is None or len(choices[:2]) > 1
        }
        self._choices = {name: _choices(sweep.parameters[name]) for name in self.names}

    def value(self, name: str, value: Any) -> str:
        """Return the label of a parameter's value."""
        return self._choices[name].get(as_key(value)) or _plain(value)

    def changes(self, values: dict[str, Any]) -> str:
        """Return the varied parameters of a trial: `encoder=resnet18, lr=0.001`."""
        return ", ".join(
            f"{short}={self.value(name, values[name])}"
            for name, short in self.names.items()
            if name in values
        )


def format_value(value: float | None) -> str:
    """Return a number to four digits, with trailing zeros, so that columns align."""
    return UNKNOWN if value is None else f"{value:#.4g}".rstrip(".")


def _choices(parameter: Parameter) -> dict[str, str]:
    values = choices_of(parameter)
    if not isinstance(values, tuple):
        return {}
    written = [_plain(value) for value in values]
    if len(set(written)) < len(values):
        # Fragments of one name in two folders, or 1 and "1".
        all_texts = all(isinstance(value, str) for value in values)
        written = list(values) if all_texts else [as_key(value) for value in values]
    return dict(zip(map(as_key, values), written, strict=True))


def _plain(value: Any) -> str:
    match value:
        case str():
            path = PurePosixPath(value)
            return path.stem if path.suffix in (".yaml", ".yml") else value
        case float():
            return f"{value:.4g}"
    return json.dumps(value)
