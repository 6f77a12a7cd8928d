"""The Trainer as the data module sees it."""

from pathlib import Path
from typing import Any

import torch


class TrainerView:
    """A Trainer's settings, or those of a single CPU process without a Trainer."""

    def __init__(self, trainer: Any | None) -> None:
        self._trainer = trainer

    @property
    def rank(self) -> int:
        """Rank of this process."""
        return 0 if self._trainer is None else int(self._trainer.global_rank)

    @property
    def ranks(self) -> int:
        """Number of processes of the run."""
        return 1 if self._trainer is None else int(self._trainer.world_size)

    @property
    def local_ranks(self) -> int:
        """Number of processes of the run on this machine."""
        return 1 if self._trainer is None else int(self._trainer.num_devices)

    @property
    def device(self) -> torch.device:
        """Device of this process."""
        if self._trainer is None:
            return torch.device("cpu")
        device: torch.device = self._trainer.strategy.root_device
        return device

    @property
    def training(self) -> bool:
        """Whether the current batch is a training batch."""
        return self._trainer is not None and self._trainer.training

    @property
    def overfits(self) -> bool:
        """Whether `overfit_batches` is set: each epoch has the same images."""
        return self._trainer is not None and self._trainer.overfit_batches > 0

    @property
    def folder(self) -> Path | None:
        """The run's folder; None without a Trainer or in a `fast_dev_run`."""
        if self._trainer is None or self._trainer.fast_dev_run:
            return None
        return Path(self._trainer.default_root_dir)

    @property
    def fast_dev_run_batches(self) -> int | None:
        """Number of batches of `fast_dev_run`; None if it is off."""
        return None if self._trainer is None else int(self._trainer.fast_dev_run) or None

    def reads(self, split: str, batch_size: int) -> float:
        """Return the largest number of images of a split that are read in all epochs."""
        if self._trainer is None:
            return float("inf")
        batches = getattr(self._trainer, f"limit_{split}_batches")
        epochs = self._trainer.max_epochs if split == "train" else 1
        if not isinstance(batches, int) or epochs in (None, -1):
            return float("inf")
        return float(batches * batch_size * self.ranks * epochs)
