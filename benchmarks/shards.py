"""Packed shards beside the folder that they were made of: times as many images per core.

    python benchmarks/shards.py [--pairs 15] [--size 256] [--json FILE] [--quick]

Training images of the data module's own loader, without workers, on one thread, by turns: from
the folder, from shards of JPEGs and from shards of decoded images, packed at the size that
training reads. Times are of the process's CPU, so that what else the machine does matters little,
and a disk or network that is slow does not show: it has the fewer bytes to bring that are given.
"""

import time
from pathlib import Path

from loader import interleaved, measure_sizes, ratio, read_all

from lightning_colorize.benchmarking.synthetic import write_images
from lightning_colorize.benchmarking.timing import Timing
from lightning_colorize.common.digest import sha256_of
from lightning_colorize.data.loader import ImageLoader
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.data.shards.packing import PackSettings, pack
from lightning_colorize.data.sources import FolderSource

RESULT = Path(__file__).parent / "results" / "shards.json"

# (width, height, images): what ImageNet and Pascal VOC have, and a camera's 12 megapixels.
SIZES = ((500, 375, 64), (4000, 3000, 12))
QUICK_SIZES = ((800, 600, 4),)


def training_loader(root: Path, size: int, count: int) -> ImageLoader:
    """The data module's, in one batch; nothing cached, no worker."""
    data = ColorizationDataModule(
        root=str(root),
        size=size,
        batch_size=count,
        cache="never",
        num_workers=0,
        pin_memory=False,
        seed=0,
    )
    data.setup()
    return data.loader("train")


def check(folder: Path) -> Timing:
    """Read each shard through once, as its first open does."""
    timing = Timing()
    paths = list(folder.glob("train-*.tar"))
    start = time.process_time()
    for path in paths:
        sha256_of(path)
    timing.add(sum(path.stat().st_size for path in paths), time.process_time() - start)
    return timing


def compare(folder: Path, width: int, height: int, count: int, size: int, pairs: int) -> dict:
    """One row of the result."""
    photos = folder / "photos"
    for split in ("train", "val"):
        (photos / split).mkdir(parents=True)
    originals = write_images(photos / "train", count, width, height)
    # Without a validation split, one would be split off the training images.
    write_images(photos / "val", 1, width, height)
    splits = FolderSource().splits(photos)
    side = round(size * 1.125)  # of which training crops a part
    loaders = {"folder": training_loader(photos, size, count)}
    stored = {"folder": sum(path.stat().st_size for path in originals)}
    for encoding in ("jpeg", "uint8"):
        target = folder / encoding
        pack(photos, splits, PackSettings(side, encoding), target, 0)
        loaders[encoding] = training_loader(target, size, count)
        stored[encoding] = sum(path.stat().st_size for path in target.glob("train-*.tar"))
    ways = {name: lambda loader=loader: read_all(loader) for name, loader in loaders.items()}
    cpu, clock = interleaved(ways, count, pairs)
    checked = check(folder / "jpeg")
    return {
        "width": width,
        "height": height,
        "images": count,
        "bytes": {name: round(total / count) for name, total in stored.items()},
        "ratio": {f"{way}/folder": ratio(cpu, way, "folder") for way in ("jpeg", "uint8")},
        "ratio_by_clock": {
            f"{way}/folder": ratio(clock, way, "folder") for way in ("jpeg", "uint8")
        },
        # Seconds that the check adds to the first epoch, per second that reading it takes.
        "check": checked.seconds[0] / (count / cpu["jpeg"].rate),
        "ways": {
            name: timing.as_dict() | {"clock_seconds": clock[name].seconds}
            for name, timing in cpu.items()
        },
    }


def main(argv: list[str] | None = None) -> None:
    """Measure, print, write."""
    measure_sizes(
        argv,
        RESULT,
        __doc__.splitlines()[0],
        (SIZES, QUICK_SIZES),
        compare,
        head=lambda row: f"{row['bytes']} bytes an image",
        foot=lambda row: f"the check adds {row['check']:.1%} to the first epoch",
    )


if __name__ == "__main__":
    main()
