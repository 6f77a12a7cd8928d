"""The tables of the page, as text in cells."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_colorize.reports.sweep.runs import RunFacts
from lightning_colorize.sweeps.labels import UNKNOWN, Labels, clock, format_value
from lightning_colorize.sweeps.spec import Metric
from lightning_colorize.sweeps.status import EXPLAINED, SEED, LeaderboardEntry, TrialRow

_MOST_LISTED = 12


def leaderboard_rows(
    places: Sequence[LeaderboardEntry],
    names: Sequence[str],
    labels: Labels,
    facts: Mapping[int, RunFacts],
) -> list[dict[str, Any]]:
    """Return the configurations in their order.

    Args:
        places: The leaderboard.
        names: The parameters that have a column.
        labels: The sweep's.
        facts: Of all trials, by number.
    """
    return [
        {
            "rank": rank,
            "trials": _listed([row.number for row in place.trials]),
            "seeds": _listed([row.values.get(SEED) for row in place.trials]),
            "repeats": _listed([row.number for row in place.repeats]),
            "values": _cells(place.values, names, labels),
            "value": format_value(place.value),
            "spread": "" if place.spread is None else f"{place.spread:#.2g}",
            "interval": _interval(place),
            "count": len(place.trials),
            "missing": len(place.missing),
            "seconds": clock(sum(row.seconds or 0.0 for row in place.trials)),
            "images": _total([facts[row.number].images for row in place.trials]),
            "weights": _count(facts[place.trials[0].number].parameters),
        }
        for rank, place in enumerate(places, start=1)
    ]


def baseline_rows(baselines: Mapping[str, float]) -> list[dict[str, str]]:
    """Return the baselines of the leaderboard, and what they do."""
    return [
        {"name": name, "value": format_value(value), "says": EXPLAINED.get(name, "")}
        for name, value in baselines.items()
    ]


def plain_rows(
    table: Sequence[TrialRow],
    names: Sequence[str],
    labels: Labels,
    facts: Mapping[int, RunFacts],
) -> list[dict[str, Any]]:
    """Return the finished trials of a sweep without metric, by number; as `leaderboard_rows`."""
    return [
        {
            "number": row.number,
            "values": _cells(row.values, names, labels),
            "seconds": clock(row.seconds),
            "images": _count(facts[row.number].images),
            "weights": _count(facts[row.number].parameters),
        }
        for row in table
        if row.state == "finished"
    ]


def other_rows(
    table: Sequence[TrialRow], labels: Labels, metric: Metric | None
) -> list[dict[str, Any]]:
    """Return the trials that have not finished, with the reason: failed, pruned, then the rest."""
    order = ("failed", "pruned", "running", "waiting")
    return [
        {
            "number": row.number,
            "state": row.state,
            "values": labels.changes(row.values),
            "value": "" if metric is None else format_value(row.value),
            "validations": len(row.history),
            "seconds": clock(row.seconds),
            "reason": row.reason or "",
        }
        for state in order
        for row in table
        if row.state == state
    ]


def budget_rows(table: Sequence[TrialRow], facts: Mapping[int, RunFacts]) -> list[dict[str, str]]:
    """Return what the trials of each state took together, and all of them."""
    states = ("finished", "pruned", "failed", "running", "waiting")
    groups = [(state, [row for row in table if row.state == state]) for state in states]
    groups = [(name, some) for name, some in [*groups, ("all", list(table))] if some]
    return [
        {
            "name": name,
            "count": f"{len(some):,}",
            "seconds": clock(sum(row.seconds or 0.0 for row in some)),
            "images": _total([facts[row.number].images for row in some]),
        }
        for name, some in groups
    ]


def _cells(values: Mapping[str, Any], names: Sequence[str], labels: Labels) -> list[str]:
    return [labels.value(name, values[name]) for name in names]


def _listed(items: Sequence[Any]) -> str:
    return ", ".join(map(str, items[:_MOST_LISTED])) + (" …" if len(items) > _MOST_LISTED else "")


def _interval(place: LeaderboardEntry) -> str:
    if place.low is None:
        return ""
    return f"[{format_value(place.low)}, {format_value(place.high)}]"


def _count(count: int | None) -> str:
    return UNKNOWN if count is None else f"{count:,}"


def _total(counts: Sequence[int | None]) -> str:
    """Return a sum of what is known, marked where something is not."""
    known = [count for count in counts if count is not None]
    if not known:
        return UNKNOWN
    return f"{sum(known):,}" + ("" if len(known) == len(counts) else " or more")
