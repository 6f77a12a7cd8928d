"""`result.json`, the outcome of a run, and `validations.jsonl`, each validation as it is made."""

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import write_json
from lightning_colorize.runs.folder import RESULT, VALIDATIONS

Metrics = dict[str, float | None]
"""Values by name (`val/psnr`); None for one that was not a finite number."""

RUNNING = "running"
"""Status until the process ends; one that was killed leaves it in the file."""

ENDED = ("finished", "stopped_early")
"""Status of a run that has nothing left to do."""


@dataclass(frozen=True)
class RunResult:
    """The content of `result.json`; a number that the file does not have is None."""

    # `running`, `finished`, `stopped_early`, `interrupted` or `failed`.
    status: str
    stop_requested: bool | None = None  # whether the file `stop` ended the run
    # Of the best epoch (`train/loss` is its mean) and of the test; the same for each baseline.
    metrics: Metrics = field(default_factory=dict)
    baselines: dict[str, Metrics] = field(default_factory=dict)
    best_checkpoint: str | None = None  # relative to the run folder
    best_metric: float | None = None  # the monitored one, of the best epoch
    monitor: str | None = None  # None if the last epoch is the best
    epochs: int | None = None  # whole ones; one that `max_time` cut short does not count
    batches: int | None = None
    images_seen: int | None = None  # counted in every epoch
    validation_images: int | None = None
    seconds: float | None = None  # of training and validation
    images_per_second: float | None = None  # `images_seen` over `seconds`
    device_hours: float | None = None  # all device time, including work lost to a kill
    steady_images_per_second: float | None = None  # training only, without start-up
    data_wait_share: float | None = None  # share of that time in which the device waited for data
    peak_device_memory: int | None = None  # of one device, in bytes
    parameters: int | None = None
    trainable_parameters: int | None = None
    versions: dict[str, str] = field(default_factory=dict)
    git_commit: str | None = None  # of the installed source
    restarts: int | None = None  # number of times the run was resumed

    @property
    def ended(self) -> bool:
        """Whether the run has nothing left to do."""
        return self.status in ENDED

    @classmethod
    def read(cls, folder: Path) -> "RunResult | None":
        """Return the result in a run folder; None if it was not written."""
        path = folder / RESULT
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            # A sweep may run other programs.
            content["metrics"] = _numbers(content.get("metrics", {}))
            baselines = content.get("baselines", {}).items()
            content["baselines"] = {name: _numbers(metrics) for name, metrics in baselines}
            return cls(**{f.name: content[f.name] for f in fields(cls) if f.name in content})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise UsageError(f"{path} cannot be read ({error}); delete it") from None

    @staticmethod
    def stamp(folder: Path) -> tuple[int, int] | None:
        """Return a value that changes when a result is written; None without one."""
        try:
            status = os.stat(folder / RESULT)
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def write(self, folder: Path) -> None:
        """Write the file; a reader never meets half of it."""
        write_json(folder / RESULT, asdict(self))


def _numbers(metrics: Mapping[str, Any]) -> Metrics:
    return {name: finite_number(value) for name, value in metrics.items()}


def finite_number(value: Any) -> float | None:
    """Return a value that is a finite number, or None for everything else."""
    # A comparison, as float() of a large int overflows; nan is not less than anything.
    is_finite = isinstance(value, int | float) and abs(value) <= sys.float_info.max
    return float(value) if is_finite else None


@dataclass(frozen=True)
class Validation:
    """One validation of a run."""

    epoch: int  # from 0
    step: float  # number of training steps before the validation
    metrics: Metrics  # by name (`val/psnr`); None for one that was not a finite number


def read_validations(folder: Path) -> list[Validation]:
    """Return the validations of a run so far, by step.

    A resumed run may repeat validations: the later line counts. Invalid lines are skipped, such as
    a killed process's half line.

    Raises:
        OSError: If there is a file that cannot be read.
    """
    try:
        lines = (folder / VALIDATIONS).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    records: list[Validation] = []
    for line in lines:
        try:
            found = json.loads(line)
        except ValueError:
            continue
        match found:
            case {"epoch": int(epoch), "step": int() | float() as step, "metrics": dict(own)}:
                while records and records[-1].step >= step:
                    records.pop()
                records.append(Validation(epoch, step, _numbers(own)))
    return records


def append_validation(folder: Path, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
    """Append a validation to a run's file.

    A line is `{"epoch": 3, "step": 420, "time": 1763650000.0, "metrics": {"val/psnr": 21.2}}`, with
    null for a value that is not finite.
    """
    line = {
        "epoch": epoch,
        "step": step,
        "time": round(time.time(), 3),
        "metrics": _numbers(metrics),
    }
    # One write: a reader never meets a part of it.
    with (folder / VALIDATIONS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
