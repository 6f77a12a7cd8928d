"""Parts of the GPU benchmarks: their budget, `fit`, and the script of the usual notebook."""

import argparse
import contextlib
import gc
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from common import command_of
from fit_overhead import RESULTS
from gan_step import BareGAN
from loader import NotebookDataset
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader
from torchvision.transforms import InterpolationMode

from lightning_colorize.benchmarking.environment import environment, write_report
from lightning_colorize.benchmarking.stages import BareTraining, endless
from lightning_colorize.benchmarking.synthetic import write_images
from lightning_colorize.benchmarking.timing import measure as timed
from lightning_colorize.color import ColorBatch
from lightning_colorize.commands.fit import PROGRAM
from lightning_colorize.common.bundled import bundled
from lightning_colorize.common.errors import first_line
from lightning_colorize.common.processes import cores
from lightning_colorize.data.sources.listing import list_images
from lightning_colorize.tasks import CGANTask
from lightning_colorize.training import callbacks as ours
from lightning_colorize.training.session import quiet, session

# They work between epochs, which are short here, or before the first.
_BETWEEN_EPOCHS = (ours.BaselineMetrics, ours.BestCheckpoint, ours.FinalValidation)
_BETWEEN_EPOCHS += (ours.ImageGrids, ours.LastCheckpoint)

# First batches, not measured: networks compile; what workers have read ahead is used up.
_FIT_WARM_UP, _SCRIPT_WARM_UP = 26, 48


class Setup(NamedTuple):
    """Where it is measured."""

    photos: Path  # JPEGs, in train/ and val/ or of any depth
    runs: Path  # for the folders of runs
    device: torch.device
    toy: bool

    @property
    def workers(self) -> int:
        """Processes that read, ours and the notebook's."""
        return 1 if self.toy else min(16, cores())

    def few(self, count: int) -> int:
        """Return a number of batches, or a small one at toy size."""
        return min(count, 2) if self.toy else count

    def seconds(self, full: float) -> float:
        """Return the seconds of a measured window, or none at toy size."""
        return 0.0 if self.toy else full


@dataclass(frozen=True)
class System:
    """What is trained."""

    name: str  # for people
    experiment: str
    size: int  # in pixels
    batch_size: int
    words: tuple[str, ...] = ()  # more settings

    def toy(self) -> "System":
        """The same cGAN, small."""
        small = ("--model.encoder.depth=3", "--model.encoder.width=4")
        small += ("--model.discriminator.layers=1", "--model.discriminator.width=4")
        return replace(self, size=32, batch_size=2, words=small)

    def arguments(self, setup: Setup, words: list[str]) -> list[str]:
        """The words after `fit`; `words` are more settings."""
        given = {
            "config": bundled("experiments") / f"{self.experiment}.yaml",
            "trainer.accelerator": setup.device.type,
            "trainer.devices": 1,
            "trainer.max_epochs": -1,
            "data.root": setup.photos,
            "data.size": self.size,
            "data.batch_size": self.batch_size,
            "run.root": setup.runs,
            "run.patience": "null",
            "run.test": "false",
            "run.loggers.wandb": "disabled",
            "run.loggers.tensorboard": "false",
        }
        if "--data.cache=never" in words:
            given["data.num_workers"] = setup.workers
        if setup.toy:
            given["trainer.log_every_n_steps"] = 4
            # The compiler takes minutes on a CPU.
            words = [*words, "--model.compile=false", "--data.compile=false"]
        return [*(f"--{name}={value}" for name, value in given.items()), *self.words, *words]


CGAN = System("pix2pix cGAN", "cgan_pix2pix", 256, 32)
RESNET = System("ResNet-34", "resnet34_upsample", 224, 64, ("--model.encoder.pretrained=false",))


