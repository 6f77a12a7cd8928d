"""Optimizers, learning-rate schedules and the moving average of weights."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

from lightning_colorize.common.errors import UsageError, require_option
from lightning_colorize.networks import Encoder

OptimizerFactory = Callable[[Iterable], Optimizer]  # type: ignore[type-arg]
"""Builds an optimizer from parameters or parameter groups; in YAML `class_path` and `init_args`."""

Scheduler = LRScheduler | ReduceLROnPlateau

SchedulerFactory = Callable[[Optimizer], Scheduler]
"""Builds a schedule from an optimizer; in YAML `class_path` and `init_args`."""

Interval = Literal["step", "epoch"]
"""The unit of a schedule."""


@dataclass(frozen=True)
class Optimization:
    """How a network is optimized: the settings that all tasks share.

    Args:
        optimizer: Built from the trainable parameters.
        scheduler: Built from the optimizer; None for a constant rate.
        encoder_lr_ratio: Rate of the encoder's coarsest level as a share of the decoder's; 0.1 is
            usual for a pretrained encoder.
        encoder_lr_decay: Factor from each level to the next finer one, whose features are more
            general; 1 gives all levels the same rate.

    Raises:
        ValueError: If the decay is not above 0 and at most 1.
    """

    optimizer: OptimizerFactory
    scheduler: SchedulerFactory | None = None
    encoder_lr_ratio: float = 1.0
    encoder_lr_decay: float = 1.0

    def __post_init__(self) -> None:
        decay = self.encoder_lr_decay
        if not 0 < decay <= 1:
            raise ValueError(f"encoder_lr_decay must be above 0 and at most 1, not {decay}")

    def configure(self, network: nn.Module, fused: bool | None = False) -> OptimizerLRScheduler:
        """Return the value of `configure_optimizers`; some schedules step every batch."""
        optimizer, scheduler = self.build(network, fused)
        if scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {
                "scheduler": scheduler,
                "interval": _interval(scheduler),
                # Lightning would look for a metric after each epoch, validated or not: the task
                # steps ReduceLROnPlateau after validations.
                "reduce_on_plateau": False,
            },
        }

    def build(
        self, network: nn.Module, fused: bool | None = False
    ) -> tuple[Optimizer, Scheduler | None]:
        """Return the optimizer of a network's trainable parameters, and its schedule.

        `fused`: whether a step is one kernel; None: on CUDA, if the optimizer supports it.
        """
        optimizer = self._optimizer(network, fused)
        return optimizer, None if self.scheduler is None else self.scheduler(optimizer)

    def _optimizer(self, network: nn.Module, fused: bool | None) -> Optimizer:
        encoder: Encoder | None = getattr(network, "encoder", None)
        part = [] if encoder is None else list(encoder.pretrained_part.parameters())
        known = {id(p) for p in part}
        slow = [p for p in part if p.requires_grad]
        fast = [p for p in network.parameters() if p.requires_grad and id(p) not in known]
        ratio, decay = self.encoder_lr_ratio, self.encoder_lr_decay
        if encoder is None or not slow or ratio == decay == 1:
            return self._make(slow + fast, fused)
        levels = [slow] if decay == 1 else parameters_by_level(encoder)
        shares = [ratio * decay**finer for finer in reversed(range(len(levels)))]
        # The learning-rate finder reads the shares.
        groups = [
            {"params": parameters, "lr_share": share}
            for parameters, share in zip([*levels, fast], [*shares, 1.0], strict=True)
        ]
        optimizer = self._make([group for group in groups if group["params"]], fused)
        for group in optimizer.param_groups:
            group["lr"] *= group["lr_share"]
        return optimizer

    def _make(self, parameters: Sequence[Any], fused: bool | None) -> Optimizer:
        def make(**options: Any) -> Optimizer:
            # Copies: an optimizer writes its settings into the groups.
            groups = [dict(p) if isinstance(p, dict) else p for p in parameters]
            return self.optimizer(groups, **options)

        usual = make()
        on_cuda = all(p.is_cuda for group in usual.param_groups for p in group["params"])
        can_be = on_cuda and usual.defaults.get("fused", False) is None
        if fused is False or (fused is None and not can_be):
            return usual
        try:
            return make(fused=True)
        except (TypeError, RuntimeError) as error:
            if not fused:
                return usual
            raise UsageError(
                "--model.fused: true\naccepted: false: this optimizer does not support it here "
                f"({error}); torch's Adam, AdamW and SGD do"
            ) from error


def parameters_by_level(encoder: Encoder) -> list[list[nn.Parameter]]:
    """Return the trainable parameters that each of an encoder's levels adds, finest first.

    A parameter belongs to the finest level that depends on it, as determined by autograd on a small
    image. A parameter on which no level depends belongs to the coarsest.
    """
    encoder = encoder.pretrained_part
    parameters = [p for p in encoder.parameters() if p.requires_grad]
    side = max(64, 2 * encoder.info.reductions[-1])
    training = encoder.training
    encoder.eval()  # batch norms keep their statistics, dropout is off
    with torch.enable_grad():
        levels = encoder(parameters[0].new_zeros(1, 1, side, side))
    encoder.train(training)
    added: list[list[nn.Parameter]] = []
    for level in levels:
        found: Sequence[Tensor | None] = [None] * len(parameters)
        if parameters and level.requires_grad:
            found = torch.autograd.grad(
                level.sum(), parameters, retain_graph=True, allow_unused=True
            )
        pairs = list(zip(parameters, found, strict=True))
        added.append([p for p, gradient in pairs if gradient is not None])
        parameters = [p for p, gradient in pairs if gradient is None]
    added[-1] += parameters
    return added


def step_schedules(trainer: Trainer, interval: Interval, step: Callable[[Any, None], None]) -> None:
    """Step schedules under manual optimization, where Lightning does not."""
    for config in trainer.lr_scheduler_configs:
        if _interval(config.scheduler) == interval:
            step(config.scheduler, None)


def _interval(scheduler: Scheduler) -> Interval:
    return "step" if isinstance(scheduler, WarmupCosine | StepMilestones) else "epoch"


class StepMilestones(MultiStepLR):
    """torch's MultiStepLR, whose milestones are optimizer steps instead of epochs."""


