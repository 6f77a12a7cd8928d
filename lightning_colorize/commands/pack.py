"""`lightning-colorize pack`: a folder of images to shards."""

import argparse
import sys
from pathlib import Path

from lightning_colorize.common.arguments import expanded_path, require_positive
from lightning_colorize.common.errors import UsageError

HELP = "pack a folder of images into shards, smaller and faster to read, also over a network"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "folder", metavar="FOLDER", type=expanded_path, help="images, split as fit splits them"
    )
    parser.add_argument(
        "shards",
        metavar="SHARDS",
        type=expanded_path,
        help="new folder for the shards; after an interruption the same command goes on",
    )
    parser.add_argument(
        "--size",
        metavar="N",
        type=int,
        default=256,
        help="pixels of the short side, never enlarged; training at data.size 224 reads 252 of "
        "them (default: 256)",
    )
    parser.add_argument(
        "--encoding",
        choices=("jpeg", "uint8"),
        default="jpeg",
        help="re-encoded, or decoded: several times the space, quicker to read (default: jpeg)",
    )
    parser.add_argument(
        "--quality", metavar="N", type=int, default=95, help="of JPEG, 1 to 100 (default: 95)"
    )
    parser.add_argument("--workers", metavar="N", type=int, help="processes (default: one a core)")
    parser.add_argument(
        "--exclude-list",
        metavar="FILE",
        type=expanded_path,
        help="leave out the images that it names, as audit writes it",
    )
    parser.add_argument(
        "--images-per-shard",
        metavar="N",
        type=int,
        help="(default: what makes about 32 MiB)",
    )


def run(args: argparse.Namespace) -> int:
    """Pack; returns 1 if some of the images could not be read."""
    require_positive(args, "size", "quality", "workers", "images_per_shard")
    if args.quality > 100:
        raise UsageError(f"--quality {args.quality}: it must be at most 100")
    if ":/" in str(args.shards):  # an address, of which a path keeps one slash
        raise UsageError("SHARDS must be a folder of this machine: pack there, then copy it")
    from lightning_colorize.common.processes import cores
    from lightning_colorize.data.shards.packing import pack
    from lightning_colorize.data.shards.plan import make_plan, pack_settings
    from lightning_colorize.data.shards.summary import BROKEN
    from lightning_colorize.data.sources import FolderSource

    settings = pack_settings(args.size, args.encoding, args.quality, args.images_per_shard)
    splits = FolderSource(exclude_list=args.exclude_list).split_names_of(args.folder)
    plan = make_plan(args.folder, splits, settings)
    _require_folder(args.shards, plan.folder)
    workers = args.workers or cores()
    outcome = pack(plan, args.shards, workers if workers > 1 else 0)
    counts = ", ".join(f"{count:,} {split}" for split, count in outcome.images.items())
    kept = f", {outcome.kept} of them there already" if outcome.kept else ""
    print(
        f"{counts} images in {outcome.shards} shards ({outcome.bytes / 1e6:,.1f} MB{kept}) "
        f"-> {args.shards}"
    )
    if outcome.broken:
        images = "image" if outcome.broken == 1 else "images"
        listed = f"listed in {args.shards / BROKEN}"
        print(f"{outcome.broken} broken {images} left out, {listed}", file=sys.stderr)
    return 1 if outcome.broken else 0


def _require_folder(shards: Path, photographs: Path) -> None:
    """Make the folder of the shards, apart from that of the photographs.

    Raises:
        UsageError: If it cannot be made, or lies among them.
    """
    if photographs.resolve() in shards.resolve().parents:
        raise UsageError(f"{shards} lies in {photographs}: name a folder outside of it")
    try:
        shards.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{shards} cannot be made: {error.strerror}") from error
