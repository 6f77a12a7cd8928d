"""Training for benchmarks/gpu.py: by `fit`, and by the script of the usual notebook."""

import contextlib
import copy
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from gan_step import BareGAN
from loader import NotebookDataset
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader
from torchvision.transforms import InterpolationMode

from lightning_colorize.benchmarking.stages import BareTraining
from lightning_colorize.benchmarking.timing import synchronize
from lightning_colorize.color import ColorBatch
from lightning_colorize.commands.fit import PROGRAM
from lightning_colorize.common.bundled import bundled
from lightning_colorize.common.processes import cores
from lightning_colorize.data.sources.listing import list_images
from lightning_colorize.tasks import CGANTask
from lightning_colorize.training.callbacks import (
    BaselineMetrics,
    BestCheckpoint,
    FinalValidation,
    ImageGrids,
    LastCheckpoint,
    Throughput,
)
from lightning_colorize.training.callbacks.throughput import WARM_UP
from lightning_colorize.training.session import session

# They work between epochs, which are short here, or before the first.
_BETWEEN_EPOCHS = (BaselineMetrics, BestCheckpoint, FinalValidation, LastCheckpoint, ImageGrids)

# The most processes that read, ours and the notebook's.
WORKERS = 16


class Setup(NamedTuple):
    """Where it is measured."""

    photos: Path  # JPEGs, in train/ and val/ or of any depth
    large: Path  # JPEGs of a camera
    runs: Path  # for the folders of runs
    device: torch.device
    toy: bool

    @property
    def workers(self) -> int:
        """Processes that read."""
        return 1 if self.toy else min(WORKERS, cores())


@dataclass(frozen=True)
class System:
    """What is trained."""

    name: str  # for people
    experiment: str
    size: int  # in pixels
    batch_size: int
    words: tuple[str, ...]  # more settings

    def toy(self) -> "System":
        """The same cGAN, small."""
        small = ("--model.encoder.depth", "3", "--model.encoder.width", "4")
        small += ("--model.discriminator.layers", "1", "--model.discriminator.width", "4")
        return replace(self, size=32, batch_size=2, words=self.words + small)

    def described(self) -> dict[str, Any]:
        """For JSON."""
        return {name: value for name, value in asdict(self).items() if name != "words"}

    def arguments(self, setup: Setup, words: list[str]) -> list[str]:
        """The words after `fit`, with names of fragments of experiments/gpu/ and settings."""
        experiments = bundled("experiments")
        fragments = [experiments / "gpu" / f"{w}.yaml" for w in words if w in _fragments()]
        settings = {
            "trainer.accelerator": setup.device.type,
            "trainer.devices": 1,
            "trainer.precision": "32-true",
            "trainer.max_epochs": -1,
            "trainer.max_steps": -1,
            "data.root": setup.photos,
            "data.size": self.size,
            "data.batch_size": self.batch_size,
            "run.root": setup.runs,
            "run.patience": "null",
            "run.test": "false",
            "run.loggers.wandb": "disabled",
            "run.loggers.tensorboard": "false",
        }
        if "never" in words:
            settings["data.num_workers"] = setup.workers
        return [
            *("--config", str(experiments / f"{self.experiment}.yaml")),
            *(word for name, value in settings.items() for word in (f"--{name}", str(value))),
            *self.words,
            # After the settings, which they change.
            *(word for path in fragments for word in ("--config", str(path))),
            *(word for word in words if word not in _fragments()),
        ]


RESNET = System("ResNet-34", "resnet34_upsample", 224, 64, ("--model.encoder.pretrained", "false"))
CGAN = System("pix2pix cGAN", "cgan_pix2pix", 256, 32, ())


def _fragments() -> set[str]:
    return {path.stem for path in (bundled("experiments") / "gpu").glob("*.yaml")}


class StopAfter(Callback):
    """Ends a run some seconds after the batches in which workers start and networks compile."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.batches = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the clock; of a GPU that lags behind, the rest is measured too."""
        self.batches += 1
        if self.batches <= WARM_UP + 1:
            self.start = time.perf_counter()
        elif time.perf_counter() - self.start >= self.seconds:
            trainer.should_stop = True


@contextlib.contextmanager
def torch_defaults() -> Iterator[None]:
    """TF32 for convolutions, as torch has it; elsewhere in this script it is a switch."""
    conv: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before, conv.fp32_precision = conv.fp32_precision, "tf32"
    try:
        yield
    finally:
        conv.fp32_precision = before


def fit(
    system: System, setup: Setup, words: list[str], seconds: float, defaults: bool = False
) -> dict[str, Any]:
    """Train for some seconds; returns rate, share of time waited for data, and memory.

    `words` are as in `System.arguments`. With `defaults`, TF32 is as torch has it, and not off.
    """
    torch.compiler.reset()
    if setup.device.type == "cuda":
        torch.cuda.empty_cache()
    arguments = [*system.arguments(setup, words), "--trainer.limit_val_batches", "0"]
    products = torch_defaults() if defaults else contextlib.nullcontext()
    with products, session(arguments, PROGRAM) as cli:
        callbacks: list[Callback] = cli.trainer.callbacks
        kept = [one for one in callbacks if not isinstance(one, _BETWEEN_EPOCHS)]
        cli.trainer.callbacks = [*kept, StopAfter(seconds)]
        (throughput,) = [one for one in kept if isinstance(one, Throughput)]
        cli.trainer.fit(cli.model, cli.datamodule)
        shutil.rmtree(cli.folder)
    found = throughput.result()
    return {
        "images_per_second": found["steady_images_per_second"],
        "data_wait_share": found["data_wait_share"],
        "peak_device_memory": found["peak_device_memory"],
        "images": throughput.totals.images,
        "seconds": round(throughput.totals.seconds, 3),
    }


def notebook(system: System, setup: Setup, seconds: float) -> dict[str, Any]:
    """Train the same networks by the usual script, with torch's own settings; returns the rate."""
    with session(system.arguments(setup, []), PROGRAM) as cli:
        task = copy.deepcopy(cli.model)
        shutil.rmtree(cli.folder)
    training = (BareGAN if isinstance(task, CGANTask) else BareTraining)(task, setup.device)
    paths = [setup.photos / name for name in list_images(setup.photos)]
    loader = DataLoader(
        NotebookDataset(paths, system.size, InterpolationMode.BICUBIC),
        batch_size=system.batch_size,
        shuffle=True,
        num_workers=setup.workers,
        drop_last=True,
        pin_memory=setup.device.type == "cuda",
        persistent_workers=True,
    )
    images, batches, start = 0, 0, time.perf_counter()
    with torch_defaults():
        while images == 0 or time.perf_counter() - start < seconds:
            for L, ab in loader:
                on_device = (part.to(setup.device, non_blocking=True) for part in (L, ab))
                training.step(ColorBatch(*on_device, names=[]))
                batches += 1
                if batches <= WARM_UP + 1:
                    synchronize(setup.device)
                    start = time.perf_counter()
                    continue
                images += len(L)
                if time.perf_counter() - start >= seconds:
                    break
        synchronize(setup.device)
        elapsed = time.perf_counter() - start
    return {
        "images_per_second": images / elapsed,
        "workers": setup.workers,
        "images": images,
        "seconds": round(elapsed, 3),
    }
