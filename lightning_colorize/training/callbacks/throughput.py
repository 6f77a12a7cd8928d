"""Training throughput: images per second, time spent waiting for data, memory, FLOPs.

Rates are those of the steady state: training steps with their hooks and logging, without
validations, checkpoints, ends of epochs, the first batches of each process and batches whose FLOPs
are counted. The clock starts when a batch is requested and stops when anything but the next batch
follows. It is read, and the GPU synchronized, only then and where metrics are logged.

Lightning's ThroughputMonitor synchronizes after each batch, counts pauses as work, does not measure
the wait for data, and starts at zero when a run is resumed.
"""

import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_colorize.color import ColorBatch
from lightning_colorize.tasks import ColorizationTask
from lightning_colorize.training.callbacks.flops import StepCounter, peak_flops

WARM_UP = 3
"""First batches of a process that are not counted: workers start, kernels are tuned."""


@dataclass
class Totals:
    """Sums over a run, in steady state except for the last two.

    Attributes:
        images: Images, of all processes.
        seconds: Wall time of a process.
        waited: Seconds spent waiting for data, in the process that waited longest.
        flops: FLOPs of a process whose device's peak is known.
        possible_flops: Peak FLOPs of the device in that time.
        training_flops: FLOPs of all steps and processes.
        memory: Peak bytes of GPU memory; 0 without a GPU.
    """

    images: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    flops: int = 0
    possible_flops: float = 0.0
    training_flops: int = 0
    memory: int = 0

    def since(self, former: "Totals") -> "Totals":
        """Return the difference to former sums; the memory is not a sum."""
        mine, theirs = asdict(self), asdict(former)
        return Totals(**{n: mine[n] - theirs[n] for n in mine if n != "memory"}, memory=self.memory)

    def rates(self) -> dict[str, float | None]:
        """Return the rates of these sums; None for those that are unknown."""
        return {
            "images_per_second": self.images / self.seconds if self.seconds else None,
            "data_wait": self.waited / self.seconds if self.seconds else None,
            "mfu": self.flops / self.possible_flops if self.possible_flops else None,
        }


class Throughput(Callback):
    """Logs the throughput as often as metrics are logged, and sums it up over the run.

    Logs `throughput/images_per_second`, `throughput/data_wait` (share of the time, 0 to 1), and on
    GPUs `throughput/mfu` (model FLOPs utilization, 0 to 1) and `throughput/peak_memory` (GiB); the
    first three since they were last logged. Of several processes, the wait is that of the one that
    waits longest: the others wait for it.

    Attributes:
        totals: The sums so far.
        step_flops: FLOPs of a training step by its kind, each counted once in a run.
    """

    def __init__(self) -> None:
        self.totals = Totals()
        self.step_flops: dict[str, int] = {}
        self._logged = Totals()
        self._logged_step = 0
        self._reduced = 0.0
        self._counter = StepCounter()
        self._kind = ""
        self._peak: float | None = None
        self._device = torch.device("cpu")
        self._loader: Any = None
        self._batches = 0
        self._since: float | None = None
        self._waited = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start measuring."""
        self._device = pl_module.device
        self._peak = peak_flops(self._device, str(trainer.precision))
        self._loader = trainer.train_dataloader
        self._batches = 0
        self._logged = replace(self.totals)
        self._logged_step = trainer.global_step
        self._reset_memory()

    def on_train_batch_start(  # type: ignore[override]
        self, trainer: Trainer, pl_module: ColorizationTask, batch: ColorBatch, batch_idx: int
    ) -> None:
        """Count the FLOPs of the first step of each kind."""
        self._kind = f"{tuple(batch.L.shape)} {pl_module.step_kind()}"
        if self._kind not in self.step_flops:
            self._pause()
            self._counter.start(pl_module)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: ColorBatch,
        batch_idx: int,
    ) -> None:
        """Add the step to the sums; log if it is time."""
        counted = self._counter.stop()
        if counted is not None:
            self.step_flops[self._kind] = counted
            self._reset_memory()
        flops = self.step_flops[self._kind]
        self.totals.training_flops += flops * trainer.world_size
        self._batches += 1
        warm = self._batches > WARM_UP
        if counted is not None or not warm:
            self._synchronize()
            self._waited = self._loader.waited
        else:
            if self._since is None:
                self._since = self._loader.asked
            self.totals.images += len(batch) * trainer.world_size
            if self._peak is not None:
                self.totals.flops += flops
        # The same condition in all processes, whether or not they counted this step.
        step, every = trainer.global_step, trainer.log_every_n_steps  # type: ignore[attr-defined]
        if warm and every and step % every == 0 and step > self._logged_step:
            self._log(trainer, step)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock until the next training batch."""
        self._pause()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock until the next training batch."""
        self._pause()
        self._reduce(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Remove an active FLOP counter."""
        self._counter.stop()

    def state_dict(self) -> dict[str, Any]:
        """Return the sums; the clock stops while the checkpoint is written."""
        self._pause()
        return {"totals": asdict(self.totals), "step_flops": self.step_flops}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the sums of the resumed run."""
        self.totals = Totals(**state_dict["totals"])
        self.step_flops = state_dict["step_flops"]
        self._reduced = self.totals.waited

    def result(self) -> dict[str, Any]:
        """Return the fields of `RunResult` for the throughput."""
        rates = self.totals.rates()
        return {
            "steady_images_per_second": _rounded(rates["images_per_second"], 2),
            "data_wait_seconds": round(self.totals.waited, 3),
            "data_wait_share": _rounded(rates["data_wait"], 4),
            "mfu": _rounded(rates["mfu"], 4),
            "training_flops": self.totals.training_flops,
            "peak_device_memory": self.totals.memory or None,
        }

    def _log(self, trainer: Trainer, step: int) -> None:
        self._read()
        self._reduce(trainer)
        window = self.totals.since(self._logged)
        self._logged = replace(self.totals)
        self._logged_step = step
        values = {**window.rates(), "peak_memory": window.memory / 2**30 or None}
        known = {f"throughput/{name}": v for name, v in values.items() if v is not None}
        for logger in trainer.loggers:
            # The row of the batch: Lightning counts steps from 0.
            logger.log_metrics(known, step - 1)

    def _pause(self) -> None:
        self._read()
        self._since = None

    def _read(self) -> None:
        """Update the sums once the device has finished its work."""
        self._update_memory()
        if self._since is None:
            return
        self._synchronize()
        now = time.perf_counter()
        elapsed = now - self._since
        self.totals.seconds += elapsed
        self.totals.waited += self._loader.waited - self._waited
        self.totals.possible_flops += elapsed * (self._peak or 0.0)
        self._since, self._waited = now, self._loader.waited

    def _synchronize(self) -> None:
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)

    def _update_memory(self) -> None:
        if self._device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self._device)
            self.totals.memory = max(self.totals.memory, peak)

    def _reset_memory(self) -> None:
        """Reset the peak, which set-up and counted steps raise."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def _reduce(self, trainer: Trainer) -> None:
        """Share the longest wait and the highest memory among all processes."""
        if trainer.world_size > 1:
            own = [self.totals.waited - self._reduced, float(self.totals.memory)]
            most = torch.tensor(own, dtype=torch.float64, device=self._device)
            waited, memory = trainer.strategy.reduce(most, reduce_op="max").tolist()
            self.totals.waited = self._reduced + waited
            self.totals.memory = int(memory)
        self._reduced = self.totals.waited


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
