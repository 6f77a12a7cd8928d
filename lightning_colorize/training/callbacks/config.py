"""The run's whole configuration, as the file that repeats it and in every logger."""

from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import SaveConfigCallback

from lightning_colorize.common.files import write_atomic
from lightning_colorize.runs.folder import CONFIG
from lightning_colorize.training.loggers import log_config


class SaveConfig(SaveConfigCallback):
    """Writes `config.yaml` into the run folder and gives the configuration to the loggers.

    `fit --config RUN/config.yaml` trains the same in a new folder: the run's name is left out. Not
    before training starts: a `resume` that is refused changes nothing.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # A resumed run has the file already; what `resume` was given to change is new in it.
        super().__init__(*args, **{**kwargs, "save_to_log_dir": False})

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Do nothing yet."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write and log, in the first process."""
        super().setup(trainer, pl_module, "fit")

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write and log."""
        config = self.config.clone()
        config["run.name"], config["run.auto_resume"] = None, False
        text = self.parser.dump(config, skip_none=False, format="yaml")
        write_atomic(Path(trainer.default_root_dir) / CONFIG, text)
        log_config(trainer.loggers, yaml.safe_load(text))
