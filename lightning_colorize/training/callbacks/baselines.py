"""Metrics of the baselines on the validation and test images, computed once per run."""

from typing import Any, cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torchmetrics import MetricCollection

from lightning_colorize.color import ColorBatch
from lightning_colorize.common.progress import progress
from lightning_colorize.metrics import BASELINES, Baselines, colorization_metrics
from lightning_colorize.tasks import ColorizationTask

_FITTED = 4096  # most training images to fit on


class BaselineMetrics(Callback):
    """Fits the baselines on training images and measures them on validation and test images.

    The checkpoint contains them, so that `evaluate` can measure them on other images.

    Attributes:
        baselines: The fitted baselines.
        table: Metrics by baseline: {"grey": {"val/psnr": ...}, ...}.
    """

    def __init__(self) -> None:
        self.baselines = Baselines()
        self.table: dict[str, dict[str, float]] = {name: {} for name in BASELINES}
        self._running: dict[str, MetricCollection] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fit, unless they were restored from a checkpoint."""
        if self.baselines.pixels:
            return
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        images = min(_FITTED, len(datamodule.images("train")))
        count = -(-images // datamodule.batch_size)
        batches = datamodule.color_batches("train", _FITTED)
        with torch.no_grad():
            for batch in progress(batches, count, "Measuring baselines, batches"):
                self.baselines.update(batch)
        self.baselines.finish()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the metrics, the first time."""
        if not trainer.sanity_checking:
            self._begin("val/", pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor,  # type: ignore[override]
        batch: ColorBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Update the metrics."""
        for name, metrics in self._running.items():
            metrics.update(batch.L, self.baselines.predict(name, batch.L), batch.ab)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute the metrics."""
        for name, metrics in self._running.items():
            self.table[name] |= {key: value.item() for key, value in metrics.compute().items()}
        self._running = {}

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the metrics, the first time."""
        self._begin("test/", pl_module)

    on_test_batch_end = on_validation_batch_end  # type: ignore[assignment]
    on_test_end = on_validation_end

    def state_dict(self) -> dict[str, Any]:
        """Return the baselines and their metrics."""
        return {"baselines": self.baselines.state_dict(), "table": self.table}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the baselines and their metrics."""
        self.baselines.load_state_dict(state_dict["baselines"])
        self.table = state_dict["table"]

    def _begin(self, prefix: str, pl_module: LightningModule) -> None:
        measured = any(name.startswith(prefix) for name in self.table["grey"])
        if measured or not self.baselines.pixels:
            return
        self.baselines.to(pl_module.device)
        own = cast(ColorizationTask, pl_module).own_metrics
        self._running = {
            name: colorization_metrics(prefix, own).to(pl_module.device) for name in BASELINES
        }
