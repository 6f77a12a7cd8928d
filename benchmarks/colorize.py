"""`colorize` against a plain loop, against its slowest stage, and its memory.

    python benchmarks/colorize.py PHOTOS [--images 500]

Resizes images of PHOTOS to 2 megapixels and to 0.06, as JPEG. The plain loop is what a notebook
does: open, LAB by scikit-image, the network at batch 1, LAB back, save; with the same network,
format and quality. Both, and each stage of `colorize` alone, color the same images in alternation.
Results go to benchmarks/results/colorize.json.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import command_of
from PIL import Image
from skimage.color import lab2rgb, rgb2lab
from torch.nn import functional as F

from lightning_colorize import Colorizer
from lightning_colorize.benchmarking.environment import write_report
from lightning_colorize.common.processes import cores, keep_freed_memory
from lightning_colorize.data.decoding.files import read_bytes
from lightning_colorize.data.decoding.photograph import Photograph, read_photograph
from lightning_colorize.inference import Job, Options, colorize_files
from lightning_colorize.inference.writing import write_photograph
from lightning_colorize.models.image import add_colors, network_input, predict

RESULT = Path(__file__).parent / "results" / "colorize.json"
ROUNDS = 3
STAGES = ("read", "predict", "write")
# Prints the most memory that colorizing a file has taken, in kB.
MEMORY = """
import sys
from lightning_colorize.cli import main
main(["colorize", sys.argv[1], sys.argv[2], "--quiet", "--device", "cpu"])
print(*[line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")])
"""


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photos", type=Path, help="folder of photographs")
    parser.add_argument("--images", type=int, default=500)
    args = parser.parse_args()
    keep_freed_memory()
    model = Colorizer.from_pretrained()
    report: dict[str, Any] = {"images": args.images, "workers": cores()}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        large = write_images(args.photos, root / "large", args.images, (1632, 1224))
        report["large"] = compare(model, large, root / "out_large")
        small = write_images(args.photos, root / "small", args.images, (288, 216))
        report["small"] = compare(model, small, root / "out_small")
        report["memory_mib"] = measure_memory(args.photos, root)
    write_report(RESULT, command_of("colorize", sys.argv[1:]), report)
    print(report)


def write_images(photos: Path, folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """Write photographs at one size; return the files."""
    folder.mkdir()
    files = sorted(file for file in photos.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg"))
    written = []
    for index in range(count):
        with Image.open(files[index * len(files) // count]) as image:
            path = folder / f"{index:04d}.jpg"
            image.convert("RGB").resize(size).save(path, quality=90)
            written.append(path)
    return written


def compare(model: Colorizer, files: list[Path], out: Path) -> dict[str, Any]:
    """Return images per second of both and of each stage by round, and medians of ratios."""
    # The plain loop and the stages color a part of them.
    part = files[:: max(1, len(files) // 100)]
    out.mkdir(exist_ok=True)
    rounds = []
    for number in range(ROUNDS):
        jobs = [Job(file, out / f"{number}" / file.name) for file in files]
        options = Options(workers=cores())
        records = colorize_files(model.model, jobs, options)
        rates = {"colorize": rate(len(files), partial(list, records))}
        rates["plain"] = rate(len(part), partial(color_plainly, model, part, out))
        rounds.append(rates | measure_stages(model, part, out))
    slowest = [min(rates[stage] for stage in STAGES) for rates in rounds]
    return {
        "images_per_second": {name: [rates[name] for rates in rounds] for name in rounds[0]},
        "ratio": statistics.median(rates["colorize"] / rates["plain"] for rates in rounds),
        "of_slowest_stage": statistics.median(
            rates["colorize"] / most for rates, most in zip(rounds, slowest, strict=True)
        ),
    }


def rate(count: int, work: Callable[[], object]) -> float:
    """Return images per second."""
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


@torch.inference_mode()
def color_plainly(model: Colorizer, files: list[Path], out: Path) -> None:
    """Color files one by one, as a notebook does."""
    for file in files:
        rgb = np.asarray(Image.open(file).convert("RGB"))
        L = rgb2lab(rgb)[..., :1]
        seen = torch.from_numpy(L).float().permute(2, 0, 1)[None]
        scale = model.size / min(seen.shape[-2:])
        small = F.interpolate(seen, scale_factor=scale, mode="bilinear", antialias=True)
        ab = F.interpolate(model.predict(small), rgb.shape[:2], mode="bilinear")
        lab = np.concatenate([L, ab[0].permute(1, 2, 0).numpy()], axis=2)
        colored = (lab2rgb(lab) * 255).round().astype(np.uint8)
        Image.fromarray(colored).save(out / file.name, quality=95, subsampling=0)


def measure_stages(model: Colorizer, files: list[Path], out: Path) -> dict[str, float]:
    """Return images per second of each stage alone, in as many threads as `colorize` has."""
    photographs: list[Photograph] = []
    seen: list[torch.Tensor] = []
    colors: list[torch.Tensor] = []

    def read(file: Path) -> None:
        photograph = read_photograph(read_bytes(file), file)
        photographs.append(photograph)
        seen.append(network_input(photograph.rgb, model.size))

    def color() -> None:
        for start in range(0, len(seen), 8):
            colors.extend(predict(model.model, seen[start : start + 8]).colors())

    def write(index: int) -> None:
        rgb = add_colors(photographs[index].rgb, colors[index])
        write_photograph(Photograph(rgb), out / f"{index}.jpg")

    with ThreadPoolExecutor(cores(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        rates = {"read": rate(len(files), lambda: list(pool.map(read, files)))}
        rates["predict"] = rate(len(files), color)
        rates["write"] = rate(len(files), lambda: list(pool.map(write, range(len(files)))))
    return rates


def measure_memory(photos: Path, root: Path) -> dict[str, float]:
    """Return the most memory of a process that colors an image, by the image's size."""
    memory = {}
    for size in ((64, 64), (6000, 4000)):
        (file,) = write_images(photos, root / f"{size[0]}", 1, size)
        words = [sys.executable, "-c", MEMORY, str(file), str(root / f"{size[0]}.jpg")]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        memory[f"{size[0]} x {size[1]}"] = round(int(done.stdout.split()[-1]) / 1024)
    return memory


if __name__ == "__main__":
    main()
