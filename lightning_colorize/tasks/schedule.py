"""A learning-rate schedule over the run's budget, whatever the budget is counted in."""

import math
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Timer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class WarmupCosine(LRScheduler):
    """Linear warm-up, then half a cosine down to the end of the run.

    torch's own schedules count steps; this one follows how much of the run's budget is used up, be
    it epochs, steps or time (`trainer.max_time`), so a YAML names no number of steps.

    Args:
        optimizer: Whose rates are scheduled.
        warmup: Share of the run in which the rates grow to their full value.
        final: Rates at the end, as a share of the full ones.
    """

    def __init__(self, optimizer: Optimizer, warmup: float = 0.03, final: float = 0.01) -> None:
        self.warmup = warmup
        self.final = final
        self.progress = 0.0
        super().__init__(optimizer)

    def factor(self, progress: float) -> float:
        """Return the rates at a share of the run in 0..1, as a share of the full ones."""
        if progress < self.warmup:
            # Not from 0: the first step should already do something.
            return max(progress / self.warmup, 0.01)
        rest = (progress - self.warmup) / max(1e-9, 1.0 - self.warmup)
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, rest)))

    def get_lr(self) -> list[float | Any]:
        """Return the rate of each parameter group now."""
        return [rate * self.factor(self.progress) for rate in self.base_lrs]

    def follow(self, trainer: Trainer) -> None:
        """Set the rates to where the run is."""
        progress = run_progress(trainer)
        if trainer.world_size > 1:
            # Each process has its own clock; rates that differ would let the weights drift apart.
            progress = trainer.strategy.broadcast(progress)
        self.progress = progress
        self.step()


def run_progress(trainer: Trainer) -> float:
    """Return how much of the run is over, in 0..1, by the budget that is used up most."""
    shares = [0.0]
    if trainer.max_steps > 0:
        shares.append(trainer.global_step / trainer.max_steps)
    if trainer.max_epochs is not None and trainer.max_epochs > 0:
        # An epoch's last batch is a step too, however few batches it accumulates.
        steps = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        shares.append(trainer.global_step / (trainer.max_epochs * steps))
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Timer) and (left := callback.time_remaining()) is not None:
            elapsed = callback.time_elapsed()
            shares.append(elapsed / max(1e-9, elapsed + left))
    return min(1.0, max(shares))
