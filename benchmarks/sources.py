"""The same JPEGs from a folder, a Hugging Face dataset, WebDataset tars and shards, per core.

    python benchmarks/sources.py --data FOLDER [--images 300] [--size 160] [--pairs 15]

The training images of a folder are packed, and the packed JPEGs are written in the other forms.
The data module's own loader reads them without workers, on one thread, by turns. Times are CPU
times of the process, which other processes hardly affect.
"""

import argparse
import sys
import tarfile
import tempfile
from pathlib import Path

import torch
from common import command_of
from loader import interleaved, ratio, read_all

from lightning_colorize.benchmarking.environment import write_report
from lightning_colorize.data.image_set import ImageSet
from lightning_colorize.data.loader import ImageLoader
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.data.shards.packing import pack
from lightning_colorize.data.shards.plan import make_plan, pack_settings
from lightning_colorize.data.sources import (
    FolderSource,
    HuggingFaceSource,
    ShardSource,
    Source,
    WebDatasetSource,
)

RESULT = Path(__file__).parent / "results" / "sources.json"
TAR_IMAGES = 100


def write_forms(images: ImageSet, folder: Path) -> dict[str, tuple[Source, Path]]:
    """Write the encoded images as files, rows and members; returns each source and its root."""
    import datasets

    split = {"train": 1.0}
    rows = []
    for index in range(len(images)):
        file = folder / "files" / f"{index:06d}.jpg"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(images.encoded(index) or b"")
        rows.append({"image": {"bytes": file.read_bytes(), "path": file.name}})
        tar_file = folder / "tars" / f"{index // TAR_IMAGES:03d}.tar"
        tar_file.parent.mkdir(exist_ok=True)
        with tarfile.open(tar_file, "a") as tar:
            tar.add(file, file.name)
    features = datasets.Features(image=datasets.Image())
    datasets.Dataset.from_list(rows, features).save_to_disk(folder / "rows")
    return {
        "folder": (FolderSource(splits=split), folder / "files"),
        "huggingface": (HuggingFaceSource(splits=split), folder / "rows"),
        "webdataset": (WebDatasetSource(splits=split), folder / "tars"),
        "shards": (ShardSource(), folder / "shards"),
    }


def training_loader(source: Source, root: Path, size: int) -> ImageLoader:
    """Return the data module's loader, without cache and workers."""
    data = ColorizationDataModule(
        str(root), source, size=size, cache="never", num_workers=0, pin_memory=False, seed=0
    )
    data.setup()
    return data.loader("train")


def compare(data: Path, folder: Path, images: int, size: int, pairs: int) -> dict:
    """Return the row of the result."""
    found = {"train": FolderSource(max_images=images).splits(data)["train"]}
    pack(make_plan(data, found, pack_settings(256, "jpeg", 95, TAR_IMAGES)), folder / "shards", 0)
    packed = ShardSource().splits(folder / "shards")["train"]
    forms = write_forms(packed, folder)
    loaders = {name: training_loader(*form, size) for name, form in forms.items()}
    count = len(loaders["shards"]) * 32
    cpu, clock = interleaved(
        {name: lambda loader=loader: read_all(loader) for name, loader in loaders.items()},
        count,
        pairs,
    )
    size_of_all = sum(len(packed.encoded(index) or b"") for index in range(len(packed)))
    return {
        "images": count,
        "bytes": round(size_of_all / len(packed)),
        "ratio": {f"{n}/folder": ratio(cpu, n, "folder") for n in forms if n != "folder"},
        "ways": {
            name: timing.as_dict() | {"clock_seconds": clock[name].seconds}
            for name, timing in cpu.items()
        },
    }


def main(argv: list[str] | None = None) -> None:
    """Measure, print, write."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="image folder")
    parser.add_argument("--images", type=int, default=300, help="number of images (default: 300)")
    parser.add_argument("--size", type=int, default=160, help="pixels (default: 160)")
    parser.add_argument("--pairs", type=int, default=15, help="rounds (default: 15)")
    parser.add_argument("--json", type=Path, default=RESULT, help="(default: benchmarks/results)")
    args = parser.parse_args(argv)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        row = compare(args.data, Path(folder), args.images, args.size, args.pairs)
    for name, way in row["ways"].items():
        print(f"{name:<14}{way['images_per_second']['median']:8.1f} images/s a core")
    for name, times in row["ratio"].items():
        print(f"{name:<22}{times['median']:.3f} ({times['low']:.3f} to {times['high']:.3f})")
    report = {"size": args.size, "pairs": args.pairs, "rows": [row]}
    write_report(args.json, command_of("sources", argv), report)
    torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
