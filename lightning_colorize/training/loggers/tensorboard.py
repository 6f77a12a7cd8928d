"""TensorBoard events in the run folder."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from lightning_colorize.runs.folder import TENSORBOARD
from lightning_colorize.runs.images import ImageArray
from lightning_colorize.runs.result import RunResult
from lightning_colorize.training.loggers.base import RunLogger

HPARAMS = f"{TENSORBOARD}/hparams"
"""Events for TensorBoard's HPARAMS page, apart from the curves: the page has a column for every
scalar in the same folder."""

_NO_HPARAMS = "run."  # where a run is stored is not a hyperparameter


class TensorBoardRun(RunLogger, TensorBoardLogger):
    """Logs metrics, images and the configuration to `<run>/tensorboard/`."""

    description = "TensorBoard"

    def __init__(self, folder: Path, resume_step: int | None = None) -> None:
        super().__init__(
            save_dir=folder,
            name=TENSORBOARD,
            version="",
            default_hp_metric=False,
            purge_step=resume_step,
        )
        self._folder = folder
        self._config: dict[str, Any] = {}

    @rank_zero_only
    def log_config(self, config: Mapping[str, Any]) -> None:
        """Log the configuration to the TEXT page, one line per name."""
        # Four spaces: Markdown would interpret the underscores of names.
        lines = [f"    {name}: {value}" for name, value in config.items()]
        self.experiment.add_text("config", "\n".join(lines), global_step=0)
        self._config = dict(config)

    @rank_zero_only
    def add_image(self, name: str, image: ImageArray, step: int) -> None:
        """Log an image."""
        self.experiment.add_image(name, image, global_step=step, dataformats="HWC")

    @rank_zero_only
    def save(self) -> None:
        """Flush events; config.yaml replaces Lightning's hparams.yaml."""
        self.experiment.flush()

    @rank_zero_only
    def close(self, failed: bool) -> None:
        """Close the files, and write the configuration with the best metrics."""
        self.experiment.close()
        if (result := RunResult.read(self._folder)) and self._config:
            values = {name: value for name, value in result.metrics.items() if value is not None}
            self._write_hparams(values)

    def _write_hparams(self, metrics: Mapping[str, float]) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        shutil.rmtree(self._folder / HPARAMS, ignore_errors=True)
        named = {name.replace(".init_args", ""): value for name, value in self._config.items()}
        shown = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in named.items()
            if not name.startswith(_NO_HPARAMS)
        }
        # Without the experiment's summary: TensorBoard would use that of one run for all runs, and
        # hide the arguments that only other runs have.
        _, start, end = hparams(shown, dict(metrics))  # type: ignore[no-untyped-call]
        with SummaryWriter(str(self._folder / HPARAMS)) as writer:
            writer._get_file_writer().add_summary(start)
            for name, value in metrics.items():
                writer.add_scalar(f"best/{name}", value)
            writer._get_file_writer().add_summary(end)
