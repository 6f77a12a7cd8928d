"""From a configuration to a Trainer: a thin LightningCLI and what every run brings along."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

from lightning_colorize.bundled import bundled
from lightning_colorize.callbacks import (
    Banner,
    BaselineMetrics,
    GracefulStop,
    PictureGrids,
    PredictFolder,
    RunResult,
    SaveConfig,
    on_terminal,
    progress_callbacks,
)
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.errors import UsageError
from lightning_colorize.loggers import LoggerOptions, build_loggers
from lightning_colorize.run_folder import CHECKPOINTS, CONFIG, LAST, RESULT
from lightning_colorize.tasks import ColorizationTask

# Where the first process tells those that it starts which folder the run has.
_FOLDER_VARIABLE = "LIGHTNING_COLORIZE_RUN_FOLDER"


@dataclass
class RunOptions:
    """Where a run is kept, when it stops and what it shows.

    Args:
        root: Folder of all runs.
        name: Folder of this run below its experiment's; by default the time of its start.
        experiment: Folder of the runs of one kind; by default the name of the configuration file.
        monitor: The metric by which the best checkpoint is chosen.
        mode: Whether more of it is better, or less.
        patience: Stop after this many validations without a better `monitor`; null: never.
        save_every_n_steps: Write last.ckpt this often, besides at the end of every epoch.
        test: Measure the best checkpoint on the test split at the end.
        grid_pictures: Validation pictures shown as grey, prediction, truth; 0 for none.
        grid_every_n_epochs: How often they are shown.
        predict_dir: Folder of grey photographs that are coloured at each validation.
        loggers: Which loggers.
    """

    root: str = "runs"
    name: str | None = None
    experiment: str | None = None
    monitor: str = "val/psnr"
    mode: Literal["max", "min"] = "max"
    patience: int | None = None
    save_every_n_steps: int = 500
    test: bool = True
    grid_pictures: int = 8
    grid_every_n_epochs: int = 1
    predict_dir: str | None = None
    loggers: LoggerOptions = field(default_factory=LoggerOptions)


class ColorizeCLI(LightningCLI):
    """LightningCLI for any `ColorizationTask`; the run's folder, loggers and callbacks are ours.

    Args:
        words: The command line after `fit`.
        prog: What the help calls the command.
        folder: The folder of a run that goes on; by default a new one is made.
    """

    def __init__(self, words: list[str], prog: str, folder: Path | None = None) -> None:
        self.words = words
        self.folder = folder
        self.resumed = folder is not None
        super().__init__(
            ColorizationTask,
            ColorizationDataModule,
            subclass_mode_model=True,
            save_config_callback=SaveConfig,
            seed_everything_default=42,
            trainer_defaults={
                "num_sanity_val_steps": 0,
                "enable_model_summary": False,
                # Ours deals out pictures to processes itself, without padding.
                "use_distributed_sampler": False,
            },
            parser_kwargs={
                "prog": prog,
                "exit_on_error": False,
                "default_config_files": [str(base_config(words))],
            },
            auto_configure_optimizers=False,
            run=False,
            args=words,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add `--run.*`."""
        parser.add_argument("--run", type=RunOptions, default=RunOptions())

    def before_instantiate_classes(self) -> None:
        """Name the run, so that its configuration can be saved with its experiment's name."""
        options = self.config.run
        if options.experiment is None:
            options.experiment = config_path(self.words).stem if config_path(self.words) else "fit"
        if self.folder is None:
            self.folder = run_folder(Path(options.root), options.experiment, options.name)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add the run's folder, loggers and callbacks to the Trainer's configuration."""
        assert self.folder is not None
        options: RunOptions = self.config_init.run
        config = self.config_init.trainer
        quick = bool(config.fast_dev_run)
        if not quick:
            self.folder.mkdir(parents=True, exist_ok=True)
        if config.logger is None and not quick:
            step = checkpoint_step(self.folder / LAST) if self.resumed else None
            config.logger = build_loggers(self.folder, options.loggers, step)
        self.baselines = BaselineMetrics()
        callbacks = run_callbacks(self.folder, options, self.baselines, self.datamodule.size, quick)
        # The bar is one of ours, on a terminal only; Lightning would add its own elsewhere.
        config.enable_progress_bar = config.enable_progress_bar is not False and on_terminal()
        config.callbacks = [*(config.callbacks or []), *callbacks]
        trainer: Trainer = super().instantiate_trainer(default_root_dir=str(self.folder), **kwargs)
        return trainer


def run_callbacks(
    folder: Path, options: RunOptions, baselines: BaselineMetrics, size: int, quick: bool
) -> list[Callback]:
    """Return the callbacks that every run has.

    Args:
        folder: The run folder.
        options: The user's choices.
        baselines: Measures the baselines.
        size: Height and width of the pictures in training.
        quick: `fast_dev_run`: nothing is written.
    """
    checkpoints = folder / CHECKPOINTS
    common: dict[str, Any] = {
        "dirpath": checkpoints,
        "enable_version_counter": False,
        "auto_insert_metric_name": False,
    }
    best = ModelCheckpoint(filename="best", monitor=options.monitor, mode=options.mode, **common)
    callbacks: list[Callback] = [Banner(), baselines, *progress_callbacks()]
    if options.patience is not None:
        callbacks.append(
            EarlyStopping(options.monitor, mode=options.mode, patience=options.patience)
        )
    if quick:
        return callbacks
    if options.grid_pictures:
        callbacks.append(PictureGrids(options.grid_pictures, options.grid_every_n_epochs))
    if options.predict_dir is not None:
        callbacks.append(PredictFolder(Path(options.predict_dir), size))
    if options.loggers.csv or options.loggers.tensorboard or options.loggers.wandb != "disabled":
        callbacks.append(LearningRateMonitor())
    return [
        *callbacks,
        RunResult(folder, baselines, best),
        best,
        ModelCheckpoint(filename="last", every_n_train_steps=options.save_every_n_steps, **common),
        ModelCheckpoint(filename="last", every_n_epochs=1, **common),
        GracefulStop(folder / LAST),
    ]


def run_folder(root: Path, experiment: str, name: str | None) -> Path:
    """Return the folder of a new run, the same in all of its processes.

    Raises:
        UsageError: If there is such a run already.
    """
    rank = _rank()
    if rank and _FOLDER_VARIABLE in os.environ:
        return Path(os.environ[_FOLDER_VARIABLE])
    folder = root / experiment / (name or _default_name())
    if not rank and ((folder / CONFIG).exists() or (folder / RESULT).exists()):
        raise UsageError(
            f"{folder} holds a run already; give another --run.name, "
            f"or go on with it: lightning-colorize resume {folder}"
        )
    os.environ[_FOLDER_VARIABLE] = str(folder)
    return folder


def _rank() -> int:
    """Return this process's number, before any process group is there."""
    for variable in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        if value := os.environ.get(variable):
            return int(value)
    return 0


def _default_name() -> str:
    """Return the job's name where a cluster started several processes, else the time."""
    for variable in ("SLURM_JOB_ID", "TORCHELASTIC_RUN_ID"):
        if value := os.environ.get(variable):
            return value
    return time.strftime("%Y%m%d-%H%M%S") + f"-{os.getpid() % 0xFFFF:04x}"


def config_path(words: list[str]) -> Path | None:
    """Return the first configuration file on a command line."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word in ("--config", "-c"):
            return Path(following)
        if word.startswith("--config="):
            return Path(word.partition("=")[2])
    return None


def base_config(words: list[str]) -> Path:
    """Return the defaults that an experiment stands on: `base.yaml` beside it, else ours."""
    given = config_path(words)
    if given is not None and (given.parent / "base.yaml").is_file():
        return given.parent / "base.yaml"
    return bundled("experiments") / "base.yaml"


def checkpoint_step(path: Path) -> int:
    """Return the number of optimiser steps after which a checkpoint was written."""
    import torch

    return int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["global_step"])
