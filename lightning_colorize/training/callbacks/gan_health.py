"""A GAN that falls over is seen within some hundred batches, not after a night."""

import sys

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_colorize.tasks import CGANTask
from lightning_colorize.tasks.gan_settings import Stage

_FIGURES = {"d_loss", "d_accuracy", "colorfulness_ratio", "diversity"}


class GANHealth(Callback):
    """Warns, once of each kind, of the ways in which conditional GANs fail; may stop the run.

    Figures of single batches swing widely in a sound training too, so means over windows of batches
    are looked at, and only while both networks are trained. Colours are measured in the batches
    that are logged; of the windows with such a batch two in a row must be wrong.

    Args:
        stop: End the run at the first warning.
        window: Batches.
        collapsed: Largest mean loss of the discriminator, as a share of that of guessing, which a
            sound one may come near to.
        winning: Largest mean share of the discriminator's right calls: above it the generator is
            told nothing that helps.
        saturated: Largest colourfulness, as a share of the truth's.
        tinted: Smallest diversity, as a share of the truth's, of colours that are not pale.
        pale: Colourfulness below which nothing is called a tint.

    Attributes:
        warnings: What was warned of.
        stopped: Whether the run was stopped.
    """

    def __init__(
        self,
        stop: bool = False,
        window: int = 50,
        collapsed: float = 1.05,
        winning: float = 0.98,
        saturated: float = 2.0,
        tinted: float = 0.15,
        pale: float = 0.3,
    ) -> None:
        self.stop = stop
        self.window = window
        self.collapsed = collapsed
        self.winning = winning
        self.saturated = saturated
        self.tinted = tinted
        self.pale = pale
        self.warnings: dict[str, str] = {}
        self.stopped = False
        self._batches = 0
        self._figures: dict[str, list[Tensor]] = {}
        self._former: set[str] = set()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: dict[str, Tensor],  # type: ignore[override]
        batch: object,
        batch_idx: int,
    ) -> None:
        """Note the batch's figures; judge a window that is full."""
        assert isinstance(pl_module, CGANTask)
        if pl_module.stage is not Stage.BOTH:
            return
        for name in _FIGURES & outputs.keys():
            self._figures.setdefault(name, []).append(outputs[name])
        self._batches += 1
        if self._batches % self.window == 0:
            self._judge(trainer, pl_module)
            self._figures = {}

    def _judge(self, trainer: Trainer, task: CGANTask) -> None:
        means = {
            name: float(torch.stack(values).float().nanmean())
            for name, values in self._figures.items()
        }
        wrong = self._discriminator(means, task.chance_loss)
        if "diversity" in means:
            colors = self._colors(means)
            wrong |= {kind: text for kind, text in colors.items() if kind in self._former}
            self._former = set(colors)
        new = {kind: text for kind, text in wrong.items() if kind not in self.warnings}
        self.warnings |= new
        if trainer.is_global_zero:
            for text in new.values():
                print(f"Health, batch {trainer.global_step}: {text}", file=sys.stderr, flush=True)
        if self.stop and trainer.strategy.reduce_boolean_decision(bool(new), all=False):
            trainer.should_stop = self.stopped = True

    def _discriminator(self, means: dict[str, float], chance: float) -> dict[str, str]:
        if not means.keys() >= {"d_loss", "d_accuracy"}:
            return {}  # it takes a step more seldom than a window is long
        wrong = {}
        loss, accuracy = means["d_loss"], means["d_accuracy"]
        if not loss <= self.collapsed * chance:
            wrong["collapsed"] = (
                f"the discriminator has collapsed: its loss, {loss:.3g}, is worse than guessing "
                f"({chance:.3g}); lower its learning rate"
            )
        if accuracy > self.winning:
            wrong["winning"] = (
                f"the discriminator wins always: {accuracy:.1%} of its calls are right; lower its "
                "learning rate, or train the generator more often (discriminator_every_n_batches)"
            )
        return wrong

    def _colors(self, means: dict[str, float]) -> dict[str, str]:
        wrong = {}
        colorfulness, diversity = means["colorfulness_ratio"], means["diversity"]
        if colorfulness > self.saturated:
            wrong["saturated"] = (
                f"colours run away: {colorfulness:.3g} times as colourful as the truth; "
                "raise l1_weight or lower the learning rates"
            )
        if colorfulness > self.pale and diversity < self.tinted:
            wrong["tinted"] = (
                f"all images get one tint: their colours vary {diversity:.2g} times as much as "
                "the true ones; raise l1_weight, or begin with the generator alone "
                "(generator_epochs)"
            )
        return wrong
