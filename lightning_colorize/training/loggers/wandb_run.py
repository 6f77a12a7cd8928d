"""A Weights & Biases run that never asks, never waits for long and never stops the training."""

import contextlib
import logging
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import DummyLogger
from pytorch_lightning.utilities import rank_zero_only

from lightning_colorize.common.files import write_atomic
from lightning_colorize.common.processes import is_first_process
from lightning_colorize.metrics.spec import GOALS
from lightning_colorize.runs.folder import SWEEP, WANDB, WANDB_ID
from lightning_colorize.training.loggers.base import ImageArray, RunLogger
from lightning_colorize.training.loggers.image_files import read_best_images
from lightning_colorize.training.loggers.options import LoggerOptions
from lightning_colorize.training.loggers.wandb_mode import WandbMode

_log = logging.getLogger(__name__)

_STEP = "trainer/global_step"  # Lightning's name for it
_LONGEST_TAG = 64  # W&B refuses longer ones
_INIT_TIMEOUT = 20.0  # seconds; W&B's own 90 are most of a quickstart
_FINISH_TIMEOUT = 60.0  # seconds; W&B's own default waits for ever


class WandbRun(RunLogger, WandbLogger):
    """Metrics, images and configuration into a W&B run, kept on disk in `<run>/wandb/`.

    The run is started when something is first logged. If W&B fails, one line says so and the
    training goes on: a run that cannot start online is kept offline, one that cannot start at all
    is done without.

    Args:
        folder: The run folder; its name is the W&B run's.
        options: Project, entity, group, tags and id. A trial of a sweep is of the sweep's group,
            unless another was asked for, and has its name as a tag.
        mode: Online or offline.
    """

    def __init__(self, folder: Path, options: LoggerOptions, mode: WandbMode) -> None:
        sweep = os.environ.get(SWEEP)
        super().__init__(
            name=folder.name,
            save_dir=folder,
            id=_run_id(folder, options),
            project=options.project,
            entity=options.entity,
            group=options.group or sweep,
            tags=[*options.tags, *([sweep[:_LONGEST_TAG]] if sweep else [])],
            mode=mode.mode,
        )
        del self._wandb_init["anonymous"]  # Lightning's None; W&B warns of whatever is given
        self._folder = folder
        self.mode = mode
        self._warned = False
        self._closed = False
        self._logged_before = -1

    @property
    def description(self) -> str:  # type: ignore[override]
        """What the banner says: the mode, and why it is not online if it was to be."""
        reason = f" ({self.mode.reason})" if self.mode.reason else ""
        return f"W&B {self.mode.mode}{reason}"

    @property
    def experiment(self) -> Any:
        """The `wandb.Run`; something that swallows every call on other ranks or without W&B."""
        if is_first_process() and self._started():
            return self._experiment
        return DummyLogger().experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log metrics; what the run has from before a resume is not logged a second time."""
        with self._going_on():
            if self._started() and not (step is not None and step < self._logged_before):
                super().log_metrics(metrics, step)

    @rank_zero_only
    def log_config(self, config: Mapping[str, Any]) -> None:
        """Give the configuration to the run."""
        with self._going_on():
            if self._started():
                self.experiment.config.update(dict(config), allow_val_change=True)

    @rank_zero_only
    def add_image(self, name: str, image: ImageArray, step: int, caption: str | None) -> None:
        """Log an image."""
        with self._going_on():
            import wandb

            self.log_metrics({name: wandb.Image(image, caption=caption)}, step)

    @rank_zero_only
    def close(self, failed: bool) -> None:
        """Finish the run; what could not be sent in a minute stays on disk for `wandb sync`."""
        if self._experiment is not None and not self._closed:
            self._closed = True
            with self._going_on():
                self._log_best_images()
            with self._going_on():
                self._experiment.finish(exit_code=int(failed))

    def _log_best_images(self) -> None:
        """Log the best epoch's images as a table, whose rows of two runs W&B joins by name."""
        import wandb

        rows: list[list[Any]] = []
        for image in read_best_images(self._folder):
            parts = [wandb.Image(part) for part in np.split(image.row, 3, axis=1)]
            rows.append([image.name, *parts, image.ciede2000])
        if rows:
            columns: list[str | int] = ["image", "grey", "prediction", "truth", "ciede2000"]
            self.experiment.log({"val/images": wandb.Table(columns=columns, data=rows)})

    def _started(self) -> bool:
        """Start the run if it has not been tried; return whether there is one."""
        if self._experiment is None and self.mode.mode == "online":
            self._start(otherwise=WandbMode("offline"), what="the run is kept offline")
        if self._experiment is None and self.mode.mode == "offline":
            self._start(otherwise=WandbMode("disabled"), what="the run goes on without W&B")
        return self._experiment is not None

    def _start(self, otherwise: WandbMode, what: str) -> None:
        # W&B would write about itself into the progress bar; the banner says what matters.
        os.environ.setdefault("WANDB_SILENT", "true")
        # The images of tables wait here until they are sent, else in the user's home.
        os.environ.setdefault("WANDB_DATA_DIR", str(self._folder.absolute() / WANDB))
        # W&B's telemetry about itself complains line by line when its server does not take it.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        try:
            self._wandb_init |= {"mode": self.mode.mode, "settings": _settings()}
            self._set_up(super().experiment)
        except Exception as error:
            self._experiment = None
            _teardown()
            reason = _first_line(error)
            _log.warning("W&B: %s could not be started, %s (%s)", self.mode.mode, what, reason)
            self.mode = otherwise._replace(reason=reason)

    def _set_up(self, run: Any) -> None:
        for split in ("train", "val", "test"):
            for metric, goal in GOALS.items():
                run.define_metric(f"{split}/{metric}", summary=goal, step_metric=_STEP)
        # A run that is gone on with brings its summary along, and so the last step that it has.
        self._logged_before = int(run.summary.get(_STEP) or -1)
        write_atomic(self._folder / WANDB_ID, f"{run.id}\n")

    @contextlib.contextmanager
    def _going_on(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not self._warned:
                _log.warning("W&B: could not log, the run goes on (%s)", _first_line(error))
            self._warned = True


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _run_id(folder: Path, options: LoggerOptions) -> str:
    """Return the id asked for, else a sweep's, else the one of this folder, else a new one."""
    if chosen := options.wandb_id or os.environ.get("WANDB_RUN_ID"):
        return chosen
    kept = folder / WANDB_ID
    return kept.read_text(encoding="utf-8").strip() if kept.is_file() else secrets.token_hex(4)


def _teardown() -> None:
    """Stop W&B's service, which would hold on to the id of the run that could not be started."""
    with contextlib.suppress(Exception):
        import wandb

        wandb.teardown()


def _settings() -> Any:
    import wandb

    settings: dict[str, Any] = {"console": "off", "init_timeout": _INIT_TIMEOUT}
    # Not in the oldest W&B that is supported.
    if "finish_timeout" in wandb.Settings.model_fields:
        settings["finish_timeout"] = _FINISH_TIMEOUT
    return wandb.Settings(**settings)
