"""Argument parsing of the commands without a Trainer."""

import argparse
import os
from pathlib import Path
from typing import Any, NoReturn

from lightning_colorize.common.bundled import DEFAULT_FILE
from lightning_colorize.common.errors import UsageError

PROGRAM = "lightning-colorize"


class Parser(argparse.ArgumentParser):
    """argparse without the usage text before an error."""

    def error(self, message: str) -> NoReturn:
        """Raise it as a UsageError."""
        raise UsageError(f"{self.prog.removeprefix(PROGRAM + ' ')}: {message}")


def expanded_path(text: str) -> Path:
    """Return a path with `~` expanded, which not every shell does in `--data=~/photos`."""
    return Path(os.path.expanduser(text))


def split_name(word: str) -> tuple[str, Path]:
    """Return name and path of `NAME=PATH`; the name of a path alone is empty."""
    name, sign, rest = word.partition("=")
    if sign and name and not os.path.exists(word):
        return name, expanded_path(rest)
    return "", expanded_path(word)


def add_checkpoint(parser: argparse.ArgumentParser, name: str) -> None:
    """Add a checkpoint as an argument, or as an option with the bundled model as its default."""
    parser.add_argument(
        name,
        metavar="CKPT_OR_RUN",
        type=expanded_path,
        default=DEFAULT_FILE,
        help="a checkpoint file, a run folder for its best checkpoint, or `default`: the model of "
        "the package",
    )


def add_network_options(parser: argparse.ArgumentParser, size_help: str) -> None:
    """Add the options of a checkpoint's network, such as `--size` and `--device`."""
    parser.add_argument(
        "--size", metavar="N", type=int, help=f"{size_help} (default: the checkpoint's)"
    )
    parser.add_argument(
        "--vividness",
        metavar="V",
        type=float,
        help="of a network with a ClassificationHead: from 0, faithful and pale, to 1, colorful "
        "and often wrong (default: the checkpoint's)",
    )
    parser.add_argument(
        "--temperature",
        metavar="T",
        type=float,
        help="of such a network's annealed mean: 1 for the mean of the distribution, towards 0 "
        "for its mode (default: the checkpoint's)",
    )
    parser.add_argument(
        "--strength",
        metavar="S",
        type=float,
        help="factor of the predicted color, from 0 (grey) to 1.5 (default: the checkpoint's, "
        "1 unless stored)",
    )
    parser.add_argument(
        "--flip",
        action=argparse.BooleanOptionalAction,
        help="average the prediction with that of the mirror image, in twice the time (default: "
        "the checkpoint's, no unless stored)",
    )
    add_loading_options(parser)


def add_loading_options(parser: argparse.ArgumentParser) -> None:
    """Add the device of a network, and the classes that its checkpoint may import."""
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="auto: a GPU if one is available",
    )
    parser.add_argument(
        "--allow-class",
        metavar="CLASS",
        action="append",
        default=[],
        help="a class, module or package that the checkpoint may import besides this package's; "
        "not needed in a run folder whose config.yaml names the class; may be repeated",
    )


def decoding_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `Colorizer.set_decoding`."""
    return {name: getattr(args, name) for name in ("vividness", "temperature", "strength", "flip")}


def add_measuring_options(parser: argparse.ArgumentParser, split_help: str) -> None:
    """Add the options of a measurement: its images, its JSON file, and the network's options."""
    parser.add_argument(
        "--data", metavar="FOLDER", type=expanded_path, required=True, help="folder of color images"
    )
    parser.add_argument("--split", choices=("test", "val", "train", "all"), help=split_help)
    parser.add_argument(
        "--json", metavar="FILE", type=expanded_path, help="write the unrounded numbers"
    )
    parser.add_argument("--batch-size", metavar="N", type=int, default=32, help="images per batch")
    add_network_options(parser, "height and width in pixels")


def require_positive(args: argparse.Namespace, *names: str) -> None:
    """Refuse numbers that are not positive.

    Raises:
        UsageError: If one is 0 or less.
    """
    for name in names:
        value = getattr(args, name)
        if value is not None and value <= 0:
            raise UsageError(f"--{name.replace('_', '-')} {value}: it must be above 0")


def require_not_negative(args: argparse.Namespace, name: str) -> None:
    """Refuse a negative number.

    Raises:
        UsageError: If it is below 0.
    """
    value = getattr(args, name)
    if value is not None and value < 0:
        raise UsageError(f"--{name.replace('_', '-')} {value}: it must be 0 or more")
