"""Compares ways of reading a JPEG. The table of data/decoding/files.py is from here.

    python benchmarks/decode.py [--data FOLDER] [--side 256] [--repeats 5] [--json FILE]

Each way reads the file and resizes its short side to `--side`, on one core. Without `--data` it
makes images of several sizes from scikit-image's "coffee" with sensor-like noise.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image
from skimage import data
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import functional as F

from lightning_colorize.data.decoding.files import read_image

SIZES = ((500, 375), (1024, 768), (1600, 1200), (4000, 3000))


def target(height: int, width: int, side: int) -> list[int]:
    """(height, width) with the short side at `side`."""
    scale = side / min(height, width)
    return [round(height * scale), round(width * scale)]


def resized(image: Tensor, side: int) -> Tensor:
    """The short side brought to `side`, as the loader does it."""
    return F.resize(image, target(*image.shape[-2:], side), antialias=True)


def pillow(path: Path, side: int) -> object:
    """The usual way; not even brought into an array."""
    image = Image.open(path).convert("RGB")
    height, width = target(image.height, image.width, side)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def pillow_draft(path: Path, side: int) -> Tensor:
    """DCT scaling by Pillow, the rest by torchvision."""
    image = Image.open(path)
    image.draft("RGB", (side, side))
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    return resized(pixels, side)


def torchvision_decode(path: Path, side: int) -> Tensor:
    """Whole decoding by torchvision."""
    encoded = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
    return resized(decode_jpeg(encoded, mode=ImageReadMode.RGB), side)


def ours(path: Path, side: int) -> Tensor:
    """What the package does."""
    return resized(read_image(path, min_side=side), side)


WAYS = {
    "pillow": pillow,
    "pillow draft": pillow_draft,
    "torchvision": torchvision_decode,
    "read_image": ours,
}


def make_images(folder: Path) -> dict[str, list[Path]]:
    """Write one JPEG of quality 90 for each size."""
    base = Image.fromarray(data.coffee())
    rng = np.random.default_rng(0)
    groups = {}
    for width, height in SIZES:
        pixels = np.asarray(base.resize((width, height), Image.Resampling.BICUBIC), np.float32)
        noisy = (pixels + rng.normal(0, 4, (height, width, 1))).clip(0, 255).astype(np.uint8)
        path = folder / f"{width}x{height}.jpg"
        Image.fromarray(noisy).save(path, quality=90)
        groups[path.stem] = [path]
    return groups


def seconds_per_image(
    way: Callable[[Path, int], object], paths: list[Path], side: int, at_least: float
) -> float:
    """Read the images over and over for `at_least` seconds of this process's CPU time.

    One thread works, so on an idle core this is the time on the clock, and what else the machine
    does matters less.
    """
    count, start = 0, time.process_time()
    while (elapsed := time.process_time() - start) < at_least or count == 0:
        for path in paths:
            way(path, side)
        count += len(paths)
    return elapsed / count


def measure(groups: dict[str, list[Path]], side: int, repeats: int) -> list[dict[str, object]]:
    """Time all ways by turns, so that a disturbance affects them equally; return medians."""
    rows = []
    for name, paths in groups.items():
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(repeats):
            for way, call in WAYS.items():
                times[way].append(seconds_per_image(call, paths, side, at_least=0.3))
        median = {way: statistics.median(values) for way, values in times.items()}
        rows.append(
            {
                "images": name,
                "bytes": sum(path.stat().st_size for path in paths) // len(paths),
                "milliseconds": {way: 1000 * value for way, value in median.items()},
                "times_pillow": {way: median["pillow"] / value for way, value in median.items()},
                "raw_seconds": times,
            }
        )
    return rows


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="measure the JPEGs of this folder instead")
    parser.add_argument("--max-images", type=int, default=100, help="of --data (default: 100)")
    parser.add_argument("--side", type=int, default=256, help="resized short side (default: 256)")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if args.data is None:
            groups = make_images(Path(folder))
        else:
            paths = sorted(args.data.rglob("*.jp*g"))[: args.max_images]
            if not paths:
                sys.exit(f"no JPEG in {args.data}")
            groups = {args.data.name: paths}
        rows = measure(groups, args.side, args.repeats)
    print(f"{'images':<12}{'KB':>6}" + "".join(f"{way:>22}" for way in WAYS))
    for row in rows:
        cells = (
            f"{row['milliseconds'][way]:>12.2f} ms {row['times_pillow'][way]:>5.1f}x"
            for way in WAYS
        )
        print(f"{row['images']:<12}{row['bytes'] // 1000:>6}" + " ".join(cells))
    if args.json is not None:
        versions = {m.__name__: m.__version__ for m in (PIL, torch, torchvision, np)}
        result = {"side": args.side, "versions": versions, "rows": rows}
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
