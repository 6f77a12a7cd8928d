"""From a configuration to a Trainer: a LightningCLI with a run's loggers and callbacks."""

import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from jsonargparse import Namespace, get_loader, set_loader
from jsonargparse.typing import register_type
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from lightning_colorize.common.bundled import BUNDLED, bundled
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.extras import require_extra
from lightning_colorize.common.files import write_atomic
from lightning_colorize.common.mappings import read_mapping, refuse_repeated_keys
from lightning_colorize.common.processes import is_first_process
from lightning_colorize.data.augmentation import nest_augmentation
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.models.checkpoint import STARTS, prepare_for_state, read_intact
from lightning_colorize.runs.artifacts import is_artifact
from lightning_colorize.runs.folder import (
    BEST,
    CONFIG,
    LAST,
    begin,
    flatten,
    has_checkpoint,
    new_run_folder,
    read_config,
)
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
from lightning_colorize.training.launchers import (
    refuse_other_processes,
    refuse_restarts_by_one_store,
    require_meaning,
    trains_in_parallel,
    with_slurm,
)
from lightning_colorize.training.loggers.build import build_loggers
from lightning_colorize.training.options import RunOptions

_PARSER_MODE = "lightning_colorize"
_BF16 = "bf16-mixed"
_CPU = Path("/proc/cpuinfo")
# Missing if the class takes no arguments.
_ENCODER_ARGUMENTS = "model.init_args.encoder.init_args"


def config_paths(words: list[str]) -> list[Path]:
    """Return the configuration files on a command line; the first is the experiment."""
    paths = [
        word.partition("=")[2] or following
        for word, following in zip(words, [*words, ""][1:], strict=True)
        if word in ("--config", "-c") or word.startswith("--config=")
    ]
    return [Path(path).expanduser() for path in paths if path]


def base_config(words: list[str]) -> Path:
    """Return the file of defaults: `base.yaml` next to the experiment, else the bundled one."""
    for experiment in config_paths(words)[:1]:
        if (base := experiment.with_name("base.yaml")).is_file():
            return base
    return bundled("experiments") / "base.yaml"


def load_setting(text: str) -> Any:
    """Return a setting or a configuration from YAML, with the word None as null.

    W&B passes a sweep's null as this word; so does jsonargparse 4.53 to its inner parser, for a
    class within a class, as in `--model.encoder.weights null`. Repeated keys are refused.
    """
    value = get_loader("yaml")(text)
    if isinstance(value, dict):
        refuse_repeated_keys(text)
    run = value.get("run") if isinstance(value, dict) else None
    if isinstance(run, dict) and run.pop("save_every_n_steps", None):  # of older runs
        warnings.warn("run.save_every_n_minutes replaces run.save_every_n_steps", stacklevel=1)
    return None if value == "None" else nest_augmentation(value)


def complete(config: Namespace, folder: Path, keep_precision: bool) -> None:
    """Fill in values that follow from others, from the machine, or from the run in the folder."""
    _complete_paths(config)
    trainer = config.trainer
    if trainer.precision == _BF16 and not keep_precision and emulates_bf16(trainer.accelerator):
        trainer.precision = "32-true"
    if trainer.precision is None and config.run.auto_resume:
        # Not this machine's default: the run may have started on other GPUs.
        trainer.precision = read_config(folder).get("trainer", {}).get("precision")
    trainer.precision = trainer.precision or default_precision(trainer.accelerator)
    if str(trainer.devices).isdigit():  # text on a command line, a number in a file
        trainer.devices = int(trainer.devices)
    # Only some encoders depend on the image size.
    encoder = config.get(_ENCODER_ARGUMENTS, {})
    if "size" in encoder:
        encoder.size = config.data.size


def _complete_paths(config: Namespace) -> None:
    """Make paths that are not URLs absolute, as a run can be resumed from any folder."""
    model = config.model.get("init_args", {})
    paths = [(config.data, "root"), (config.run, "predict_dir")]
    paths += [(model, key) for key in STARTS]
    # At any depth: an encoder within an encoder, the backbone of a loss.
    paths += [(part, key) for part in _sections(model) for key in ("weights", "teacher")]
    if config.data.source is not None:
        is_hub = config.data.source.class_path.endswith(".HuggingFaceSource")
        if is_hub and not os.path.exists(os.path.expanduser(config.data.root or "")):
            del paths[0]  # a name on the Hub
        source = config.data.source.get("init_args", {})
        paths += [(source, "exclude_list"), (source, "cache_dir")]
        if "folders" in source:  # a mixture's folders are relative to it
            config.data.root = config.data.root or "."
            listed = source.folders if isinstance(source.folders, list) else []
            paths += [(folder, "exclude_list") for folder in listed]
    # Bundled models have no path: a run can be resumed on any machine.
    for part, key in paths:
        path = part.get(key)
        if not isinstance(path, str | Path) or str(path) in BUNDLED:
            continue
        if "://" not in str(path) and not is_artifact(Path(path)):
            part[key] = os.path.abspath(os.path.expanduser(path))


