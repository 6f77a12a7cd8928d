"""What is to hold on a GPU: colors, gradients, two processes, a resumed run, decoding.

    python benchmarks/gpu_checks.py [--data FOLDER] [--minutes 4] [--json FILE] [--toy]

Budget, file and --toy are those of gpu.py.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from gpu_runs import CGAN, Budget, Setup, System, free_memory, run_script
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_colorize.benchmarking.stages import endless
from lightning_colorize.benchmarking.synthetic import write_images
from lightning_colorize.benchmarking.timing import measure as timed
from lightning_colorize.cli import main as command
from lightning_colorize.color import RawBatch, set_tf32, to_lab, to_rgb
from lightning_colorize.commands.fit import PROGRAM, train
from lightning_colorize.data.augmentation import Augmentation, AugmentationOptions
from lightning_colorize.data.convert import to_color_batch
from lightning_colorize.data.image_set import FileImages
from lightning_colorize.data.loader import ImageLoader
from lightning_colorize.data.module import SINGLE_PROCESS, ColorizationDataModule, Decode
from lightning_colorize.data.sources.base import GivenSplits
from lightning_colorize.data.sources.listing import list_images
from lightning_colorize.metrics import per_image
from lightning_colorize.runs.folder import LAST
from lightning_colorize.runs.result import RunResult
from lightning_colorize.training.session import session

# Squares of the decoding benchmark, in pixels, and images in a batch.
_SIDE, _BATCH = 252, 64

_STEPS = 6  # of the runs that are compared

# Small, as networks are compiled again and again; exact or not does not depend on the size.
_SYSTEM = CGAN.toy()

_EVERYTHING = ["--model.compile", "reduce-overhead", "--data.compile", "true"]


def _far(found: Tensor, expected: Tensor) -> float:
    return (found.cpu().float() - expected.cpu().float()).abs().max().item()


def _gradient(L: Tensor, ab: Tensor) -> Tensor:
    ab = ab.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(to_rgb(L, ab, clip=False).square().sum(), ab)
    return gradient * 110


def check_colors(setup: Setup) -> dict[str, float]:
    """How far the device's colors are from the CPU's, with TF32 and autocast on all around."""
    generator = torch.Generator().manual_seed(0)
    rgb = torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8, generator=generator)
    L, ab = to_lab(rgb)
    shifted = ab.flip(0)
    expected = per_image(L, shifted, ab)
    device = setup.device
    raw = RawBatch(rgb.to(device), [""] * len(rgb))
    augmentation = Augmentation(48, AugmentationOptions(rotation=5.0, grey_jitter=0.5))
    ways = ((raw._replace(rgb=rgb), False), (raw, False), (raw, not setup.toy))
    set_back = set_tf32(True)
    try:
        with torch.autocast(device.type, torch.bfloat16):
            L_there, ab_there = to_lab(raw.rgb)
            back = to_rgb(L_there, ab_there)
            measured = per_image(L.to(device), shifted.to(device), ab.to(device))
            batches = []
            for images, compiled in ways:
                torch.manual_seed(0)
                batches.append(to_color_batch(images, augmentation, compiled))
    finally:
        set_back()
    cpu, eager, compiled_batch = (torch.cat([b.L / 100, b.ab / 110], dim=1) for b in batches)
    return {
        "L": _far(L_there, L),
        "ab": _far(ab_there, ab),
        "rgb": _far(back, rgb / 255),
        "gradient": _far(_gradient(L_there, 1.3 * ab_there), _gradient(L, 1.3 * ab)),
        "ssim": _far(measured["ssim"], expected["ssim"]),
        "psnr": _far(measured["psnr"], expected["psnr"]),
        "augmented": _far(eager, cpu),
        "compiled": _far(compiled_batch, eager),
    }


def _few_images(system: System, setup: Setup) -> Setup:
    """Return a setup whose images are four batches to train on and one to validate."""
    images = setup.runs / "few"
    shutil.rmtree(images, ignore_errors=True)
    names = list_images(setup.photos)
    for split, count in (("train", 4 * system.batch_size), ("val", system.batch_size)):
        (images / split).mkdir(parents=True)
        for number in range(count):
            source = setup.photos / names[number % len(names)]
            shutil.copy(source, images / split / f"{number}.jpg")
    return setup._replace(photos=images)


def check_two_processes(system: System, setup: Setup) -> dict[str, Any]:
    """Train in two processes that share the device, as two nodes: NCCL and Lightning want two."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = str(unused.getsockname()[1])
    strategy = "--trainer.strategy"
    words = [
        *system.arguments(_few_images(system, setup), []),
        *("--trainer.num_nodes", "2", strategy, "DDPStrategy"),
        *(f"{strategy}.process_group_backend", "gloo"),
        *(f"{strategy}.find_unused_parameters", "true"),
        *("--run.experiment", "gloo", "--run.name", "two", "--trainer.max_steps", str(_STEPS)),
    ]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    shared |= {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    shared |= {"GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "lightning_colorize", "fit", *words],
            env={**os.environ, **shared, "RANK": rank, "GROUP_RANK": rank},
        )
        for rank in "01"
    ]
    try:
        codes = [process.wait(90) for process in processes]
    finally:
        for process in processes:
            process.kill()
    result = RunResult.read(setup.runs / "gloo" / "two")
    if any(codes) or result is None:
        raise RuntimeError(f"two processes: exit codes {codes}")
    return {"status": result.status, "images_seen": result.images_seen}


