"""What is to hold on a GPU: colors, gradients, two processes, a resumed run, decoding.

python benchmarks/gpu_checks.py [--data FOLDER] [--minutes 4] [--json FILE] [--toy]
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gpu_runs import CGAN, Budget, Setup, free_memory, run_script
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import LambdaCallback
from torch import Tensor

from lightning_colorize.benchmarking.stages import endless
from lightning_colorize.benchmarking.synthetic import write_images
from lightning_colorize.benchmarking.timing import measure as timed
from lightning_colorize.cli import main as command
from lightning_colorize.color import RawBatch, set_tf32, to_lab, to_rgb
from lightning_colorize.commands.fit import PROGRAM, train
from lightning_colorize.data.augmentation import Augmentation, AugmentationOptions
from lightning_colorize.data.convert import to_color_batch
from lightning_colorize.data.sources.listing import list_images
from lightning_colorize.metrics import per_image
from lightning_colorize.runs.folder import LAST
from lightning_colorize.runs.result import RunResult
from lightning_colorize.training.session import session

# Small: networks are compiled again and again, and whether a run is exact depends on no size.
_SYSTEM = CGAN.toy()


def _far(found: Tensor, expected: Tensor) -> float:
    return (found.cpu().float() - expected.cpu().float()).abs().max().item()


def _gradient(L: Tensor, ab: Tensor) -> Tensor:
    ab = ab.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(to_rgb(L, ab, clip=False).square().sum(), ab)
    return gradient * 110


def check_colors(setup: Setup) -> dict[str, float]:
    """How far the device's colors are from the CPU's, with TF32 and autocast on all around."""
    device = setup.device
    generator = torch.Generator().manual_seed(0)
    rgb = torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8, generator=generator)
    L, ab = to_lab(rgb)
    expected = per_image(L, ab.flip(0), ab)
    augmentation = Augmentation(48, AugmentationOptions(rotation=5.0, grey_jitter=0.5))
    set_back, batches = set_tf32(True), []
    try:
        with torch.autocast(device.type, torch.bfloat16):
            L_there, ab_there = to_lab(rgb.to(device))
            back = to_rgb(L_there, ab_there)
            measured = per_image(L.to(device), ab.flip(0).to(device), ab.to(device))
            for where, compiled in (("cpu", False), (device, False), (device, not setup.toy)):
                torch.manual_seed(0)
                raw = RawBatch(rgb.to(where), [""] * len(rgb))
                batches.append(to_color_batch(raw, augmentation, compiled))
    finally:
        set_back()
    cpu, eager, compiled_batch = (torch.cat([b.L / 100, b.ab / 110], dim=1) for b in batches)
    return {
        "L": _far(L_there, L),
        "ab": _far(ab_there, ab),
        "rgb": _far(back, rgb / 255),
        "gradient": _far(_gradient(L_there, 1.3 * ab_there), _gradient(L, 1.3 * ab)),
        **{name: _far(measured[name], expected[name]) for name in ("ssim", "psnr")},
        "augmented": _far(eager, cpu),
        "compiled": _far(compiled_batch, eager),
    }


def _arguments(setup: Setup, experiment: str, *words: str) -> list[str]:
    """Return the words of a run of six steps, on four batches of images."""
    images = setup.runs / "few"
    shutil.rmtree(images, ignore_errors=True)
    names, size = list_images(setup.photos), _SYSTEM.batch_size
    for split, count in (("train", 4 * size), ("val", size)):
        (images / split).mkdir(parents=True)
        for number, name in enumerate(names[:: max(1, len(names) // count)][:count]):
            shutil.copy(setup.photos / name, images / split / f"{number}.jpg")
    given = _SYSTEM.arguments(setup._replace(photos=images), [*words])
    return [*given, f"--run.experiment={experiment}", "--trainer.max_steps=6"]


def check_two_processes(setup: Setup) -> dict[str, Any]:
    """Train in two processes that share the device, as two nodes: on one, each needs its own."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = str(unused.getsockname()[1])
    words = ["--trainer.num_nodes=2", "--run.name=two", "--trainer.strategy=DDPStrategy"]
    words += ["--trainer.strategy.process_group_backend=gloo"]
    words = _arguments(setup, "gloo", *words)
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
    shared |= {"TORCHELASTIC_RUN_ID": "none", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "lightning_colorize", "fit", *words],
            env={**os.environ, **shared, "RANK": rank, "GROUP_RANK": rank},
        )
        for rank in "01"
    ]
    end, codes = time.monotonic() + 90, [None]
    while None in codes and not any(codes) and time.monotonic() < end:
        time.sleep(0.1)
        codes = [process.poll() for process in processes]
    for process in processes:
        process.kill()
        process.wait()
    result = RunResult.read(setup.runs / "gloo" / "two")
    if codes != [0, 0] or result is None:
        raise RuntimeError(f"two processes: exit codes {codes}")
    return {"status": result.status, "images_seen": result.images_seen}


