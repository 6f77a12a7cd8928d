"""What all tasks share: validation, test and prediction, on the RGB that people see."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
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
from torchmetrics import MeanMetric, MetricCollection

from lightning_colorize.color import ColorBatch, LabScaling, fit_gamut, to_rgb
from lightning_colorize.common.class_paths import Trust, arguments_of, describe, path_of
from lightning_colorize.common.compiling import require_compiler
from lightning_colorize.common.errors import UsageError
from lightning_colorize.metrics import colorization_metrics
from lightning_colorize.networks import Colorizer
from lightning_colorize.networks.base import Recorded
from lightning_colorize.tasks.checkpoint import (
    CLASS_PATH,
    UNRECORDED,
    read_checkpoint,
    rebuild_task,
)
from lightning_colorize.tasks.schedule import WarmupCosine


class ColorizedImages(NamedTuple):
    """What `Trainer.predict` returns for a batch.

    Attributes:
        names: The images' names, as the data module has them.
        rgb: (B, 3, H, W), uint8, on the CPU.
    """

    names: list[str]
    rgb: Tensor


class ColorizationTask(Recorded, LightningModule, ABC):
    """Base of the LightningModules: it measures, subclasses train.

    Validation and test steps return the predicted ab, (B, 2, H, W) in LAB units, so that callbacks
    can draw it; metrics are updated after the step, where no autocast is in force.

    Args:
        compile: Compile the networks that are trained, in their first batches.
        fused: Let the optimisers step in one kernel each.

    Attributes:
        net: The network from L in [-1, 1] to a prediction.
        scaling: Between LAB units and the network's range; its constants are in the checkpoint.
        distributed_strategy: Lightning's name of the strategy for several devices.
    """

    net: Colorizer
    distributed_strategy: str = "ddp"

    def __init__(self, compile: bool = False, fused: bool = False) -> None:
        super().__init__()
        self.compiles = compile
        self.fused = fused
        self.scaling = LabScaling()
        # Lightning's own mean over processes rounds the number of images down.
        self.val_loss = MeanMetric()
        self.val_metrics = colorization_metrics("val/")
        self.test_metrics = colorization_metrics("test/")

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

    @property
    def inference_net(self) -> nn.Module:
        """The network that predicts; a task may train one and use its average."""
        return self.net

    @property
    def trained_networks(self) -> list[nn.Module]:
        """What optimisers step."""
        return [self.net]

    def setup(self, stage: str) -> None:
        """Compile what is trained, as it is called: names in checkpoints stay, and so does this.

        What only measures or colours a few images would wait longer than it gains.
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
        """Clip as the Trainer is told to.

        In half precision it refuses fused optimisers, since under 16-mixed their gradients are
        still scaled here; `check` refuses that, and bf16-mixed scales nothing.
        """
        if gradient_clip_val and self.fused:
            algorithm = GradClipAlgorithmType(gradient_clip_algorithm or "norm")
            plugin = self.trainer.precision_plugin
            Precision.clip_gradients(plugin, optimizer, gradient_clip_val, algorithm)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def check(self, trainer: Mapping[str, Any], size: int) -> None:
        """Refuse settings of the run that the task cannot work with.

        Args:
            trainer: The Trainer's arguments.
            size: Height and width of the images in pixels.

        Raises:
            UsageError: If there is one.
        """
        if self.fused and trainer["precision"] == "16-mixed" and trainer["gradient_clip_val"]:
            raise UsageError(
                "--model.fused: true\naccepted: false with --trainer.precision 16-mixed and "
                "--trainer.gradient_clip_val; or --trainer.precision bf16-mixed"
            )

    def forward(self, L: Tensor) -> Tensor:
        """Colour.

        Args:
            L: (B, 1, H, W) in [0, 100].

        Returns:
            ab: (B, 2, H, W) in LAB units, fp32.
        """
        return self.decode(self.predict(L))

    def predict(self, L: Tensor) -> Tensor:
        """Return the network's prediction, in its head's form, for L: (B, 1, H, W) in [0, 100]."""
        # The batch is fp32 always; the network's parameters are not under `precision: bf16-true`.
        prediction: Tensor = self.inference_net(self.scaling.normalize_L(L).to(self.dtype))
        return prediction

    def decode(self, prediction: Tensor) -> Tensor:
        """Return a prediction of the network as ab in LAB units, fp32."""
        return self.scaling.restore_ab(self.net.head.to_ab(prediction))

    def with_target(self, batch: ColorBatch) -> ColorBatch:
        """Return the batch with its true colours in the form that the head predicts."""
        return batch.with_target(self.net.head.target(self.scaling.normalize_ab(batch.ab)))

    def step_kind(self) -> Hashable:
        """Return what tells this batch's training step from those that do another amount of work.

        Steps are told apart by the size of their batch anyway.
        """
        return None

    def metric_names(self) -> list[str]:
        """Return the names under which validation logs: what a run may be judged by."""
        return ["val/loss", *map(str, self.val_metrics.keys())]

    @abstractmethod
    def validation_loss(self, prediction: Tensor, batch: ColorBatch) -> Tensor:
        """Return what is logged as `val/loss`."""

    def on_validation_start(self) -> None:
        """Give all processes the first one's buffers: each has its own statistics of batch norm.

        DDP does so before each training step, and the first one's are in the checkpoint.
        """
        if self.trainer.world_size > 1:
            for buffer in self.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def validation_step(self, batch: ColorBatch, batch_idx: int) -> Tensor:
        """Measure the loss and return the predicted ab."""
        prediction = self.predict(batch.L)
        loss = self.validation_loss(prediction, self.with_target(batch))
        self.val_loss.update(loss, len(batch))
        return self.decode(prediction)

    def test_step(self, batch: ColorBatch, batch_idx: int) -> Tensor:
        """Return the predicted ab."""
        ab: Tensor = self(batch.L)
        return ab

    def predict_step(self, batch: ColorBatch, batch_idx: int) -> ColorizedImages:
        """Return the colorized images of a batch; colors outside sRGB lose chroma."""
        rgb = to_rgb(batch.L, fit_gamut(batch.L, self(batch.L)))
        return ColorizedImages(batch.names, (rgb * 255).round().to(torch.uint8).cpu())

    def on_validation_batch_end(  # type: ignore[override]
        self, outputs: Tensor, batch: ColorBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Update the metrics, outside of autocast."""
        self.val_metrics.update(batch.L, outputs, batch.ab)

    def on_test_batch_end(  # type: ignore[override]
        self, outputs: Tensor, batch: ColorBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Update the metrics, outside of autocast."""
        self.test_metrics.update(batch.L, outputs, batch.ab)

    def on_validation_epoch_end(self) -> None:
        """Log the validation loss and metrics."""
        self.log("val/loss", self.val_loss.compute())
        self.val_loss.reset()
        self._log_metrics(self.val_metrics)

    def on_validation_end(self) -> None:
        """Step the schedules that wait for a plateau of `val/loss`.

        Here and not where Lightning does it, behind the epoch's checkpoint: a resumed run would
        miss a step.
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
        # Computed (and joined over processes) here: torchmetrics does it once for all names.
        for name, value in metrics.compute().items():
            self.log(name, value, prog_bar=name == "val/psnr")
        metrics.reset()

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """Step a schedule; one over the run's budget is told where the run is."""
        if isinstance(scheduler, WarmupCosine):
            scheduler.follow(self.trainer)
        elif not isinstance(scheduler, ReduceLROnPlateau):
            super().lr_scheduler_step(scheduler, metric)
