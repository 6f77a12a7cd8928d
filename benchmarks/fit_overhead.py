"""Overhead of `fit` over a bare PyTorch loop with the same network, loader and loss.

    python benchmarks/fit_overhead.py [--experiment quickstart] [--pairs 15] [--json FILE] [--quick]
                                      [any setting of fit]

One `lightning-colorize fit` with the callbacks and loggers of every run (W&B offline). At regular
intervals it pauses, and a bare loop takes the same number of steps in the same process and on the
same threads. A disturbance thus affects both of a pair equally. An interval runs from one logged
step to the next, so each contains one of them. Validation and checkpoints happen at the end of an
epoch and are not measured. The ratio of a pair is fit's wall-clock time over the bare loop's. On a
busy machine the ratio of CPU times, which is written too, is more reliable.

A run also saves every few minutes (`run.save_every_n_minutes`), so after each pair one save is
timed. `ratio_with_checkpoints` adds its share: with s seconds a save, and one every 300 s of
training, it is the ratio times (1 + s / 300). The bare loop saves nothing.
"""

import argparse
import copy
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from common import command_of
from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_colorize.benchmarking.environment import write_report
from lightning_colorize.benchmarking.stages import BareTraining, endless
from lightning_colorize.benchmarking.timing import summary, synchronize
from lightning_colorize.color import ColorBatch
from lightning_colorize.commands.fit import PROGRAM, train
from lightning_colorize.common.bundled import bundled
from lightning_colorize.training.callbacks import LastCheckpoint
from lightning_colorize.training.session import quiet, session

RESULTS = Path(__file__).parent / "results"

# Steps of an interval, which is also the logging interval.
STEPS, QUICK_STEPS = 20, 4

# Steps after each change of turns that are not measured: caches belong to the other one still.
SETTLE = 2


BuildBare = Callable[[Any, torch.device, bool], Any]
"""Makes a bare loop's step of a task, a device and whether the networks run in bf16."""


class Times(NamedTuple):
    """Seconds of a piece, by the clock and of this process's CPU time."""

    clock: float
    cpu: float


def now(device: torch.device) -> Times:
    """When the device has done what it was given."""
    synchronize(device)
    return Times(time.perf_counter(), time.process_time())


def since(start: Times, device: torch.device) -> Times:
    """What has gone by."""
    end = now(device)
    return Times(end.clock - start.clock, end.cpu - start.cpu)


class BareLoop:
    """The loop that a person would write: load, convert and augment, step.

    It has a task of its own, and the data, device and precision of the Trainer.
    """

    def __init__(self, task: LightningModule, trainer: Trainer, build: BuildBare) -> None:
        self.data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self.device = trainer.strategy.root_device
        self.training = build(task, self.device, trainer.precision == "bf16-mixed")
        self.batches = self._batches()

    def _batches(self) -> Iterator[ColorBatch]:
        for raw in endless(self.data.train_dataloader()):
            moved = raw._replace(rgb=raw.rgb.to(self.device, non_blocking=True))
            yield self.data.on_after_batch_transfer(moved, 0)

    def timed(self, steps: int) -> Times:
        """Take some steps, of which the first ones are not measured."""
        for _ in range(SETTLE):
            self.training.step(next(self.batches))
        start = now(self.device)
        for _ in range(steps):
            self.training.step(next(self.batches))
        return since(start, self.device)


class Interleave(Callback):
    """Times pieces of `fit`, and after each as many steps of a bare loop, and a checkpoint."""

    def __init__(self, task: LightningModule, steps: int, build: BuildBare) -> None:
        self.task = task
        self.steps = steps
        self.build = build
        self.fit: list[Times] = []
        self.bare: list[Times] = []
        self.saves: list[Times] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Build the bare loop and run it in."""
        self.loop = BareLoop(self.task, trainer, self.build)
        self.loop.timed(SETTLE)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        (self.last,) = [one for one in callbacks if isinstance(one, LastCheckpoint)]

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Read the clock at the same point of the loop; switch loops after an interval."""
        step = batch_idx % (SETTLE + self.steps)
        if step == 0 and batch_idx:
            self.fit.append(since(self.start, self.loop.device))
            self.bare.append(self.loop.timed(self.steps))
            start = now(self.loop.device)
            self.last.save(trainer)
            self.saves.append(since(start, self.loop.device))
        if step == SETTLE:
            self.start = now(self.loop.device)


