"""What run folders tell about the systems: seeds, curves, budgets."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lightning_colorize.common.errors import UsageError
from lightning_colorize.evaluation.systems import System
from lightning_colorize.runs.folder import METRICS, flatten, read_config, read_result

CURVES = ("val/psnr", "val/ciede2000", "val/colorfulness_ratio", "val/ab_corr")

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
        images: Images seen before each; None where the run has no result.
        metrics: Values by name; None where one is missing.
    """

    epochs: list[float] = field(default_factory=list)
    images: list[float] | None = None
    metrics: dict[str, list[float | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Budget:
    """What a run cost; None where its result does not say.

    Attributes:
        images: Seen in training.
        seconds: Of training.
        parameters: Of all networks that were trained.
        epochs: Passes.
        status: As in `result.json`.
    """

    images: int | None = None
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
        config = {} if system.run is None else _config(system.run)
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
    curves, steps = Curves(metrics={name: [] for name in CURVES}), []
    # A run that was killed, or a full disk, leaves half a row, or worse.
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        for row in csv.DictReader(file):
            step, epoch = _number(row.get("step")), _number(row.get("epoch"))
            values = {name: _number(row.get(name)) for name in CURVES}
            if step is None or epoch is None or not any(row.get(name) for name in CURVES):
                continue
            steps.append(step)
            curves.epochs.append(epoch + 1)
            for name, value in values.items():
                curves.metrics[name].append(value)
    each = _images_per_step(run)
    return curves if each is None else replace(curves, images=[(s + 1) * each for s in steps])


def read_budget(run: Path) -> Budget:
    """Read what a run cost; None for what is no number."""
    result = _result(run)
    images, parameters, epochs = (
        None if number is None else round(number)
        for number in map(_number, map(result.get, ("images_seen", "parameters", "epochs")))
    )
    status = result.get("status")
    return Budget(
        images,
        _number(result.get("seconds")),
        parameters,
        epochs,
        status if isinstance(status, str) else None,
    )


def _images_per_step(run: Path) -> float | None:
    result = _result(run)
    batches, images = _number(result.get("batches")), _number(result.get("images_seen"))
    if not batches or images is None:
        return None
    accumulated = _number(_config(run).get("trainer.accumulate_grad_batches"))
    return images / batches * (accumulated or 1)


def _number(value: Any) -> float | None:
    """Return a finite number, or None for everything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _config(run: Path) -> dict[str, Any]:
    """Return a run's configuration with dotted names; empty where it cannot be read."""
    try:
        return {str(name): value for name, value in flatten(read_config(run)).items()}
    except UsageError:  # a page of many systems is worth more than one broken file
        return {}


def _result(run: Path) -> dict[str, Any]:
    try:
        return read_result(run) or {}
    except UsageError:
        return {}
