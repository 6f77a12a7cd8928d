"""A Weights & Biases run that never prompts, never blocks for long and never stops training."""

import logging
import os
import secrets
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import DummyLogger
from pytorch_lightning.utilities import rank_zero_only

from lightning_colorize.common.errors import one_line
from lightning_colorize.common.files import write_atomic
from lightning_colorize.common.processes import is_first_process
from lightning_colorize.metrics.spec import GOALS, metric_goal
from lightning_colorize.runs.artifacts import CHECKPOINT, RUN_KEY
from lightning_colorize.runs.folder import BEST, CONFIG, LAST, SWEEP, WANDB, WANDB_ID
from lightning_colorize.runs.images import ImageArray, read_best_images
from lightning_colorize.runs.result import read_validations
from lightning_colorize.training.loggers.base import RUN_FILES, STEP, guarded, name_of
from lightning_colorize.training.loggers.resumed import (
    VALIDATED,
    ResumedLogger,
    read_metrics,
    recover_wandb_file,
)
from lightning_colorize.training.loggers.wandb_mode import WandbMode
from lightning_colorize.training.options import LoggerOptions

_log = logging.getLogger(__name__)

_LONGEST_TAG = 64  # W&B refuses longer ones
_INIT_TIMEOUT = 20.0  # seconds; W&B's default is 90
_FINISH_TIMEOUT = 60.0  # seconds; W&B waits forever by default
_UPLOAD_TIMEOUT = 600.0  # the same, with checkpoints
_TEARDOWN_TIMEOUT = 5.0  # seconds; W&B may wait forever


