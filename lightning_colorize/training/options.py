"""The `run:` section of a configuration."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lightning_colorize.common.errors import UsageError, require_option
from lightning_colorize.metrics.spec import MONITOR

_LONGEST_NAME = 255  # bytes, on nearly all file systems


@dataclass
class LoggerOptions:
    """Which loggers a run has, and how its Weights & Biases run is filed.

    Args:
        wandb: `auto`: online if logged in and the server responds within 5 s, else offline;
            WANDB_MODE overrides it. `online`: do not check the server. `offline`: write to disk,
            for `wandb sync`. `disabled`: no W&B run.
        project: W&B project, and MLflow experiment.
        entity: W&B user or team; null: the account's default.
        group: W&B group; null: the name of the sweep, if any.
        tags: W&B tags, in addition to WANDB_TAGS.
        notes: Description of the W&B or MLflow run.
        job_type: W&B job type, such as `pretraining`.
        wandb_id: Id of the W&B run to write to; null: a new one, which `resume` reuses.
        mlflow: Tracking URI of MLflow, such as http://localhost:5000; null: no MLflow run.
        log_model: Upload best.ckpt and last.ckpt to W&B and MLflow when the process ends.
        tensorboard: Write TensorBoard events to the run folder.
        csv: Write metrics.csv to the run folder.
    """

    wandb: Literal["auto", "online", "offline", "disabled"] = "auto"
    project: str = "lightning_colorize"
    entity: str | None = None
    group: str | None = None
    tags: list[str] = field(default_factory=list)
    notes: str | None = None
    job_type: str | None = None
    wandb_id: str | None = None
    mlflow: str | None = None
    log_model: bool = False
    tensorboard: bool = True
    csv: bool = True


@dataclass
class RunOptions:
    """Where a run is stored, when it stops and what it logs.

    Args:
        root: Folder of all runs.
        name: Name of the run folder; null: the start time.
        experiment: Name of its parent folder; null: the name of the configuration file.
        auto_resume: Resume a run of this name and settings from its last checkpoint, so that the
            same command can be repeated after any interruption.
        monitor: Metric by which the best checkpoint is chosen; null: the last epoch is the best.
        mode: Whether `monitor` is maximized or minimized; null: whichever is better.
        smoothing: Number of the last validations over which `monitor` is averaged before it is
            compared, for the best checkpoint and for `patience`; 1: not averaged.
        patience: Stop after this many validations without an improvement; null: never.
        save_every_n_minutes: Minutes between updates of last.ckpt, in addition to the update after
            each epoch; a killed run loses no more.
        keep_every_n_steps: Optimizer steps between weights that are kept as
            `checkpoints/step_N.ckpt`, of a GAN only while both networks train; null: none.
        test: Evaluate the best checkpoint on the test split at the end.
        grid_images: Validation images shown as grey, prediction, truth; 0 for none.
        grid_every_n_epochs: Epochs between image grids.
        predict_dir: Folder of grey images that are colored after each validation.
        health: What to do if GAN training collapses: warn, stop the run, or do not check.
        loggers: Which loggers.
    """

    root: str = "runs"
    name: str | None = None
    experiment: str | None = None
    auto_resume: bool = False
    monitor: str | None = MONITOR
    mode: Literal["max", "min"] | None = None
    smoothing: int = 1
    patience: int | None = None
    save_every_n_minutes: float = 5.0
    keep_every_n_steps: int | None = None
    test: bool = True
    grid_images: int = 8
    grid_every_n_epochs: int = 1
    predict_dir: str | None = None
    health: Literal["warn", "stop", "off"] = "warn"
    loggers: LoggerOptions = field(default_factory=LoggerOptions)

    def __post_init__(self) -> None:
        """Validate numbers and names."""
        minutes = self.save_every_n_minutes
        require_option("run.save_every_n_minutes", minutes, "above 0", minutes > 0)
        least = {"grid_every_n_epochs": 1, "grid_images": 0}
        least |= {"patience": 1, "smoothing": 1, "keep_every_n_steps": 1}
        for name, smallest in least.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise UsageError(f"--run.{name}: {value}\naccepted: {smallest} or more")
        if self.monitor is None and self.patience is not None:
            raise UsageError(
                f"--run.patience: {self.patience}\n"
                "accepted: null if --run.monitor is null: early stopping needs a metric"
            )
        for name in ("name", "experiment"):
            value = getattr(self, name) or "default"
            one = Path(value).name == value and value != ".." and value.isprintable()
            if not one or len(value.encode()) > _LONGEST_NAME:
                raise UsageError(
                    f"--run.{name}: {value!r}\n"
                    "accepted: the name of one folder, printable, at most 255 bytes"
                )
