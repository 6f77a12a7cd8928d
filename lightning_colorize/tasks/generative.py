"""Sampling of colors by flow matching or diffusion."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torchmetrics import MeanMetric, MetricCollection

from lightning_colorize.color import NO_CONDITION, ColorBatch
from lightning_colorize.losses import CrossEntropy, Loss
from lightning_colorize.metrics.samples import energy_scores
from lightning_colorize.models.checkpoint import describe_parts, load_network
from lightning_colorize.models.generative import GenerativeModel, GenerativeSettings
from lightning_colorize.networks import ColorizationNetwork, Decoder, Encoder, FeatureInfo, Head
from lightning_colorize.networks.decoders.upsample import UpsampleDecoder
from lightning_colorize.networks.denoiser import Denoiser
from lightning_colorize.networks.generative import GenerativeNetwork
from lightning_colorize.networks.objectives import FlowMatching, Objective
from lightning_colorize.tasks.base import ColorizationTask
from lightning_colorize.tasks.optimization import (
    Optimization,
    OptimizerFactory,
    SchedulerFactory,
    run_progress,
)

_SCORES = ("energy", "coarse_energy")
_SAMPLES = 4  # of each validation image, for the energy scores


class GenerativeTask(ColorizationTask):
    """Samples of the residual between true colors and their predicted mean.

    The mean and its standard deviation are those of a regression or classification network, from
    `checkpoint`. It is frozen at first; for the last part of the run, it is trained with its own
    loss and through the features that it gives the denoiser. Metrics are of one sample per image;
    `val/energy` and `val/coarse_energy` of four.

    Args:
        encoder: Encodes L into features.
        decoder: Decodes features into one map; built from the encoder's levels.
        head: Gives mean and standard deviation; built from the map's channels; null: the head that
            the loss needs.
        loss: The loss of the mean's network.
        checkpoint: A run or checkpoint of a RegressionTask with the same encoder, decoder and head;
            `default` is the bundled model; null: train both from the start.
        denoiser: Predicts the residual; built from the map's channels.
        objective: Noise and steps; null: flow matching.
        residual: Sample the residual; false: the colors themselves, the baseline.
        joint: Last share of the run in which the mean's network is trained too; 1 is all of it.
        repeats: Times and noises per image and step; they cost little.
        image_dropout: Share of the images that the denoiser does not see, for guidance.
        steps: The denoiser's steps per sample, in validation and by default.
        guidance: How closely a sample follows the image, in validation and by default.
        optimizer: Built from the trainable parameters.
        scheduler: Built from the optimizer; null for a constant rate.
        encoder_lr_ratio: The encoder's learning rate as a share of the decoder's.
        ema_decay: Decay of the moving average, which is used for all but training; null: none.
        options: Arguments of `ColorizationTask`.

    Raises:
        UsageError: If `checkpoint` does not fit, or `steps` or `guidance` are out of range.
        ValueError: If the loss needs another head, or a share is not in 0..1.
    """

    net: GenerativeNetwork
    trains_mean: Tensor
    # While the mean's network is frozen, its parameters have no gradients.
    distributed_strategy = "ddp_find_unused_parameters_true"

    def __init__(
        self,
        encoder: Encoder,
        decoder: Callable[[FeatureInfo], Decoder] = UpsampleDecoder,
        head: Callable[[int], Head] | None = None,
        loss: Loss | None = None,
        checkpoint: str | None = None,
        denoiser: Callable[[int], Denoiser] = Denoiser,
        objective: Objective | None = None,
        residual: bool = True,
        joint: float = 0.3,
        repeats: int = 4,
        image_dropout: float = 0.1,
        steps: int = 8,
        guidance: float = 1.0,
        optimizer: OptimizerFactory = AdamW,
        scheduler: SchedulerFactory | None = None,
        encoder_lr_ratio: float = 1.0,
        ema_decay: float | None = 0.998,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        for name, share in (("joint", joint), ("image_dropout", image_dropout)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} must be from 0 to 1, not {share}")
        self.settings = GenerativeSettings().updated({"steps": steps, "guidance": guidance})
        self.save_hyperparameters()
        self.loss = loss or CrossEntropy()
        built = decoder(encoder.info)
        self.net = GenerativeNetwork(
            encoder,
            built,
            (head or self.loss.head)(built.out_channels),
            denoiser,
            objective or FlowMatching(),
            residual,
        )
        self.loss.require_head(self.net.head)
        if checkpoint is not None:
            base = ColorizationNetwork(encoder, built, self.net.head)
            base.gate = self.net.gate
            load_network(base, Path(checkpoint), keep_decoding=head is not None)
        if self.channels_last:
            self.net.to(memory_format=torch.channels_last)
        self.average_weights(ema_decay)
        scores: dict[str, Any] = {name: MeanMetric(nan_strategy=torch.nan) for name in _SCORES}
        self.val_scores = MetricCollection(scores, prefix="val/", compute_groups=False)
        self.joint = joint
        self.repeats = repeats
        self.image_dropout = image_dropout
        self.optimization = Optimization(optimizer, scheduler, encoder_lr_ratio)
        # In the checkpoint: a run resumed within an epoch continues with the epoch's networks.
        self._trains_mean = joint == 1
        self.register_buffer("trains_mean", torch.tensor(self._trains_mean))
        self.register_load_state_dict_post_hook(_read_trains_mean)  # type: ignore[no-untyped-call]

    @property
    def trained_networks(self) -> list[nn.Module]:
        """The parts of the network: training does not call it as a whole."""
        return [self.net.encoder, self.net.decoder, self.net.head, self.net.denoiser]

    def on_train_epoch_start(self) -> None:
        """Decide whether the mean's network is trained in this epoch."""
        share = self.trainer.strategy.broadcast(run_progress(self.trainer))
        self._trains_mean = share >= 1 - self.joint
        self.trains_mean.fill_(self._trains_mean)

    def training_step(self, batch: ColorBatch, batch_idx: int) -> Tensor:
        """Return the objective's loss, plus the mean's while its network is trained."""
        batch = self.with_target(batch)
        trains_mean = self._trains_mean
        for part in (self.net.encoder, self.net.decoder, self.net.head):
            part.train(trains_mean)
        normalized = self.scaling.normalize_L(batch.L).to(self.dtype)
        encoded = self.net.encode(normalized, batch.condition, trains_mean)
        ab = self.scaling.normalize_ab(batch.ab)
        loss = self.net.objective_loss(encoded, ab, self.repeats, self.image_dropout)
        terms = {"objective": loss}
        if trains_mean:
            terms["mean"] = self.loss(encoded.prediction, batch)
            loss = loss + terms["mean"]
        self.batch_values = {**terms, "loss": loss}
        return loss

    def to_model(self) -> GenerativeModel:
        """Return the network as a model that samples."""
        net = cast(GenerativeNetwork, self.inference_net)
        model = GenerativeModel(net, self.scaling, self.own_metrics)
        model.settings = self.settings
        model.description = describe_parts(self.hparams, self.net)
        return model

    def forward(self, L: Tensor) -> Tensor:
        """Return one sample of ab, (B, 2, H, W) in LAB units, for L, (B, 1, H, W) in [0, 100]."""
        return self.to_model().color(L)[0]

    def validation_step(self, batch: ColorBatch, batch_idx: int) -> Tensor:
        """Update the loss, and return one sample of ab."""
        model = self.to_model()
        prediction = model.predict(batch.L, NO_CONDITION)
        with torch.random.fork_rng(devices=[]):  # the same times and noise in each validation
            torch.manual_seed(batch_idx)
            ab = self.scaling.normalize_ab(batch.ab)
            loss = model.network.objective_loss(prediction.encoded, ab, self.repeats)
        self.val_loss.update(loss, len(batch))
        samples = model.colors(prediction, model.settings, _SAMPLES, model.generators(batch.L))
        for name, score in zip(_SCORES, energy_scores(samples, batch.ab), strict=True):
            self.val_scores[name].update(score)
        return samples[0]

    def on_validation_epoch_end(self) -> None:
        """Log the losses and metrics."""
        super().on_validation_epoch_end()
        self._log_metrics(self.val_scores)

    def metric_names(self) -> list[str]:
        """Return the metrics that validation logs, which a run can monitor."""
        return [*super().metric_names(), *(f"val/{name}" for name in _SCORES)]


def _read_trains_mean(task: GenerativeTask, _: object) -> None:
    """Read the buffer where a checkpoint is loaded: a training step reads nothing."""
    task._trains_mean = bool(task.trains_mean)
