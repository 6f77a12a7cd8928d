"""The package's loader compared with the usual notebook's: images per second of one core.

    python benchmarks/loader.py [--pairs 15] [--size 256] [--json FILE] [--quick]

The notebook opens, converts and resizes with Pillow and converts to LAB with scikit-image, all in
`__getitem__`. Ours ships uint8 and converts to LAB on the device. Both run without workers, on one
thread, and read the same JPEGs by turns. Decoding and resizing in a bare loop shows the overhead of
the loader. The times are CPU times of the process, which other processes hardly affect; wall-clock
times are written too.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import command_of
from PIL import Image
from skimage.color import rgb2lab
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from lightning_colorize.benchmarking.environment import write_report
from lightning_colorize.benchmarking.synthetic import write_images
from lightning_colorize.benchmarking.timing import Timing, summary
from lightning_colorize.color import to_lab
from lightning_colorize.data.convert import to_color_batch
from lightning_colorize.data.dataset import crop_square, resize_short_side
from lightning_colorize.data.decoding.files import read_image
from lightning_colorize.data.loader import ImageLoader
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.data.sources import FolderSource

RESULT = Path(__file__).parent / "results" / "loader.json"

Sizes = tuple[tuple[int, int, int], ...]

# (width, height, images): what ImageNet and Pascal VOC have, and a camera's 12 megapixels.
SIZES = ((500, 375, 64), (4000, 3000, 6))
QUICK_SIZES = ((500, 375, 4), (800, 600, 2))

BATCH_SIZE = 32


class NotebookDataset(Dataset[tuple[Tensor, Tensor]]):
    """The data set of the usual notebook.

    Args:
        paths: The images.
        size: Height and width: the short side is resized to it, then the center is cropped.
        mode: Filter; most notebooks name bicubic, torchvision's default is bilinear.
    """

    def __init__(self, paths: list[Path], size: int, mode: InterpolationMode) -> None:
        self.paths = paths
        self.square = transforms.Compose(
            [transforms.Resize(size, mode), transforms.CenterCrop(size)]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def pixels(self, index: int) -> np.ndarray:
        """Return the resized image: (size, size, 3), uint8."""
        return np.array(self.square(Image.open(self.paths[index]).convert("RGB")))

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return L in [0, 100], (1, size, size), and ab, (2, size, size)."""
        lab = rgb2lab(self.pixels(index)).astype("float32")
        channels = transforms.ToTensor()(lab)
        return channels[[0]], channels[[1, 2]]


def our_loader(folder: Path, size: int) -> ImageLoader:
    """Return the data module's loader, without cache and workers."""
    data = ColorizationDataModule(
        root=str(folder),
        source=FolderSource(splits={"val": 1.0}),
        size=size,
        batch_size=BATCH_SIZE,
        cache="never",
        num_workers=0,
        pin_memory=False,
    )
    data.setup()
    return data.loader("val")


def read_all(loader: DataLoader | ImageLoader) -> None:
    """Read all batches."""
    for _ in loader:
        pass


def decode_and_resize(paths: list[Path], size: int) -> None:
    """Decode and resize in a bare loop, the minimum of any loader."""
    for path in paths:
        crop_square(resize_short_side(read_image(path, size), size), size)


def read_and_convert(loader: ImageLoader) -> None:
    """Read all batches and convert them to (L, ab) on this core."""
    for raw in loader:
        to_color_batch(raw)


def interleaved(
    ways: dict[str, Callable[[], None]], images: int, pairs: int
) -> tuple[dict[str, Timing], dict[str, Timing]]:
    """Time all ways by turns, so that a disturbance affects them equally; odd rounds backwards.

    Returns:
        CPU times and wall-clock times.
    """
    cpu = {name: Timing() for name in ways}
    clock = {name: Timing() for name in ways}
    for work in ways.values():
        work()
    for pair in range(pairs):
        for name in sorted(ways, reverse=bool(pair % 2)):
            start, cpu_start = time.perf_counter(), time.process_time()
            ways[name]()
            cpu[name].add(images, time.process_time() - cpu_start)
            clock[name].add(images, time.perf_counter() - start)
    return cpu, clock


def ratio(timings: dict[str, Timing], ours: str, theirs: str) -> dict[str, float]:
    """Return the speed ratio of the pairs: median and range."""
    pairs = zip(timings[ours].rates, timings[theirs].rates, strict=True)
    return summary([a / b for a, b in pairs])


