"""The photographs on which the best trials are looked at side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning_colorize.sweeps.labels import Labels, format_value
from lightning_colorize.sweeps.status import LeaderboardEntry, TrialRow, leaderboard, rows
from lightning_colorize.sweeps.study import Study

_BEST = 5


@dataclass(frozen=True)
class Photograph:
    """A photograph, as it is and as trials have coloured it; addresses are `data:` URIs.

    Attributes:
        name: For people.
        grey: What the networks are given.
        truth: The photograph in its own colours.
        colored: By the trial's number; a trial may be missing.
        notes: What is said below a trial's image: `ΔE 11.2`.
    """

    name: str
    grey: str
    truth: str
    colored: Mapping[int, str]
    notes: Mapping[int, str] = field(default_factory=dict)


def best_trials(study: Study, count: int = _BEST) -> list[TrialRow]:
    """Return the best trial of each of the best configurations: those to be looked at.

    Args:
        study: Whose trials; none where it has no metric.
        count: How many.
    """
    metric = study.sweep.metric
    if metric is None:
        return []
    return [place.trials[0] for place in leaderboard(rows(study), metric.goal)[:count]]


def legend(
    photographs: Sequence[Photograph], places: Sequence[LeaderboardEntry], labels: Labels
) -> list[dict[str, Any]]:
    """Return who has coloured the photographs, the best first."""
    return [
        {
            "number": row.number,
            "values": labels.changes(row.values),
            "value": format_value(row.value),
        }
        for row in _shown(photographs, places)
    ]


def side_by_side(
    photographs: Sequence[Photograph], places: Sequence[LeaderboardEntry]
) -> list[dict[str, Any]]:
    """Return what is shown of each photograph: grey, the best trials in their order, truth.

    Args:
        photographs: Coloured by `best_trials`.
        places: The leaderboard.
    """
    shown = []
    for photo in photographs:
        tiles = [{"src": photo.grey, "who": "grey", "note": ""}]
        tiles += [
            {
                "src": photo.colored[row.number],
                "who": f"trial {row.number}",
                "note": photo.notes.get(row.number, ""),
            }
            for row in _shown([photo], places)
        ]
        tiles.append({"src": photo.truth, "who": "truth", "note": ""})
        shown.append({"name": photo.name, "tiles": tiles})
    return shown


def _shown(photographs: Sequence[Photograph], places: Sequence[LeaderboardEntry]) -> list[TrialRow]:
    trials = (place.trials[0] for place in places)
    return [row for row in trials if any(row.number in photo.colored for photo in photographs)]
