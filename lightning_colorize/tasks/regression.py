"""Regression of ab from L: an encoder, a decoder and a loss."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam

from lightning_colorize.color import ColorBatch
from lightning_colorize.losses import Loss
from lightning_colorize.models.checkpoint import load_network
from lightning_colorize.networks import ColorizationNetwork, Decoder, Encoder, FeatureInfo, Head
from lightning_colorize.networks.decoders.upsample import UpsampleDecoder
from lightning_colorize.tasks.base import ColorizationTask
from lightning_colorize.tasks.optimization import Optimization, OptimizerFactory, SchedulerFactory


class RegressionTask(ColorizationTask):
    """Prediction of ab from L by a CNN: regression, or classification of colors.

    Args:
        encoder: Encodes L into features.
        loss: The training loss.
        decoder: Decodes features into one map; built from the encoder's levels.
        head: Turns the decoder's map into a prediction; built from the map's channels; null: the
            head that the loss needs, with its defaults.
        optimizer: Built from the trainable parameters.
        scheduler: Built from the optimizer; null for a constant rate.
        encoder_lr_ratio: The encoder's learning rate as a share of the decoder's.
        encoder_lr_decay: Factor of the learning rate from each encoder level to the next finer one;
            1 gives all levels the same rate.
        ema_decay: Decay of the network's moving average, which is validated, tested and used for
            prediction; null: the network itself.
        checkpoint: A run or checkpoint that initializes the network, e.g. one trained on all
            categories to fine-tune a specialist for one; it must have the same encoder, decoder and
            head.
        options: Arguments of `ColorizationTask`.

    Raises:
        UsageError: If `checkpoint` does not fit.
        ValueError: If the loss needs another head.
    """

    def __init__(
        self,
        encoder: Encoder,
        loss: Loss,
        decoder: Callable[[FeatureInfo], Decoder] = UpsampleDecoder,
        head: Callable[[int], Head] | None = None,
        optimizer: OptimizerFactory = Adam,
        scheduler: SchedulerFactory | None = None,
        encoder_lr_ratio: float = 1.0,
        encoder_lr_decay: float = 1.0,
        ema_decay: float | None = None,
        checkpoint: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.save_hyperparameters()
        built = decoder(encoder.info)
        self.net = ColorizationNetwork(encoder, built, (head or loss.head)(built.out_channels))
        loss.require_head(self.net.head)
        if checkpoint is not None:
            load_network(self.net, Path(checkpoint), keep_decoding=head is not None)
        if self.channels_last:
            self.net.to(memory_format=torch.channels_last)
        self.average_weights(ema_decay)
        self.loss = loss
        self.optimization = Optimization(optimizer, scheduler, encoder_lr_ratio, encoder_lr_decay)

    def training_step(self, batch: ColorBatch, batch_idx: int) -> Tensor:
        """Return the loss."""
        batch = self.with_target(batch)
        prediction = self.predict(batch.L, batch.condition)
        loss, terms = self.loss_and_terms(prediction, batch)
        self.batch_values = {"loss": loss, **terms}
        return loss