def words(args: argparse.Namespace, folder: str, steps: int) -> list[str]:
    """The command line of a `fit` whose only epoch has as many batches as are needed."""
    images = args.batch_size * (args.pairs * (steps + SETTLE) + 1)
    given = {
        "config": bundled("experiments") / f"{args.experiment}.yaml",
        "data.source": "lightning_colorize.data.sources.EmbeddedSource",
        "data.source.windows": images,
        "data.batch_size": args.batch_size,
        "trainer.log_every_n_steps": steps,
        "trainer.max_epochs": 1,
        "trainer.max_time": "null",
        "trainer.check_val_every_n_epoch": 1,
        "run.root": folder,
        "run.test": "false",
        "run.loggers.wandb": "offline",
    }
    if args.quick:
        given |= {"data.size": 32, "run.loggers.wandb": "disabled"}
    return [word for name, value in given.items() for word in (f"--{name}", str(value))]


def main(
    argv: list[str] | None = None,
    script: str = "fit_overhead",
    experiment: str = "quickstart",
    build: BuildBare = BareTraining,
) -> None:
    """Measure, print, write; `script` names the results, `experiment` is the default."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="Other words are settings of fit."
    )
    parser.add_argument("--experiment", default=experiment, help=f"(default: {experiment})")
    parser.add_argument("--batch-size", type=int, default=16, help="(default: 16)")
    parser.add_argument("--pairs", type=int, default=15, help="(default: 15)")
    parser.add_argument(
        "--json",
        type=Path,
        default=RESULTS / f"{script}.json",
        help="(default: benchmarks/results)",
    )
    parser.add_argument("--quick", action="store_true", help="small images, for tests")
    args, more = parser.parse_known_args(argv)
    quiet()
    steps = QUICK_STEPS if args.quick else STEPS
    with (
        tempfile.TemporaryDirectory() as folder,
        session([*words(args, folder, steps), *more], PROGRAM) as cli,
    ):
        callback = Interleave(copy.deepcopy(cli.model), steps, build)
        cli.trainer.callbacks.append(callback)
        train(cli)
    pairs = list(zip(callback.fit, callback.bare, strict=True))
    saves, minutes = [save.clock for save in callback.saves], callback.last.every_n_minutes
    ratios = [fit.clock / bare.clock for fit, bare in pairs]
    shares = [seconds / (60 * minutes) for seconds in saves]
    report = {
        "experiment": args.experiment,
        "batch_size": args.batch_size,
        "size": cli.datamodule.size,
        "precision": str(cli.trainer.precision),
        "steps": steps,
        "pairs": len(pairs),
        "ratio": summary(ratios),
        "ratio_with_checkpoints": summary(
            [ratio * (1 + share) for ratio, share in zip(ratios, shares, strict=True)]
        ),
        "ratio_of_cpu_time": summary([fit.cpu / bare.cpu for fit, bare in pairs]),
        "milliseconds_per_step": {
            "fit": 1000 * statistics.median(fit.clock for fit, _ in pairs) / steps,
            "bare": 1000 * statistics.median(bare.clock for _, bare in pairs) / steps,
            "difference": summary([1000 * (f.clock - b.clock) / steps for f, b in pairs]),
        },
        "save_every_n_minutes": minutes,
        "seconds_per_save": summary(saves),
        "raw_seconds": {
            "fit": [fit.clock for fit, _ in pairs],
            "bare": [bare.clock for _, bare in pairs],
            "fit_cpu": [fit.cpu for fit, _ in pairs],
            "bare_cpu": [bare.cpu for _, bare in pairs],
            "saves": saves,
        },
    }
    for name in ("ratio", "ratio_with_checkpoints", "ratio_of_cpu_time", "milliseconds_per_step"):
        print(name, report[name])
    write_report(args.json, command_of(script, argv), report)


if __name__ == "__main__":
    main()
