"""`lightning-colorize router`: joins a network and its specialists in one file."""

import argparse

from lightning_colorize.commands.export import add_exported, require_exported, write_card
from lightning_colorize.commands.options import add_checkpoint, open_model
from lightning_colorize.common.arguments import Parser, expanded_path, number
from lightning_colorize.common.errors import UsageError

HELP = "join a network and specialists for image categories, with a classifier that chooses one"


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    add_checkpoint(parser, "checkpoint")
    add_exported(parser)
    parser.add_argument(
        "specialists",
        metavar="CATEGORY=CKPT_OR_RUN",
        nargs="+",
        help="a run fine-tuned from the checkpoint (--model.checkpoint) on one category; the "
        "category is the first folder in the names of the checkpoint's training images",
    )
    parser.add_argument(
        "--confidence",
        metavar="P",
        type=number(float, 0, 1),
        default=0.5,
        help="minimum probability of a category; below it, the checkpoint's network colorizes the "
        "image (default: 0.5)",
    )
    text = "maximum number of training images for the classifier (default: 4096)"
    parser.add_int("--max-images", text, default=4096)


def run(args: argparse.Namespace) -> int:
    """Fit the classifier on the checkpoint's training data, and write the file."""
    require_exported(args, ".safetensors")
    named = dict(word.partition("=")[::2] for word in args.specialists)
    if len(named) < len(args.specialists) or not all(named.values()):
        raise UsageError("give CATEGORY=CKPT_OR_RUN, each category once")
    from lightning_colorize.data.splits import category_finder
    from lightning_colorize.inference import Colorizer, training_data
    from lightning_colorize.inference.specialists import fit_router, join_specialists
    from lightning_colorize.models.exported import exportable
    from lightning_colorize.models.load import load_model

    common = exportable(open_model(args))
    trained = None if common.path is None else training_data(common.path)
    if trained is None:
        raise UsageError(f"{common} is not in a run folder, so its training data is unknown")
    specialists = {
        name: exportable(load_model(expanded_path(path), args.allow_class, args.device))
        for name, path in named.items()
    }
    splits = trained.source(args.allow_class).splits(trained.root)
    images = splits["train"]
    names = [images.name(i) for i in range(len(images))]
    category_of = category_finder(names)
    categories = sorted(set(map(category_of, names)))
    if unknown := named.keys() - categories:
        raise UsageError(
            f"no category {', '.join(sorted(unknown))} in the training data of {common}, "
            f"only {', '.join(categories)}"
        )
    model = join_specialists(common, specialists, categories, args.confidence)
    recognitions = list(fit_router(model, splits, category_of, args.max_images))
    colorizer = Colorizer(model)
    colorizer.export(args.file)
    for found in recognitions:
        print(
            f"{found.category}: of {found.images:,} validation images, {found.recognized:.0%} "
            f"recognized, {found.routed:.0%} above --confidence"
            + ("" if found.category in specialists else " (no specialist)")
        )
    # The run's test metrics are of the common network alone.
    write_card(colorizer, args.file, {"specialists": ", ".join(specialists)})
    return 0
