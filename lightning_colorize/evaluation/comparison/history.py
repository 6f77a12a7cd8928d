"""What run folders tell about the systems: seeds, curves, budgets."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_colorize.errors import UsageError
from lightning_colorize.evaluation.comparison.systems import System
from lightning_colorize.run_folder import METRICS, flatten, read_config, read_result

CURVES = ("val/psnr", "val/ciede2000", "val/colorfulness_ratio", "val/hue_r")

_SEEDS = ("seed_everything", "data.seed")
_ELSEWHERE = ("run.name", "run.root", "run.loggers.")
"""What says where a run lies and who is told of it, but not what it does."""


@dataclass(frozen=True)
class Group:
    """Systems that are one configuration with several seeds.

    Attributes:
        members: Their places among the systems.
        seeds: Their seeds, in words.
    """

    members: list[int]
    seeds: list[str]


@dataclass(frozen=True)
class Curves:
    """The validations of one run.

    Attributes:
        epochs: Passes trained before each.
        pictures: Pictures seen before each; None where the run has no result.
        metrics: Values by name; None where one is missing.
    """

    epochs: list[float] = field(default_factory=list)
    pictures: list[float] | None = None
    metrics: dict[str, list[float | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Budget:
    """What a run cost; None where its result does not say.

    Attributes:
        pictures: Seen in training.
        seconds: Of training.
        parameters: Of all networks that were trained.
        epochs: Passes.
        status: As in `result.json`.
    """

    pictures: int | None = None
    seconds: float | None = None
    parameters: int | None = None
    epochs: int | None = None
    status: str | None = None


def group_seeds(systems: Sequence[System]) -> list[Group]:
    """Find the systems that differ in nothing but the seed.

    Systems of equal seeds are the same run, or a repetition: only the first of them counts.
    """
    found: dict[str, dict[str, int]] = {}
    for number, system in enumerate(systems):
        config = {} if system.run is None else flatten(_config(system.run))
        if not config:
            continue
        seed = ", ".join(dict.fromkeys(str(config[k]) for k in _SEEDS if config.get(k) is not None))
        rest = {k: v for k, v in config.items() if k not in _SEEDS and not k.startswith(_ELSEWHERE)}
        found.setdefault(json.dumps(rest, sort_keys=True, default=str), {}).setdefault(seed, number)
    return [
        Group(list(members.values()), list(members))
        for members in found.values()
        if len(members) > 1
    ]


def read_curves(run: Path) -> Curves:
    """Read a run's validations; empty where it has none."""
    path = run / METRICS
    if not path.is_file():
        return Curves()
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if any(row.get(name) for name in CURVES)]
    each = _pictures_per_step(run)
    return Curves(
        [float(row["epoch"]) + 1 for row in rows],
        None if each is None else [(int(row["step"]) + 1) * each for row in rows],
        {name: [float(row[name]) if row.get(name) else None for row in rows] for name in CURVES},
    )


def read_budget(run: Path) -> Budget:
    """Read what a run cost."""
    result = _result(run)
    return Budget(
        result.get("images_seen"),
        result.get("seconds"),
        result.get("parameters"),
        result.get("epochs"),
        result.get("status"),
    )


def _pictures_per_step(run: Path) -> float | None:
    result = _result(run)
    if not result.get("batches"):
        return None
    trainer = _config(run).get("trainer") or {}
    of_batch: float = result["images_seen"] / result["batches"]
    return of_batch * (trainer.get("accumulate_grad_batches") or 1)


def _config(run: Path) -> dict[str, Any]:
    try:
        return read_config(run)
    except UsageError:  # a page of many systems is worth more than one broken file
        return {}


def _result(run: Path) -> dict[str, Any]:
    try:
        return read_result(run) or {}
    except UsageError:
        return {}
