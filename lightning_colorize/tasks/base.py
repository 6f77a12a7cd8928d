"""The base of all tasks: validation, test and prediction."""

import inspect
import sys
from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.plugins import MixedPrecision
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torchmetrics import MeanMetric, Metric, MetricCollection

from lightning_colorize.color import (
    NO_CONDITION,
    AbBins,
    ColorBatch,
    Condition,
    LabScaling,
    to_rgb_in_gamut,
)
from lightning_colorize.common.class_paths import Trust, arguments_of, describe, path_of
from lightning_colorize.common.compiling import CompileNetworks, compiles
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.processes import is_first_process
from lightning_colorize.losses import Loss
from lightning_colorize.metrics import colorization_metrics, spec
from lightning_colorize.models.base import TrainedNetwork
from lightning_colorize.models.checkpoint import (
    UNRECORDED,
    describe_parts,
    read_checkpoint,
    rebuild_task,
)
from lightning_colorize.models.exported import CLASS_PATH
from lightning_colorize.models.network import NetworkModel
from lightning_colorize.networks import (
    ClassificationHead,
    ColorizationNetwork,
    ConditionedEncoder,
    Encoder,
    GenerativeNetwork,
)
from lightning_colorize.networks.base import NeedsWeights, Recorded
from lightning_colorize.tasks.optimization import (
    AveragedNetwork,
    Optimization,
    WarmupCosine,
    is_logged,
)

_COUNTED = 4096  # maximum number of training images whose colors are counted


class ColorizedImages(NamedTuple):
    """What `Trainer.predict` returns for a batch.

    Attributes:
        names: The images' names, as in the data module.
        rgb: (B, 3, H, W), uint8, on the CPU.
    """

    names: list[str]
    rgb: Tensor


