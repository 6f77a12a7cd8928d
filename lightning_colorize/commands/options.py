"""Options shared by several commands: a model, its settings, and the images to measure."""

import argparse

from lightning_colorize.common.arguments import Parser, expanded_path, number
from lightning_colorize.common.bundled import BUNDLED, DEFAULT
from lightning_colorize.models.settings import LARGEST, ClassificationSettings, Settings


def add_checkpoint(parser: argparse.ArgumentParser, name: str) -> None:
    """Add a checkpoint as an argument, or as an option that defaults to the bundled model."""
    parser.add_argument(
        name,
        metavar="CKPT_OR_RUN",
        type=expanded_path,
        default=BUNDLED[DEFAULT],
        help="a checkpoint file, a run folder (its best checkpoint), a W&B artifact "
        "(wandb:ENTITY/PROJECT/ARTIFACT:ALIAS), or a bundled model: `default` or `default-samples`",
    )


def add_count(
    parser: argparse.ArgumentParser, option: str, text: str, default: int | None = None
) -> None:
    """Add an option for a number of 1 or more."""
    parser.add_argument(option, metavar="N", type=number(int, 1), default=default, help=text)


def add_samples(parser: argparse.ArgumentParser) -> None:
    """Add the number of colorings per image."""
    text = (
        "color each image N times with models that sample; adds energy score, diversity, coverage"
    )
    parser.add_argument("--samples", metavar="N", type=number(int, 2), default=1, help=text)


def add_network_options(parser: Parser, size_help: str) -> None:
    """Add the options of a model: `--size`, its settings and `--device`.

    Models with other settings accept these as options too, such as `--noise 0.5`; the parsed
    `settings` contains the given ones.
    """
    text = f"{size_help} (default: the checkpoint's)"
    parser.add_argument("--size", metavar="N", type=number(int, 1, LARGEST), help=text)
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
    parser.add_argument(
        "--data", metavar="FOLDER", type=expanded_path, required=True, help="folder of color images"
    )
    parser.add_argument("--split", choices=("test", "val", "train", "all"), help=split_help)
    parser.add_argument(
        "--json", metavar="FILE", type=expanded_path, help="write the unrounded results"
    )
    if in_batches:
        add_count(parser, "--batch-size", "images per batch", 32)
        add_network_options(parser, "height and width of the measured square in pixels")
    else:
        add_network_options(parser, "short side of the network's input in pixels")
