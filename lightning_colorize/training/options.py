"""The `run:` part of a configuration."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lightning_colorize.common.errors import UsageError
from lightning_colorize.training.loggers import LoggerOptions


@dataclass
class RunOptions:
    """Where a run is kept, when it stops and what it shows.

    Args:
        root: Folder of all runs.
        name: Folder of this run below its experiment's; by default the time of its start.
        experiment: Folder of the runs of one kind; by default the name of the configuration file.
        auto_resume: If a run of this name has begun, with the same settings, go on from its last
            checkpoint: the same command can then be started again after any end.
        monitor: The metric by which the best checkpoint is chosen; null: it is the last.
        mode: Whether more of it is better, or less.
        patience: Stop after this many validations without a better `monitor`; null: never.
        save_every_n_steps: Write last.ckpt this often, besides at the end of every epoch.
        test: Measure the best checkpoint on the test split at the end.
        grid_images: Validation images shown as grey, prediction, truth; 0 for none.
        grid_every_n_epochs: How often they are shown.
        predict_dir: Folder of grey photographs that are coloured at each validation.
        health: What happens when a GAN falls over: a warning, an end of the run, nothing.
        loggers: Which loggers.
    """

    root: str = "runs"
    name: str | None = None
    experiment: str | None = None
    auto_resume: bool = False
    monitor: str | None = "val/psnr"
    mode: Literal["max", "min"] = "max"
    patience: int | None = None
    save_every_n_steps: int = 500
    test: bool = True
    grid_images: int = 8
    grid_every_n_epochs: int = 1
    predict_dir: str | None = None
    health: Literal["warn", "stop", "off"] = "warn"
    loggers: LoggerOptions = field(default_factory=LoggerOptions)

    def __post_init__(self) -> None:
        """Refuse numbers without sense."""
        least = {"save_every_n_steps": 1, "grid_every_n_epochs": 1, "grid_images": 0}
        for name, smallest in (least | {"patience": 1}).items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise UsageError(f"--run.{name}: {value}\naccepted: {smallest} or more")
        for name in ("name", "experiment"):
            value = getattr(self, name)
            if value is not None and (Path(value).name != value or value == ".."):
                raise UsageError(f"--run.{name}: '{value}'\naccepted: the name of one folder")
