"""From a configuration to a Trainer: a LightningCLI with a run's loggers and callbacks."""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import set_loader
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import write_atomic
from lightning_colorize.common.processes import is_first_process
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.metrics.spec import Goal
from lightning_colorize.models.checkpoint import read_intact
from lightning_colorize.networks import skip_weights
from lightning_colorize.runs.folder import BEST, CONFIG, LAST, flatten
from lightning_colorize.runs.naming import begin, new_run_folder
from lightning_colorize.runs.result import RunResult
from lightning_colorize.runs.resuming import (
    RunEnded,
    refuse_other_settings,
    refuse_settings_of_checkpoint,
    rule_of,
)
from lightning_colorize.tasks import ColorizationTask
from lightning_colorize.training.callbacks.banner import Banner
from lightning_colorize.training.callbacks.baselines import BaselineMetrics
from lightning_colorize.training.callbacks.checkpoints import (
    AtomicCheckpointIO,
    BestCheckpoint,
    KeptCheckpoints,
    LastCheckpoint,
    SmoothedMonitor,
    with_atomic_checkpoints,
)
from lightning_colorize.training.callbacks.finite import FiniteTraining
from lightning_colorize.training.callbacks.gan_health import GANHealth
from lightning_colorize.training.callbacks.grids import ImageGrids
from lightning_colorize.training.callbacks.interrupt import GracefulStop
from lightning_colorize.training.callbacks.predict_folder import PredictFolder
from lightning_colorize.training.callbacks.progress import progress_callbacks
from lightning_colorize.training.callbacks.result import ResultWriter
from lightning_colorize.training.callbacks.throughput import Throughput
from lightning_colorize.training.callbacks.validations import (
    EarlyStop,
    FinalValidation,
    Validations,
    forget_early_stop,
)
from lightning_colorize.training.config import (
    base_config,
    complete,
    config_paths,
    load_setting,
    refuse_binary,
    starts_from_checkpoint,
)
from lightning_colorize.training.launchers import (
    SharedFolder,
    refuse_other_processes,
    refuse_restarts_by_one_store,
    refuse_sync_batchnorm,
    trains_in_parallel,
    with_slurm,
)
from lightning_colorize.training.loggers.build import build_loggers
from lightning_colorize.training.options import RunOptions

_PARSER_MODE = "lightning_colorize"


