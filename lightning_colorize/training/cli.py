"""From a configuration to a Trainer: a LightningCLI with a run's loggers and callbacks."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import set_loader
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import write_atomic
from lightning_colorize.common.processes import is_first_process
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.models.checkpoint import prepare_for_state, read_intact
from lightning_colorize.runs.folder import BEST, CONFIG, LAST, flatten
from lightning_colorize.runs.naming import begin, new_run_folder
from lightning_colorize.runs.result import RunResult
from lightning_colorize.runs.resuming import (
    RunEnded,
    refuse_other_settings,
    refuse_settings_of_checkpoint,
)
from lightning_colorize.tasks import ColorizationTask
from lightning_colorize.training.callbacks.build import build_callbacks
from lightning_colorize.training.callbacks.checkpoints import (
    BestCheckpoint,
    with_atomic_checkpoints,
)
from lightning_colorize.training.callbacks.stopping import GracefulStop
from lightning_colorize.training.config import (
    base_config,
    complete,
    config_paths,
    load_setting,
    starts_from_checkpoint,
)
from lightning_colorize.training.launchers import (
    refuse_other_processes,
    refuse_restarts_by_one_store,
    trains_in_parallel,
    with_slurm,
)
from lightning_colorize.training.loggers.build import build_loggers
from lightning_colorize.training.options import RunOptions

_PARSER_MODE = "lightning_colorize"


class ColorizeCLI(LightningCLI):
    """LightningCLI for any `ColorizationTask`; adds the run folder, loggers and callbacks.

    `words` follow `fit`; `prog` is the command's name in the help. A new run starts, unless
    `resumed` is the folder of a run. `claim` locks the run folder for this process before anything
    is written there.
    """

    best: BestCheckpoint | None = None  # None if nothing is saved (`fast_dev_run`)
    stop: GracefulStop  # set only if something is saved

    def __init__(
        self,
        words: list[str],
        prog: str,
        resumed: Path | None = None,
        claim: Callable[[Path], None] = lambda folder: None,
    ) -> None:
        self.words = words
        self.claim = claim
        self.resumed = resumed is not None
        self.resume_from: Path | None = None
        self._resume_step: int | None = None
        self.folder = resumed or Path()
        # A mode of our own: all parsers of the process share the mode named "yaml".
        set_loader(_PARSER_MODE, load_setting, exceptions=(yaml.YAMLError,))
        super().__init__(
            ColorizationTask,
            ColorizationDataModule,
            subclass_mode_model=True,
            save_config_callback=SaveConfig,
            # Lightning's own file would be refused in an existing run folder.
            save_config_kwargs={"save_to_log_dir": False},
            seed_everything_default=42,
            trainer_defaults={
                "num_sanity_val_steps": 0,
                "enable_model_summary": False,
                # The data module distributes images over ranks itself, without padding.
                "use_distributed_sampler": False,
            },
            parser_kwargs={
                "prog": prog,
                "parser_mode": _PARSER_MODE,
                "usage": "%(prog)s --config FILE [--config FILE ...] [--KEY VALUE ...]",
                "description": "Train an experiment in a new run folder.",
                "exit_on_error": False,
                "allow_abbrev": False,
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
        """Determine the run folder and complete the configuration before it is saved."""
        refuse_restarts_by_one_store()
        options = self.config.run
        if options.experiment is None:
            options.experiment = next((path.stem for path in config_paths(self.words)), "fit")
        is_new = not self.resumed
        if is_new:
            root = Path(options.root).expanduser()
            self.folder = new_run_folder(
                root, options.experiment, options.name, options.auto_resume
            )
        complete(self.config, self.folder)
        if self.resumed:
            refuse_settings_of_checkpoint(self.folder, self._settings())
        elif is_new and options.auto_resume:
            refuse_other_settings(self.folder, self._settings())
            result = RunResult.read(self.folder)
            if result is not None and result.ended:
                raise RunEnded(f"{self.folder} is {result.status.replace('_', ' ')}")
            self.resumed = (self.folder / LAST).is_file()

    def _settings(self) -> dict[str, Any]:
        text = self.parser.dump(self.config, skip_unset=False, format="yaml")
        settings: dict[str, Any] = yaml.safe_load(text)
        return settings

    def instantiate_classes(self) -> None:
        """Build the classes, without pretrained weights if a checkpoint follows."""
        self.given = self.config
        if self.resumed or starts_from_checkpoint(self.given):
            self.config = self.given.clone()
            prepare_for_state(self.config.model.init_args, keep_start=not self.resumed)
        super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add the run's folder, loggers and callbacks to the Trainer's configuration."""
        self.config = self.given  # the one to save
        config = self.config_init.trainer
        config.plugins = with_slurm(with_atomic_checkpoints(config.plugins))
        if trains_in_parallel(config):
            config.strategy = self.model.distributed_strategy
        self.model.check(config, self.datamodule.size)
        if not self.resumed:
            self.model.require_weights()
        saves = not config.fast_dev_run
        has_logger = saves and config.logger is not False
        callbacks = build_callbacks(self, saves, has_logger)
        if saves:
            self._prepare_folder()
        if has_logger:
            options = self.config_init.run.loggers
            ours = build_loggers(self.folder, options, self._resume_step)
            config.logger = [*ours, *_listed(config.logger)]
        # Lightning would add a progress bar off a terminal, too.
        config.enable_progress_bar = config.enable_progress_bar is not False and sys.stdout.isatty()
        # Ours first: they run while averaged weights are still in place after a validation.
        config.callbacks = [*callbacks, *_listed(config.callbacks)]
        trainer: Trainer = super().instantiate_trainer(
            default_root_dir=str(self.folder),
            enable_autolog_hparams=False,  # SaveConfig logs the whole configuration
            **kwargs,
        )
        refuse_other_processes(trainer)
        return trainer

    def _prepare_folder(self) -> None:
        """Create and claim the run folder, and choose the checkpoint to resume from."""
        if is_first_process():
            # Without data, no folder is created.
            self.datamodule.prepare_data()
            self.datamodule.setup()
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                fault = f"{self.folder} cannot be created: {error.strerror}"
                raise UsageError(f"{fault}; give another --run.root") from error
            self.claim(self.folder)
            begin(self.folder, self.resumed, self.config_init.run.auto_resume)
        if not self.resumed:
            return
        self.resume_from, checkpoint = read_intact(self.folder, LAST, BEST)
        self._resume_step = int(checkpoint["global_step"])
        epochs, begun = self.config_init.trainer.max_epochs, int(checkpoint.get("epoch", 0)) + 1
        if epochs is not None and -1 < epochs < begun:
            raise UsageError(
                f"--trainer.max_epochs {epochs}: the run has begun epoch {begun}; give {begun + 1}"
            )
        if is_first_process() and self.config_init.run.auto_resume:
            print(f"resuming {self.folder} from step {self._resume_step:,}")


def _listed(given: Any) -> list[Any]:
    """Return the objects of a Trainer's argument; None and True choose none."""
    return given if isinstance(given, list) else [] if given in (None, True) else [given]


class SaveConfig(SaveConfigCallback):
    """Writes `config.yaml` to the run folder and logs the configuration.

    `fit --config RUN/config.yaml` repeats the run in a new folder: the run's name is omitted. The
    file is written when training starts, so that a refused `resume` changes nothing.
    """

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
        write_atomic(Path(trainer.default_root_dir) / CONFIG, text)
        for logger in trainer.loggers:
            logger.log_hyperparams(flatten(yaml.safe_load(text)))


class NamedCLI(ColorizeCLI):
    """Names the run and parses its configuration; builds nothing."""

    def instantiate_classes(self) -> None:
        """Build nothing."""


class ParsedCLI(NamedCLI):
    """Parses a configuration; names and builds nothing."""

    def before_instantiate_classes(self) -> None:
        """Name no run."""
