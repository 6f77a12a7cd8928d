"""`result.json`: the outcome of a run, for programs."""

import json
import os
import sys
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import write_json
from lightning_colorize.runs.folder import RESULT

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
    seconds: float | None = None  # of training and validation
    images_per_second: float | None = None  # `images_seen` over `seconds`
    device_hours: float | None = None  # all device time, including work lost to a kill
    steady_images_per_second: float | None = None  # training only, without start-up
    data_wait_share: float | None = None  # share of that time in which training waited for data
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
            return cls(**{f.name: content[f.name] for f in fields(cls) if f.name in content})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(f"{path} cannot be read ({error})") from None

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


def finite_number(value: Any) -> float | None:
    """Return a value that is a finite number, or None for everything else."""
    # A comparison, as float() of a large int overflows; nan is not less than anything.
    is_finite = isinstance(value, int | float) and abs(value) <= sys.float_info.max
    return float(value) if is_finite else None
