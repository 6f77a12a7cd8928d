"""TensorBoard events in the run folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from lightning_colorize.loggers.base import Picture, RunLogger
from lightning_colorize.run_folder import TENSORBOARD


class TensorBoardRun(RunLogger, TensorBoardLogger):
    """Metrics, pictures and configuration into `<run>/tensorboard/`.

    Args:
        folder: The run folder.
        resume_step: The step of the checkpoint that is resumed from; TensorBoard hides what the
            earlier process logged from it on, because those steps are taken again.
    """

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
    def log_config(self, config: Mapping[str, Any]) -> None:
        """Show the configuration on the text page, a line per name."""
        # Four spaces make it code for TensorBoard's Markdown: names hold underscores.
        lines = [f"    {name}: {value}" for name, value in config.items()]
        self.experiment.add_text("config", "\n".join(lines), global_step=0)

    @rank_zero_only
    def log_picture(self, name: str, picture: Picture, step: int, caption: str | None) -> None:
        """Show a picture; TensorBoard has no captions."""
        self.experiment.add_image(name, picture, global_step=step, dataformats="HWC")

    @rank_zero_only
    def save(self) -> None:
        """Write events out; without Lightning's hparams.yaml, as config.yaml says it all."""
        self.experiment.flush()

    @rank_zero_only
    def close(self, failed: bool) -> None:
        """Write events out and close the file."""
        self.experiment.close()
