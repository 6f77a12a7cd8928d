"""The base of all tasks: validation, test and prediction."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.plugins.precision import Precision
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import GradClipAlgorithmType, rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torchmetrics import MeanMetric, Metric, MetricCollection

from lightning_colorize.color import AbBins, ColorBatch, LabScaling, to_rgb_in_gamut
from lightning_colorize.common.class_paths import Trust, arguments_of, describe, path_of
from lightning_colorize.common.compiling import require_compiler
from lightning_colorize.common.errors import UsageError
from lightning_colorize.metrics import colorization_metrics, spec
from lightning_colorize.networks import Colorizer
from lightning_colorize.networks.base import Recorded
from lightning_colorize.tasks.average import AveragedNetwork
from lightning_colorize.tasks.checkpoint import (
    CLASS_PATH,
    UNRECORDED,
    read_checkpoint,
    rebuild_task,
)
from lightning_colorize.tasks.optimization import WarmupCosine

_COUNTED = 4096  # most training images whose colors are counted


class ColorizedImages(NamedTuple):
    """What `Trainer.predict` returns for a batch.

    Attributes:
        names: The images' names, as the data module has them.
        rgb: (B, 3, H, W), uint8, on the CPU.
    """

    names: list[str]
    rgb: Tensor


class ColorizationTask(Recorded, LightningModule, ABC):
    """Base of the LightningModules: it evaluates, subclasses train.

    Validation and test steps return the predicted ab, (B, 2, H, W) in LAB units, for callbacks.
    Metrics are updated after the step, outside autocast.

    Args:
        compile: Compile the trained networks, in their first batches.
        fused: Run each optimizer step in one kernel.
        metrics: Further metrics by name, logged as `val/NAME` and `test/NAME`.

    Attributes:
        metric_rows: Name, direction and format of all metrics.
        net: The network from L in [-1, 1] to a prediction.
        averaged: The moving average of `net`, which then predicts outside of training; None: none.
        scaling: Conversion between LAB units and the network's range; saved in the checkpoint.
        strength: Factor of the predicted ab.
        flip: Predict the mirror image as well, and average both.
        autocast: Type of the network's matrix products and convolutions outside of a trainer, whose
            own precision counts if this is None.
        distributed_strategy: Lightning's strategy for several devices.
    """

    net: Colorizer
    averaged: AveragedNetwork | None
    distributed_strategy: str = "ddp"

    def __init__(
        self,
        compile: bool = False,
        fused: bool = False,
        metrics: dict[str, Metric] | None = None,
    ) -> None:
        super().__init__()
        # Not a submodule: the collections below have copies.
        self.own_metrics = dict(metrics or {})
        if taken := {"loss", *spec.NAMES} & self.own_metrics.keys():
            raise ValueError(f"metrics: {', '.join(sorted(taken))} exists; choose another name")
        own = (spec.Metric.own(name, m.higher_is_better) for name, m in self.own_metrics.items())
        self.metric_rows = (*spec.METRICS, *own)
        self.averaged = None
        self.compiles = compile
        self.fused = fused
        self.scaling = LabScaling()
        self.strength = 1.0
        self.flip = False
        self.autocast: torch.dtype | None = None
        # Lightning's mean over processes rounds the number of images down.
        self.val_loss = MeanMetric(nan_strategy=torch.nan)  # by default nan is left out
        self.val_metrics = colorization_metrics("val/", metrics)
        self.test_metrics = colorization_metrics("test/", metrics)

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint_path: Path | str,
        map_location: torch.device | str = "cpu",
        *,
        allow: Sequence[str] = (),
        **overrides: Any,
    ) -> Self:
        """Rebuild a task from a checkpoint file, which is loaded with `weights_only`.

        Args:
            checkpoint_path: The file; of a plain Trainer or of `fit`.
            map_location: The device for the task.
            allow: Classes, modules or packages that the checkpoint may import besides ours and
                the networks, losses and optimizers that are imported already.
            **overrides: Constructor arguments in place of the recorded ones.

        Raises:
            UsageError: If the file is not a checkpoint of this class, or names a refused class.
        """
        file = Path(checkpoint_path)
        trust = Trust(allow, imported=True, bases=(nn.Module, Optimizer, LRScheduler))
        task: Self = rebuild_task(file, read_checkpoint(file), cls, trust, overrides)
        return task.to(map_location)

    def save_hyperparameters(self, *args: Any, **kwargs: Any) -> None:
        """Save the constructor's arguments as class paths, which checkpoints are rebuilt from.

        LightningCLI gives them as such. A task that is built in Python describes its own.
        """
        if args:
            super().save_hyperparameters(*args, **kwargs)
            return
        current = inspect.currentframe()
        kwargs.setdefault("frame", None if current is None else current.f_back)
        try:
            super().save_hyperparameters(CLASS_PATH, **kwargs)
        except KeyError:  # not built by LightningCLI
            super().save_hyperparameters(self._described())
        else:
            super().save_hyperparameters(**kwargs)

    def _described(self) -> dict[str, Any]:
        """Return the constructor's arguments as plain data."""
        described: dict[str, Any] = {CLASS_PATH: path_of(type(self))}
        unrecorded = []
        for name, value in arguments_of(self).items():
            try:
                described[name] = describe(value)
            except TypeError as error:
                unrecorded.append(name)
                rank_zero_warn(f"checkpoints of this task do not record {name}: {error}")
        return described | ({UNRECORDED: unrecorded} if unrecorded else {})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep paths as text: a checkpoint that loads with `weights_only` holds plain data."""
        for key in ("hyper_parameters", "datamodule_hyper_parameters"):
            for name, value in checkpoint.get(key, {}).items():
                if isinstance(value, Path):
                    checkpoint[key][name] = str(value)

    def on_fit_start(self) -> None:
        """Count the training set's colors for the bins of a head, unless a checkpoint has them."""
        uncounted = [m for m in self.modules() if isinstance(m, AbBins) and not m.pixels]
        if not uncounted:
            return
        first, *copies = uncounted
        datamodule: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if not hasattr(datamodule, "color_batches"):
            raise UsageError(
                "a classification counts the colors of the training images first: give `fit` a "
                "ColorizationDataModule, or call `update` of task.net.head.bins with each batch's "
                "ab, then `finish`"
            )
        for batch in datamodule.color_batches("train", _COUNTED):
            first.update(batch.ab.to(self.device))
        first.finish()
        for copy in copies:  # in a moving average
            copy.load_state_dict(first.state_dict())

    @property
    def inference_net(self) -> nn.Module:
        """The network in training, else its moving average, if any."""
        return self.net if self.training or self.averaged is None else self.averaged.module

    def average_weights(self, decay: float | None) -> None:
        """Average `net` from here on; null: do not.

        Raises:
            ValueError: If the decay is not from 0 to below 1.
        """
        self.averaged = None if decay is None else AveragedNetwork(self.net, decay)

    def update_average(self) -> None:
        """Update the moving average, if any; after each step of `net`."""
        if self.averaged is not None:
            self.averaged.update_parameters(self.net)

    @property
    def trained_networks(self) -> list[nn.Module]:
        """The networks with optimizers."""
        return [self.net]

    def setup(self, stage: str) -> None:
        """Compile the trained networks in place, which keeps the names in checkpoints.

        Only for fitting: evaluation would wait longer than it gains.
        """
        if self.compiles and stage == TrainerFn.FITTING:
            require_compiler("model.compile", self.trainer.strategy.root_device)
            for network in self.trained_networks:
                network.compile()

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip gradients, also with fused optimizers.

        Lightning refuses those in half precision, since 16-mixed gradients are still scaled here.
        `check` refuses 16-mixed; bf16-mixed scales nothing.
        """
        if gradient_clip_val and self.fused:
            algorithm = GradClipAlgorithmType(gradient_clip_algorithm or "norm")
            plugin = self.trainer.precision_plugin
            Precision.clip_gradients(plugin, optimizer, gradient_clip_val, algorithm)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def check(self, trainer: Mapping[str, Any], size: int) -> None:
        """Validate the settings of a run.

        Args:
            trainer: The Trainer's arguments.
            size: Height and width of the images in pixels.

        Raises:
            UsageError: If the task does not support a setting.
        """
        if self.fused and trainer["precision"] == "16-mixed" and trainer["gradient_clip_val"]:
            raise UsageError(
                "--model.fused: true\naccepted: false with --trainer.precision 16-mixed and "
                "--trainer.gradient_clip_val; or --trainer.precision bf16-mixed"
            )

    def forward(self, L: Tensor) -> Tensor:
        """Predict ab.

        Args:
            L: (B, 1, H, W) in [0, 100].

        Returns:
            ab: (B, 2, H, W) in LAB units, fp32.
        """
        return self.combine(self.predict_views(L), L.shape[-2:])

    def predict_views(self, L: Tensor) -> list[Tensor]:
        """Return the predictions for L and, with `flip`, for its mirror image."""
        return self.views_of(self.inference_net, L)

    def views_of(self, net: nn.Module, L: Tensor) -> list[Tensor]:
        """Return what `predict_views` does, of another network."""
        if not self.flip:
            return [self.predict(L, net)]
        both = self.predict(torch.cat([L, L.flip(-1)]), net)
        views = both.view(2, -1, *both.shape[1:])
        return [views[0], views[1]]

    def combine(self, views: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return ab, as `forward` does, from the views of images of `size`."""
        ab = self.decode(views[0], size)
        if len(views) > 1:
            ab = (ab + self.decode(views[1], size).flip(-1)) / 2
        return ab if self.strength == 1 else ab * self.strength

    def predict(self, L: Tensor, net: nn.Module | None = None) -> Tensor:
        """Return the prediction of the network's head for L: (B, 1, H, W) in [0, 100].

        Args:
            L: Of grey images.
            net: In place of `inference_net`.
        """
        # The batch is always fp32; under `precision: bf16-true` the parameters are not.
        inputs = self.scaling.normalize_L(L).to(self.dtype)
        context = torch.autocast(L.device.type, self.autocast) if self.autocast else nullcontext()
        with context:
            prediction: Tensor = (self.inference_net if net is None else net)(inputs)
        return prediction

    def decode(self, prediction: Tensor, size: Sequence[int]) -> Tensor:
        """Decode a prediction for images of `size` to ab in LAB units, fp32."""
        return self.scaling.restore_ab(self.net.to_ab(prediction, size))

    def with_target(self, batch: ColorBatch) -> ColorBatch:
        """Return the batch with the target and the decoding of the head."""
        target = self.net.head.target(self.scaling.normalize_ab(batch.ab))
        decode = partial(self.decode, size=batch.L.shape[-2:])
        return replace(batch, target=target, decode=decode)

    def metric_names(self) -> list[str]:
        """Return the metrics that validation logs, which a run can monitor."""
        return ["val/loss", *map(str, self.val_metrics.keys())]

    @abstractmethod
    def validation_loss(self, prediction: Tensor, batch: ColorBatch) -> Tensor:
        """Return the loss that is logged as `val/loss`."""

    def on_validation_start(self) -> None:
        """Broadcast the buffers of rank 0: each process has its own batch norm statistics.

        DDP does so before each training step; the checkpoint contains those of rank 0.
        """
        if self.trainer.world_size > 1:
            for buffer in self.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def validation_step(self, batch: ColorBatch, batch_idx: int) -> Tensor:
        """Update the loss and return the predicted ab."""
        prediction = self.predict(batch.L)
        loss = self.validation_loss(prediction, self.with_target(batch))
        self.val_loss.update(loss, len(batch))
        return self.decode(prediction, batch.L.shape[-2:])

    def test_step(self, batch: ColorBatch, batch_idx: int) -> Tensor:
        """Return the predicted ab."""
        ab: Tensor = self(batch.L)
        return ab

    def predict_step(self, batch: ColorBatch, batch_idx: int) -> ColorizedImages:
        """Return the colorized images of a batch; colors outside sRGB lose chroma."""
        rgb = to_rgb_in_gamut(batch.L, self(batch.L))
        return ColorizedImages(batch.names, (rgb * 255).round().to(torch.uint8).cpu())

    def on_validation_batch_end(  # type: ignore[override]
        self, outputs: Tensor, batch: ColorBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Update the metrics, outside autocast."""
        self.val_metrics.update(batch.L, outputs, batch.ab)

    def on_test_batch_end(  # type: ignore[override]
        self, outputs: Tensor, batch: ColorBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Update the metrics, outside autocast."""
        self.test_metrics.update(batch.L, outputs, batch.ab)

    def on_validation_epoch_end(self) -> None:
        """Log the validation loss and metrics."""
        self.log("val/loss", self.val_loss.compute())
        self.val_loss.reset()
        self._log_metrics(self.val_metrics)

    def on_validation_end(self) -> None:
        """Step ReduceLROnPlateau schedules on `val/loss`.

        Lightning steps them after the epoch's checkpoint: a resumed run would miss a step.
        """
        if self.trainer.state.fn != TrainerFn.FITTING or self.trainer.sanity_checking:
            return
        for config in self.trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, ReduceLROnPlateau):
                config.scheduler.step(self.trainer.callback_metrics["val/loss"])

    def on_test_epoch_end(self) -> None:
        """Log the test metrics."""
        self._log_metrics(self.test_metrics)

    def _log_metrics(self, metrics: MetricCollection) -> None:
        # Computed and reduced over processes once for all names.
        for name, value in metrics.compute().items():
            self.log(name, value, prog_bar=name == spec.MONITOR)
        metrics.reset()

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """Step a schedule."""
        if isinstance(scheduler, WarmupCosine):
            scheduler.follow(self.trainer)
        elif not isinstance(scheduler, ReduceLROnPlateau):
            super().lr_scheduler_step(scheduler, metric)
