"""What a GAN's step costs in `fit` beside a bare PyTorch loop over the same two networks.

    python benchmarks/gan_step.py [--experiment cgan_pix2pix] [--pairs 15] [--json FILE] [--quick]
                                  [any setting of fit]

Measured as benchmarks/fit_overhead.py does. The bare loop is pix2pix's: the generator once, the
discriminator on true, detached and live colors, two backward passes, two steps. It keeps no
average, measures no gradients, logs and saves nothing; `fit` does what every run does.
"""

from typing import Any

import torch
from fit_overhead import main as compare
from torch import Tensor
from torch.optim import Optimizer

from lightning_colorize.color import ColorBatch
from lightning_colorize.tasks import CGANTask


class BareGAN:
    """A GAN's training step without a Trainer; `bf16` is as `precision: bf16-mixed`."""

    def __init__(self, task: CGANTask, device: torch.device, bf16: bool = False) -> None:
        self.task = task.to(device).train()
        self.device = device
        self.bf16 = bf16
        self.generator, self.discriminator = task.configure_optimizers()[0]

    def step(self, batch: ColorBatch) -> None:
        """Train both networks on a batch that is on the device."""
        task, judge, adversarial = self.task, self.task.discriminator, self.task.adversarial_loss
        with self._autocast():
            batch = task.with_target(batch)
            L = task.scaling.normalize_L(batch.L)
            prediction = task.net(L)
            ab_hat = task.net.head.to_ab(prediction)
            loss = adversarial(judge(L, task.scaling.normalize_ab(batch.ab)), real=True)
            loss = loss + adversarial(judge(L, ab_hat.detach()), real=False)
        self._step(self.discriminator, loss)
        judge.requires_grad_(False)
        with self._autocast():
            loss = adversarial.generator(judge(L, ab_hat))
            loss = loss + task.loss_weight * task.loss(prediction, batch)
        judge.requires_grad_(True)
        self._step(self.generator, loss)

    def _autocast(self) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    @staticmethod
    def _step(optimizer: Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def main(argv: list[str] | None = None) -> None:
    """Measure, print, write."""
    compare(argv, script="gan_step", experiment="cgan_pix2pix", build=BareGAN)


if __name__ == "__main__":
    main()