def differences(loader: ImageLoader, notebook: NotebookDataset) -> dict[str, float]:
    """Return the differences of the two ways.

    `lab_max`: of the LAB conversion from the same pixels, in LAB units. `pixels_mean` and
    `pixels_max`: of decoding and resizing, in 8-bit steps.
    """
    lab, pixels = [], []
    shipped = torch.cat([raw.rgb for raw in loader])
    for index in range(len(notebook)):
        theirs = notebook.pixels(index)
        same = torch.from_numpy(theirs).permute(2, 0, 1)
        L, ab = to_lab(same.unsqueeze(0))
        expected = torch.cat(notebook[index])
        lab.append((torch.cat([L, ab], dim=1)[0] - expected).abs().max().item())
        pixels.append((shipped[index].float() - same.float()).abs())
    return {
        "lab_max": max(lab),
        "pixels_mean": torch.stack(pixels).mean().item(),
        "pixels_max": torch.stack(pixels).max().item(),
    }


def compare(folder: Path, width: int, height: int, count: int, size: int, pairs: int) -> dict:
    """Return one row of the result."""
    paths = write_images(folder, count, width, height)
    ours = our_loader(folder, size)
    bicubic = NotebookDataset(paths, size, InterpolationMode.BICUBIC)
    bilinear = NotebookDataset(paths, size, InterpolationMode.BILINEAR)
    theirs = {
        "notebook": DataLoader(bicubic, batch_size=BATCH_SIZE),
        "notebook_bilinear": DataLoader(bilinear, batch_size=BATCH_SIZE),
    }
    cpu, clock = interleaved(
        {
            "uint8": lambda: read_all(ours),
            "lab": lambda: read_and_convert(ours),
            "decode": lambda: decode_and_resize(paths, size),
            **{name: lambda loader=loader: read_all(loader) for name, loader in theirs.items()},
        },
        count,
        pairs,
    )
    return {
        "width": width,
        "height": height,
        "images": count,
        "bytes": round(sum(path.stat().st_size for path in paths) / count),
        "ratio": {
            f"{way}/{other}": ratio(cpu, way, other)
            for way in ("uint8", "lab")
            for other in ("decode", *theirs)
        },
        "ratio_by_clock": {"uint8/notebook": ratio(clock, "uint8", "notebook")},
        "difference": differences(ours, bilinear),
        "ways": {
            name: timing.as_dict() | {"clock_seconds": clock[name].seconds}
            for name, timing in cpu.items()
        },
    }


def measure_sizes(
    argv: list[str] | None,
    result: Path,
    description: str,
    sizes: tuple[Sizes, Sizes],
    compare: Callable[..., dict],
    head: Callable[[dict], str],
    foot: Callable[[dict], str],
    **settings: int,
) -> None:
    """Run a benchmark script: compare ways at several sizes, print and write the results.

    `sizes` are (width, height, images) of each row, in full and with `--quick`. `compare` returns a
    row, which `head` and `foot` describe. The name of `result` is the script's.
    """
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--pairs", type=int, default=15, help="rounds (default: 15)")
    parser.add_argument("--size", type=int, default=256, help="pixels (default: 256)")
    parser.add_argument("--json", type=Path, default=result, help="(default: benchmarks/results)")
    parser.add_argument("--quick", action="store_true", help="few and small images, for tests")
    args = parser.parse_args(argv)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = []
    for width, height, count in sizes[args.quick]:
        with tempfile.TemporaryDirectory() as folder:
            row = compare(Path(folder), width, height, count, args.size, args.pairs)
        rows.append(row)
        print(f"{width} x {height}, {head(row)}")
        for name, way in row["ways"].items():
            print(f"  {name:<20}{way['images_per_second']['median']:8.1f} images/s a core")
        for name, times in row["ratio"].items():
            print(f"  {name:<28}{times['median']:.2f} ({times['low']:.2f} to {times['high']:.2f})")
        print(f"  {foot(row)}")
    report = {"size": args.size, **settings, "pairs": args.pairs, "rows": rows}
    write_report(args.json, command_of(result.stem, argv), report)
    torch.set_num_threads(threads)


def main(argv: list[str] | None = None) -> None:
    """Measure, print, write."""
    measure_sizes(
        argv,
        RESULT,
        __doc__.splitlines()[0],
        (SIZES, QUICK_SIZES),
        compare,
        head=lambda row: f"{row['bytes'] / 1000:.0f} kB a JPEG",
        foot=lambda row: f"differences {row['difference']}",
        batch_size=BATCH_SIZE,
    )


if __name__ == "__main__":
    main()