class _Terminate(Callback):
    """Interrupts a run in a step, as a cluster does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Send the signal."""
        if trainer.global_step + 1 == self.step:
            signal.raise_signal(signal.SIGTERM)


def check_resume(system: System, setup: Setup) -> dict[str, float]:
    """How far weights are apart after as many steps: resumed in mid-epoch, and of a second run.

    A GPU adds up in any order, so two runs of the same seed differ too.
    """
    arguments = system.arguments(_few_images(system, setup), _EVERYTHING)
    arguments += ["--run.experiment", "resume", "--trainer.max_steps", str(_STEPS)]
    last = {}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for name, stop_in in (("whole", 0), ("again", 0), ("stopped", 3)):
        free_memory(setup)
        with suppress(SystemExit), session([*arguments, "--run.name", name], PROGRAM) as cli:
            cli.trainer.callbacks.insert(0, _Terminate(stop_in))
            train(cli)
        last[name] = cli.folder / LAST
    free_memory(setup)
    if (code := command(["resume", str(cli.folder)])) != 0:
        raise RuntimeError(f"resume: exit code {code}")
    for number, handler in handlers.items():
        signal.signal(number, handler)
    states = {
        name: torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        for name, path in last.items()
    }
    apart = {
        name: max(_far(value, states["whole"][key]) for key, value in state.items())
        for name, state in states.items()
    }
    return {"resumed": apart["stopped"], "second_run": apart["again"]}


def _loader(folder: Path, setup: Setup, decode: Decode) -> ImageLoader:
    images = FileImages(folder, list_images(folder))
    data = ColorizationDataModule(
        source=GivenSplits({"train": images}),
        size=24 if setup.toy else _SIDE,
        batch_size=setup.few(min(_BATCH, len(images))),
        # With a crop, larger images are read.
        augmentation=AugmentationOptions(crop_scale=None),
        cache="never",
        decode=decode,
        num_workers=setup.workers,
        pin_memory=setup.device.type == "cuda",
        max_broken_share=1.0,
        seed=0,
    )
    # A run of one process, as far as a loader asks.
    strategy = SimpleNamespace(root_device=setup.device)
    data.trainer = SimpleNamespace(**{**vars(SINGLE_PROCESS), "strategy": strategy})  # type: ignore[assignment]
    data.setup()
    return data.loader("train")


def check_decoding(setup: Setup, folder: Path) -> dict[str, Any]:
    """Images per second of a loader up to the device, decoded by the cores and by the device."""
    ways: tuple[Decode, ...] = ("cpu", "device")
    loaders = {how: _loader(folder, setup, how) for how in ways}
    firsts = [next(endless(loader)).rgb.to(setup.device).float() for loader in loaders.values()]
    difference = (firsts[0] - firsts[1]).abs()
    files = [folder / name for name in list_images(folder)]
    row: dict[str, Any] = {
        "bytes": round(sum(file.stat().st_size for file in files) / len(files)),
        "workers": setup.workers,
        "difference": {"mean": difference.mean().item(), "max": difference.max().item()},
    }
    for how, loader in loaders.items():
        batches = endless(loader)

        def work(batches: Any = batches) -> int:
            return len(next(batches).rgb.to(setup.device, non_blocking=True))

        warm_up = setup.few(4 + loader.num_workers)
        timing = timed(work, setup.seconds(5), warm_up=warm_up, device=setup.device)
        row[how] = timing.as_dict()["images_per_second"]
    return row


def measure(setup: Setup, budget: Budget, report: dict[str, Any]) -> None:
    """All checks, the shortest first."""
    run = setup.seconds(30)
    budget.run(report, "colors", run, partial(check_colors, setup))
    budget.run(report, "two_processes", run, partial(check_two_processes, _SYSTEM, setup))
    budget.run(report, "resume", 2 * run, partial(check_resume, _SYSTEM, setup))
    large = setup.runs / "large"
    large.mkdir(parents=True, exist_ok=True)
    report["decoding"] = {}
    budget.run(report["decoding"], "small", run, partial(check_decoding, setup, setup.photos))
    write_images(large, *((2, 320, 240) if setup.toy else (24, 4000, 3000)))
    budget.run(report["decoding"], "camera", run, partial(check_decoding, setup, large))


def main(argv: list[str] | None = None) -> int:
    """Check, print, write."""
    return run_script(argv, "gpu_checks", __doc__.splitlines()[0], 4.0, measure)


if __name__ == "__main__":
    sys.exit(main())