def _sections(part: Any) -> Iterator[Any]:
    """Yield a part of a configuration and its sections at any depth."""
    if isinstance(part, Namespace | dict):
        yield part
        part = [*(part if isinstance(part, dict) else vars(part)).values()]
    for each in part if isinstance(part, list) else ():
        yield from _sections(each)


def default_precision(accelerator: str) -> Literal["bf16-mixed", "32-true"]:
    """Return bf16-mixed on GPUs that support it natively, where it is twice as fast."""
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16-mixed"
    return "32-true"


def emulates_bf16(accelerator: str) -> bool:
    """Return whether training is on a CPU that has no instructions for bf16, and is slow in it."""
    on_gpu = accelerator != "cpu" and torch.accelerator.is_available()
    return not on_gpu and _CPU.is_file() and not re.search(r"[ _]bf16\b", _CPU.read_text())


class ColorizeCLI(LightningCLI):
    """LightningCLI for any `ColorizationTask`; adds the run folder, loggers and callbacks.

    `words` follow `fit`; `prog` is the command's name in the help. A new run starts, unless
    `resumed` is the folder of a run. `claim` locks the run folder for this process before anything
    is written there.
    """

    _yields = False  # whether the precision does
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
        for path in filter(os.path.isfile, config_paths(words)):
            content = read_mapping(path, "model")
            for key in ("data", "run", "trainer"):
                if not isinstance(content.get(key, {}), dict):
                    raise UsageError(f"{path}: {key}: not a mapping; give it keys, or remove it")
        # A mode of our own: all parsers of the process share the mode named "yaml".
        set_loader(_PARSER_MODE, load_setting, exceptions=(yaml.YAMLError,))
        # Defaults of stock callbacks, such as Timer's, that YAML cannot represent.
        yaml.SafeDumper.add_multi_representer(
            Enum, lambda dumper, member: dumper.represent_data(member.value)
        )
        register_type(torch.device)
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
        if options.loggers.mlflow:
            require_extra("mlflow", "--run.loggers.mlflow", "mlflow")
        if options.experiment is None:
            options.experiment = next((path.stem for path in config_paths(self.words)), "fit")
        if self.resumed:
            complete(self.config, self.folder, keep_precision=True)
            refuse_settings_of_checkpoint(self.folder, self._settings())
            return
        root = Path(options.root).expanduser()
        self.folder = new_run_folder(root, options.experiment, options.name, options.auto_resume)
        asked = self.config.trainer.precision
        complete(self.config, self.folder, "--trainer.precision" in " ".join(self.words))
        self._yields = asked not in (None, self.config.trainer.precision)
        if options.auto_resume:
            refuse_other_settings(self.folder, self._settings())
            result = RunResult.read(self.folder)
            if result is not None and result.ended:
                raise RunEnded(f"{self.folder} is {result.status.replace('_', ' ')}")
            self.resumed = has_checkpoint(self.folder)

    def _settings(self) -> dict[str, Any]:
        text = self.parser.dump(self.config, skip_unset=False, format="yaml")
        settings: dict[str, Any] = yaml.safe_load(text)
        return settings

    def instantiate_classes(self) -> None:
        """Build the classes, without pretrained weights if a checkpoint follows."""
        self.given = self.config
        model = self.given.model.get("init_args", {})
        if self.resumed or any(model.get(key) for key in STARTS):
            self.config = self.given.clone()
            prepare_for_state(self.config.model.init_args, keep_start=not self.resumed)
        super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add the run's folder, loggers and callbacks to the Trainer's configuration."""
        self.config = self.given  # the one to save
        config = self.config_init.trainer
        config.plugins = with_slurm(with_atomic_checkpoints(_listed(config.plugins)))
        if trains_in_parallel(config):
            config.strategy = self.model.distributed_strategy
        require_meaning(config)
        self.model.check(config, self.datamodule.size)
        if not self.resumed:
            self.model.require_weights()
        if self._yields and is_first_process():
            print(f"precision 32-true: this CPU emulates {_BF16}; --trainer.precision keeps it")
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
    """Return the objects of a Trainer's argument; None and True name none."""
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
