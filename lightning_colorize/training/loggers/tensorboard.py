"""TensorBoard events in the run folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from lightning_colorize.runs.folder import TENSORBOARD
from lightning_colorize.runs.images import ImageArray
from lightning_colorize.training.loggers.base import RunLogger

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

    @rank_zero_only
    def log_hyperparams(  # type: ignore[override]
        self, params: Mapping[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        """Log the configuration to the TEXT page, one line per name, and to the HPARAMS page.

        Lightning's logger shows hyperparameters only with metrics, which it would log as well.
        """
        from torch.utils.tensorboard.summary import hparams

        # Four spaces: Markdown would interpret the underscores of names.
        lines = [f"    {name}: {value}" for name, value in params.items()]
        self.experiment.add_text("config", "\n".join(lines), global_step=0)
        shown = {
            name.replace(".init_args", ""): value
            if isinstance(value, bool | int | float | str)
            else str(value)
            for name, value in params.items()
            if not name.startswith(_NO_HPARAMS)
        }
        # Without the experiment's summary: TensorBoard would use a single run's summary for all,
        # and hide arguments that only other runs have.
        _, start, _ = hparams(shown, {})  # type: ignore[no-untyped-call]
        self.experiment.file_writer.add_summary(start)

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
        """Close the files."""
        self.experiment.close()
