"""The state of a sweep: its trials as plain rows, the leaderboard, the table of a terminal."""

import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

from optuna.exceptions import StorageInternalError
from optuna.trial import FixedTrial, FrozenTrial, TrialState
from rich.console import Console
from rich.text import Text

from lightning_colorize.common.progress import LineClock
from lightning_colorize.common.text import UNKNOWN, format_time
from lightning_colorize.evaluation.table import Cell, Column, Table, make_row
from lightning_colorize.metrics.spec import CONFIDENCE, Goal, cost
from lightning_colorize.runs.record import RunRecord
from lightning_colorize.sweeps.labels import Labels
from lightning_colorize.sweeps.space import as_key
from lightning_colorize.sweeps.spec import Sweep, SweepMetric
from lightning_colorize.sweeps.study import DRAWN, EPOCH, REASON, RESTARTS, SECONDS, Study, is_lost

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
_UPDATE_EVERY = 2.0
_WIDE = 1000


@dataclass(frozen=True)
class TrialRow:
    """A trial, by its number in the sweep."""

    number: int
    state: State
    values: dict[str, Any]  # by dotted name, in the file's order; empty if not drawn yet
    value: float | None  # best value of the metric so far; None without one
    epoch: int | None  # number of epochs up to the last validation
    reason: str | None
    folder: Path
    seconds: float | None  # run time, as its workers measured it; None before the first
    history: list[float]  # the logged values of the metric
    restarts: tuple[str, ...] = ()  # why it was queued again, each time


def rows(study: Study) -> list[TrialRow]:
    """Return all trials, by number."""
    return [_row(study, number, trial) for number, trial in study.trials().items()]


def _row(study: Study, number: int, trial: FrozenTrial) -> TrialRow:
    sweep, known = study.sweep, trial.user_attrs
    drawn, values = FixedTrial(known.get(DRAWN) or trial.params), {}
    with suppress(ValueError):  # not drawn yet
        values = {name: each.suggest(name, drawn) for name, each in sweep.parameters.items()}
    history = [value for _, value in sorted(trial.intermediate_values.items())]
    if sweep.metric is not None and RESTARTS in known and not history:  # Optuna forgets them
        history = [v for _, v in RunRecord(study.folder_of(number)).curve(sweep.metric.name)]
    state = "waiting" if is_lost(trial) else _STATES[trial.state]
    value = trial.values[0] if trial.values and state == "finished" else None
    if value is None and history:
        value = sweep.best_of(history)
    return TrialRow(
        number=number,
        state=state,
        values=values,
        value=None if sweep.metric is None else value,
        epoch=None if EPOCH not in known else known[EPOCH] + 1,
        reason=known.get(REASON),
        folder=study.folder_of(number),
        seconds=known.get(SECONDS),
        history=history,
        restarts=tuple(known.get(RESTARTS, ())),
    )


@dataclass(frozen=True)
class LeaderboardEntry:
    """The finished trials of one configuration, which differ only in their seed."""

    trials: list[TrialRow]  # the best first
    missing: list[TrialRow]  # failed or stopped early, so `trials` may be a lucky selection
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
        groups.setdefault(as_key(others), []).append(row)
    entries = [_entry(group, goal) for group in groups.values() if any(map(_is_ranked, group))]
    return sorted(entries, key=lambda entry: cost(entry.value, goal))


def _entry(group: Sequence[TrialRow], goal: Goal) -> LeaderboardEntry:
    trials = sorted(filter(_is_ranked, group), key=lambda row: cost(_value(row), goal))
    missing = [row for row in group if row.state in ("failed", "pruned")]
    values, scores = dict(trials[0].values), [_value(row) for row in trials]
    center, count = mean(scores), len(scores)
    if count == 1:
        return LeaderboardEntry(trials, missing, values, center, None, None, None)
    # Slow to import, and most sweeps have no seeds.
    from scipy.stats import t

    values.pop(SEED, None)
    spread = stdev(scores)
    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * spread / math.sqrt(count)
    return LeaderboardEntry(trials, missing, values, center, spread, center - half, center + half)


def _is_ranked(row: TrialRow) -> bool:
    return row.state == "finished" and row.value is not None


def _value(row: TrialRow) -> float:
    assert row.value is not None
    return row.value


def read_baselines(first: LeaderboardEntry, metric: SweepMetric) -> dict[str, float]:
    """Return the metric of each baseline by its name, on the images of the winner's run.

    A run may measure no baselines, and baselines lack some metrics, such as a loss.
    """
    measured = RunRecord(first.trials[0].folder).baselines
    return {name: values[metric.name] for name, values in measured.items() if metric.name in values}


def remarks(all_rows: Sequence[TrialRow], sweep: Sweep) -> list[str]:
    """Return what is to be known about a ranking, one line each."""
    lines: list[str | None] = []
    if sweep.metric is not None and (ranking := leaderboard(all_rows, sweep.mode)):
        result = RunRecord(ranking[0].trials[0].folder).result
        count = result and result.validation_images
        if count and sweep.metric.name.startswith("val/"):
            lines.append(f"ranked on {count:,} validation images; small differences may be chance")
        lines.append(not_beaten(ranking[0], sweep.metric, read_baselines(ranking[0], sweep.metric)))
    return list(filter(None, [*lines, different_code(all_rows)]))


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


def different_code(all_rows: Sequence[TrialRow]) -> str | None:
    """Return a warning if the trials that have a result ran different versions of the code."""
    commits: dict[str, list[str]] = {}
    for row in all_rows:
        result = RunRecord(row.folder).result
        if result is not None and result.git_commit is not None:
            commits.setdefault(result.git_commit[:8], []).append(str(row.number))
    if len(commits) < 2:
        return None
    parts = "; ".join(f"{commit}: {', '.join(numbers)}" for commit, numbers in commits.items())
    return f"trials ran different code and may not compare (git_commit: trials): {parts}"