class WandbRun(ResumedLogger, WandbLogger):
    """Logs metrics, images and the configuration to a W&B run, stored in `<run>/wandb/`.

    The run starts with the first log. If W&B fails, training continues and one line says why: a run
    that cannot start online starts offline, one that cannot start at all is disabled. The W&B run
    takes the folder's name. A trial belongs to its sweep's group, unless another is given, is
    tagged with the sweep's name, and has the swept values in its name.
    """

    def __init__(
        self, folder: Path, options: LoggerOptions, mode: WandbMode, resume_step: int | None = None
    ) -> None:
        key = options.wandb_id or os.environ.get("WANDB_RUN_ID")
        if key is None and (file := folder / WANDB_ID).is_file():
            key = file.read_text(encoding="utf-8").strip()
        key = key or secrets.token_hex(4)
        super().__init__(name=name_of(folder), save_dir=folder, id=key, project=options.project)
        self.mode = mode
        self._folder = folder
        self._options = options
        self._run: Any = None
        self._closed = False
        self._best: dict[str, float] = {}
        self._params: dict[str, Any] = {}
        self._resume_step = resume_step

    @property
    def description(self) -> str:  # type: ignore[override]
        """For the banner: the mode, and why no better one is possible."""
        reason = f" ({self.mode.reason})" if self.mode.reason else ""
        return f"W&B {self.mode.mode}{reason}"

    @property
    def experiment(self) -> Any:
        """The `wandb.Run`; a dummy on other ranks and without W&B."""
        if is_first_process() and self._started():
            return self._run
        return DummyLogger().experiment

    @guarded
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log metrics; steps that the run logged before a resume are skipped."""
        if self._started():
            self.log_row(metrics, step)
            if self._best:
                self._summarize(metrics)

    @guarded
    def log_hyperparams(self, params: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        """Log the configuration."""
        self._params = dict(params)
        if self._started():
            self._run.config.update(self._params, allow_val_change=True)

    @guarded
    def add_image(self, name: str, image: ImageArray, step: int) -> None:
        """Log an image."""
        import wandb

        if self._started() and step > self.validated:
            super().log_metrics({name: wandb.Image(image)}, step)  # type: ignore[dict-item]

    @rank_zero_only
    def close(self, failed: bool) -> None:
        """Finish the run; entries not sent within a minute stay on disk for `wandb sync`.

        Checkpoints, if they are to be logged, have ten minutes.
        """
        if self._run is None or self._closed:
            return
        self._closed = True
        self._log_files(failed)
        if self.warned:  # W&B's own process has ended, as by a signal to all processes of a job
            _teardown()
            self._run, self._resume_step = None, sys.maxsize
            if self._started():
                self._log_files(failed)

    def _log_files(self, failed: bool) -> None:
        self._log_best_images()
        if self._options.log_model:
            self._log_artifact("last", LAST, RUN_FILES)
            self._log_artifact("best", BEST, (CONFIG,))
        self._finish(failed)

    @guarded
    def _finish(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))

    @guarded
    def _log_best_images(self) -> None:
        """Log the images of the best epoch as a table, which W&B joins between runs by name."""
        import wandb

        rows: list[list[Any]] = []
        for image in read_best_images(self._folder):
            parts = [wandb.Image(part) for part in np.split(image.row, 3, axis=1)]
            rows.append([image.name, *parts, image.ciede2000])
        if rows:
            columns: list[str | int] = ["image", "grey", "prediction", "truth", "ciede2000"]
            self._run.log({"val/images": wandb.Table(columns=columns, data=rows)})

    @guarded
    def _log_artifact(self, alias: str, checkpoint: str, others: Sequence[str]) -> None:
        """Log a checkpoint as Lightning's WandbLogger would, with other files of the run."""
        import wandb

        if not (self._folder / checkpoint).is_file():
            return
        names = {name: name for name in others if name != checkpoint} | {checkpoint: CHECKPOINT}
        artifact = wandb.Artifact(
            f"model-{self.version}",
            type="model",
            metadata={RUN_KEY: "/".join(self._folder.absolute().parts[-2:])},
        )
        for name in (name for name in names if (self._folder / name).is_file()):
            artifact.add_file(str(self._folder / name), name=names[name], skip_cache=True)
        self._run.log_artifact(artifact, aliases=["latest", alias])

    def _started(self) -> bool:
        """Start the run if it has not been tried; return whether there is one."""
        while self._run is None and self.mode.mode != "disabled":
            try:
                self._start()
            except Exception as error:
                self._run = None
                _teardown()
                self.mode = self.mode.fallback(one_line(error))
                offline = self.mode.mode == "offline"
                state = "the run is offline" if offline else "the run continues without it"
                _log.warning("W&B: %s (%s)", state, self.mode.reason)
        return self._run is not None

    def _start(self) -> None:
        # W&B's own messages would break the progress bar; the banner has what matters.
        os.environ.setdefault("WANDB_SILENT", "true")
        # Images of tables are staged here until they are sent, not in the user's home.
        os.environ.setdefault("WANDB_DATA_DIR", str(self._folder.absolute() / WANDB))
        # W&B's telemetry logs line by line that its server is unreachable.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        import wandb

        self._continue()
        options, sweep = self._options, os.environ.get(SWEEP)
        tags = [*options.tags, *os.environ.get("WANDB_TAGS", "").split(","), sweep]
        settings = wandb.Settings(console="off", init_timeout=_INIT_TIMEOUT)
        if hasattr(settings, "finish_timeout"):  # not in the oldest W&B
            settings.finish_timeout = _UPLOAD_TIMEOUT if options.log_model else _FINISH_TIMEOUT
        run: Any = wandb.init(
            dir=self._folder,
            name=name_of(self._folder),
            id=self.version,
            resume="allow",
            project=options.project,
            entity=options.entity,
            group=options.group or sweep,
            tags=list(dict.fromkeys(tag[:_LONGEST_TAG] for tag in tags if tag)),
            notes=options.notes,
            job_type=options.job_type,
            mode=self.mode.mode,
            settings=settings,
        )
        self._run = run
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP, step_sync=True)
        for split in ("train", "val", "test"):
            for metric, goal in GOALS.items():
                run.define_metric(f"{split}/{metric}", summary=goal, step_metric=STEP)
        run.define_metric(VALIDATED, hidden=True)
        if self.mode.mode == "online":
            self.continue_after(run.summary)  # of a resumed run
        write_atomic(self._folder / WANDB_ID, f"{run.id}\n")
        self._catch_up()

    @guarded
    def _continue(self) -> None:
        """Read from W&B's local files up to where earlier processes have logged."""
        last: dict[str, float] = {}
        files = self._folder.glob(f"{WANDB}/*run-*/run-{self.version}.wandb")
        for file in sorted(files, key=lambda file: file.parent.name.partition("run-")[2]):
            last |= recover_wandb_file(file)
        self.continue_after(last)

    @guarded
    def _catch_up(self) -> None:
        """Log what earlier processes have not sent or written, and their best values."""
        self._run.config.update(self._params, allow_val_change=True)
        rows = read_metrics(self._folder, self._resume_step)
        self.log_rows(rows)
        before = self._resume_step or 0
        validations = (x.metrics for x in read_validations(self._folder) if x.step <= before)
        self._summarize(*rows, *validations)

    def _summarize(self, *rows: Mapping[str, Any]) -> None:
        """Set the best values in the summary: W&B forgets those of earlier processes."""
        best = {}
        for name, value in (item for row in rows for item in row.items()):
            if (goal := metric_goal(name)) and value is not None and isfinite(value):
                better = max if goal == "max" else min
                self._best[name] = better(value, self._best.get(name, value))
                best[name] = {goal: self._best[name]}
        if best:
            self._run.summary.update(best)


def _teardown() -> None:
    """Stop W&B's service, which holds the id of the run that failed to start.

    In a thread, because W&B waits forever if the service has exited by itself.
    """
    import wandb

    def stop() -> None:
        with suppress(Exception):  # it may have ended
            wandb.teardown()

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    thread.join(_TEARDOWN_TIMEOUT)
