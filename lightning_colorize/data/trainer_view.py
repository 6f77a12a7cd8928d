"""What the data has to know of the Trainer, also where there is none."""

from pathlib import Path
from typing import Any

import torch


class TrainerView:
    """A Trainer's numbers; without one, those of a single process on the CPU that runs to its end.

    Args:
        trainer: Lightning's, or None.
    """

    def __init__(self, trainer: Any | None) -> None:
        self._trainer = trainer

    @property
    def rank(self) -> int:
        """This process's number."""
        return 0 if self._trainer is None else int(self._trainer.global_rank)

    @property
    def ranks(self) -> int:
        """Processes of the run."""
        return 1 if self._trainer is None else int(self._trainer.world_size)

    @property
    def local_ranks(self) -> int:
        """Processes of the run on this machine."""
        return 1 if self._trainer is None else int(self._trainer.num_devices)

    @property
    def device(self) -> torch.device:
        """Where this process trains."""
        if self._trainer is None:
            return torch.device("cpu")
        device: torch.device = self._trainer.strategy.root_device
        return device

    @property
    def training(self) -> bool:
        """Whether the batch at hand is trained on."""
        return self._trainer is not None and self._trainer.training

    @property
    def overfits(self) -> bool:
        """Whether the same images are wanted in every epoch."""
        return self._trainer is not None and self._trainer.overfit_batches > 0

    @property
    def folder(self) -> Path | None:
        """The run's folder; None where no run leaves one."""
        if self._trainer is None or self._trainer.fast_dev_run:
            return None
        return Path(self._trainer.default_root_dir)

    @property
    def batches_of_a_try(self) -> int | None:
        """How many batches `fast_dev_run` takes; None where it is off."""
        return None if self._trainer is None else int(self._trainer.fast_dev_run) or None

    def reads(self, split: str, batch_size: int) -> float:
        """Return how many images of a split are read at most, over all epochs.

        Args:
            split: train, val or test.
            batch_size: Of one process.
        """
        if self._trainer is None:
            return float("inf")
        batches = getattr(self._trainer, f"limit_{split}_batches")
        passes = self._trainer.max_epochs if split == "train" else 1
        if not isinstance(batches, int) or passes in (None, -1):
            return float("inf")
        return float(batches * batch_size * self.ranks * passes)