class Budget:
    """Minutes that parts share, in their order; the report is written after each of them."""

    def __init__(self, minutes: float, path: Path | None, command: str, toy: bool) -> None:
        self.path, self.command = path, command
        self.start = time.monotonic()
        self.end = self.start + 60 * minutes
        # Parts by name: seconds, reasons, first lines of errors.
        self.report: dict[str, Any] = {"toy": toy, "parts": {}, "skipped": {}, "failed": {}}

    def run(self, into: dict[str, Any], name: str, needed: float, work: Callable[[], Any]) -> None:
        """Do a part of at most so many seconds; what it returns is added to a report."""
        if time.monotonic() + needed > self.end:
            self.skip(name, "no time left")
            return
        print(f"{name} ...", end=" ", flush=True)
        start = time.monotonic()
        try:
            found = into[name.rpartition(": ")[2]] = work()
            print(found, flush=True)
        except Exception as error:  # time on a GPU is rare: the other parts are still measured
            traceback.print_exc()
            self.report["failed"][name] = first_line(error)
        self.report["parts"][name] = round(time.monotonic() - start, 1)
        self.save()

    def skip(self, name: str, reason: str) -> None:
        """Leave a part out."""
        self.report["skipped"][name] = reason
        print(f"{name}: {reason}", flush=True)

    def save(self) -> None:
        """Write what there is."""
        self.report["seconds"] = round(time.monotonic() - self.start, 1)
        if self.path is not None:
            write_report(self.path, self.command, self.report)


