"""The stages of training, measured one by one and then together."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from lightning_colorize.benchmarking.timing import Timing, measure
from lightning_colorize.color import ColorBatch, RawBatch
from lightning_colorize.common.processes import cores
from lightning_colorize.data.augmentation import Augmentation
from lightning_colorize.data.cache import fits_in_memory
from lightning_colorize.data.convert import to_color_batch
from lightning_colorize.data.image_set import FileImages
from lightning_colorize.data.loader import ImageLoader
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.data.sources.base import GivenSplits
from lightning_colorize.data.sources.listing import list_images, require_folder
from lightning_colorize.data.splits import random_subset
from lightning_colorize.losses import L1
from lightning_colorize.networks import MobileNetV2Encoder, UpsampleDecoder
from lightning_colorize.tasks import RegressionTask

Kind = Literal["loader", "memory", "lab", "augment", "step", "together"]

# Enough images to measure reading from memory.
_IN_MEMORY = 512

_PREFETCHED = 2  # batches of each worker


@dataclass(frozen=True)
class BenchStage:
    """One measured stage."""

    kind: Kind
    detail: str
    timing: Timing
    workers: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the stage as JSON data."""
        described = {"stage": self.kind, "detail": self.detail, "workers": self.workers}
        return described | self.timing.as_dict()


class Bench:
    """Measures the stages, each for some `seconds`, on square images of `size` pixels."""

    def __init__(
        self, folder: Path, size: int, batch_size: int, seconds: float, device: torch.device
    ) -> None:
        self.folder = require_folder(folder, "bench", option="--data")
        self.size = size
        self.batch_size = batch_size
        self.seconds = seconds
        self.device = device
        self.names = list_images(self.folder)

    def stages(self, worker_counts: list[int]) -> Iterator[BenchStage]:
        """Measure the stages one by one, then all of them together."""
        loaders = []
        for workers in worker_counts:
            detail = f"files, {workers or 'no'} worker{'s' * (workers > 1)}"
            stage = self._loading("loader", detail, self._data("never", workers).loader("train"))
            loaders.append(replace(stage, workers=workers))
            yield loaders[-1]
        memory = self._data("always")
        loader = memory.loader("train")
        yield self._loading("memory", "decoded images cached in memory", loader)
        yield from self._on_device(memory)
        if fits_in_memory(len(self.names), loader.dataset.side):  # then `fit` caches the images
            yield self._together("memory", memory)
        else:
            best = max(loaders, key=lambda stage: stage.timing.rate)
            yield self._together(best.detail, self._data("never", best.workers or 0))

    def _data(self, cache: Literal["always", "never"], workers: int = 0) -> ColorizationDataModule:
        names = self.names
        if cache == "always":
            names = random_subset(names, _IN_MEMORY, seed=0)
        data = ColorizationDataModule(
            root=str(self.folder),
            source=GivenSplits({"train": FileImages(self.folder, names)}),
            size=self.size,
            batch_size=self.batch_size,
            cache=cache,
            num_workers=workers,
            # Each worker count reads in a different order. Otherwise the first one would read from
            # disk and the others from the page cache.
            seed=workers,
        )
        data.setup()
        return data

    def _stage(
        self, kind: Kind, detail: str, work: Callable[[], int], prefetched: int = 0
    ) -> BenchStage:
        timing = measure(work, self.seconds, warm_up=2 + prefetched, device=self.device)
        return BenchStage(kind, detail, timing)

    def _loading(self, kind: Kind, detail: str, loader: ImageLoader) -> BenchStage:
        batches = endless(loader)
        stage = self._stage(
            kind, detail, lambda: len(next(batches).rgb), _PREFETCHED * loader.num_workers
        )
        loader.close()
        return stage

    def _on_device(self, data: ColorizationDataModule) -> Iterator[BenchStage]:
        loader = data.loader("train")
        raw = next(endless(loader))
        batch = self._converted(raw, data.augmentation)
        training = BareTraining(small_task(), self.device)

        def step() -> int:
            training.step(batch)
            return len(batch)

        yield self._stage(
            "lab",
            f"to {self.device}, (L, ab) at {loader.dataset.side} px",
            lambda: len(self._converted(raw)),
        )
        yield self._stage(
            "augment",
            f"the same with flip and crop to {self.size} px",
            lambda: len(self._converted(raw, data.augmentation)),
        )
        yield self._stage("step", "MobileNetV2, light decoder, fp32", step)

    def _together(self, detail: str, data: ColorizationDataModule) -> BenchStage:
        training = BareTraining(small_task(), self.device)
        loader = data.loader("train")
        batches = endless(loader)

        def work() -> int:
            raw = next(batches)
            training.step(self._converted(raw, data.augmentation))
            return len(raw.rgb)

        stage = self._stage("together", detail, work, _PREFETCHED * loader.num_workers)
        loader.close()
        return stage

    def _converted(self, raw: RawBatch, augmentation: Augmentation | None = None) -> ColorBatch:
        moved = raw._replace(rgb=raw.rgb.to(self.device, non_blocking=True))
        return to_color_batch(moved, augmentation)


def default_workers() -> list[int]:
    """Return 0, 1, 2, 4, ... and the number of cores."""
    all_cores = cores()
    return sorted({0, all_cores, *(2**i for i in range(all_cores.bit_length()))})


def endless(loader: ImageLoader) -> Iterator[RawBatch]:
    """Yield a loader's batches, epoch after epoch."""
    while True:
        yield from loader


def conclusion(stages: list[BenchStage]) -> str:
    """Return one line with the slowest stage and the relative speed of the others."""
    rate = {stage.kind: stage.timing.rate for stage in stages}
    together = stages[-1]
    # Compare the loader that `together` used.
    if together.detail == "memory":
        loader = {"the cached loader": rate["memory"]}
    else:
        fastest = max(stage.timing.rate for stage in stages if stage.kind == "loader")
        loader = {f"the loader ({together.detail})": fastest}
    rates = {"the training step": rate["step"], **loader, "the conversion": rate["augment"]}
    limit, second, third = sorted(rates, key=rates.__getitem__)
    return (
        f"{limit[0].upper()}{limit[1:]} limits: {rates[limit]:.0f} images/s; "
        f"{second} is {rates[second] / rates[limit]:.1f} times as fast, "
        f"{third} {rates[third] / rates[limit]:.1f} times; "
        f"all together {together.timing.rate:.0f} images/s"
    )


class BareTraining:
    """A task's training step in plain PyTorch, the baseline for the Trainer."""

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
