"""A plain PyTorch training loop, the baseline for the Trainer."""

import warnings
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from lightning_colorize.color import ColorBatch
from lightning_colorize.losses import L1
from lightning_colorize.networks import MobileNetV2Encoder, UpsampleDecoder
from lightning_colorize.tasks import RegressionTask


class BareTraining:
    """A task's training step without a Trainer."""

    def __init__(self, task: RegressionTask, device: torch.device, bf16: bool = False) -> None:
        self.task = task.to(device).train()
        self.device = device
        self.bf16 = bf16
        configured: Any = task.configure_optimizers()
        self.optimizer: Optimizer = (
            configured["optimizer"] if isinstance(configured, dict) else configured
        )

    def step(self, batch: ColorBatch) -> Tensor:
        """Train on a batch on the device and return the loss."""
        task = self.task
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            batch = task.with_target(batch)
            loss: Tensor = task.loss(task.net(task.scaling.normalize_L(batch.L)), batch)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()


def small_task() -> RegressionTask:
    """Return the task that `bench` trains: MobileNetV2, a light decoder with skips, L1."""
    with warnings.catch_warnings():
        # Lightning warns about modules in the hyperparameters, which only matters for checkpoints.
        warnings.simplefilter("ignore")
        return RegressionTask(
            MobileNetV2Encoder(),
            L1(),
            decoder=partial(UpsampleDecoder, widths=[160, 96, 64], skips=True, out_reduction=4),
            optimizer=partial(AdamW, lr=1e-3),
            channels_last=True,
        )
