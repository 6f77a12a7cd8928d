"""What a GPU makes of it: every switch of experiments/gpu/, and what is to hold on one.

    python benchmarks/gpu.py [--data FOLDER] [--minutes 8] [--seconds 4] [--json FILE] [--toy]

Trains ResNet-34 at 224 px and pix2pix's cGAN at 256 px by `fit`, fp32 and eager, with its defaults,
with all switches and with each alone, and beside it the usual notebook's script: Pillow and
scikit-image in the loader's workers, fp32. Then decoding on the device beside the CPU's cores,
color and compiled augmentation against the CPU, and a run that is stopped and resumed. Rates are of
a run's steady state, as its result.json says them. What matters most comes first; a part for which
no time is left is listed as such. Without --data it makes JPEGs of 500 x 375 and of 12 megapixels.

--toy runs all parts of it with a tiny cGAN, on whatever device there is, without the compiler.
"""

import argparse
import contextlib
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from common import command_of
from gpu_checks import check_colors, check_decoding, check_resume
from gpu_runs import CGAN, RESNET, Setup, System, fit, notebook

from lightning_colorize.benchmarking.environment import environment, write_report
from lightning_colorize.benchmarking.synthetic import write_images
from lightning_colorize.color import set_tf32
from lightning_colorize.common.errors import first_line
from lightning_colorize.data.sources.listing import list_images
from lightning_colorize.training.session import quiet

RESULT = Path(__file__).parent / "results" / "gpu.json"

# Rows that are compared with the others, and the switches that each stand alone.
FILES = "fp32, eager, from files"
DEFAULT = "default"  # precision and TF32 as `fit` chooses them
MAIN = {
    "fp32, eager": ["--data.cache", "always"],
    DEFAULT: ["--trainer.precision", "null", "--data.cache", "always"],
    "all": ["all"],
    "all, from files": ["all", "--data.cache", "never"],
    FILES: ["--data.cache", "never"],
}
SWITCHES = {
    name: [name, "--data.cache", "always"]
    for name in ("bf16", "tf32", "channels_last", "compile", "compile_data", "fused")
} | {"cache": ["cache"], "decode": ["decode", "--data.cache", "never"]}

_LINKS = 16  # names of each image


class Budget:
    """Minutes that parts share, in their order."""

    def __init__(self, minutes: float) -> None:
        self.end = time.monotonic() + 60 * minutes
        self.skipped: list[str] = []  # no time was left
        self.failed: dict[str, str] = {}  # first lines of errors
        self.seconds: dict[str, float] = {}  # of the others

    def run(self, name: str, needed: float, work: Callable[[], Any]) -> Any:
        """Do a part that takes so many seconds at most; None if they are not left, or it fails."""
        if time.monotonic() + needed > self.end:
            self.skipped.append(name)
            print(f"{name}: no time left", flush=True)
            return None
        print(f"{name} ...", end=" ", flush=True)
        start = time.monotonic()
        try:
            found = work()
        except Exception as error:  # time on a GPU is rare: the other parts are still measured
            traceback.print_exc()
            self.failed[name] = first_line(error)
            return None
        self.seconds[name] = round(time.monotonic() - start, 1)
        print(found, flush=True)
        return found


class Sizes(NamedTuple):
    """How large everything is."""

    systems: tuple[System, ...]
    seconds: float  # of each measured window
    needed: tuple[float, float]  # seconds that a run, and one that compiles, may take
    images: int  # distinct ones; each gets several names
    large: tuple[int, int, int]  # images of a camera, with its width and height


FULL = Sizes((RESNET, CGAN), 4.0, (15.0, 75.0), 256, (48, 4000, 3000))
TOY = Sizes((CGAN.toy(),), 0.0, (0.0, 0.0), 2, (2, 320, 240))


