"""A conditional GAN: a generator that predicts ab from L, and a discriminator."""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import Adam

from lightning_colorize.color import ColorBatch
from lightning_colorize.common.errors import UsageError
from lightning_colorize.losses import L1, AdversarialLoss, Loss
from lightning_colorize.metrics import batch_metrics
from lightning_colorize.models.checkpoint import load_network
from lightning_colorize.networks import (
    ColorizationNetwork,
    Decoder,
    DeconvHead,
    Discriminator,
    Encoder,
    FeatureInfo,
    Head,
)
from lightning_colorize.networks.decoders.unet import UNetDecoder
from lightning_colorize.tasks.base import ColorizationTask
from lightning_colorize.tasks.optimization import (
    Optimization,
    OptimizerFactory,
    SchedulerFactory,
    step_schedules,
)

_PRECISIONS = (None, "bf16-mixed", "32-true", "64-true", "bf16", "32", "64", 32, 64)


class Stage(Enum):
    """The networks that are trained."""

    GENERATOR = "generator"
    DISCRIMINATOR = "discriminator"
    BOTH = "both"


def _adam(parameters: Iterable[Any], **options: Any) -> Adam:
    return Adam(parameters, lr=2e-4, betas=(0.5, 0.999), **options)


class CGANTask(ColorizationTask):
    """pix2pix (Isola et al. 2017) on (L, ab), with training stages and a moving average.

    Each batch runs the generator once and the discriminator three times: on real colors, on
    detached predictions, and after its own step for the generator's loss. Lightning counts one step
    per batch, the generator's if it takes one, else the discriminator's, so `max_steps` and the
    x-axes of curves count batches (accumulated ones with `accumulate_grad_batches`).

    Args:
        encoder: The generator's encoder.
        discriminator: Classifies (L, ab) as real or predicted.
        adversarial_loss: Loss of both networks.
        decoder: The generator's decoder; built from the encoder's levels.
        head: The generator's head; built from the decoder's channels.
        loss: The content loss; null: the L1 loss of ab.
        loss_weight: Its weight, next to the generator's adversarial loss.
        halve_discriminator_loss: Use (real + fake) / 2, as in pix2pix; else real + fake.
        generator_optimizer: Built from the generator's trainable parameters; null: Adam with
            lr 2e-4 and beta1 0.5, as in pix2pix.
        discriminator_optimizer: The same, from the discriminator's parameters.
        generator_scheduler: Built from the generator's optimizer; null for a constant rate.
        discriminator_scheduler: The same for the discriminator.
        encoder_lr_ratio: The encoder's learning rate as a share of the decoder's.
        encoder_lr_decay: Factor of the learning rate from each encoder level to the next finer one;
            1 gives all levels the same rate.
        generator_every_n_batches: Batches per generator step: 1 for every step, or a multiple of
            `accumulate_grad_batches`.
        discriminator_every_n_batches: Batches per discriminator step; one of the two must be 1.
        generator_epochs: Initial epochs that train only the generator, on the content loss.
        discriminator_epochs: Following epochs that train only the discriminator (with
            `generator_epochs`: DeOldify's NoGAN).
        accumulate_grad_batches: Batches whose gradients are averaged for a step of each network;
            the Trainer does not support it with two optimizers. An epoch's last batch is a step.
        gradient_clip_val: Maximum gradient norm of each network, above 0; null: no clipping.
        ema_decay: Decay of the generator's moving average, which is validated, tested and used for
            prediction; null: the generator itself.
        generator_checkpoint: A run or checkpoint that initializes the generator; it must have the
            same encoder, decoder and head.
        options: Arguments of `ColorizationTask`.

    Raises:
        ValueError: If settings contradict each other, or the loss needs another head.
        UsageError: If `generator_checkpoint` does not fit.
    """

    optimizer_names = ("generator", "discriminator")

    def __init__(
        self,
        encoder: Encoder,
        discriminator: Discriminator,
        adversarial_loss: AdversarialLoss,
        decoder: Callable[[FeatureInfo], Decoder] = UNetDecoder,
        head: Callable[[int], Head] = DeconvHead,
        loss: Loss | None = None,
        loss_weight: float = 100.0,
        halve_discriminator_loss: bool = False,
        generator_optimizer: OptimizerFactory | None = None,
        discriminator_optimizer: OptimizerFactory | None = None,
        generator_scheduler: SchedulerFactory | None = None,
        discriminator_scheduler: SchedulerFactory | None = None,
        encoder_lr_ratio: float = 1.0,
        encoder_lr_decay: float = 1.0,
        generator_every_n_batches: int = 1,
        discriminator_every_n_batches: int = 1,
        generator_epochs: int = 0,
        discriminator_epochs: int = 0,
        accumulate_grad_batches: int = 1,
        gradient_clip_val: float | None = None,
        ema_decay: float | None = 0.999,
        generator_checkpoint: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.generator_every_n_batches = generator_every_n_batches
        self.discriminator_every_n_batches = discriminator_every_n_batches
        self.generator_epochs = generator_epochs
        self.discriminator_epochs = discriminator_epochs
        self.accumulate_grad_batches = accumulate_grad_batches
        self._begins = self._steps = True
        self.gradient_clip_val = gradient_clip_val
        self.loss_weight = loss_weight
        self._require_valid()
        self.save_hyperparameters()
        self.automatic_optimization = False
        built = decoder(encoder.info)
        self.net = ColorizationNetwork(encoder, built, head(built.out_channels))
        if generator_checkpoint is not None:
            load_network(self.net, Path(generator_checkpoint), keep_decoding=True)
        self.discriminator = discriminator
        if self.channels_last:
            self.to(memory_format=torch.channels_last)
        self.average_weights(ema_decay)
        self.adversarial_loss = adversarial_loss
        self.loss = loss or L1()
        self.loss.require_head(self.net.head)
        self.discriminator_loss_scale = 0.5 if halve_discriminator_loss else 1.0
        self.optimizations = (
            Optimization(
                generator_optimizer or _adam,
                generator_scheduler,
                encoder_lr_ratio,
                encoder_lr_decay,
            ),
            Optimization(discriminator_optimizer or _adam, discriminator_scheduler),
        )

    def _require_valid(self) -> None:
        every = self.generator_every_n_batches, self.discriminator_every_n_batches
        if self.accumulate_grad_batches < 1:
            raise ValueError(
                f"accumulate_grad_batches is {self.accumulate_grad_batches}: at least 1"
            )
        if min(every) != 1:
            raise ValueError(
                "generator_every_n_batches and discriminator_every_n_batches are "
                f"{every[0]} and {every[1]}: one must be 1"
            )
        longest = max(every)
        if longest > 1 and longest % self.accumulate_grad_batches:
            raise ValueError(
                f"a network steps every {longest} batches: this must be a multiple of "
                f"accumulate_grad_batches, {self.accumulate_grad_batches}"
            )
        if min(self.generator_epochs, self.discriminator_epochs, self.loss_weight) < 0:
            raise ValueError(
                "generator_epochs, discriminator_epochs and loss_weight must not be negative"
            )
        if self.generator_epochs and not self.loss_weight:
            raise ValueError(
                "loss_weight is 0, so generator_epochs would train nothing: set it to 0"
            )
        if self.gradient_clip_val is not None and not self.gradient_clip_val > 0:
            raise ValueError(
                f"gradient_clip_val is {self.gradient_clip_val}: it must be above 0, or null "
                "(no limit)"
            )

    @property
    def trained_networks(self) -> list[nn.Module]:
        """Generator and discriminator."""
        return [self.net, self.discriminator]

    @property
    def stage(self) -> Stage:
        """The networks that are trained in this epoch."""
        if self.current_epoch < self.generator_epochs:
            return Stage.GENERATOR
        if self.current_epoch < self.generator_epochs + self.discriminator_epochs:
            return Stage.DISCRIMINATOR
        return Stage.BOTH

    @property
    def chance_loss(self) -> float:
        """The loss of a discriminator at chance level."""
        return self.discriminator_loss_scale * self.adversarial_loss.chance()

    def check(self, trainer: Mapping[str, Any], size: int) -> None:
        """Refuse settings that manual optimization, stages or the discriminator do not support."""
        alone_epochs = self.generator_epochs + self.discriminator_epochs
        for key, neutral in (("gradient_clip_val", None), ("accumulate_grad_batches", 1)):
            if trainer[key] != neutral:
                raise UsageError(
                    f"--trainer.{key}: {trainer[key]}\naccepted: "
                    f"{'null' if neutral is None else 1}; "
                    f"for the two optimizers of a GAN, use --model.{key}"
                )
        if trainer["precision"] not in _PRECISIONS:
            raise UsageError(
                f"--trainer.precision: {trainer['precision']}\naccepted: bf16-mixed, 32-true, "
                "64-true: two optimizers cannot share the scale of 16-mixed, and pure 16 bits "
                "round updates of the moving average to zero"
            )
        if trainer["max_epochs"] is not None and 0 < trainer["max_epochs"] <= alone_epochs:
            raise UsageError(
                f"--trainer.max_epochs: {trainer['max_epochs']}\naccepted: {alone_epochs + 1} or "
                "more: the two networks would never train together; or reduce "
                "--model.generator_epochs"
            )
        if size < self.discriminator.smallest:
            raise UsageError(
                f"--data.size: {size}\naccepted: {self.discriminator.smallest} or more with this "
                "discriminator; or give it fewer --model.discriminator.layers"
            )

    def setup(self, stage: str) -> None:
        """Tell the Trainer how many batches a step has, after it has refused to accumulate them."""
        self.trainer.accumulate_grad_batches = self.accumulate_grad_batches
        super().setup(stage)
        if stage == TrainerFn.FITTING:
            # DDP expects gradients of each parameter that is trainable when it wraps the networks,
            # in each of its backward passes: they are the generator's.
            self.discriminator.requires_grad_(False)

    def teardown(self, stage: str) -> None:
        """Let the Trainer check its own setting again."""
        self.trainer.accumulate_grad_batches = 1

    def training_step(self, batch: ColorBatch, batch_idx: int) -> dict[str, Tensor]:
        """Step the networks that are due; returns the batch's metrics.

        Most metrics are measured in batches that the loggers write.
        """
        batch = self.with_target(batch)
        steps_g, steps_d = self._due()
        logs = self.logs
        accumulated = batch_idx % self.accumulate_grad_batches
        self._begins = accumulated == 0
        # As in Lightning, the last batch of an epoch is a step.
        self._steps = accumulated + 1 == self.accumulate_grad_batches or self.trainer.is_last_batch
        L = self.scaling.normalize_L(batch.L)
        with torch.set_grad_enabled(steps_g):
            prediction = self.net(L.to(self.dtype), batch.condition)
        ab_hat = self.net.to_ab(prediction, L.shape[-2:])
        metrics: dict[str, Tensor] = {}
        if steps_d:
            ab = self.scaling.normalize_ab(batch.ab)
            metrics |= self._step_discriminator(L, ab, ab_hat, not steps_g, logs)
        if steps_g:
            metrics |= self._step_generator(L, ab_hat, prediction, batch, logs)
        if logs:
            metrics |= batch_metrics(batch.L, self.scaling.restore_ab(ab_hat), batch.ab)
        self.batch_values = dict(metrics)
        if steps_g:
            # As Lightning returns it to callbacks from automatic optimization.
            metrics["loss"] = self._shared(metrics["loss"])
        if self._steps:
            step_schedules(self.trainer, "step", self.lr_scheduler_step)
        return metrics

    def _due(self) -> tuple[bool, bool]:
        """Return whether the generator and the discriminator take a step in this batch."""
        if self.stage is not Stage.BOTH:
            return self.stage is Stage.GENERATOR, self.stage is Stage.DISCRIMINATOR
        every = (self.generator_every_n_batches, self.discriminator_every_n_batches)
        generator, discriminator = (
            self.global_step % max(1, batches // self.accumulate_grad_batches) == 0
            for batches in every
        )
        return generator, discriminator

    def _step_discriminator(
        self, L: Tensor, ab: Tensor, ab_hat: Tensor, counted: bool, logs: bool
    ) -> dict[str, Tensor]:
        real = self._judge(L, ab)
        fake = self._judge(L, ab_hat.detach())
        loss = self.adversarial_loss(real, real=True) + self.adversarial_loss(fake, real=False)
        loss = self.discriminator_loss_scale * loss
        norm = self._step(loss, 1, self.discriminator, counted, logs)
        right = [(real > self.adversarial_loss.boundary), (fake <= self.adversarial_loss.boundary)]
        metrics = {
            "d_loss": loss.detach(),
            "d_accuracy": torch.stack([calls.float().mean() for calls in right]).mean(),
        }
        if logs:
            score = self.adversarial_loss.score
            metrics |= {
                "d_real": score(real.detach()).mean(),
                "d_fake": score(fake.detach()).mean(),
            }
        return metrics | ({} if norm is None else {"d_grad_norm": norm})

    def _step_generator(
        self, L: Tensor, ab_hat: Tensor, prediction: Tensor, batch: ColorBatch, logs: bool
    ) -> dict[str, Tensor]:
        content, terms = self.loss_and_terms(prediction, batch)
        loss = self.loss_weight * content
        metrics = {name: term.detach() for name, term in terms.items()}
        metrics["content"] = content.detach()
        if self.stage is Stage.BOTH:
            # The discriminator's gradients are unused here and would take a third of the backward
            # pass.
            self.discriminator.requires_grad_(False)
            adversarial = self.adversarial_loss.generator(self._judge(L, ab_hat))
            self.discriminator.requires_grad_(True)
            loss = loss + adversarial
            metrics["g_adversarial"] = adversarial.detach()
        norm = self._step(loss, 0, self.net, counted=True, logs=logs)
        if self._steps:
            self.update_average()
        metrics["loss"] = loss.detach()
        return metrics | ({} if norm is None else {"g_grad_norm": norm})

    def _judge(self, L: Tensor, ab: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(L.to(self.dtype), ab.to(self.dtype))
        return logits

    def _step(
        self, loss: Tensor, number: int, network: nn.Module, counted: bool, logs: bool
    ) -> Tensor | None:
        """Step one network, unless further batches are accumulated.

        Returns its gradient norm before clipping, if logged or clipped.
        """
        optimizer: LightningOptimizer = self.optimizers()[number]  # type: ignore[index]
        if self._begins:
            optimizer.zero_grad()
        loss = self._shared(loss)
        if network is self.discriminator:
            loss.backward()  # type: ignore[no-untyped-call]  # not by DDP
        else:
            self.manual_backward(loss)
        if not self._steps:
            return None
        if network is self.discriminator and self.trainer.world_size > 1:
            for gradient in (p.grad for p in network.parameters() if p.grad is not None):
                torch.distributed.all_reduce(gradient)  # gloo has no mean
                gradient /= self.trainer.world_size
        norm = None
        if logs or self.gradient_clip_val is not None:
            limit = self.gradient_clip_val or float("inf")
            norm = nn.utils.clip_grad_norm_(network.parameters(), limit)
        # Lightning does not count a step of the wrapped optimizer.
        (optimizer if counted else optimizer.optimizer).step()
        if self.uses_graphs:
            optimizer.zero_grad()
        return norm

    def _shared(self, loss: Tensor) -> Tensor:
        batches = self.accumulate_grad_batches
        return loss if batches == 1 else loss / batches  # one operator less

    def on_train_epoch_end(self) -> None:
        """Step the per-epoch schedules."""
        step_schedules(self.trainer, "epoch", self.lr_scheduler_step)

    def configure_optimizers(self) -> Any:
        """Return both optimizers, the generator's first, and their schedules."""
        self.discriminator.requires_grad_(True)  # DDP has wrapped the networks
        pairs = [
            settings.build(network, self.fused)
            for settings, network in zip(self.optimizations, self.trained_networks, strict=True)
        ]
        schedules = [schedule for _, schedule in pairs if schedule is not None]
        return [optimizer for optimizer, _ in pairs], schedules
