"""The tables of a sweep's report."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_colorize.common.text import UNKNOWN, format_time
from lightning_colorize.metrics.spec import BASELINES, CONFIDENCE
from lightning_colorize.reports.kit.table import Cell, Column, Row, Table, format_count, make_row
from lightning_colorize.runs.record import RunRecord
from lightning_colorize.runs.result import RunResult
from lightning_colorize.sweeps.spec import SweepMetric
from lightning_colorize.sweeps.status import (
    SEED,
    Labels,
    LeaderboardEntry,
    TrialRow,
    format_value,
)

_MOST_LISTED = 12
_STATES = ("finished", "pruned", "failed", "running", "waiting")
_COSTS = (Column("time"), Column("images seen"), Column("parameters"))


class SweepTables:
    """Makes the tables of one sweep.

    Attributes:
        by_state: The trials of each state that occurs.
    """

    def __init__(
        self, table: Sequence[TrialRow], labels: Labels, metric: SweepMetric | None
    ) -> None:
        self.table = table
        self.labels = labels
        self.metric = metric
        self.results = {row.number: RunRecord(row.folder).result for row in table}
        groups = {state: [row for row in table if row.state == state] for state in _STATES}
        self.by_state = {state: rows for state, rows in groups.items() if rows}
        # The leaderboard has a column of its own for seeds.
        self._names = [name for name in labels.names if name != SEED or metric is None]
        self._parameters = [Column(labels.names[name], name, text=True) for name in self._names]

    def leaderboard(
        self, ranking: Sequence[LeaderboardEntry], baselines: Mapping[str, float]
    ) -> Table:
        """Return the configurations, best first, above the baselines."""
        assert self.metric is not None
        has_seeds = any(len(entry.trials) + len(entry.missing) > 1 for entry in ranking)
        interval = f"{100 * CONFIDENCE:g} % interval"
        columns = [
            Column("rank"),
            Column(self.metric.name, goal=self.metric.mode),
            *([Column("spread"), Column(interval), Column("n")] if has_seeds else []),
            *self._parameters,
            *([Column("seeds")] if SEED in self.labels.names else []),
            Column("trial"),
            *_COSTS,
        ]
        rows = [self._entry(rank, entry, has_seeds) for rank, entry in enumerate(ranking, start=1)]
        foot = [
            make_row(
                name,
                format_value(value),
                Cell(f"baseline: {BASELINES.get(name, '')}", kind="text", span=len(columns) - 2),
            )
            for name, value in baselines.items()
        ]
        return Table("Leaderboard", columns, rows, foot)

    def finished(self) -> Table | None:
        """Return the finished trials by number, for a sweep without a metric."""
        rows = [
            make_row(
                str(row.number),
                *self._values(row.values),
                format_time(row.seconds),
                *self._costs([row]),
            )
            for row in self.by_state.get("finished", [])
        ]
        columns = [Column("trial"), *self._parameters, *_COSTS]
        return Table("Finished trials", columns, rows) if rows else None

    def others(self) -> Table | None:
        """Return the trials that have not finished: failed, pruned, running, waiting."""
        metric = self.metric
        rows = [
            make_row(
                str(row.number),
                Cell(row.state, kind=f"text {row.state}"),
                Cell(row.reason or "", kind="text wide"),
                *([] if metric is None else [format_value(row.value)]),
                str(len(row.history)),
                format_time(row.seconds),
                Cell(self.labels.changes(row.values), kind="text"),
            )
            for state in ("failed", "pruned", "running", "waiting")
            for row in self.by_state.get(state, [])
        ]
        columns = [
            Column("trial"),
            Column("state", text=True),
            Column("reason", text=True),
            *([] if metric is None else [Column(metric.name)]),
            Column("validations"),
            Column("time"),
            Column("settings", text=True),
        ]
        return Table("Trials that have not finished", columns, rows) if rows else None

    def budgets(self) -> Table | None:
        """Return the total cost of the trials of each state, and of all trials."""
        rows = [
            make_row(
                state,
                f"{len(group):,}",
                format_time(sum(row.seconds or 0.0 for row in group)),
                self._images_seen(group),
            )
            for state, group in [*self.by_state.items(), ("all", self.table)]
            if group
        ]
        columns = [Column("trials"), Column("count"), Column("time"), Column("images seen")]
        return Table("Budgets", columns, rows) if rows else None

    def made_with(self) -> dict[str, str]:
        """Return all versions of each package, and the commits, that trained the trials."""
        found: dict[str, dict[str, None]] = {}
        for result in filter(None, self.results.values()):
            for name, version in result.versions.items():
                found.setdefault(name, {})[version] = None
        commits = dict.fromkeys(r.git_commit for r in self.results.values() if r and r.git_commit)
        listed = found | ({"commit": commits} if commits else {})
        return {name: ", ".join(versions) for name, versions in listed.items()}

    def _entry(self, rank: int, entry: LeaderboardEntry, has_seeds: bool) -> Row:
        numbers = _listed([row.number for row in entry.trials])
        repeats = [f"repeated: {_listed([row.number for row in entry.repeats])}"]
        seeds = _listed([row.values.get(SEED) for row in entry.trials])
        over_seeds: list[Cell | str] = [
            "" if entry.spread is None else f"{entry.spread:#.2g}",
            "" if entry.low is None else f"[{format_value(entry.low)}, {format_value(entry.high)}]",
            Cell(
                str(len(entry.trials)),
                [f"{len(entry.missing)} missing"] if entry.missing else [],
            ),
        ]
        return make_row(
            str(rank),
            Cell(format_value(entry.value), kind="best" if rank == 1 else ""),
            *(over_seeds if has_seeds else []),
            *self._values(entry.values),
            *([Cell(seeds, kind="wrap")] if SEED in self.labels.names else []),
            Cell(numbers, repeats if entry.repeats else [], kind="wrap"),
            format_time(sum(row.seconds or 0.0 for row in entry.trials)),
            *self._costs(entry.trials),
            kind="first" if rank == 1 else "",
        )

    def _values(self, values: Mapping[str, Any]) -> list[Cell]:
        return [Cell(self.labels.value(name, values[name]), kind="text") for name in self._names]

    def _costs(self, trials: Sequence[TrialRow]) -> list[str]:
        first: RunResult | None = self.results[trials[0].number]
        return [self._images_seen(trials), format_count(first.parameters if first else None)]

    def _images_seen(self, trials: Sequence[TrialRow]) -> str:
        """Return the sum of the known values, marked as a lower bound if any is unknown."""
        results = [self.results[row.number] for row in trials]
        counts = [result.images_seen if result else None for result in results]
        known = [count for count in counts if count is not None]
        if not known:
            return UNKNOWN
        return f"{sum(known):,}" + ("" if len(known) == len(counts) else " or more")


def _listed(items: Sequence[Any]) -> str:
    return ", ".join(map(str, items[:_MOST_LISTED])) + (" …" if len(items) > _MOST_LISTED else "")
