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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from common import command_of
from gan_step import BareGAN
from loader import NotebookDataset
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader
from torchvision.transforms import InterpolationMode

from lightning_colorize.benchmarking.environment import environment, write_report
from lightning_colorize.benchmarking.stages import BareTraining
from lightning_colorize.benchmarking.synthetic import write_images
from lightning_colorize.benchmarking.timing import synchronize
from lightning_colorize.color import ColorBatch
from lightning_colorize.commands.fit import PROGRAM
from lightning_colorize.common.bundled import bundled
from lightning_colorize.common.errors import first_line
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
from lightning_colorize.training.session import quiet, session

# They work between epochs, which are short here, or before the first.
_BETWEEN_EPOCHS = (BaselineMetrics, BestCheckpoint, FinalValidation, LastCheckpoint, ImageGrids)

# The most processes that read, ours and the notebook's.
WORKERS = 16

# Batches that are not measured: workers start, networks compile, and what workers have read ahead
# is used up.
FIT_WARM_UP, SCRIPT_WARM_UP = 24, 48

_IMAGES, _LINKS = 128, 32  # JPEGs, and names of each


class Setup(NamedTuple):
    """Where it is measured."""

    photos: Path  # JPEGs, in train/ and val/ or of any depth
    runs: Path  # for the folders of runs
    device: torch.device
    toy: bool

    @property
    def workers(self) -> int:
        """Processes that read."""
        return 1 if self.toy else min(WORKERS, cores())

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
        small = ("--model.encoder.depth", "3", "--model.encoder.width", "4")
        small += ("--model.discriminator.layers", "1", "--model.discriminator.width", "4")
        return replace(self, size=32, batch_size=2, words=self.words + small)

    def described(self) -> dict[str, Any]:
        """For JSON."""
        return {name: value for name, value in asdict(self).items() if name != "words"}

    def arguments(self, setup: Setup, words: list[str]) -> list[str]:
        """The words after `fit`; `words` are more settings."""
        settings = {
            "trainer.accelerator": setup.device.type,
            "trainer.devices": 1,
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
        if setup.toy:
            settings["trainer.log_every_n_steps"] = 4
        path = bundled("experiments") / f"{self.experiment}.yaml"
        flat = (word for name, value in settings.items() for word in (f"--{name}", str(value)))
        compiles = {"--model.compile", "--data.compile"} if setup.toy else ()
        given = ["false" if before in compiles else w for before, w in zip(["", *words], words)]
        return ["--config", str(path), *flat, *self.words, *given]


CGAN = System("pix2pix cGAN", "cgan_pix2pix", 256, 32)
RESNET = System("ResNet-34", "resnet34_upsample", 224, 64, ("--model.encoder.pretrained", "false"))


class Budget:
    """Minutes that parts share, in their order; the report is written after each of them."""

    def __init__(self, minutes: float, report: dict[str, Any], save: Callable[[], None]) -> None:
        self.end = time.monotonic() + 60 * minutes
        self.save = save
        self.skipped: dict[str, str] = report.setdefault("skipped", {})  # reasons
        self.failed: dict[str, str] = report.setdefault("failed", {})  # first lines of errors
        self.seconds: dict[str, float] = report.setdefault("parts_seconds", {})  # of the others

    def run(
        self, report: dict[str, Any], key: str, needed: float, work: Callable[[], Any], of: str = ""
    ) -> None:
        """Do a part that takes so many seconds at most, and add what it returns to the report."""
        name = f"{of}: {key}" if of else key
        if time.monotonic() + needed > self.end:
            self.skip(name, "no time left")
            return
        print(f"{name} ...", end=" ", flush=True)
        start = time.monotonic()
        try:
            report[key] = work()
            print(report[key], flush=True)
        except Exception as error:  # time on a GPU is rare: the other parts are still measured
            traceback.print_exc()
            self.failed[name] = first_line(error)
        self.seconds[name] = round(time.monotonic() - start, 1)
        self.save()

    def skip(self, name: str, reason: str) -> None:
        """Leave a part out."""
        self.skipped[name] = reason
        print(f"{name}: {reason}", flush=True)
        self.save()


def run_script(
    argv: list[str] | None, name: str, about: str, minutes: float, measure: Callable[..., None]
) -> int:
    """Read a script's command line, measure and write; `measure` fills the report."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--data", type=Path, help="a folder of JPEGs instead of generated ones")
    parser.add_argument(
        "--minutes", type=float, default=minutes, help=f"at most (default: {minutes:g})"
    )
    parser.add_argument("--json", type=Path, help="(default: benchmarks/results, at full size)")
    parser.add_argument("--toy", action="store_true", help="toy size: shows that it runs")
    args = parser.parse_args(argv)
    if not (args.toy or torch.cuda.is_available()):
        print("there is no GPU here; --toy shows that the script runs", file=sys.stderr)
        return 2
    environment()  # raises now, not after all measurements, if the package is not installed
    # What a toy size takes says nothing of a GPU.
    result = Path(__file__).parent / "results" / f"{name}.json"
    path = args.json or (None if args.toy else result)
    report: dict[str, Any] = {"toy": args.toy}
    start = time.monotonic()

    def save() -> None:
        report["seconds"] = round(time.monotonic() - start, 1)
        if path is not None:
            write_report(path, command_of(name, argv), report)

    budget = Budget(args.minutes, report, save)
    quiet()
    with tempfile.TemporaryDirectory() as folder, uncompiled(args.toy):
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        photos = args.data or make_images(Path(folder) / "small", args.toy)
        report["images"] = len(list_images(photos))
        measure(Setup(photos, Path(folder) / "runs", device, args.toy), budget, report)
    save()
    print(f"{report['seconds']:.0f} s in all; written to {path or 'no file'}")
    return int(bool(budget.failed))


def make_images(folder: Path, toy: bool) -> Path:
    """Return a folder of JPEGs, each under several names."""
    (folder / "train").mkdir(parents=True)
    (folder / "val").mkdir()
    count, width, height = (2, 64, 48) if toy else (_IMAGES, 500, 375)
    for path in write_images(folder / "val", count, width, height):
        for number in range(_LINKS):
            (folder / "train" / f"{path.stem}-{number}.jpg").hardlink_to(path)
    return folder


@contextlib.contextmanager
def uncompiled(toy: bool) -> Iterator[None]:
    """At toy size, let torch.compile return what it is given: on a CPU it takes minutes."""
    if not toy:
        yield
        return
    with mock.patch.object(torch, "compile", lambda function, **options: function):
        yield


@contextlib.contextmanager
def tuned(on: bool) -> Iterator[None]:
    """Let cuDNN choose the convolutions' kernels by trying them.

    torch caches a choice by shapes and flags, whether it was tried or not, so one that was made
    before without trying would be used. TF32, which bf16 ignores, is one of the flags: with it off,
    the choices are new.
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

    def __init__(self, throughput: Throughput, warm_up: int, seconds: float) -> None:
        self.throughput = throughput
        self.warm_up = warm_up
        self.seconds = seconds
        self.batches = 0
        self.report: dict[str, Any] = {}
        self.recording = contextlib.ExitStack()
        self.caught: list[warnings.WarningMessage] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the first batches."""
        self.start = time.perf_counter()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """After the window and a logged batch, catch warnings."""
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        left = int(trainer.num_training_batches) - batch_idx
        if self.report.get("seconds") and trainer.global_step % every == 0 and left >= every:
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
        if self.batches == self.warm_up:
            self._read()
            self.report["start_seconds"] = now - self.start
            self.start = time.perf_counter()
            self.throughput.totals = type(self.throughput.totals)()
        elif self.batches > self.warm_up and not self.report.get("seconds"):
            if now - self.start >= self.seconds:
                self.report |= self._read()
        elif self.caught is not None:
            every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
            if trainer.global_step % every == every - 1:
                self.recording.close()
                self._count(every - 1)
                trainer.should_stop = True

    def _read(self) -> dict[str, Any]:
        """Return what was measured; the clock stops until the next batch."""
        self.throughput.state_dict()
        found, totals = self.throughput.result(), self.throughput.totals
        return {
            "images_per_second": found["steady_images_per_second"],
            "data_wait_share": found["data_wait_share"],
            "peak_device_memory": found["peak_device_memory"],
            "images": totals.images,
            "seconds": totals.seconds,
        }

    def _count(self, batches: int) -> None:
        caught = [w for w in self.caught or [] if "synchroniz" in str(w.message)]
        places = sorted({f"{'/'.join(Path(w.filename).parts[-2:])}:{w.lineno}" for w in caught})
        self.report["waits"] = {"batches": batches, "count": len(caught), "places": places}


def parsed(system: System, setup: Setup, words: list[str]) -> Any:
    """Return the task of a run, which is not trained."""
    with session(system.arguments(setup, ["--model.compile", "false", *words]), PROGRAM) as cli:
        shutil.rmtree(cli.folder)
        return cli.model


def bare(task: Any, device: torch.device, bf16: bool = False) -> BareGAN | BareTraining:
    """Return the plain training loop of a task."""
    return (BareGAN if isinstance(task, CGANTask) else BareTraining)(task, device, bf16)


def fit(system: System, setup: Setup, words: list[str]) -> dict[str, Any]:
    """Train until ten seconds are measured, then write a checkpoint, whose seconds are reported."""
    free_memory(setup)
    arguments = [*system.arguments(setup, words), "--trainer.limit_val_batches", "0"]
    with tuned("--trainer.benchmark" in words), session(arguments, PROGRAM) as cli:
        callbacks: list[Callback] = cli.trainer.callbacks
        kept = [one for one in callbacks if not isinstance(one, _BETWEEN_EPOCHS)]
        (throughput,) = [one for one in kept if isinstance(one, Throughput)]
        window = Window(throughput, setup.few(FIT_WARM_UP) + 2, setup.seconds(10))
        cli.trainer.callbacks = [*kept, window]
        cli.trainer.fit(cli.model, cli.datamodule)
        start = time.perf_counter()
        cli.trainer.save_checkpoint(cli.folder / "checkpoints" / "timed.ckpt")
        window.report["checkpoint_seconds"] = time.perf_counter() - start
        shutil.rmtree(cli.folder)
    return window.report


def notebook(system: System, setup: Setup, trains: bool = True) -> dict[str, Any]:
    """Train the same networks by the usual script, with torch's own settings, or only read."""
    free_memory(setup)
    words = [w for n in ("fused", "channels_last") for w in (f"--model.{n}", "false")]
    training = bare(parsed(system, setup, words), setup.device) if trains else None
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
    images, batches = 0, 0
    forever = (batch for _ in iter(int, 1) for batch in loader)
    for L, ab in forever:
        if training is not None:
            moved = (part.to(setup.device, non_blocking=True) for part in (L, ab))
            training.step(ColorBatch(*moved, names=[]))
        batches += 1
        if batches <= setup.few(SCRIPT_WARM_UP):
            synchronize(setup.device)
            start = time.perf_counter()
            continue
        images += len(L)
        if time.perf_counter() - start >= setup.seconds(20):
            break
    synchronize(setup.device)
    elapsed = time.perf_counter() - start
    return {
        "images_per_second": images / elapsed,
        "workers": setup.workers,
        "images": images,
        "seconds": elapsed,
    }


def free_memory(setup: Setup) -> None:
    """Forget compiled functions and the memory of the part before."""
    torch.compiler.reset()
    gc.collect()
    if setup.device.type == "cuda":
        torch.cuda.empty_cache()