def measure(setup: Setup, sizes: Sizes, budget: Budget) -> dict[str, Any]:
    """All parts, those first without which the others say little."""
    plain, compiling = sizes.needed
    report: dict[str, Any] = {"systems": []}
    report["colors"] = budget.run("colors", plain, lambda: check_colors(setup.device))
    for system in sizes.systems:
        runs = {
            name: budget.run(
                f"{system.name}: {name}",
                compiling if "all" in name else plain,
                partial(fit, system, setup, words, sizes.seconds, defaults=name == DEFAULT),
            )
            for name, words in MAIN.items()
        }
        script = budget.run(
            f"{system.name}: notebook", plain, partial(notebook, system, setup, sizes.seconds)
        )
        report["systems"].append(system.described() | {"runs": runs, "notebook": script})
    for system, found in zip(sizes.systems, report["systems"], strict=True):
        for name, words in SWITCHES.items():
            found["runs"][name] = budget.run(
                f"{system.name}: {name}",
                compiling if name == "compile" else plain,
                partial(fit, system, setup, words, sizes.seconds),
            )
    report["decoding"] = budget.run(
        "decoding", 3 * plain, lambda: check_decoding(setup, sizes.seconds)
    )
    report["resume"] = budget.run(
        "resume", compiling, lambda: check_resume(sizes.systems[0], setup)
    )
    for found in report["systems"]:
        found["ratios"] = ratios(found["runs"], found["notebook"])
    return report


def ratios(runs: dict[str, Any], script: dict[str, Any] | None) -> dict[str, float | None]:
    """How many times as fast: each switch alone, all of them, and all beside the script."""
    rates = {name: run["images_per_second"] for name, run in runs.items() if run is not None}

    def ratio(name: str, base: float | None) -> float | None:
        return rates[name] / base if name in rates and base else None

    eager, files = rates.get("fp32, eager"), rates.get(FILES)
    theirs = None if script is None else script["images_per_second"]
    found = {name: ratio(name, files if name == "decode" else eager) for name in SWITCHES}
    return found | {
        DEFAULT: ratio(DEFAULT, eager),
        "all": ratio("all", eager),
        "default / notebook": ratio(DEFAULT, theirs),
        "all / notebook": ratio("all", theirs),
        "all, from files / notebook": ratio("all, from files", theirs),
    }


def make_images(folder: Path, sizes: Sizes) -> tuple[Path, Path]:
    """Folders of small images, each under several names, and of large ones."""
    small, large = folder / "small", folder / "large"
    large.mkdir()
    (small / "train").mkdir(parents=True)
    (small / "val").mkdir()
    width, height = (500, 375) if sizes is FULL else (64, 48)
    for path in write_images(small / "val", sizes.images, width, height):
        for number in range(_LINKS):
            (small / "train" / f"{path.stem}-{number}.jpg").hardlink_to(path)
    write_images(large, *sizes.large)
    return small, large


@contextlib.contextmanager
def uncompiled(toy: bool) -> Iterator[None]:
    """At toy size, let torch.compile return what it is given: on a CPU it takes minutes."""
    if not toy:
        yield
        return
    with mock.patch.object(torch, "compile", lambda function, **options: function):
        yield


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a folder of JPEGs instead of generated ones")
    parser.add_argument("--minutes", type=float, default=8.0, help="at most (default: 8)")
    parser.add_argument("--seconds", type=float, help="of each measured window (default: 4)")
    parser.add_argument("--json", type=Path, help="(default: benchmarks/results, at full size)")
    parser.add_argument("--toy", action="store_true", help="toy size: shows that it runs")
    args = parser.parse_args(argv)
    if not (args.toy or torch.cuda.is_available()):
        print("there is no GPU here; --toy shows that the script runs", file=sys.stderr)
        return 2
    sizes = TOY if args.toy else FULL
    if args.seconds is not None:
        sizes = sizes._replace(seconds=args.seconds)
    environment()  # raises now, not after all measurements, if the package is not installed
    budget = Budget(args.minutes)
    quiet()
    start = time.monotonic()
    # The plain script keeps torch's defaults; here, TF32 is a switch.
    set_back = set_tf32(False)
    try:
        with tempfile.TemporaryDirectory() as folder, uncompiled(args.toy):
            small, large = make_images(Path(folder), TOY if args.toy else FULL)
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            setup = Setup(args.data or small, large, Path(folder) / "runs", device, args.toy)
            report = measure(setup, sizes, budget)
            images = len(list_images(setup.photos))
    finally:
        set_back()
    report |= {
        "toy": args.toy,
        "images": images,
        "window_seconds": sizes.seconds,
        "parts_seconds": budget.seconds,
        "skipped": budget.skipped,
        "failed": budget.failed,
        "seconds": round(time.monotonic() - start, 1),
    }
    # What a toy size takes says nothing of a GPU.
    path = args.json or (None if args.toy else RESULT)
    if path is not None:
        write_report(path, command_of("gpu", argv), report)
    print(f"{report['seconds']:.0f} s in all; written to {path or 'no file'}")
    return int(bool(budget.failed))


if __name__ == "__main__":
    sys.exit(main())
