"""`lightning-colorize export`: a trained network as one small file."""

import argparse

from lightning_colorize.common.arguments import (
    add_checkpoint,
    add_network_options,
    decoding_options,
    expanded_path,
    require_positive,
)
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import require_writable

HELP = "write a trained network to one small file, which colorize, evaluate and compare read"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_checkpoint(parser, "checkpoint")
    add_exported(parser)


def add_exported(parser: argparse.ArgumentParser) -> None:
    """Add the file to write, and the options that become its defaults."""
    parser.add_argument(
        "file",
        metavar="FILE",
        type=expanded_path,
        help="the file to write, NAME.safetensors; the weights are in half precision",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing FILE")
    add_network_options(parser, "the file's size: pixels at which the network sees an image")


def require_exported(args: argparse.Namespace) -> None:
    """Refuse a file that cannot be written.

    Raises:
        UsageError: If it has another suffix, exists, or its folder is not writable.
    """
    require_positive(args, "size")
    if args.file.suffix != ".safetensors":
        raise UsageError(f"{args.file}: the name must end with .safetensors")
    if args.file.exists() and not args.overwrite:
        raise UsageError(f"{args.file} exists; --overwrite replaces it")
    require_writable(args.file, "FILE")


def run(args: argparse.Namespace) -> int:
    """Export; the options become the defaults of the file."""
    require_exported(args)
    from dataclasses import replace

    from lightning_colorize.inference import choose_device, load_model

    loaded = load_model(args.checkpoint, args.allow_class, choose_device(args.device))
    loaded.set_decoding(**decoding_options(args))
    replace(loaded, size=args.size or loaded.size).export(args.file)
    print(f"{args.file}: {args.file.stat().st_size / 1e6:.1f} MB")
    return 0
