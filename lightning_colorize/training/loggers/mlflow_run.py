"""An MLflow run that never stops training."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pytorch_lightning.loggers import MLFlowLogger

from lightning_colorize.common.errors import UsageError, first_line
from lightning_colorize.common.files import write_atomic
from lightning_colorize.common.processes import is_first_process
from lightning_colorize.runs.folder import CONFIG, MLFLOW_ID, SWEEP
from lightning_colorize.runs.images import ImageArray
from lightning_colorize.training.loggers.base import RUN_FILES, guarded, name_of
from lightning_colorize.training.loggers.resumed import ResumedLogger, read_metrics
from lightning_colorize.training.options import LoggerOptions

# MLflow would try for minutes to reach a server, with each metric.
_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
_BOUNDS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", _TIMEOUT: "10"}
_UPLOAD_TIMEOUT = 600  # seconds, for each file


class MLflowRun(ResumedLogger, MLFlowLogger):
    """Logs metrics, images and the configuration to an MLflow run, and files at the end.

    The names of metrics are the same as in W&B. The server must respond when a new run starts. If
    it fails later, one line says so and nothing more is logged. The MLflow run takes the folder's
    name; a resumed run continues it.

    Raises:
        UsageError: If the server does not respond.
    """

    def __init__(
        self, folder: Path, options: LoggerOptions, resume_step: int | None = None
    ) -> None:
        if "@" in urlsplit(options.mlflow or "").netloc:  # it would be stored with the run
            raise UsageError(
                "--run.loggers.mlflow: remove the password; set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD"
            )
        for name, value in _BOUNDS.items():
            os.environ.setdefault(name, value)
        tags = {"group": options.group or os.environ.get(SWEEP), "tags": ",".join(options.tags)}
        tags |= {"mlflow.note.content": options.notes, "job_type": options.job_type}
        id_file = folder / MLFLOW_ID
        self._resumed = id_file.is_file()
        import mlflow  # of an extra

        try:
            super().__init__(
                experiment_name=options.project,
                run_name=name_of(folder),
                tracking_uri=options.mlflow,
                tags={name: value for name, value in tags.items() if value},
                run_id=id_file.read_text(encoding="utf-8").strip() if self._resumed else None,
            )
            if is_first_process() and not self._resumed:
                mlflow.set_tracking_uri(str(options.mlflow))
                mlflow.set_experiment(options.project)  # creates it, unless another run does
        except Exception as error:  # of the URI or the server
            fault = f"--run.loggers.mlflow {options.mlflow}: {first_line(error)}"
            raise UsageError(fault) from error
        self.description = f"MLflow {options.mlflow}"
        self._folder = folder
        self._log_checkpoints = options.log_model
        self._resume_step = resume_step
        self._begun = False

    @guarded
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log metrics; steps that the run logged before a resume are skipped."""
        if self._starts():
            self.log_row(metrics, step)

    @guarded
    def log_hyperparams(self, params: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        """Log the configuration: as parameters, which MLflow cannot change, and as a file."""
        if self._starts():
            if not self._resumed:
                MLFlowLogger.log_hyperparams(self, dict(params))  # not RunLogger's
            self.experiment.log_artifact(self.run_id, str(self._folder / CONFIG))

    @guarded
    def add_image(self, name: str, image: ImageArray, step: int) -> None:
        """Log an image."""
        if self._starts():
            self.experiment.log_image(self.run_id, image, key=name, step=step)

    def finalize(self, status: str = "success") -> None:
        """Wait for `close`: Lightning calls this after each fit and test."""

    @guarded
    def close(self, failed: bool) -> None:
        """Log the files of the run, if asked for, and end it."""
        if not self._begun:
            return
        os.environ[_TIMEOUT] = str(_UPLOAD_TIMEOUT)
        names = RUN_FILES if self._log_checkpoints and not self.warned else ()
        for file in (self._folder / name for name in names if (self._folder / name).is_file()):
            parent = file.parent.relative_to(self._folder).as_posix()
            self.experiment.log_artifact(self.run_id, str(file), parent.strip("."))
        self.experiment.set_terminated(self.run_id, "FAILED" if failed else "FINISHED")

    def _starts(self) -> bool:
        """Start the MLflow run, once; return whether it works."""
        if not self._begun and not self.warned:
            run = self.experiment.get_run(self.run_id)
            if self._resumed:
                self.experiment.update_run(self.run_id, status="RUNNING")
            self.continue_after(run.data.metrics)
            write_atomic(self._folder / MLFLOW_ID, f"{self.run_id}\n")
            self._begun = True
            self.log_rows(read_metrics(self._folder, self._resume_step))
        return not self.warned