class ColorizeCLI(LightningCLI):
    """LightningCLI for any `ColorizationTask`; adds the run folder, loggers and callbacks.

    `words` follow `fit`; `prog` is the command's name in the help. A new run starts, unless
    `resumed` is the folder of a run, or `scratch` a temporary folder for work that is not a run.
    `claim` locks the run folder for this process before anything is written there.
    """

    best: BestCheckpoint | None = None  # None if nothing is saved (`fast_dev_run`)
    stop: GracefulStop  # set only if something is saved

    def __init__(
        self,
        words: list[str],
        prog: str,
        resumed: Path | None = None,
        scratch: Path | None = None,
        claim: Callable[[Path], None] = lambda folder: None,
    ) -> None:
        self.words = words
        self.claim = claim
        self.resumed = resumed is not None
        self.resume_from: Path | None = None
        self._resume_step: int | None = None
        self.is_run = scratch is None
        self.folder = resumed or scratch or Path()
        refuse_binary(words)
        # A mode of our own: all parsers of the process share the mode named "yaml".
        set_loader(_PARSER_MODE, load_setting, exceptions=(yaml.YAMLError,))
        super().__init__(
            ColorizationTask,
            ColorizationDataModule,
            subclass_mode_model=True,
            save_config_callback=SaveConfig if scratch is None else None,
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
        """Add `--run.*`, and move the Trainer's options to the end of the help."""
        parser.add_argument("--run", type=RunOptions, default=RunOptions())
        groups: list[Any] = parser._action_groups  # type: ignore[assignment]
        groups.sort(key=lambda group: group is (parser.groups or {}).get("trainer"))

    def before_instantiate_classes(self) -> None:
        """Determine the run folder and complete the configuration before it is saved."""
        refuse_restarts_by_one_store()
        options = self.config.run
        if options.experiment is None:
            options.experiment = next((path.stem for path in config_paths(self.words)), "fit")
        is_new = self.is_run and not self.resumed
        if is_new:
            root = Path(options.root).expanduser()
            self.folder = new_run_folder(
                root, options.experiment, options.name, options.auto_resume
            )
        complete(self.config, self.folder)
        if self.resumed:
            refuse_settings_of_checkpoint(self.folder, self._settings())
        elif is_new and options.auto_resume:
            self._auto_resume()

    def _auto_resume(self) -> None:
        """Resume the run if it has a checkpoint, as `resume` would."""
        refuse_other_settings(self.folder, self._settings())
        result = RunResult.read(self.folder)
        if result is not None and result.ended:
            raise RunEnded(f"{self.folder} is {result.status.replace('_', ' ')}")
        self.resumed = (self.folder / LAST).is_file()

    def _settings(self) -> dict[str, Any]:
        text = self.parser.dump(self.config, skip_unset=False, format="yaml")
        settings: dict[str, Any] = yaml.safe_load(text)
        return settings

    def _choose_checkpoint(self) -> None:
        """Resume from the last checkpoint, or from the best one if that is damaged."""
        self.resume_from, checkpoint = read_intact(self.folder, LAST, BEST)
        self._resume_step = int(checkpoint["global_step"])
        epochs, begun = self.config_init.trainer.max_epochs, int(checkpoint.get("epoch", 0)) + 1
        result = RunResult.read(self.folder)
        if epochs is not None and -1 < epochs < begun:
            whole = "" if result is None else f" ({result.epochs} whole)"
            raise UsageError(
                f"--trainer.max_epochs {epochs}: the run has begun epoch {begun}{whole}; "
                f"give {begun + 1}"
            )
        if not is_first_process():
            return
        if self.config_init.run.auto_resume:
            print(f"resuming {self.folder} from step {self._resume_step:,}")
        if result is not None and result.ended and forget_early_stop(checkpoint):
            # The result will say `running`: a process killed before its first checkpoint must leave
            # one that trains on.
            AtomicCheckpointIO().save_checkpoint(checkpoint, self.resume_from)

    def instantiate_classes(self) -> None:
        """Build the classes, without pretrained weights if a checkpoint follows."""
        skip = self.resumed or starts_from_checkpoint(self.config)
        with skip_weights(initial=not self.resumed) if skip else nullcontext():
            super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add the run's folder, loggers and callbacks to the Trainer's configuration."""
        config = self.config_init.trainer
        config.plugins = with_slurm(with_atomic_checkpoints(config.plugins))
        if trains_in_parallel(config):
            config.strategy = self.model.distributed_strategy
        self.model.check(config, self.datamodule.size)
        baselines = BaselineMetrics()
        callbacks: list[Callback] = [Banner(), baselines]
        if config.enable_progress_bar is not False:
            callbacks += progress_callbacks()
        # Lightning would add a progress bar off a terminal, too.
        config.enable_progress_bar = config.enable_progress_bar is not False and sys.stdout.isatty()
        if self.is_run and not config.fast_dev_run:
            callbacks += self._writing_callbacks(baselines)
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
            if self.resumed:
                self._choose_checkpoint()
            if config.logger is not False:
                options = self.config_init.run.loggers
                ours = build_loggers(self.folder, options, self._resume_step)
                config.logger = [*ours, *_listed(config.logger)]
                callbacks.insert(2, LearningRateMonitor())
        # Ours first: they run while averaged weights are still in place after a validation.
        config.callbacks = [*callbacks, *_listed(config.callbacks)]
        trainer: Trainer = super().instantiate_trainer(
            default_root_dir=str(self.folder),
            enable_autolog_hparams=False,  # SaveConfig logs the whole configuration
            **kwargs,
        )
        refuse_other_processes(trainer)
        if config.sync_batchnorm:
            refuse_sync_batchnorm(trainer)
        return trainer

    def _mode(self) -> Goal:
        """Return whether the monitored metric is maximized; refuse an unknown one."""
        options, names = self.config_init.run, self.model.metric_names()
        monitor = options.monitor
        if monitor is None:
            if options.patience is None:
                return "max"  # nothing is compared
            raise UsageError(
                f"--run.patience: {options.patience}\n"
                "accepted: null if --run.monitor is null: early stopping needs a metric"
            )
        if monitor not in names:
            raise UsageError(
                f"--run.monitor: '{monitor}' is not a metric of validations\n"
                f"accepted: {', '.join(names)}"
            )
        # The loss has no row.
        goals = {f"val/{metric.name}": metric.goal for metric in self.model.metric_rows}
        goal: Goal | None = goals.get(monitor, "min")
        mode: Goal | None = options.mode or goal
        if mode is None or goal not in (None, mode):
            raise UsageError(
                f"--run.mode: {options.mode or 'null'}\n"
                f"accepted: {goal or 'max, min'} for --run.monitor {monitor}"
            )
        return mode

    def _writing_callbacks(self, baselines: BaselineMetrics) -> list[Callback]:
        """Return the callbacks that write to the run folder or stop the run early."""
        options: RunOptions = self.config_init.run
        mode = self._mode()
        callbacks: list[Callback] = []
        smoothed = options.monitor is not None and options.smoothing > 1
        self.best = BestCheckpoint(self.folder, options.monitor, mode, smoothed)
        if options.monitor is not None and smoothed:
            callbacks.append(SmoothedMonitor(options.monitor, options.smoothing))
        if self.best.monitor is not None:
            callbacks.append(EarlyStop(self.best.monitor, mode, options.patience))
        if "discriminator" in self.model.optimizer_names and options.health != "off":
            callbacks.append(GANHealth(stop=options.health == "stop"))
        if options.grid_images:
            grids = ImageGrids(self.best, options.grid_images, options.grid_every_n_epochs)
            callbacks.append(grids)
        if options.predict_dir is not None:
            callbacks.append(PredictFolder(Path(options.predict_dir), self.datamodule.size))
        last = LastCheckpoint(self.folder / LAST, options.save_every_n_steps)
        kept = options.keep_every_n_steps
        self.stop = GracefulStop(last)
        throughput = Throughput()
        flat = flatten(self.config.as_dict())
        settings = {key: flat[key] for key in flat if rule_of(key) == "resets the best"}
        return [
            SharedFolder(self.folder, self.resumed),
            FiniteTraining(),  # before those that make images of predictions
            *callbacks,
            throughput,
            Validations(self.folder, settings),
            ResultWriter(self.folder, baselines, throughput, self.best, options.test),
            FinalValidation(),
            self.best,
            *([] if kept is None else [KeptCheckpoints(self.folder, kept)]),
            last,
            self.stop,
        ]


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