class ColorizationTask(Recorded, LightningModule, TrainedNetwork, ABC):
    """Base of the LightningModules: it implements evaluation, subclasses implement training.

    Validation and test steps return the predicted ab, (B, 2, H, W) in LAB units, for callbacks.

    Args:
        channels_last: Use the channels-last memory format; null: on CUDA under bf16.
        compile: Compile the trained networks; auto: on CUDA, if it pays; reduce-overhead: as CUDA
            graphs.
        fused: Run each optimizer step in one kernel; null: on CUDA, if the optimizer supports it.
        metrics: Additional metrics by name, for `val/NAME` and `test/NAME`; null: none.

    Attributes:
        metric_rows: Name, direction and format of all metrics.
        net: The network, which maps L in [-1, 1] to a prediction.
        loss: The loss of predictions, in training and as `val/loss`.
        optimization: How `net` is optimized.
        averaged: The moving average of `net`, used outside of training; None if disabled.
        scaling: Conversion between LAB units and the network's range; saved in the checkpoint.
        optimizer_names: The network that each optimizer trains; empty for the only one.
        batch_values: What the training step measured, by name.
        compiles: Whether the fit compiles the trained networks.
        uses_graphs: Whether they are CUDA graphs, whose memory each step overwrites.
    """

    net: ColorizationNetwork
    loss: Loss
    optimization: Optimization
    averaged: AveragedNetwork | None
    optimizer_names: tuple[str, ...] = ("",)

    def __init__(
        self,
        channels_last: bool | None = None,
        compile: CompileNetworks = "auto",
        fused: bool | None = None,
        metrics: dict[str, Metric] | None = None,
    ) -> None:
        super().__init__()
        # Not a submodule: the collections below have copies.
        self.own_metrics = dict(metrics or {})
        if taken := {"loss", *spec.NAMES} & self.own_metrics.keys():
            raise ValueError(f"metrics: {', '.join(sorted(taken))} exists; choose another name")
        own = (spec.Metric.custom(name, m.higher_is_better) for name, m in self.own_metrics.items())
        self.metric_rows = (*spec.METRICS, *own)
        self.averaged = None
        self.compile_setting = compile
        self.compiles = self.uses_graphs = False
        self.batch_values: Mapping[str, Tensor] = {}
        self.fused = fused
        self.channels_last = channels_last
        self._targets_channels_last = False
        self.scaling = LabScaling()
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
            checkpoint_path: A checkpoint written by a plain Trainer or by `fit`.
            map_location: The device for the task.
            allow: Classes, modules or packages that the checkpoint may import, in addition to ours
                and to networks, losses and optimizers that are already imported.
            **overrides: Constructor arguments that replace the recorded ones.

        Raises:
            UsageError: If the file is not a checkpoint of this class, or names a refused class.
        """
        file = Path(checkpoint_path)
        trust = Trust(allow, imported=True, bases=(nn.Module, Optimizer, LRScheduler))
        task: Self = rebuild_task(file, read_checkpoint(file), cls, trust, overrides)
        return task.to(map_location)

    def save_hyperparameters(self, *args: Any, **kwargs: Any) -> None:
        """Save the constructor's arguments as class paths, from which checkpoints are rebuilt.

        LightningCLI passes class paths. A task that is built in Python describes its arguments
        itself.
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
        """Store paths as text: checkpoints that load with `weights_only` hold plain data only."""
        for key in ("hyper_parameters", "datamodule_hyper_parameters"):
            for name, value in checkpoint.get(key, {}).items():
                if isinstance(value, Path):
                    checkpoint[key][name] = str(value)

    def on_fit_start(self) -> None:
        """Learn the class names and, for the bins of a head, the colors of the training images.

        Here a checkpoint has been loaded: its class names keep their order, and colors that it has
        counted are not counted again.
        """
        datamodule: Any = getattr(self.trainer, "datamodule", None)
        if getattr(datamodule, "label_names", None):
            for encoder in (part for part in self.modules() if isinstance(part, Encoder)):
                try:
                    encoder.set_label_names(datamodule.label_names)
                except ValueError as error:
                    raise UsageError(str(error)) from None
            if self.net.encoder.label_names:
                datamodule.label_names = self.net.encoder.label_names  # the loader's indices
        uncounted = [m for m in self.modules() if isinstance(m, AbBins) and not m.pixels]
        if not uncounted:
            return
        first, *copies = uncounted
        if not hasattr(datamodule, "color_batches"):
            raise UsageError(
                "a ClassificationHead counts the colors of the training images first: pass a "
                "ColorizationDataModule to `fit`, or call `update` of task.net.head.bins with each "
                "batch's ab, then `finish`"
            )
        for batch in datamodule.color_batches("train", _COUNTED):
            first.update(batch.ab.to(self.device))
        first.finish()
        for copy in copies:  # in a moving average
            copy.load_state_dict(first.state_dict())

    @property
    def inference_net(self) -> ColorizationNetwork:
        """`net` during training, otherwise its moving average, if any."""
        if self.training or self.averaged is None:
            return self.net
        return cast(ColorizationNetwork, self.averaged.module)

    def average_weights(self, decay: float | None) -> None:
        """Start averaging `net`, unless the decay is None; a ValueError if it is not in [0, 1)."""
        self.averaged = None if decay is None else AveragedNetwork(self.net, decay)

    def update_average(self) -> None:
        """Update the moving average, if any; to be called after each manual step of `net`."""
        if self.averaged is not None:
            self.averaged.update_parameters(self.net)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take a step and update the moving average; with accumulation, not after each batch."""
        super().optimizer_step(*args, **kwargs)
        self.update_average()
        if self.uses_graphs:
            self.net.zero_grad()  # the next step overwrites the gradients

    def on_train_batch_start(self, *args: Any) -> None:
        """Let CUDA graphs overwrite the tensors of the previous batch."""
        if self.uses_graphs:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]

    on_validation_batch_start = on_train_batch_start  # type: ignore[assignment]

    @property
    def distributed_strategy(self) -> str:
        """Lightning's strategy for several devices; without labels, their part has no gradients."""
        conditioned = any(isinstance(part, ConditionedEncoder) for part in self.modules())
        return "ddp_find_unused_parameters_true" if conditioned else "ddp"

    @property
    def trained_networks(self) -> list[nn.Module]:
        """The modules that `training_step` calls, to be compiled."""
        return [self.net]

    def setup(self, stage: str) -> None:
        """Choose what depends on the device, and compile the trained networks in place.

        This preserves the names in checkpoints. Only for fitting: for evaluation, compiling takes
        longer than it saves.
        """
        if self.averaged is not None:
            self.averaged.restart()  # the Trainer may move or convert the networks
        if stage != TrainerFn.FITTING:
            return
        trainer = self.trainer
        on_cuda = trainer.strategy.root_device.type == "cuda"
        if self.fused is None and trainer.precision == "16-mixed":
            self.fused = False  # scaled gradients could not be clipped before the step
        if self.channels_last is None and on_cuda and trainer.precision.startswith("bf16"):
            self.channels_last = True
            self.to(memory_format=torch.channels_last)
        self._targets_channels_last = on_cuda and bool(self.channels_last)
        self.compiles = compiles("model.compile", self.compile_setting, trainer)
        wanted = self.compile_setting == "reduce-overhead"
        alone = trainer.world_size == trainer.accumulate_grad_batches == 1
        self.uses_graphs = wanted and on_cuda and alone
        if wanted and not self.uses_graphs and is_first_process():
            needs = "CUDA, one process and steps of one batch; compiled without graphs"
            print(f"--model.compile reduce-overhead needs {needs}", file=sys.stderr)
        for network in self.trained_networks if self.compiles else ():
            network.compile(mode="reduce-overhead" if self.uses_graphs else None)

    def on_train_start(self) -> None:
        """Give a loaded optimizer the settings of this process: fused or not, memory format."""
        for optimizer in self.trainer.optimizers:
            fused = optimizer.defaults.get("fused")
            for group in optimizer.param_groups if "fused" in optimizer.defaults else ():
                group["fused"] = fused
            for parameter, state in optimizer.state.items():
                for name, value in state.items():
                    if name == "step" and isinstance(value, Tensor):
                        state[name] = value.to(parameter.device if fused else "cpu")
                    elif isinstance(value, Tensor) and value.shape == parameter.shape:
                        state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip gradients, also with fused optimizers.

        Lightning refuses fused optimizers in half precision, since 16-mixed gradients are still
        scaled here. `check` refuses 16-mixed; bf16-mixed scales nothing.
        """
        plugin = self.trainer.precision_plugin
        if gradient_clip_val and self.fused is not False and isinstance(plugin, MixedPrecision):
            by_value = gradient_clip_algorithm == "value"
            clip = nn.utils.clip_grad_value_ if by_value else nn.utils.clip_grad_norm_
            clip([p for g in optimizer.param_groups for p in g["params"]], gradient_clip_val)
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
        precision = trainer["precision"]
        if self.fused and precision == "16-mixed" and trainer["gradient_clip_val"]:
            raise UsageError(
                "--model.fused: true\naccepted: false with --trainer.precision 16-mixed and "
                "--trainer.gradient_clip_val; or --trainer.precision bf16-mixed"
            )
        exact = isinstance(self.net, GenerativeNetwork) or self.averaged is not None
        exact = exact or isinstance(self.net.head, ClassificationHead)
        if exact and precision in ("bf16-true", "16-true"):
            raise UsageError(
                f"--trainer.precision: {precision}\naccepted: bf16-mixed, 16-mixed, 32-true: pure "
                "16 bits round moving averages, shares of bins and steps of samples"
            )

    def require_weights(self) -> None:
        """Load what frozen parts need, such as the backbone of a loss.

        Raises:
            ValueError: If weights are unavailable or do not fit, or random weights are frozen.
        """
        for part in self.modules():
            if isinstance(part, NeedsWeights):
                part.require_weights()

    def to_model(self) -> NetworkModel:
        """Return the network as a model, which colorizes images of any size."""
        model = NetworkModel(self.inference_net, self.scaling, self.own_metrics)
        model.description = describe_parts(self.hparams, self.net)
        return model

    def forward(self, L: Tensor) -> Tensor:
        """Predict ab.

        Args:
            L: (B, 1, H, W) in [0, 100].

        Returns:
            ab: (B, 2, H, W) in LAB units, fp32.
        """
        return self.decode(self.predict(L), L.shape[-2:])

    def predict(self, L: Tensor, condition: Condition = NO_CONDITION) -> Tensor:
        """Return the prediction of the network's head for L: (B, 1, H, W) in [0, 100]."""
        # The batch is always fp32; under `precision: bf16-true` the parameters are not.
        normalized = self.scaling.normalize_L(L).to(self.dtype)
        prediction: Tensor = self.inference_net(normalized, condition)
        return prediction

    def decode(self, prediction: Tensor, size: Sequence[int]) -> Tensor:
        """Decode a prediction for images of `size` to ab in LAB units, fp32."""
        return self.scaling.restore_ab(self.net.to_ab(prediction, size))

    def with_target(self, batch: ColorBatch) -> ColorBatch:
        """Return the batch with the target and the decoding of the head.

        In training, it also has the simulated conditions that the encoder accepts; otherwise none.
        """
        if self._targets_channels_last:
            # As predictions have it: else compiled networks would have a variant for each layout.
            batch = replace(batch, ab=batch.ab.contiguous(memory_format=torch.channels_last))
        L = self.scaling.normalize_L(batch.L)
        target = self.net.head.target(self.scaling.normalize_ab(batch.ab), L)
        decode = partial(self.decode, size=batch.L.shape[-2:])
        condition = self.net.encoder.simulate(batch) if self.training else NO_CONDITION
        return replace(batch, target=target, decode=decode, condition=condition)

    def metric_names(self) -> list[str]:
        """Return the metrics that validation logs, which a run can monitor."""
        return ["val/loss", *map(str, self.val_metrics.keys())]

    def loss_and_terms(
        self, prediction: Tensor, batch: ColorBatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss, and the weighted terms by name that it is the sum of, if any."""
        terms = self.loss.terms(prediction, batch)
        if terms:
            return torch.stack([*terms.values()]).sum(), terms
        return self.loss(prediction, batch), {}

    @property
    def logs(self) -> bool:
        """Whether the loggers write what this batch logs; valid before its optimizer step."""
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        return every > 0 and (self.global_step + 1) % every == 0

    def on_train_batch_end(self, outputs: Any, batch: ColorBatch, batch_idx: int) -> None:
        """Log `batch_values` under `train/`, if loggers or callbacks of the epoch read them.

        In other batches, Lightning takes half a millisecond for each value that nobody reads.
        """
        trainer = self.trainer
        if is_logged(trainer) or trainer.is_last_batch or trainer.should_stop:
            values = {f"train/{name}": value.detach() for name, value in self.batch_values.items()}
            self.log_dict(values, batch_size=len(batch))
        self.batch_values = {}

    def on_validation_start(self) -> None:
        """Broadcast the buffers of rank 0: each process has its own batch norm statistics.

        DDP does so before each training step; the checkpoint contains the buffers of rank 0.
        """
        if self.trainer.world_size > 1:
            for buffer in self.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def validation_step(self, batch: ColorBatch, batch_idx: int) -> Tensor:
        """Update the loss and return the predicted ab."""
        prediction = self.predict(batch.L)
        loss = self.loss(prediction, self.with_target(batch))
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
        # Compute and reduce over processes once for all names.
        for name, value in metrics.compute().items():
            self.log(name, value, prog_bar=name == spec.MONITOR)
        metrics.reset()

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule."""
        return self.optimization.configure(self.net, self.fused)

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """Step a schedule."""
        if isinstance(scheduler, WarmupCosine):
            scheduler.follow(self.trainer)
        elif not isinstance(scheduler, ReduceLROnPlateau):
            super().lr_scheduler_step(scheduler, metric)
