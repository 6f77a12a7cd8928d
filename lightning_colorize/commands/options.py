"""Options shared by several commands: a model, its settings, and the images to measure."""

import argparse
from typing import TYPE_CHECKING

from lightning_colorize.common.arguments import Parser
from lightning_colorize.models.settings import LARGEST, ClassificationSettings, Settings

if TYPE_CHECKING:
    from lightning_colorize.models.base import Model


MODEL = (
    "a checkpoint file, a run folder (its best checkpoint), a W&B artifact "
    "(wandb:ENTITY/PROJECT/ARTIFACT:ALIAS)"
)
"""The models that all commands accept."""


def add_checkpoint(parser: Parser, name: str) -> None:
    """Add a checkpoint as an argument."""
    text = f"{MODEL}, or a bundled model: `default` or `default-samples`"
    parser.add_path(name, "CKPT_OR_RUN", text)


def open_model(args: argparse.Namespace, device: str = "") -> "Model":
    """Return the model of `add_checkpoint`, with its settings, size and device."""
    from lightning_colorize.inference.devices import ModelFile

    file = ModelFile(args.checkpoint, args.allow_class, args.settings, size=args.size)
    return file.load(device or args.device)


def add_samples(parser: Parser) -> None:
    """Add the number of colorings per image."""
    text = (
        "color each image N times with models that sample; adds energy score, diversity, coverage"
    )
    parser.add_int("--samples", text, 2, default=1)


def add_network_options(parser: Parser, size_help: str) -> None:
    """Add the options of a model: `--size`, its settings and `--device`.

    Models with other settings accept these as options too, such as `--noise 0.5`; the parsed
    `settings` contains the given ones.
    """
    parser.add_int("--size", f"{size_help} (default: the checkpoint's)", most=LARGEST)
    for name in ClassificationSettings.names():
        common = name in Settings.model_fields
        _add_setting(parser, name, "" if common else "; for networks with a ClassificationHead")
    parser.set_defaults(setting_names=ClassificationSettings.names())
    parser.takes_settings = True
    add_loading_options(parser)


def _add_setting(parser: Parser, name: str, scope: str) -> None:
    field = ClassificationSettings.model_fields[name]
    text = f"{field.description}{scope} (default: the checkpoint's)"
    if field.annotation is bool:
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, help=text)
        return
    # As text, because the model has the limits.
    parser.add_argument(f"--{name}", metavar=name[0].upper(), help=text)


def add_loading_options(parser: argparse.ArgumentParser) -> None:
    """Add the device of a model, and the classes that its checkpoint may import."""
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
        help="a class, module or package that the checkpoint may import in addition to this "
        "package; not needed if the config.yaml of its run folder names the class; may be repeated",
    )


def add_measuring_options(parser: Parser, split_help: str, in_batches: bool = True) -> None:
    """Add the options of a measurement: its images, its JSON file, and the model's options.

    Images measured `in_batches` are cropped to squares.
    """
    parser.add_path("--data", "FOLDER", "folder of color images", required=True)
    parser.add_argument("--split", choices=("test", "val", "train", "all"), help=split_help)
    parser.add_output("--json", "write the unrounded results")
    if in_batches:
        parser.add_int("--batch-size", "images per batch", default=32)
        add_network_options(parser, "height and width of the measured square in pixels")
    else:
        add_network_options(parser, "short side of the network's input in pixels")
