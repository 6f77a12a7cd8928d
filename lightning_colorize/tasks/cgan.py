"""A conditional GAN: a generator of ab from L, and a discriminator that judges it."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Adam

from lightning_colorize.color import ColorBatch
from lightning_colorize.common.errors import UsageError
from lightning_colorize.losses import L1, AdversarialLoss
from lightning_colorize.metrics import batch_metrics
from lightning_colorize.networks import (
    Colorizer,
    Decoder,
    DeconvHead,
    Discriminator,
    Encoder,
    FeatureInfo,
    Head,
)
from lightning_colorize.networks.decoders import UNetDecoder
from lightning_colorize.tasks import gan_limits
from lightning_colorize.tasks.average import AveragedNetwork
from lightning_colorize.tasks.base import ColorizationTask
from lightning_colorize.tasks.optimisation import (
    OptimizerFactory,
    SchedulerFactory,
    build_optimizer,
    make_optimizer,
    step_schedules,
)
from lightning_colorize.tasks.stages import Stage, stage_of
from lightning_colorize.tasks.start import load_network


def _adam(parameters: Iterable[Any], **options: Any) -> Adam:
    return Adam(parameters, lr=2e-4, betas=(0.5, 0.999), **options)


class CGANTask(ColorizationTask):
    """pix2pix (Isola et al. 2017) on (L, ab), with stages, an average and figures of its health.

    Per batch the generator works once; the discriminator judges the true colours, then the
    predicted ones, detached, and once more after its own step, for the generator. Lightning counts
    one step a batch: the generator's, or the discriminator's where the generator makes none. So
    `max_steps` and the axes of curves mean batches.

    Args:
        encoder: Of the generator: grey to features.
        discriminator: Judges (L, ab).
        adversarial_loss: What both sides pay.
        decoder: Of the generator; built from what the encoder gives.
        head: Of the generator; built from the decoder's channels.
        l1_weight: Of the mean absolute error of ab, beside the generator's adversarial loss.
        halve_discriminator_loss: (real + fake) / 2, as in pix2pix's code; else real + fake.
        generator_optimizer: Built from the generator's trainable parameters; null: Adam at 2e-4
            with a beta1 of 0.5, as published.
        discriminator_optimizer: The same, from the discriminator's parameters.
        generator_scheduler: Built from the generator's optimiser; null for a constant rate.
        discriminator_scheduler: The same for the discriminator.
        encoder_lr_ratio: The encoder's rate as a share of the decoder's.
        generator_every_n_batches: The generator's step is left out of the other batches.
        discriminator_every_n_batches: The same; one of the two is 1.
        generator_epochs: At first the generator is trained alone, on L1.
        discriminator_epochs: Then the discriminator alone (with `generator_epochs`: DeOldify's
            NoGAN), then both.
        gradient_clip_val: Largest norm of each network's gradient, above 0; null for no limit.
        ema_decay: Of the generator's running average, which is validated, tested and used for
            colouring; null: the generator itself.
        generator_checkpoint: A run or checkpoint whose network, of the same encoder, decoder and
            head, is the generator's start.
        channels_last: Keep maps channels last: faster on CPUs and on tensor cores.
        compile: Compile both networks.
        fused: Let each optimiser step in one kernel.

    Raises:
        ValueError: If numbers do not fit.
        UsageError: If `generator_checkpoint` does not fit.
    """

    # Each of the two steps leaves out the other network's weights.
    distributed_strategy = "ddp_find_unused_parameters_true"

    def __init__(
        self,
        encoder: Encoder,
        discriminator: Discriminator,
        adversarial_loss: AdversarialLoss,
        decoder: Callable[[FeatureInfo], Decoder] = UNetDecoder,
        head: Callable[[int], Head] = DeconvHead,
        l1_weight: float = 100.0,
        halve_discriminator_loss: bool = False,
        generator_optimizer: OptimizerFactory | None = None,
        discriminator_optimizer: OptimizerFactory | None = None,
        generator_scheduler: SchedulerFactory | None = None,
        discriminator_scheduler: SchedulerFactory | None = None,
        encoder_lr_ratio: float = 1.0,
        generator_every_n_batches: int = 1,
        discriminator_every_n_batches: int = 1,
        generator_epochs: int = 0,
        discriminator_epochs: int = 0,
        gradient_clip_val: float | None = None,
        ema_decay: float | None = 0.999,
        generator_checkpoint: str | None = None,
        channels_last: bool = False,
        compile: bool = False,
        fused: bool = False,
    ) -> None:
        super().__init__(compile, fused)
        gan_limits.require_turns(generator_every_n_batches, discriminator_every_n_batches)
        gan_limits.require_stages(generator_epochs, discriminator_epochs, l1_weight)
        gan_limits.require_norm(gradient_clip_val)
        self.save_hyperparameters()
        self.automatic_optimization = False
        built = decoder(encoder.info)
        self.net = Colorizer(encoder, built, head(built.out_channels))
        if generator_checkpoint is not None:
            load_network(self.net, Path(generator_checkpoint))
        self.discriminator = discriminator
        if channels_last:
            self.to(memory_format=torch.channels_last)
        self.averaged = None if ema_decay is None else AveragedNetwork(self.net, ema_decay)
        self.adversarial_loss = adversarial_loss
        self.l1 = L1()
        self.l1_weight = l1_weight
        self.discriminator_loss_scale = 0.5 if halve_discriminator_loss else 1.0
        self.generator_optimizer = generator_optimizer or _adam
        self.discriminator_optimizer = discriminator_optimizer or _adam
        self.generator_scheduler = generator_scheduler
        self.discriminator_scheduler = discriminator_scheduler
        self.encoder_lr_ratio = encoder_lr_ratio
        self.generator_every_n_batches = generator_every_n_batches
        self.discriminator_every_n_batches = discriminator_every_n_batches
        self.generator_epochs = generator_epochs
        self.discriminator_epochs = discriminator_epochs
        self.gradient_clip_val = gradient_clip_val

    @property
    def inference_net(self) -> nn.Module:
        """The generator in training, else its average where there is one."""
        return self.net if self.training or self.averaged is None else self.averaged.module

    @property
    def trained_networks(self) -> list[nn.Module]:
        """Both."""
        return [self.net, self.discriminator]

    @property
    def stage(self) -> Stage:
        """Which of the two networks is trained in this epoch."""
        return stage_of(self.current_epoch, self.generator_epochs, self.discriminator_epochs)

    @property
    def chance_loss(self) -> float:
        """The loss of a discriminator that cannot tell the two kinds of colours apart."""
        return self.discriminator_loss_scale * self.adversarial_loss.chance()

    def check(self, trainer: Mapping[str, Any], size: int) -> None:
        """Refuse what two optimisers, stepped by hand, cannot take, and what is too small."""
        gan_limits.refuse_trainer(trainer, self.distributed_strategy)
        gan_limits.refuse_epochs(
            trainer["max_epochs"], self.generator_epochs, self.discriminator_epochs
        )
        if size < self.discriminator.smallest:
            raise UsageError(
                f"--data.size: {size}\naccepted: {self.discriminator.smallest} or more with this "
                "discriminator; or give it fewer --model.discriminator.layers"
            )

    def training_step(self, batch: ColorBatch, batch_idx: int) -> dict[str, Tensor]:
        """Step the networks whose turn it is; returns its figures.

        All are logged where Lightning hands them on, every `log_every_n_steps` batches; the
        generator's loss always, for the progress bar.
        """
        batch = self.with_target(batch)
        steps_g, steps_d = self._turns()
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        logs = every > 0 and (self.global_step + 1) % every == 0
        with torch.set_grad_enabled(steps_g):
            prediction = self.predict(batch.L)
        L = self.scaling.normalize_L(batch.L)
        ab_hat = self.net.head.to_ab(prediction)
        figures: dict[str, Tensor] = {}
        if steps_d:
            ab = self.scaling.normalize_ab(batch.ab)
            figures |= self._step_discriminator(L, ab, ab_hat, not steps_g, logs)
        if steps_g:
            figures |= self._step_generator(L, ab_hat, prediction, batch, logs)
            self.log("train/loss", figures["loss"], prog_bar=True, batch_size=len(batch))
        if logs:
            figures |= batch_metrics(batch.L, self.scaling.restore_ab(ab_hat), batch.ab)
            others = {f"train/{name}": value for name, value in figures.items() if name != "loss"}
            self.log_dict(others, batch_size=len(batch))
        step_schedules(self.trainer, "step", self.lr_scheduler_step)
        return figures

    def step_kind(self) -> Hashable:
        """Return the stage and whose turn it is."""
        return (self.stage.name, *self._turns())

    def _turns(self) -> tuple[bool, bool]:
        """Return whether the generator and the discriminator take a step in this batch."""
        if self.stage is not Stage.BOTH:
            return self.stage is Stage.GENERATOR, self.stage is Stage.DISCRIMINATOR
        batch = self.global_step
        return (
            batch % self.generator_every_n_batches == 0,
            batch % self.discriminator_every_n_batches == 0,
        )

    def _step_discriminator(
        self, L: Tensor, ab: Tensor, ab_hat: Tensor, counted: bool, logs: bool
    ) -> dict[str, Tensor]:
        real = self._judge(L, ab)
        fake = self._judge(L, ab_hat.detach())
        loss = self.adversarial_loss(real, real=True) + self.adversarial_loss(fake, real=False)
        loss = self.discriminator_loss_scale * loss
        norm = self._step(loss, 1, self.discriminator, counted, logs)
        right = [(real > self.adversarial_loss.boundary), (fake <= self.adversarial_loss.boundary)]
        figures = {
            "d_loss": loss.detach(),
            "d_accuracy": torch.stack([calls.float().mean() for calls in right]).mean(),
        }
        if logs:
            score = self.adversarial_loss.score
            figures |= {
                "d_real": score(real.detach()).mean(),
                "d_fake": score(fake.detach()).mean(),
            }
        return figures | ({} if norm is None else {"d_grad_norm": norm})

    def _step_generator(
        self, L: Tensor, ab_hat: Tensor, prediction: Tensor, batch: ColorBatch, logs: bool
    ) -> dict[str, Tensor]:
        l1 = self.l1(prediction, batch)
        loss = self.l1_weight * l1
        figures = {"l1": l1.detach()}
        if self.stage is Stage.BOTH:
            # The discriminator's own gradient is not wanted here, and costs a third of the pass.
            self.discriminator.requires_grad_(False)
            adversarial = self.adversarial_loss.generator(self._judge(L, ab_hat))
            self.discriminator.requires_grad_(True)
            loss = loss + adversarial
            figures["g_adversarial"] = adversarial.detach()
        norm = self._step(loss, 0, self.net, counted=True, logs=logs)
        if self.averaged is not None:
            self.averaged.update_parameters(self.net)
        figures["loss"] = loss.detach()
        return figures | ({} if norm is None else {"g_grad_norm": norm})

    def _judge(self, L: Tensor, ab: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(L.to(self.dtype), ab.to(self.dtype))
        return logits

    def _step(
        self, loss: Tensor, number: int, network: nn.Module, counted: bool, logs: bool
    ) -> Tensor | None:
        """Step one network; returns its gradient's norm before clipping, where it is wanted."""
        optimizer: LightningOptimizer = self.optimizers()[number]  # type: ignore[index]
        optimizer.zero_grad()
        self.manual_backward(loss)
        norm = None
        if logs or self.gradient_clip_val is not None:
            limit = float("inf") if self.gradient_clip_val is None else self.gradient_clip_val
            norm = nn.utils.clip_grad_norm_(network.parameters(), limit)
        # What stands behind Lightning's optimiser takes a step that Lightning does not count.
        (optimizer if counted else optimizer.optimizer).step()
        return norm

    def on_train_epoch_end(self) -> None:
        """Step the schedules that count epochs."""
        step_schedules(self.trainer, "epoch", self.lr_scheduler_step)

    def validation_loss(self, prediction: Tensor, batch: ColorBatch) -> Tensor:
        """Return the mean absolute error of ab on validation images, not weighted."""
        l1: Tensor = self.l1(prediction, batch)
        return l1

    def configure_optimizers(self) -> Any:
        """Return both optimisers, the generator's first, and their schedules."""
        generator = build_optimizer(
            self.generator_optimizer, self.net.encoder, self.net, self.encoder_lr_ratio, self.fused
        )
        discriminator = make_optimizer(
            self.discriminator_optimizer, self.discriminator.parameters(), self.fused
        )
        return [generator, discriminator], [
            factory(optimizer)
            for factory, optimizer in (
                (self.generator_scheduler, generator),
                (self.discriminator_scheduler, discriminator),
            )
            if factory is not None
        ]