def _terminate(trainer: Trainer, *_: object, step: int) -> None:
    if trainer.global_step + 1 == step:
        signal.raise_signal(signal.SIGTERM)


def check_resume(setup: Setup) -> dict[str, float]:
    """How far weights are apart after as many steps: resumed in mid-epoch, and of a second run.

    A GPU adds up in any order, so two runs of the same seed differ too.
    """
    words = ("--model.compile=reduce-overhead", "--data.compile=true")
    arguments, last = _arguments(setup, "resume", *words), {}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for name, stop_in in (("whole", 0), ("again", 0), ("stopped", 3)):
        free_memory()
        with suppress(SystemExit), session([*arguments, f"--run.name={name}"], PROGRAM) as cli:
            # As a cluster does, in a step.
            interrupt = LambdaCallback(on_train_batch_start=partial(_terminate, step=stop_in))
            cli.trainer.callbacks.insert(0, interrupt)
            train(cli)
        last[name] = cli.folder / LAST
    free_memory()
    assert command(["resume", str(cli.folder)]) == 0
    for number, handler in handlers.items():
        signal.signal(number, handler)

    def apart(name: str) -> float:
        one, whole = (torch.load(last[n], "cpu", weights_only=True) for n in (name, "whole"))
        pairs = ((one["state_dict"][key], value) for key, value in whole["state_dict"].items())
        return max(_far(*pair) for pair in pairs)

    return {"resumed": apart("stopped"), "second_run": apart("again")}


def check_decoding(setup: Setup, folder: Path) -> dict[str, Any]:
    """Images per second of a loader up to the device, decoded by the cores and by the device."""
    size, batch_size = (32, 2) if setup.toy else (256, min(64, len(list_images(folder)) // 2))
    system = replace(_SYSTEM, size=size, batch_size=batch_size)
    row, firsts = {}, []
    for how in ("cpu", "device"):
        # With a crop, larger images are read.
        words = [
            "--data.cache=never",
            f"--data.decode={how}",
            "--data.augmentation.crop_scale=null",
        ]
        with session(system.arguments(setup._replace(photos=folder), words), PROGRAM) as cli:
            cli.datamodule.trainer = cli.trainer
            cli.datamodule.setup()
            loader = cli.datamodule.loader("train")
        batches = endless(loader)

        def work(batches: Any = batches) -> int:
            return len(next(batches).rgb.to(setup.device, non_blocking=True))

        firsts.append(next(batches).rgb.to(setup.device).float())
        warm_up = setup.few(4 + loader.num_workers)
        timing = timed(work, setup.seconds(5), warm_up=warm_up, device=setup.device)
        row[how] = timing.as_dict()["images_per_second"]
        loader.close()
    return row | {"mean_difference": (firsts[0] - firsts[1]).abs().mean().item()}


def measure(setup: Setup, budget: Budget) -> None:
    """All checks, the shortest first."""
    run, report = setup.seconds(30), budget.report
    budget.run(report, "colors", run, partial(check_colors, setup))
    budget.run(report, "two_processes", run, partial(check_two_processes, setup))
    budget.run(report, "resume", 2 * run, partial(check_resume, setup))
    rows = report["decoding"] = {}
    budget.run(rows, "decoding: small", run, partial(check_decoding, setup, setup.photos))
    large = setup.runs / "large"
    large.mkdir(parents=True, exist_ok=True)
    write_images(large, *((2, 320, 240) if setup.toy else (24, 4000, 3000)))
    budget.run(rows, "decoding: camera", run, partial(check_decoding, setup, large))


def main(argv: list[str] | None = None) -> int:
    """Check, print, write."""
    return run_script(argv, "gpu_checks", __doc__.splitlines()[0], 4.0, measure)


if __name__ == "__main__":
    sys.exit(main())
