"""Optimisers and schedules as a YAML names them."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

from pytorch_lightning import Trainer
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lightning_colorize.common.errors import UsageError
from lightning_colorize.tasks.schedule import WarmupCosine

OptimizerFactory = Callable[[Iterable], Optimizer]  # type: ignore[type-arg]
"""Parameters (or groups of them) to an optimiser; in YAML a `class_path` with `init_args`."""

SchedulerFactory = Callable[[Optimizer], LRScheduler | ReduceLROnPlateau]
"""An optimiser to its schedule; in YAML a `class_path` with `init_args`."""

Interval = Literal["step", "epoch"]
"""What a schedule counts."""


def make_optimizer(factory: OptimizerFactory, parameters: Iterable[Any], fused: bool) -> Optimizer:
    """Return an optimiser.

    Args:
        factory: Makes it.
        parameters: Or groups of them.
        fused: Let it take a step in one kernel.

    Raises:
        UsageError: If it cannot.
    """
    if not fused:
        return factory(parameters)
    make: Any = factory
    try:
        optimizer: Optimizer = make(parameters, fused=True)
    except (TypeError, RuntimeError) as error:
        raise UsageError(
            f"--model.fused: true\naccepted: false: this optimiser cannot do it here ({error}); "
            "torch's Adam, AdamW and SGD can"
        ) from error
    return optimizer


def build_optimizer(
    factory: OptimizerFactory,
    encoder: nn.Module,
    rest: nn.Module,
    encoder_lr_ratio: float = 1.0,
    fused: bool = False,
) -> Optimizer:
    """Return an optimiser of all trainable parameters.

    Args:
        factory: Makes it.
        encoder: Trained at `encoder_lr_ratio` times the optimiser's rate.
        rest: Trained at the optimiser's rate; may contain the encoder.
        encoder_lr_ratio: 0.1 is usual where the encoder is pretrained.
        fused: As in `make_optimizer`.
    """
    slow = [p for p in encoder.parameters() if p.requires_grad]
    known = {id(p) for p in encoder.parameters()}
    fast = [p for p in rest.parameters() if p.requires_grad and id(p) not in known]
    if encoder_lr_ratio == 1.0 or not slow:
        return make_optimizer(factory, slow + fast, fused)
    optimizer = make_optimizer(factory, [{"params": slow}, {"params": fast}], fused)
    optimizer.param_groups[0]["lr"] *= encoder_lr_ratio
    return optimizer


def keep_encoder_rate(optimizer: Optimizer, encoder_lr_ratio: float) -> None:
    """Let the encoder step at its share of the rate while something sets one rate for all groups.

    Args:
        optimizer: From `build_optimizer`.
        encoder_lr_ratio: The same as there.
    """
    if len(optimizer.param_groups) == 1:
        return

    def scale(optimizer: Optimizer, *_: Any) -> None:
        optimizer.param_groups[0]["lr"] *= encoder_lr_ratio

    def restore(optimizer: Optimizer, *_: Any) -> None:
        optimizer.param_groups[0]["lr"] /= encoder_lr_ratio

    optimizer.register_step_pre_hook(scale)
    optimizer.register_step_post_hook(restore)


def with_schedule(optimizer: Optimizer, factory: SchedulerFactory | None) -> OptimizerLRScheduler:
    """Return what `configure_optimizers` returns; a schedule over the budget steps every batch."""
    if factory is None:
        return optimizer
    scheduler = factory(optimizer)
    return {
        "optimizer": optimizer,
        "lr_scheduler": {
            "scheduler": scheduler,
            "interval": _interval(scheduler),
            "monitor": "val/loss",
        },
    }


def step_schedules(trainer: Trainer, interval: Interval, step: Callable[[Any, None], None]) -> None:
    """Step a run's schedules as Lightning does, which leaves it to modules that step by hand.

    Args:
        trainer: Of the run.
        interval: What is over.
        step: The module's `lr_scheduler_step`.
    """
    for config in trainer.lr_scheduler_configs:
        if _interval(config.scheduler) == interval:
            step(config.scheduler, None)


def _interval(scheduler: LRScheduler | ReduceLROnPlateau) -> Interval:
    return "step" if isinstance(scheduler, WarmupCosine) else "epoch"
