"""What a run costs: images per second, time that is waited for data, memory, FLOPs.

Rates are those of the steady state: of all training steps, with the hooks and the logging between
them, but without validations, checkpoints and ends of epochs, and without each process's first
batches and those whose arithmetic is counted. The clock starts when a batch is asked for and runs
until something else than the next batch comes. It is read, and a GPU waited for, only then and
where metrics are logged, which waits for it anyway: after the first batches, never for a batch.

Lightning's ThroughputMonitor waits for the device after each batch, counts checkpoints and the
training's other pauses as work, does not know what was waited for data, and forgets all when a run
is resumed. Nor would its `Throughput` alone help: what is left to do for it are three divisions.
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
"""First batches of a process that are no steady state: workers start, kernels are chosen."""


@dataclass
class Totals:
    """Sums over a run, of the steady state but for the last two.

    Attributes:
        images: Images, of all processes.
        seconds: Time of a process.
        waited: Part of it that was waited for data, in the process that waited longest.
        flops: Of a process, where its device's peak is known.
        possible_flops: What the device could have done in that time.
        training_flops: From the first batch on, of all processes.
        memory: Most bytes that tensors took at once on a GPU; 0 without one.
    """

    images: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    flops: int = 0
    possible_flops: float = 0.0
    training_flops: int = 0
    memory: int = 0

    def since(self, former: "Totals") -> "Totals":
        """Return what has come to former sums; the memory as it is."""
        mine, theirs = asdict(self), asdict(former)
        return Totals(**{n: mine[n] - theirs[n] for n in mine if n != "memory"}, memory=self.memory)

    def rates(self) -> dict[str, float | None]:
        """Return what these sums come to; None for what is not known."""
        return {
            "images_per_second": self.images / self.seconds if self.seconds else None,
            "data_wait": self.waited / self.seconds if self.seconds else None,
            "mfu": self.flops / self.possible_flops if self.possible_flops else None,
        }


class Cost(Callback):
    """Logs what training costs, as often as metrics are logged, and keeps the sums of the run.

    Logged are `cost/images_per_second`, `cost/data_wait` (share of the time, 0 to 1), and on GPUs
    `cost/mfu` (share of the device's peak that the networks' arithmetic is) and `cost/peak_memory`
    (GiB); the first three since the last time. Of several processes, the wait is that of the one
    that waits longest, for the others wait for it.

    Attributes:
        totals: The sums so far.
        step_flops: FLOPs of a training step by its kind, each counted once in a run.
    """

    def __init__(self) -> None:
        self.totals = Totals()
        self.step_flops: dict[str, int] = {}
        self._logged = Totals()
        self._logged_step = 0
        self._agreed = 0.0
        self._counter = StepCounter()
        self._kind = ""
        self._peak: float | None = None
        self._device = torch.device("cpu")
        self._loader: Any = None
        self._batches = 0
        self._since: float | None = None
        self._waited = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        self._device = pl_module.device
        self._peak = peak_flops(self._device, str(trainer.precision))
        self._loader = trainer.train_dataloader
        self._batches = 0
        self._logged = replace(self.totals)
        self._logged_step = trainer.global_step
        self._forget_memory()

    def on_train_batch_start(  # type: ignore[override]
        self, trainer: Trainer, pl_module: ColorizationTask, batch: ColorBatch, batch_idx: int
    ) -> None:
        """Have a step of a new kind counted."""
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
        """Sum up; log if it is time."""
        counted = self._counter.stop()
        if counted is not None:
            self.step_flops[self._kind] = counted
            self._forget_memory()
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
        # By what all processes have in common: those whose step was counted log with the others.
        step, every = trainer.global_step, trainer.log_every_n_steps  # type: ignore[attr-defined]
        if warm and every and step % every == 0 and step > self._logged_step:
            self._log(trainer, step)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock until training goes on."""
        self._pause()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock until training goes on."""
        self._pause()
        self._agree(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave nothing behind of a count that was going on."""
        self._counter.stop()

    def state_dict(self) -> dict[str, Any]:
        """Return the sums so far; the clock stands while a checkpoint is written."""
        self._pause()
        return {"totals": asdict(self.totals), "step_flops": self.step_flops}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the sums of the resumed run."""
        self.totals = Totals(**state_dict["totals"])
        self.step_flops = state_dict["step_flops"]
        self._agreed = self.totals.waited

    def result(self) -> dict[str, float | None]:
        """Return what `result.json` says of the cost."""
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
        self._agree(trainer)
        window = self.totals.since(self._logged)
        self._logged = replace(self.totals)
        self._logged_step = step
        values = {**window.rates(), "peak_memory": window.memory / 2**30 or None}
        known = {f"cost/{name}": v for name, v in values.items() if v is not None}
        for logger in trainer.loggers:
            # The row of the batch: Lightning counts steps from 0.
            logger.log_metrics(known, step - 1)

    def _pause(self) -> None:
        self._read()
        self._since = None

    def _read(self) -> None:
        """Bring the sums up to what the device has done by now."""
        self._note_memory()
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

    def _note_memory(self) -> None:
        if self._device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self._device)
            self.totals.memory = max(self.totals.memory, peak)

    def _forget_memory(self) -> None:
        """Look at what is needed from now on: before, and in a counted batch, it is another."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def _agree(self, trainer: Trainer) -> None:
        """Have all processes know of the one that waited longest, and of the fullest device."""
        if trainer.world_size > 1:
            own = [self.totals.waited - self._agreed, float(self.totals.memory)]
            most = torch.tensor(own, dtype=torch.float64, device=self._device)
            waited, memory = trainer.strategy.reduce(most, reduce_op="max").tolist()
            self.totals.waited = self._agreed + waited
            self.totals.memory = int(memory)
        self._agreed = self.totals.waited


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