class WarmupCosine(LRScheduler):
    """Linear warm-up, then half a cosine down to the end of the run.

    torch's schedules count steps. This one follows the used share of the budget in epochs, steps or
    time (`trainer.max_time`), so a configuration does not need the number of steps.

    Args:
        optimizer: The optimizer.
        warmup: Share of the run with increasing rates.
        final: Final rates, as a share of the full ones.

    Raises:
        UsageError: If a share is not in [0, 1].
    """

    def __init__(self, optimizer: Optimizer, warmup: float = 0.03, final: float = 0.01) -> None:
        for name, share in (("warmup", warmup), ("final", final)):
            require_option(f"model.scheduler.{name}", share, "from 0 to 1", 0 <= share <= 1)
        self.warmup = warmup
        self.final = final
        self.progress = 0.0
        super().__init__(optimizer)

    def factor(self, progress: float) -> float:
        """Return the factor of the rates at a progress in 0..1."""
        if progress < self.warmup:
            # Do not start at 0, so that the first step has an effect.
            return max(progress / self.warmup, 0.01)
        rest = (progress - self.warmup) / max(1e-9, 1.0 - self.warmup)
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, rest)))

    def get_lr(self) -> list[float | Any]:
        """Return the current rate of each parameter group."""
        return [rate * self.factor(self.progress) for rate in self.base_lrs]

    def follow(self, trainer: Trainer) -> None:
        """Set the rates for the run's progress."""
        progress = run_progress(trainer)
        if trainer.world_size > 1:
            # Each process has its own clock; with different rates the weights would diverge.
            progress = trainer.strategy.broadcast(progress)
        self.progress = progress
        self.step()


def is_logged(trainer: Trainer) -> bool:
    """Return whether loggers write the batch that ends, for which the device is read anyway."""
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return every > 0 and trainer.global_step % every == 0


def run_progress(trainer: Trainer) -> float:
    """Return the progress of the run in 0..1, by the budget that is used up most."""
    shares = [0.0]
    if trainer.max_steps > 0:
        shares.append(trainer.global_step / trainer.max_steps)
    if trainer.max_epochs is not None and trainer.max_epochs > 0:
        # The last batch of an epoch is a step, even if fewer batches are accumulated.
        steps = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        shares.append(trainer.global_step / (trainer.max_epochs * steps))
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Timer) and (left := callback.time_remaining()) is not None:
            elapsed = callback.time_elapsed()
            shares.append(elapsed / max(1e-9, elapsed + left))
    return min(1.0, max(shares))


class AveragedNetwork(AveragedModel):
    """An exponential moving average of a network, updated once per optimizer step.

    The decay of update n is at most (1 + n) / (10 + n), so the random initial weights are soon
    forgotten. Batch norm statistics are averaged like weights; batch counters are copied.

    Args:
        network: The network to average; copied, without gradients.
        decay: Weight of the previous average at each update, after warm-up.

    Raises:
        ValueError: If the decay is not in [0, 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"ema_decay must be from 0 to below 1, not {decay}")
        super().__init__(network, use_buffers=True)
        self.requires_grad_(False)
        self.decay = decay
        self._updates = 0  # `n_averaged`, which is on the device
        # The counter that the tensors below were collected with: a move replaces it.
        self._counter: Tensor | None = None
        self._pairs: list[tuple[list[Tensor], list[Tensor]]] = []  # averaged and current
        self.register_load_state_dict_post_hook(  # type: ignore[no-untyped-call]
            AveragedNetwork.restart
        )

    def restart(self, *_: object) -> None:
        """Collect the tensors again at the next update."""
        self._counter = None

    def update_parameters(self, model: nn.Module) -> None:
        """Update the average. The device is read only after a restart or a move."""
        if self._counter is not self.n_averaged:
            self._counter, self._updates = self.n_averaged, int(self.n_averaged)
            self._pairs = list(zip(_tensors(self.module), _tensors(model), strict=True))
        # The first update copies the network.
        kept = min(self.decay, (1 + self._updates) / (10 + self._updates)) if self._updates else 0.0
        floats, others = self._pairs
        with torch.no_grad():
            torch._foreach_lerp_(*floats, 1 - kept)
            if others[0]:
                torch._foreach_copy_(*others)
        self.n_averaged.add_(1)
        self._updates += 1


def _tensors(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Return a network's parameters and buffers: those of floating point, and all others."""
    tensors = [*network.parameters(), *network.buffers()]
    floats = [tensor for tensor in tensors if tensor.is_floating_point()]
    return floats, [tensor for tensor in tensors if not tensor.is_floating_point()]