def run_script(
    argv: list[str] | None, name: str, about: str, minutes: float, measure: Callable[..., None]
) -> int:
    """Read a script's command line, measure and write; `measure` fills the budget's report."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--data", type=Path, help="a folder of JPEGs instead of generated ones")
    parser.add_argument("--minutes", type=float, default=minutes, help="at most (%(default)g)")
    parser.add_argument("--json", type=Path, help="(default: benchmarks/results, at full size)")
    parser.add_argument("--toy", action="store_true", help="toy size: shows that it runs")
    args = parser.parse_args(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not args.toy:
        print("there is no GPU here; --toy shows that the script runs", file=sys.stderr)
        return 2
    environment()  # raises now, not after all measurements, if the package is not installed
    # What a toy size takes says nothing of a GPU.
    path = args.json or (None if args.toy else RESULTS / f"{name}.json")
    budget = Budget(args.minutes, path, command_of(name, argv), args.toy)
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        photos = args.data or make_images(Path(folder) / "small", args.toy)
        measure(Setup(photos, Path(folder) / "runs", device, args.toy), budget)
    budget.save()
    print(f"{budget.report['seconds']:.0f} s in all; written to {path or 'no file'}")
    return int(bool(budget.report["failed"]))


def make_images(folder: Path, toy: bool) -> Path:
    """Return a folder of JPEGs, each under 33 names."""
    (folder / "train").mkdir(parents=True)
    (folder / "val").mkdir()
    count, width, height = (2, 64, 48) if toy else (128, 500, 375)
    for path in write_images(folder / "val", count, width, height):
        for number in range(32):
            (folder / "train" / f"{path.stem}-{number}.jpg").hardlink_to(path)
    return folder


@contextlib.contextmanager
def tuned(on: bool) -> Iterator[None]:
    """Let cuDNN choose the convolutions' kernels by trying them.

    torch caches each choice by shapes and flags, tried or not, and uses the first. TF32, which bf16
    ignores, is one of the flags: with it off, the choices are new.
    """
    conv: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = conv.fp32_precision, torch.backends.cudnn.benchmark
    if on:
        conv.fp32_precision, torch.backends.cudnn.benchmark = "ieee", True
    try:
        yield
    finally:
        conv.fp32_precision, torch.backends.cudnn.benchmark = before


class Window(Callback):
    """Measures a run from its first batches on for some seconds, then counts waits, then ends it.

    Waits are warnings of torch's sync debug mode, over the batches between two logged ones.
    """

    def __init__(self, throughput: ours.Throughput, warm_up: int, seconds: float) -> None:
        self.throughput, self.warm_up, self.seconds = throughput, warm_up, seconds
        self.batches = 0
        self.report: dict[str, Any] = {}
        self.recording = contextlib.ExitStack()
        self.caught: list[warnings.WarningMessage] | None = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start the first clock; after the window and a logged batch, catch warnings."""
        if not self.batches:
            self.start = time.perf_counter()
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        all_batches = trainer.num_training_batches
        # The end of an epoch is a wait.
        is_whole = all_batches - batch_idx >= min(every, all_batches)
        if "seconds" in self.report and trainer.global_step % every == 0 and is_whole:
            self.caught = self.recording.enter_context(warnings.catch_warnings(record=True))
            warnings.simplefilter("always")
            if pl_module.device.type == "cuda":
                self.recording.callback(torch.cuda.set_sync_debug_mode, "default")
                torch.cuda.set_sync_debug_mode("warn")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the clock; of a GPU that lags behind, the rest is measured too."""
        self.batches += 1
        now = time.perf_counter()
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if self.batches == self.warm_up:
            self._read()
            self.report["start_seconds"] = now - self.start
            self.start = time.perf_counter()
            self.throughput.totals = type(self.throughput.totals)()
        elif self.caught is not None and trainer.global_step % every == every - 1:
            self.recording.close()
            waits = [w for w in self.caught if "synchroniz" in str(w.message)]
            places = {f"{'/'.join(Path(w.filename).parts[-2:])}:{w.lineno}" for w in waits}
            found = {"batches": every - 1, "count": len(waits), "places": sorted(places)}
            self.report["waits"] = found
            trainer.should_stop = True
        elif self.report.keys() == {"start_seconds"} and now - self.start >= self.seconds:
            self.report |= self._read()

    def _read(self) -> dict[str, Any]:
        """Return what was measured; the clock stops until the next batch."""
        self.throughput.state_dict()
        found = self.throughput.result()
        found["images_per_second"] = found.pop("steady_images_per_second")
        totals = self.throughput.totals
        return found | {"images": totals.images, "seconds": totals.seconds}


def parsed(system: System, setup: Setup, words: list[str]) -> Any:
    """Return the task of a run, which is not trained."""
    arguments = system.arguments(setup, [*words, "--model.compile=false"])
    with session(arguments, PROGRAM) as cli:
        shutil.rmtree(cli.folder)
        return cli.model


def bare(task: Any, device: torch.device, bf16: bool = False) -> BareGAN | BareTraining:
    """Return the plain training loop of a task."""
    return (BareGAN if isinstance(task, CGANTask) else BareTraining)(task, device, bf16)


def fit(system: System, setup: Setup, words: list[str]) -> dict[str, Any]:
    """Train until ten seconds are measured, then time a checkpoint."""
    free_memory()
    arguments = system.arguments(setup, [*words, "--trainer.limit_val_batches=0"])
    with tuned("--trainer.benchmark=true" in words), session(arguments, PROGRAM) as cli:
        callbacks: list[Callback] = cli.trainer.callbacks
        kept = [one for one in callbacks if not isinstance(one, _BETWEEN_EPOCHS)]
        (throughput,) = [one for one in kept if isinstance(one, ours.Throughput)]
        window = Window(throughput, 4 if setup.toy else _FIT_WARM_UP, setup.seconds(10))
        cli.trainer.callbacks = [*kept, window]
        cli.trainer.fit(cli.model, cli.datamodule)
        start = time.perf_counter()
        cli.trainer.save_checkpoint(cli.folder / "checkpoints" / "timed.ckpt")
        window.report["checkpoint_seconds"] = time.perf_counter() - start
        shutil.rmtree(cli.folder)
    return window.report


def notebook(system: System, setup: Setup, trains: bool = True) -> dict[str, Any]:
    """Train the same networks by the usual script, with torch's own settings, or only read."""
    free_memory()
    words = ["--model.fused=false", "--model.channels_last=false"]
    training = bare(parsed(system, setup, words), setup.device) if trains else None
    paths = [setup.photos / name for name in list_images(setup.photos)]
    loader: Any = DataLoader(
        NotebookDataset(paths, system.size, InterpolationMode.BICUBIC),
        batch_size=system.batch_size,
        shuffle=True,
        num_workers=setup.workers,
        drop_last=True,
        pin_memory=setup.device.type == "cuda",
        persistent_workers=True,
    )
    batches: Iterator[Any] = endless(loader)

    def work() -> int:
        L, ab = next(batches)
        if training is not None:
            moved = (part.to(setup.device, non_blocking=True) for part in (L, ab))
            training.step(ColorBatch(*moved, names=[]))
        return len(L)

    warm_up = setup.few(_SCRIPT_WARM_UP)
    timing = timed(work, setup.seconds(20), warm_up=warm_up, device=setup.device)
    return {"images_per_second": timing.rate, "workers": setup.workers, **timing.as_dict()["raw"]}


def free_memory() -> None:
    """Forget compiled functions and the memory of the part before."""
    torch.compiler.reset()
    gc.collect()
    torch.cuda.empty_cache()