def format_value(value: float | None) -> str:
    """Return a number to four digits, with trailing zeros, so that columns align."""
    return UNKNOWN if value is None else f"{value:#.4g}".rstrip(".")


class ProgressLines:
    """Prints a line when a trial ends, and a summary every 30 s: call `tick` often."""

    def __init__(self, study: Study, workers: int) -> None:
        self._study = study
        self._workers = workers
        # What has already happened gets no line.
        before = rows(study)
        self._printed = {row.number for row in before if row.state in ENDED}
        self._restarts = {row.number: len(row.restarts) for row in before}
        self._labels = Labels(study.sweep)
        self._clock = LineClock()
        self._next_update = 0.0

    def tick(self) -> None:
        """Print what is new, if it is time."""
        if time.monotonic() < self._next_update:
            return
        self._next_update = time.monotonic() + _UPDATE_EVERY
        try:
            trials = rows(self._study)
        except StorageInternalError:
            return  # the server restarts
        for row in trials:
            for why in row.restarts[self._restarts.get(row.number, 0) :]:
                self._print(f"trial {row.number} is queued again: {why}")
            self._restarts[row.number] = len(row.restarts)
            if row.state in ENDED and row.number not in self._printed:
                self._printed.add(row.number)
                self._print(self._ending(row))
        if self._clock.is_due():
            left = seconds_left(trials, self._study.sweep, self._workers)
            self._print(summary(trials, self._study.sweep, left))

    def _ending(self, row: TrialRow) -> str:
        metric = self._study.sweep.metric
        value = (
            f"{metric.name} {format_value(row.value)}" if metric and row.value is not None else ""
        )
        words = ", ".join(filter(None, [value, row.reason, format_time(row.seconds)]))
        changes = self._labels.changes(row.values)
        return f"trial {row.number} {row.state}: {words}" + (f"; {changes}" if changes else "")

    def _print(self, line: str) -> None:
        self._clock.restart()
        print(line, file=sys.stderr, flush=True)


def print_table(study: Study) -> None:
    """Print a sweep's trials, with the baselines of the best trial's data."""
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    trials, metric = rows(study), study.sweep.metric
    running = sum(row.state == "running" for row in trials)
    left = seconds_left(trials, study.sweep, running) if running else None
    console.print(f"{study.sweep.name}: {summary(trials, study.sweep, left)}", highlight=False)
    if trials:
        console.print(_table(trials, study.sweep))
    if metric is not None and (entries := leaderboard(trials, metric.mode)):
        for name, value in read_baselines(entries[0], metric).items():
            console.print(Text(f"baseline {name}: {metric.name} {format_value(value)}", "dim"))
    for remark in remarks(trials, study.sweep):
        console.print(Text(remark, "yellow"))


def _table(shown: Sequence[TrialRow], sweep: Sweep) -> Table:
    labels, best = Labels(sweep), leaderboard(shown, sweep.mode)
    first = best[0].trials[0] if best else None
    has_restarts = any(row.restarts for row in shown)
    columns = [Column("trial"), Column("state", text=True)]
    columns += [Column(short, name, text=True) for name, short in labels.names.items()]
    columns += [Column("epoch"), Column("" if sweep.metric is None else sweep.metric.name)]
    body = [
        make_row(
            *(str(row.number), row.state),
            *(labels.value(row.values[n]) if row.values else UNKNOWN for n in labels.names),
            UNKNOWN if row.epoch is None else str(row.epoch),
            Cell(format_value(row.value), kind="best" if row is first else ""),
            format_time(row.seconds),
            *([f"{len(row.restarts)}: {row.restarts[-1]}" if row.restarts else ""] * has_restarts),
        )
        for row in shown
    ]
    columns += [Column("time"), *([Column("restarts", text=True)] * has_restarts)]
    return Table("Trials", columns, body)


def summary(trials: Sequence[TrialRow], sweep: Sweep, left: float | None) -> str:
    """Return the progress of a sweep, in one line."""
    count = Counter[str](row.state for row in trials)
    total = sweep.trial_count
    done = sum(count[state] for state in ENDED)
    words = [f"{done:,} of {total:,} trials ended" if total else f"{done:,} trials ended"]
    words += [f"{count[s]:,} {s}" for s in ("pruned", "failed", "running") if count[s]]
    if left is not None and round(left):
        words.append(f"about {format_time(left)} left")
    if sweep.metric is not None and (ranking := leaderboard(trials, sweep.mode)):
        numbers = ", ".join(str(row.number) for row in ranking[0].trials)
        which = f"mean of trials {numbers}" if len(ranking[0].trials) > 1 else f"trial {numbers}"
        words.append(f"best {sweep.metric.name} {format_value(ranking[0].value)} ({which})")
    return ", ".join(words)


def seconds_left(all_rows: Sequence[TrialRow], sweep: Sweep, workers: int) -> float | None:
    """Estimate the seconds left, from the mean duration of trials that did not fail.

    None before any such trial has ended, or if the number of trials is unlimited.
    """
    ended = (row for row in all_rows if row.state in ("finished", "pruned"))
    taken = [row.seconds for row in ended if row.seconds is not None]
    if sweep.trial_count is None or not taken:
        return None
    each = mean(taken)
    left = [max(0.0, each - (row.seconds or 0.0)) for row in all_rows if row.state not in ENDED]
    # Other machines may run trials too.
    running = sum(row.state == "running" for row in all_rows)
    return max([*left, sum(left) / max(workers, running, 1)], default=0.0)
