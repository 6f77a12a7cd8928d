"""Training throughput: images per second, time spent waiting for data, memory.

Rates are measured in the steady state: training steps with their hooks and logging, without
validations, checkpoints, ends of epochs and the first batches of each process. The clock starts
when a batch is requested and stops when anything but the next batch follows. It is read, and the
GPU synchronized, only then and where metrics are logged.

Lightning's ThroughputMonitor synchronizes after each batch, counts pauses as work, does not measure
the wait for data, and starts at zero when a run is resumed.
"""

import time
from dataclasses import asdict, astuple, dataclass, replace
from operator import sub
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_colorize.color import ColorBatch
from lightning_colorize.tasks.optimization import is_logged

WARM_UP = 3
"""First batches of a process that are not counted: workers start, kernels are tuned."""


@dataclass
class Totals:
    """Sums over the steady state of a run: images of all processes; seconds of this one."""

    images: int = 0
    seconds: float = 0.0
    waited: float = 0.0


class Throughput(Callback):
    """Logs the throughput as often as metrics are logged, and sums it up over the run.

    Logs `throughput/images_per_second` and `throughput/data_wait` since they were last logged, and
    on GPUs `throughput/peak_memory` (GiB); with several processes, wait and memory are rank 0's.
    `data_wait` is the share of the time, 0 to 1, in which the device waits for the next batch: a
    GPU that still has queued work does not. `memory` is the peak so far in bytes, 0 without a GPU.
    """

    def __init__(self) -> None:
        self.totals = Totals()
        self._logged = Totals()
        self.memory = self._logged_step = self._batches = 0
        self._device = torch.device("cpu")
        self._loader: Any = None
        self._since: float | None = None
        self._waited = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start measuring."""
        self._device = pl_module.device
        self._loader = trainer.train_dataloader
        self._batches = 0
        self._logged = replace(self.totals)
        self._logged_step = trainer.global_step
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: ColorBatch,
        batch_idx: int,
    ) -> None:
        """Add the step to the sums; log if it is time."""
        self._batches += 1
        if self._batches <= WARM_UP:
            self._synchronize()
            self._waited = self._loader.waited
            return
        if self._since is None:
            self._since = self._loader.asked
        self.totals.images += len(batch) * trainer.world_size
        if is_logged(trainer) and trainer.global_step > self._logged_step:
            self._log(trainer, trainer.global_step)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock until the next training batch."""
        self._pause()

    on_train_epoch_end = on_validation_start

    def state_dict(self) -> dict[str, Any]:
        """Return the sums; the clock stops while the checkpoint is written."""
        self._pause()
        return {"totals": asdict(self.totals), "memory": self.memory}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the sums of the resumed run."""
        self.totals = Totals(**{name: 0 + value for name, value in state_dict["totals"].items()})
        self.memory = state_dict["memory"]

    def result(self) -> dict[str, Any]:
        """Return the fields of `RunResult` for the throughput."""
        total, seconds = self.totals, self.totals.seconds
        return {
            "steady_images_per_second": round(total.images / seconds, 2) if seconds else None,
            "data_wait_share": round(total.waited / seconds, 4) if seconds else None,
            "peak_device_memory": self.memory or None,
        }

    def _log(self, trainer: Trainer, step: int) -> None:
        self._read()
        window = Totals(*map(sub, astuple(self.totals), astuple(self._logged)))
        self._logged = replace(self.totals)
        self._logged_step = step
        values = {
            "throughput/images_per_second": window.images / window.seconds,
            "throughput/data_wait": window.waited / window.seconds,
        }
        if self.memory:
            values["throughput/peak_memory"] = self.memory / 2**30
        for logger in trainer.loggers:
            # The row of the batch: Lightning counts steps from 0.
            logger.log_metrics(values, step - 1)

    def _pause(self) -> None:
        self._read()
        self._since = None

    def _read(self) -> None:
        """Update the sums once the device has finished its work."""
        if self._device.type == "cuda":
            self.memory = max(self.memory, torch.cuda.max_memory_allocated(self._device))
        if self._since is None:
            return
        self._synchronize()
        now = time.perf_counter()
        self.totals.seconds += now - self._since
        self.totals.waited += self._loader.waited - self._waited
        self._since, self._waited = now, self._loader.waited

    def _synchronize(self) -> None:
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
