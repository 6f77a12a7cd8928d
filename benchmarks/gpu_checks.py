"""What is to hold on a device, for benchmarks/gpu.py: colors, decoded pixels, a resumed run."""

import shutil
import signal
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from gpu_runs import Setup, System
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_colorize.benchmarking.stages import endless
from lightning_colorize.benchmarking.timing import measure
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
from lightning_colorize.training.session import session

# Squares of the decoding benchmark, in pixels, and images in a batch.
_SIDE, _BATCH = 252, 64


def _far(found: Tensor, expected: Tensor) -> float:
    return (found.cpu().float() - expected.cpu().float()).abs().max().item()


def _gradient(L: Tensor, ab: Tensor) -> Tensor:
    ab = ab.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(to_rgb(L, ab, clip=False).square().sum(), ab)
    return gradient * 110


def check_colors(device: torch.device) -> dict[str, float]:
    """How far the device's colors are from the CPU's, with TF32 and autocast on all around."""
    generator = torch.Generator().manual_seed(0)
    rgb = torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8, generator=generator)
    L, ab = to_lab(rgb)
    shifted = ab.flip(0)
    expected = per_image(L, shifted, ab)
    raw = RawBatch(rgb.to(device), [""] * len(rgb))
    augmentation = Augmentation(48, AugmentationOptions(rotation=5.0, grey_jitter=0.5))
    set_back = set_tf32(True)
    try:
        with torch.autocast(device.type, torch.bfloat16):
            L_there, ab_there = to_lab(raw.rgb)
            back = to_rgb(L_there, ab_there)
            measured = per_image(L.to(device), shifted.to(device), ab.to(device))
            batches = []
            for images, compiled in ((raw._replace(rgb=rgb), False), (raw, False), (raw, True)):
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


def _on(device: torch.device) -> SimpleNamespace:
    """Return a run of one process on a device, as far as a loader asks."""
    return SimpleNamespace(
        **{**vars(SINGLE_PROCESS), "strategy": SimpleNamespace(root_device=device)}
    )


def _loader(folder: Path, setup: Setup, decode: Decode) -> ImageLoader:
    images = FileImages(folder, list_images(folder))
    side, batch_size = (24, 2) if setup.toy else (_SIDE, min(_BATCH, len(images)))
    data = ColorizationDataModule(
        source=GivenSplits({"train": images}),
        size=side,
        batch_size=batch_size,
        # With a crop, larger images are read.
        augmentation=AugmentationOptions(crop_scale=None),
        cache="never",
        decode=decode,
        num_workers=setup.workers,
        pin_memory=setup.device.type == "cuda",
        max_broken_share=1.0,
        seed=0,
    )
    data.trainer = _on(setup.device)  # type: ignore[assignment]
    data.setup()
    return data.loader("train")


def check_decoding(setup: Setup, seconds: float) -> list[dict[str, Any]]:
    """Images per second of a loader up to the device, decoded by the cores and by the device."""
    rows = []
    for folder in (setup.photos, setup.large):
        loaders: dict[Decode, ImageLoader] = {
            how: _loader(folder, setup, how) for how in ("cpu", "device")
        }
        firsts = [next(endless(loader)).rgb.to(setup.device).float() for loader in loaders.values()]
        difference = (firsts[0] - firsts[1]).abs()
        row: dict[str, Any] = {
            "images": "camera" if folder == setup.large else "small",
            "bytes": round(sum(p.stat().st_size for p in folder.rglob("*.jp*g")) / _count(folder)),
            "workers": setup.workers,
            "difference": {"mean": difference.mean().item(), "max": difference.max().item()},
        }
        for how, loader in loaders.items():
            batches = endless(loader)

            def work(batches: Any = batches) -> int:
                return len(next(batches).rgb.to(setup.device, non_blocking=True))

            timing = measure(
                work,
                seconds,
                warm_up=1 if setup.toy else 4 + loader.num_workers,
                device=setup.device,
            )
            row[how] = timing.as_dict()["images_per_second"]
        rows.append(row)
    return rows


def _count(folder: Path) -> int:
    return len(list_images(folder))


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
    images = setup.runs / "few"
    shutil.rmtree(images, ignore_errors=True)
    for split, count in (("train", 4 * system.batch_size), ("val", system.batch_size)):
        (images / split).mkdir(parents=True)
        names = list_images(setup.photos)
        for number in range(count):
            source = setup.photos / names[number % len(names)]
            shutil.copy(source, images / split / f"{number}.jpg")
    few = setup._replace(photos=images)
    last = {}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for name, stop_in in (("whole", 0), ("again", 0), ("stopped", 3)):
        torch.compiler.reset()
        words = [*system.arguments(few, ["all"]), "--run.experiment", "resume", "--run.name", name]
        with suppress(SystemExit), session([*words, "--trainer.max_steps", "6"], PROGRAM) as cli:
            cli.trainer.callbacks.insert(0, _Terminate(stop_in))
            train(cli)
        last[name] = cli.folder / LAST
    torch.compiler.reset()
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
