"""`lightning-colorize pack`: packs a folder of images into shards."""

import argparse
import sys
from collections import Counter
from pathlib import Path

from lightning_colorize.common.arguments import Parser
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import require_writable

HELP = "pack an image folder into shards, which are smaller and faster to read, even remotely"


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.add_path(
        "folder", "FOLDER", "image folder, split as in fit, or a CSV list for ManifestSource"
    )
    parser.add_path(
        "shards",
        "SHARDS",
        "new folder for the shards; rerun the same command to continue after an interruption",
    )
    parser.add_int(
        "--size",
        "short side in pixels; smaller images are not enlarged; for data.size 224, training "
        "reads 252 pixels (default: 256)",
        default=256,
    )
    parser.add_argument(
        "--encoding",
        choices=("jpeg", "uint8"),
        default="jpeg",
        help="jpeg: encode again; uint8: store decoded images, several times larger but "
        "faster to read (default: jpeg)",
    )
    parser.add_int("--quality", "JPEG quality, 1 to 100 (default: 95)", most=100, default=95)
    parser.add_int("--workers", "worker processes (default: one per core)")
    text = "exclude the images listed in this file, as written by audit"
    parser.add_path("--exclude-list", "FILE", text)
    for column in ("label", "text"):
        parser.add_argument(
            f"--{column}", metavar="COLUMN", help=f"column of the CSV list with the {column}s"
        )
    parser.add_int("--images-per-shard", "images per shard (default: about 32 MiB per shard)")


def run(args: argparse.Namespace) -> int:
    """Pack the images; returns 1 if some could not be read."""
    if ":/" in str(args.shards):  # a URL; as a path, it keeps only one slash
        raise UsageError("SHARDS must be a local folder: pack there, then upload it")
    from lightning_colorize.common.processes import cores
    from lightning_colorize.data.shards.index import PACK
    from lightning_colorize.data.shards.packing import BROKEN, PackSettings, pack
    from lightning_colorize.data.sources import FolderSource, ManifestSource, Source

    folder: Path = args.folder
    source: Source = FolderSource(exclude_list=args.exclude_list)
    if folder.is_file():
        folder, source = folder.parent, ManifestSource(args.exclude_list, args.label, args.text)
    elif args.label or args.text:
        raise UsageError(f"--label and --text name columns of a CSV list, but {folder} is a folder")
    splits = source.splits(args.folder)
    if any(images.weights is not None for images in splits.values()):
        raise UsageError(f"{args.folder} has weights, which shards do not support: remove them")
    if args.folder.resolve() in args.shards.resolve().parents:
        raise UsageError(f"{args.shards} is inside {args.folder}: choose a folder outside of it")
    require_writable(args.shards / PACK, "SHARDS:")
    workers = args.workers or cores()
    settings = PackSettings(args.size, args.encoding, args.quality, args.images_per_shard)
    tars, reused = pack(folder, splits, settings, args.shards, workers if workers > 1 else 0)
    images = Counter(dict.fromkeys(splits, 0))
    for tar in tars:
        images[tar.split] += len(tar.images.names)
    counts = ", ".join(f"{count:,} {split}" for split, count in images.items())
    existed = f", {reused} of them reused" if reused else ""
    size = sum(tar.bytes for tar in tars) / 1e6
    print(f"{counts} images in {len(tars)} shards ({size:,.1f} MB{existed}) -> {args.shards}")
    broken = sum(len(tar.broken) for tar in tars)
    if broken:
        plural = "s" * (broken > 1)
        listed = f"listed in {args.shards / BROKEN}"
        print(f"{broken} broken image{plural} left out, {listed}", file=sys.stderr)
    return 1 if broken else 0
