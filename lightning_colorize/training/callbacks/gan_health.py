"""Detects a collapse of GAN training within some hundred batches."""

import math
import sys

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_colorize.tasks import CGANTask
from lightning_colorize.tasks.cgan import Stage
from lightning_colorize.tasks.optimization import is_logged

_WINDOW = 50  # batches, at least
_COLLAPSED = 1.05  # largest mean loss of the discriminator, relative to guessing
_WINNING = 0.98  # largest mean accuracy of the discriminator, which leaves a useful gradient
_SATURATED = 2.0  # largest colorfulness, relative to the true colors
_TINTED = 0.15  # smallest diversity of colors that are not pale, relative to the true colors
_PALE = 0.3  # colorfulness below which colors count as pale
_VALUES = ("d_loss", "d_accuracy", "colorfulness_ratio", "diversity")
_OF_COLORS = {"saturated", "tinted"}

WARNINGS = {
    "collapsed": "the discriminator has collapsed: its loss is worse than guessing; lower its "
    "learning rate",
    "winning": "the discriminator always wins; lower its learning rate, or train the generator "
    "more often (discriminator_every_n_batches)",
    "saturated": "colors diverge: they are too colorful; raise loss_weight or lower the learning "
    "rates",
    "tinted": "all images have one tint; raise loss_weight, or train the generator alone first "
    "(generator_epochs)",
}
"""What is wrong and what to do, by the kind of failure."""


class GANHealth(Callback):
    """Warns once of each common failure of conditional GANs; optionally stops the run.

    Single batches vary widely even in healthy training, so the callback checks means over windows
    of batches, and only while both networks train. Colors are measured in batches that are logged;
    a color failure needs two such windows in a row. With `stop`, the first warning ends the run.
    """

    def __init__(self, stop: bool = False) -> None:
        self.stop = stop
        self.warnings: set[str] = set()
        self.stopped = False
        self._batches = 0
        self._values: dict[str, list[Tensor]] = {}
        self._previous: set[str] = set()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: dict[str, Tensor],  # type: ignore[override]
        batch: object,
        batch_idx: int,
    ) -> None:
        """Record the batch; check a window that is complete."""
        assert isinstance(pl_module, CGANTask)
        if pl_module.stage is not Stage.BOTH:
            return
        for name in outputs.keys() & {*_VALUES}:
            self._values.setdefault(name, []).append(outputs[name])
        self._batches += 1
        if self._batches >= _WINDOW and is_logged(trainer):
            self._check(trainer, pl_module.chance_loss)
            self._batches, self._values = 0, {}

    def _check(self, trainer: Trainer, chance_loss: float) -> None:
        # Of all processes, which then agree.
        means = {
            name: float(trainer.strategy.all_gather(torch.stack(values).float()).nanmean())
            for name, values in self._values.items()
        }
        found = _failures(means, chance_loss)
        new = {kind for kind in found if kind not in _OF_COLORS or kind in self._previous}
        if "diversity" in means:
            self._previous = found
        new -= self.warnings
        self.warnings |= new
        if trainer.is_global_zero:
            values = ", ".join(f"{name} {value:.3g}" for name, value in sorted(means.items()))
            for kind in sorted(new):
                line = f"Health, batch {trainer.global_step}: {WARNINGS[kind]} ({values})"
                print(line, file=sys.stderr, flush=True)
        if self.stop and new:
            trainer.should_stop = self.stopped = True


def _failures(means: dict[str, float], chance_loss: float) -> set[str]:
    """Return the kinds of failures in a window; a value is missing if it was not measured."""
    d_loss, accuracy, colorfulness, diversity = (means.get(name, math.nan) for name in _VALUES)
    failures = {
        "collapsed": "d_loss" in means and not d_loss <= _COLLAPSED * chance_loss,
        "winning": accuracy > _WINNING,
        "saturated": colorfulness > _SATURATED,
        "tinted": colorfulness > _PALE and diversity < _TINTED,
    }
    return {kind for kind, is_found in failures.items() if is_found}
