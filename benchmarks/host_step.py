"""What the host does in a training step, networks apart: the least time between two steps on a GPU.

    python benchmarks/host_step.py [--before FOLDER] [--rounds 5] [--json FILE] [--quick]

Trains ResNet-34 and pix2pix's cGAN by `fit` on the CPU, with the callbacks and loggers of every
run. Their networks are stubs: they have as many parameter tensors, of one number each, and one
autograd node. Images are of 16 px, so an operator takes about as long as its launch. What is left
is the work of the host: loop, callbacks, loading, drawing, losses, optimizers, moving average.
Steps in which metrics are logged are left out. A step is CPU time of the training thread, which a
busy machine disturbs less than the wall-clock time.

FOLDER is a checkout of another commit, which is measured by turns. The parts are from a second run
with Lightning's profiler, which makes it slower; a part includes those that it calls.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import command_of
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.profilers import SimpleProfiler
from torch import Tensor, nn

from lightning_colorize.benchmarking.environment import write_report
from lightning_colorize.benchmarking.timing import summary
from lightning_colorize.commands.fit import PROGRAM
from lightning_colorize.common.bundled import bundled
from lightning_colorize.training.session import quiet, session

RESULT = Path(__file__).parent / "results" / "host_step.json"

SYSTEMS = {"ResNet-34": ("resnet34_upsample", 224, 64), "pix2pix cGAN": ("cgan_pix2pix", 256, 32)}
"""Experiment, size of the networks and batch size."""

_SIDE = 16  # pixels of the images

# Steps of a run; the first ones are not measured.
STEPS, QUICK_STEPS, WARM_UP = 300, 12, 10

# Names of Lightning's profiler, without the brackets in front.
PARTS = {
    "loading": "train_dataloader_next",
    "augmentation and LAB": "on_after_batch_transfer",
    "task and optimizer": "run_training_batch",
    "callbacks": "Callback]",
}


class Stub(torch.autograd.Function):
    """A prediction that depends on all inputs and parameters, all of whose gradients are 0."""

    @staticmethod
    def forward(ctx: Any, channels: int, x: Tensor, *tensors: Tensor) -> Tensor:  # type: ignore[override]
        """Return zeros: (B, channels, H, W)."""
        ctx.save_for_backward(x, *tensors)
        return x.new_zeros(len(x), channels, *x.shape[-2:])

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> Any:  # type: ignore[override]
        """Return zeros."""
        needed = zip(ctx.saved_tensors, ctx.needs_input_grad[1:], strict=True)
        return None, *(torch.zeros_like(t) if needs else None for t, needs in needed)


def stub(task: Any) -> None:
    """Replace the networks of a task."""
    for parameter in task.parameters():
        parameter.data = parameter.data.new_zeros(1)

    def replace(network: nn.Module, channels: int) -> None:
        parameters = list(network.parameters())

        def forward(L: Tensor, other: Any = None) -> Tensor:
            inputs = (L, other) if isinstance(other, Tensor) else (L,)
            result: Tensor = Stub.apply(channels, *inputs, *parameters)  # type: ignore[no-untyped-call]
            return result

        network.forward = forward  # type: ignore[method-assign]

    replace(task.net, 2)
    if hasattr(task, "discriminator"):
        replace(task.discriminator, 1)


class Clock(Callback):
    """Records when each batch starts."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Read the thread's clock."""
        self.times.append(time.thread_time())


def run(experiment: str, size: int, batch_size: int, steps: int, parts: bool) -> dict[str, float]:
    """Return the median microseconds of a step, or of its parts."""
    with tempfile.TemporaryDirectory() as folder:
        given = {
            "config": bundled("experiments") / f"{experiment}.yaml",
            "trainer.accelerator": "cpu",
            "trainer.max_epochs": 1,
            "trainer.log_every_n_steps": 10 * steps,
            "data.source": "lightning_colorize.data.sources.EmbeddedSource",
            "data.source.windows": steps * batch_size,
            "data.size": size,
            "data.batch_size": batch_size,
            "data.cache": "device",
            "model.fused": "true",
            "run.root": folder,
            "run.test": "false",
            "run.loggers.wandb": "disabled",
            **({"model.encoder.pretrained": "false"} if "resnet" in experiment else {}),
        }
        words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        with session([*words, "--trainer.limit_val_batches", "0"], PROGRAM) as cli:
            stub(cli.model)
            data = cli.datamodule
            data.size = data.augmentation.size = _SIDE
            clock, profiler = Clock(), SimpleProfiler(dirpath=folder, filename="profile")
            cli.trainer.callbacks.append(clock)
            if parts:
                cli.trainer.profiler = profiler
            cli.trainer.fit(cli.model, cli.datamodule)
    if not parts:
        ends = zip(clock.times[WARM_UP:], clock.times[WARM_UP + 1 :], strict=False)
        return {"step": 1e6 * statistics.median(end - start for start, end in ends)}
    found = dict.fromkeys(PARTS, 0.0)
    for action, durations in profiler.recorded_durations.items():
        for part, name in PARTS.items():
            if name in action and len(durations) >= steps - 1:
                found[part] += 1e6 * statistics.median(durations)
    return found


def measure(steps: int) -> dict[str, dict[str, float]]:
    """Return the microseconds of each system."""
    return {
        name: run(*system, steps, parts=False) | run(*system, steps, parts=True)
        for name, system in SYSTEMS.items()
    }


def measured_in(checkout: Path, steps: int) -> dict[str, dict[str, float]]:
    """Return what this script measures with the package of a checkout."""
    found = subprocess.run(
        [sys.executable, __file__, "--child", str(steps)],
        env=os.environ | {"PYTHONPATH": str(checkout.absolute()), "OMP_NUM_THREADS": "1"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    result: dict[str, dict[str, float]] = json.loads(found.stdout.splitlines()[-1])
    return result


def main(argv: list[str] | None = None) -> None:
    """Measure, print, write."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="a checkout of another commit")
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    parser.add_argument("--json", type=Path, default=RESULT, help="(default: benchmarks/results)")
    parser.add_argument("--quick", action="store_true", help="few steps, for tests")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    quiet()
    if args.child:
        print(json.dumps(measure(args.child)))
        return
    checkouts = {"after": Path(__file__).parent.parent}
    if args.before is not None:
        checkouts = {"before": args.before} | checkouts
    steps = QUICK_STEPS if args.quick else STEPS
    rounds = [
        {name: measured_in(folder, steps) for name, folder in checkouts.items()}
        for _ in range(1 if args.quick else args.rounds)
    ]
    report = {
        "steps": steps,
        "microseconds": {
            system: {
                part: {name: summary([r[name][system][part] for r in rounds]) for name in checkouts}
                for part in ("step", *PARTS)
            }
            for system in SYSTEMS
        },
    }
    for system, parts in report["microseconds"].items():  # type: ignore[attr-defined]
        for part, found in parts.items():
            print(system, part, {name: round(values["median"]) for name, values in found.items()})
    write_report(args.json, command_of("host_step", argv), report)


if __name__ == "__main__":
    main()
