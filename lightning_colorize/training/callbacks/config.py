"""Writes and logs the configuration of a run."""

from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import SaveConfigCallback

from lightning_colorize.runs.folder import write_config
from lightning_colorize.training.loggers import log_config


class SaveConfig(SaveConfigCallback):
    """Writes `config.yaml` to the run folder and logs the configuration.

    `fit --config RUN/config.yaml` repeats the run in a new folder: the run's name is omitted. The
    file is written when training starts, so that a refused `resume` changes nothing.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Lightning's own file would be refused in an existing run folder.
        super().__init__(*args, **{**kwargs, "save_to_log_dir": False})

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Wait for the start of training."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write and log, on rank 0."""
        super().setup(trainer, pl_module, "fit")

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write and log."""
        config = self.config.clone()
        config["run.name"], config["run.auto_resume"] = None, False
        text = self.parser.dump(config, skip_unset=False, format="yaml")
        write_config(Path(trainer.default_root_dir), text)
        log_config(trainer.loggers, yaml.safe_load(text))
