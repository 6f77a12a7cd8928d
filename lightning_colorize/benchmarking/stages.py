"""The stages of training, measured one by one and then together."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from lightning_colorize.benchmarking.timing import Timing, measure
from lightning_colorize.benchmarking.training import BareTraining, small_task
from lightning_colorize.color import RawBatch
from lightning_colorize.common.processes import cores
from lightning_colorize.data.cache import fits_in_memory
from lightning_colorize.data.convert import to_color_batch
from lightning_colorize.data.image_set import FileImages
from lightning_colorize.data.loader import ImageLoader
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.data.sources.base import GivenSplits
from lightning_colorize.data.sources.listing import list_images, require_folder
from lightning_colorize.data.splits import random_subset

Kind = Literal["loader", "memory", "lab", "augment", "step", "together"]

# Enough images to measure reading from memory.
_IN_MEMORY = 512


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


class BenchSettings(NamedTuple):
    """Settings of the benchmark."""

    size: int
    batch_size: int
    workers: list[int]
    seconds: float
    device: torch.device


class Bench:
    """Measures the stages.

    Attributes:
        count: Number of images in the folder.
        in_memory: Whether `fit` would cache them in memory.

    Raises:
        SourceError: If the folder contains no image.
    """

    def __init__(self, folder: Path, settings: BenchSettings) -> None:
        self.folder = require_folder(folder, "bench", option="--data")
        self.settings = settings
        self.names = list_images(self.folder)
        self.count = len(self.names)
        self.side = self._data("never").loader("train").dataset.side
        self.in_memory = fits_in_memory(self.count, self.side)

    def stages(self) -> Iterator[BenchStage]:
        """Measure the stages one by one, then all of them together."""
        loaders = []
        for workers in self.settings.workers:
            loaders.append(self._loader(workers))
            yield loaders[-1]
        memory = self._data("always")
        yield self._loading("memory", "decoded images cached in memory", memory.loader("train"))
        yield from self._on_device(memory)
        best = max(loaders, key=lambda stage: stage.timing.rate)
        data = memory if self.in_memory else self._data("never", best.workers or 0)
        yield self._together("memory" if self.in_memory else best.detail, data)

    def _data(self, cache: Literal["always", "never"], workers: int = 0) -> ColorizationDataModule:
        names = self.names
        if cache == "always":
            names = random_subset(names, _IN_MEMORY, seed=0)
        data = ColorizationDataModule(
            root=str(self.folder),
            source=GivenSplits({"train": FileImages(self.folder, names)}),
            size=self.settings.size,
            batch_size=self.settings.batch_size,
            cache=cache,
            num_workers=workers,
            # Each worker count reads in a different order. Otherwise the first one would read from
            # disk and the others from the page cache.
            seed=workers,
        )
        data.setup()
        return data

    def _loader(self, workers: int) -> BenchStage:
        detail = {0: "files, no worker", 1: "files, 1 worker"}.get(
            workers, f"files, {workers} workers"
        )
        loader = self._data("never", workers).loader("train")
        return self._loading("loader", detail, loader, workers)

    def _loading(
        self, kind: Kind, detail: str, loader: ImageLoader, workers: int | None = None
    ) -> BenchStage:
        batches = endless(loader)
        timing = measure(
            lambda: len(next(batches).rgb), self.settings.seconds, warm_up=_warm_up_batches(loader)
        )
        return BenchStage(kind, detail, timing, workers)

    def _on_device(self, data: ColorizationDataModule) -> Iterator[BenchStage]:
        device = self.settings.device
        raw = next(endless(data.loader("train")))
        batch = to_color_batch(_moved(raw, device), data.augmentation)
        training = BareTraining(small_task(), device)

        def step() -> int:
            training.step(batch)
            return len(batch)

        works: list[tuple[Kind, str, Callable[[], int]]] = [
            (
                "lab",
                f"to {device}, (L, ab) at {self.side} px",
                lambda: len(to_color_batch(_moved(raw, device))),
            ),
            (
                "augment",
                f"the same with flip and crop to {self.settings.size} px",
                lambda: len(to_color_batch(_moved(raw, device), data.augmentation)),
            ),
            ("step", "MobileNetV2, light decoder, fp32", step),
        ]
        for kind, detail, work in works:
            timing = measure(work, self.settings.seconds, warm_up=2, device=device)
            yield BenchStage(kind, detail, timing)

    def _together(self, detail: str, data: ColorizationDataModule) -> BenchStage:
        device = self.settings.device
        training = BareTraining(small_task(), device)
        loader = data.loader("train")
        batches = endless(loader)

        def work() -> int:
            raw = next(batches)
            training.step(to_color_batch(_moved(raw, device), data.augmentation))
            return len(raw.rgb)

        timing = measure(
            work, self.settings.seconds, warm_up=_warm_up_batches(loader), device=device
        )
        return BenchStage("together", detail, timing)


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
    # Compare the loader that `together` used.
    last = stages[-1]
    loader = max(
        (s for s in stages if s.kind == ("memory" if last.detail == "memory" else "loader")),
        key=lambda stage: stage.timing.rate,
    )
    names = {
        "the training step": next(s for s in stages if s.kind == "step"),
        "the cached loader" if last.detail == "memory" else f"the loader ({last.detail})": loader,
        "the conversion": next(s for s in stages if s.kind == "augment"),
    }
    rates = {name: stage.timing.rate for name, stage in names.items()}
    limit, second, third = sorted(rates, key=rates.__getitem__)
    return (
        f"{limit[0].upper()}{limit[1:]} limits: {rates[limit]:.0f} images/s; "
        f"{second} is {rates[second] / rates[limit]:.1f} times as fast, "
        f"{third} {rates[third] / rates[limit]:.1f} times; "
        f"all together {last.timing.rate:.0f} images/s"
    )


def _warm_up_batches(loader: ImageLoader) -> int:
    """Return the number of batches that workers can prefetch, plus two."""
    return 2 + 2 * loader.num_workers


def _moved(raw: RawBatch, device: torch.device) -> RawBatch:
    return raw._replace(rgb=raw.rgb.to(device, non_blocking=True))
