"""What the run folders of a sweep's trials say: what they cost and what made them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_colorize.common.errors import UsageError
from lightning_colorize.runs.folder import CONFIG, read_result
from lightning_colorize.sweeps.status import TrialRow


@dataclass(frozen=True)
class RunFacts:
    """What a run's result says; None and empty where it does not.

    Attributes:
        images: Seen in training.
        parameters: Of all networks that were trained.
        versions: Of the packages, by name.
        commit: Of the code.
    """

    images: int | None = None
    parameters: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    commit: str | None = None


def read_facts(rows: Sequence[TrialRow]) -> dict[int, RunFacts]:
    """Return what the runs say, by the trial's number; those of other machines say nothing."""
    return {row.number: _facts(row.folder) for row in rows}


def made_with(facts: Mapping[int, RunFacts]) -> list[tuple[str, str]]:
    """Return each package and all of its versions that trained, then the commits."""
    found: dict[str, dict[str, None]] = {}
    for run in facts.values():
        for name, version in run.versions.items():
            found.setdefault(name, {})[str(version)] = None
        if run.commit is not None:
            found.setdefault("commit", {})[run.commit] = None
    commits = found.pop("commit", {})
    said = [(name, ", ".join(versions)) for name, versions in found.items()]
    return [*said, *([("commit", ", ".join(commits))] if commits else [])]


def read_configuration(folder: Path) -> str | None:
    """Return a run's own configuration as it is written; None where there is none."""
    try:
        return (folder / CONFIG).read_text(encoding="utf-8")
    except OSError:
        return None


def _facts(folder: Path) -> RunFacts:
    try:
        result = read_result(folder) or {}
    except (UsageError, OSError):  # a page of many trials is worth more than one broken file
        result = {}
    versions, commit = result.get("versions"), result.get("git_commit")
    return RunFacts(
        _whole(result.get("images_seen")),
        _whole(result.get("parameters")),
        versions if isinstance(versions, dict) else {},
        commit if isinstance(commit, str) else None,
    )


def _whole(value: Any) -> int | None:
    is_number = isinstance(value, int | float) and math.isfinite(value)
    return round(value) if is_number else None
