"""`lightning-colorize describe`: the layers of an experiment's networks, and a figure of them."""

import argparse

from lightning_colorize.common.arguments import expanded_path, number
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import require_writable, write_atomic
from lightning_colorize.runs.folder import CONFIG

HELP = "list the layers of an experiment or a run: shapes, parameters, MACs; draw the network"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "experiment",
        metavar="EXPERIMENT_OR_RUN",
        type=expanded_path,
        help="an experiment's YAML file, or a run folder",
    )
    parser.add_argument(
        "--size",
        metavar="N",
        type=number(int, 1),
        help="height and width of the input in pixels (default: the experiment's)",
    )
    parser.add_argument(
        "--svg", metavar="FILE", type=expanded_path, help="draw the network to FILE, a new one"
    )


def run(args: argparse.Namespace) -> int:
    """Print a table for each network; draw the first one."""
    if args.svg is not None:
        if args.svg.exists():
            raise UsageError(f"{args.svg} exists; give another --svg")
        require_writable(args.svg, "--svg")
    file = args.experiment / CONFIG if args.experiment.is_dir() else args.experiment
    if not file.is_file():
        raise UsageError(f"{file} does not exist; give an experiment's YAML file or a run folder")

    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from lightning_colorize.evaluation import print_plain
    from lightning_colorize.networks import Discriminator
    from lightning_colorize.reports.architecture import (
        COLUMNS,
        draw,
        layers_of,
        open_networks,
        total,
    )
    from lightning_colorize.training.session import quiet

    quiet()
    networks, size = open_networks(file)
    size = args.size or size
    least = max((n.smallest for n in networks.values() if isinstance(n, Discriminator)), default=1)
    if size < least:
        raise UsageError(f"--size: {size}\naccepted: {least} or more with this discriminator")
    for name, network in networks.items():
        layers = layers_of(network, size)
        table = Table(box=SIMPLE, pad_edge=False)
        for column in COLUMNS:
            table.add_column(column, justify="left" if column in COLUMNS[:3] else "right")
        for layer in layers:
            table.add_row(*layer.row)
        print_plain(Console(), table)
        print(f"{name}: {total(network, layers, size)}\n")
        if args.svg is not None and name == "net":
            write_atomic(args.svg, draw(layers, file.stem))
    return 0
