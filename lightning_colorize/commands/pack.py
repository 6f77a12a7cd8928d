"""`lightning-colorize pack`: a folder of images to shards."""

import argparse
import sys
from pathlib import Path

from lightning_colorize.common.arguments import expanded_path, require_positive
from lightning_colorize.common.errors import UsageError

HELP = "pack an image folder into shards, which are smaller and faster to read or stream"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "folder", metavar="FOLDER", type=expanded_path, help="image folder, split as fit splits it"
    )
    parser.add_argument(
        "shards",
        metavar="SHARDS",
        type=expanded_path,
        help="new folder for the shards; after an interruption the same command resumes",
    )
    parser.add_argument(
        "--size",
        metavar="N",
        type=int,
        default=256,
        help="pixels of the short side, never enlarged; training at --data.size 224 reads 252 "
        "(default: 256)",
    )
    parser.add_argument(
        "--encoding",
        choices=("jpeg", "uint8"),
        default="jpeg",
        help="uint8 is decoded: several times the space, faster to read (default: jpeg)",
    )
    parser.add_argument(
        "--quality", metavar="N", type=int, default=95, help="JPEG quality, 1 to 100 (default: 95)"
    )
    parser.add_argument(
        "--workers", metavar="N", type=int, help="processes (default: one per core)"
    )
    parser.add_argument(
        "--exclude-list",
        metavar="FILE",
        type=expanded_path,
        help="exclude the images listed in this file, which audit --exclude-to writes",
    )
    parser.add_argument(
        "--images-per-shard",
        metavar="N",
        type=int,
        help="images per shard (default: about 32 MiB)",
    )


def run(args: argparse.Namespace) -> int:
    """Pack; return 1 if some images could not be read."""
    require_positive(args, "size", "quality", "workers", "images_per_shard")
    if args.quality > 100:
        raise UsageError(f"--quality {args.quality}: it must be at most 100")
    if ":/" in str(args.shards):  # a URL, of which a path keeps one slash
        raise UsageError("SHARDS must be a local folder: pack there, then copy it")
    from lightning_colorize.common.processes import cores
    from lightning_colorize.data.shards.packing import pack
    from lightning_colorize.data.shards.plan import make_plan, pack_settings
    from lightning_colorize.data.shards.summary import BROKEN

    settings = pack_settings(args.size, args.encoding, args.quality, args.images_per_shard)
    plan = make_plan(args.folder, settings, args.exclude_list)
    _require_folder(args.shards, plan.folder)
    workers = args.workers or cores()
    outcome = pack(plan, args.shards, workers if workers > 1 else 0)
    counts = ", ".join(f"{count:,} {split}" for split, count in outcome.images.items())
    kept = f", {outcome.kept} already packed" if outcome.kept else ""
    print(
        f"{counts} images in {outcome.shards} shards ({outcome.bytes / 1e6:,.1f} MB{kept}) "
        f"-> {args.shards}"
    )
    if outcome.broken:
        images = "image" if outcome.broken == 1 else "images"
        listed = f"listed in {args.shards / BROKEN}"
        print(f"{outcome.broken} broken {images} left out, {listed}", file=sys.stderr)
    return 1 if outcome.broken else 0


def _require_folder(shards: Path, images: Path) -> None:
    """Create the folder of the shards, outside the image folder.

    Raises:
        UsageError: If that fails, or it is inside the image folder.
    """
    if images.resolve() in shards.resolve().parents:
        raise UsageError(f"{shards} is inside {images}: give a folder outside of it")
    try:
        shards.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{shards} cannot be created: {error.strerror}") from error
