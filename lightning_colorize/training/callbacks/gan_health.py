"""Detects a collapse of GAN training within some hundred batches."""

import sys

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_colorize.tasks import CGANTask
from lightning_colorize.tasks.gan_settings import Stage

_WINDOW = 50  # batches
_COLLAPSED = 1.05  # largest mean loss of the discriminator, relative to guessing
_WINNING = 0.98  # largest mean accuracy of the discriminator, which leaves a useful gradient
_SATURATED = 2.0  # largest colorfulness, relative to the true colors
_TINTED = 0.15  # smallest diversity of colors that are not pale, relative to the true colors
_PALE = 0.3  # colorfulness below which colors count as pale
_VALUES = {"d_loss", "d_accuracy", "colorfulness_ratio", "diversity"}


class GANHealth(Callback):
    """Warns once of each common failure of conditional GANs; optionally stops the run.

    Single batches vary widely even in healthy training, so the callback checks means over windows
    of batches, and only while both networks train. Colors are measured in batches that are logged;
    a color failure needs two such windows in a row.

    Args:
        stop: End the run at the first warning.

    Attributes:
        warnings: The warnings so far, by kind.
        stopped: Whether the run was stopped.
    """

    def __init__(self, stop: bool = False) -> None:
        self.stop = stop
        self.warnings: dict[str, str] = {}
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
        for name in _VALUES & outputs.keys():
            self._values.setdefault(name, []).append(outputs[name])
        self._batches += 1
        if self._batches % _WINDOW == 0:
            self._check(trainer, pl_module)
            self._values = {}

    def _check(self, trainer: Trainer, task: CGANTask) -> None:
        # Of all processes, which then agree.
        means = {
            name: float(trainer.strategy.all_gather(torch.stack(values).float()).nanmean())
            for name, values in self._values.items()
        }
        wrong = self._discriminator(means, task.chance_loss)
        if "diversity" in means:
            colors = self._colors(means)
            wrong |= {kind: text for kind, text in colors.items() if kind in self._previous}
            self._previous = set(colors)
        new = {kind: text for kind, text in wrong.items() if kind not in self.warnings}
        self.warnings |= new
        if trainer.is_global_zero:
            for text in new.values():
                print(f"Health, batch {trainer.global_step}: {text}", file=sys.stderr, flush=True)
        if self.stop and new:
            trainer.should_stop = self.stopped = True

    def _discriminator(self, means: dict[str, float], chance: float) -> dict[str, str]:
        if not means.keys() >= {"d_loss", "d_accuracy"}:
            return {}  # it took no step in this window
        wrong = {}
        loss, accuracy = means["d_loss"], means["d_accuracy"]
        if not loss <= _COLLAPSED * chance:
            wrong["collapsed"] = (
                f"the discriminator has collapsed: its loss, {loss:.3g}, is worse than guessing "
                f"({chance:.3g}); lower its learning rate"
            )
        if accuracy > _WINNING:
            wrong["winning"] = (
                f"the discriminator always wins, with an accuracy of {accuracy:.1%}; lower its "
                "learning rate, or train the generator more often (discriminator_every_n_batches)"
            )
        return wrong

    def _colors(self, means: dict[str, float]) -> dict[str, str]:
        wrong = {}
        colorfulness, diversity = means["colorfulness_ratio"], means["diversity"]
        if colorfulness > _SATURATED:
            wrong["saturated"] = (
                f"colors diverge: {colorfulness:.3g} times as colorful as the truth; "
                "raise loss_weight or lower the learning rates"
            )
        if colorfulness > _PALE and diversity < _TINTED:
            wrong["tinted"] = (
                f"all images have one tint: their colors vary {diversity:.2g} times as much as "
                "the true ones; raise loss_weight, or train the generator alone first "
                "(generator_epochs)"
            )
        return wrong
