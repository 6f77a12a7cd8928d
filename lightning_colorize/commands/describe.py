"""`lightning-colorize describe`: the layers of an experiment's networks."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_colorize.common.arguments import Parser
from lightning_colorize.common.errors import UsageError
from lightning_colorize.runs.folder import CONFIG

if TYPE_CHECKING:
    from torch import nn

HELP = "list the layers of an experiment or a run: shapes, parameters, MACs"

COLUMNS = ("layer", "module", "output", "parameters", "million MACs")


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    text = "an experiment's YAML file, or a run folder"
    parser.add_path("experiment", "EXPERIMENT_OR_RUN", text)
    text = "height and width of the input in pixels (default: the experiment's)"
    parser.add_int("--size", text)


def run(args: argparse.Namespace) -> int:
    """Print a table for each network."""
    file = args.experiment / CONFIG if args.experiment.is_dir() else args.experiment
    if not file.is_file():
        raise UsageError(f"{file} does not exist; give an experiment's YAML file or a run folder")

    from lightning_colorize.evaluation.table import Column, Table, make_row, print_plain
    from lightning_colorize.networks import Discriminator
    from lightning_colorize.training.session import quiet

    quiet()
    networks, size = open_networks(file)
    size = args.size or size
    least = max((n.smallest for n in networks.values() if isinstance(n, Discriminator)), default=1)
    if size < least:
        raise UsageError(f"--size: {size}\naccepted: {least} or more with this discriminator")
    for name, network in networks.items():
        rows, total = layers_of(network, size)
        columns = [Column(column, text=column in COLUMNS[:3]) for column in COLUMNS]
        print_plain(Table(name, columns, [make_row(*row) for row in rows]))
        print(f"{name}: {total}\n")
    return 0


def open_networks(file: Path) -> "tuple[dict[str, nn.Module], int]":
    """Build the networks of a configuration of `fit`, without pretrained weights.

    Returns:
        The networks by name, `net` first, then a discriminator; and the height and width of the
        images in pixels.
    """
    from lightning_colorize.models.checkpoint import prepare_for_state
    from lightning_colorize.networks import ColorizationNetwork, Discriminator
    from lightning_colorize.training.cli import ParsedCLI
    from lightning_colorize.training.session import usage_errors

    with usage_errors(f"{file}: "):
        cli = ParsedCLI(["--config", str(file)], "lightning-colorize fit")
        prepare_for_state(cli.config.model.init_args)
        built = cli.parser.instantiate(cli.config)
    parts = built.model.named_children()
    kinds = ColorizationNetwork | Discriminator
    return {name: part for name, part in parts if isinstance(part, kinds)}, built.data.size


def layers_of(network: "nn.Module", size: int) -> tuple[list[tuple[str, ...]], str]:
    """Return the cells of `COLUMNS` for each layer with parameters, and the totals in one line.

    Lightning's `ModelSummary` measures them on the meta device, to which the network moves; `size`
    is the height and width of its input in pixels.
    """
    import torch
    from pytorch_lightning import LightningModule
    from pytorch_lightning.utilities.model_summary.model_summary import ModelSummary
    from torch.nn.utils.parametrize import is_parametrized

    from lightning_colorize.networks import Discriminator, GenerativeNetwork, parameter_count

    class Summarized(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network
            self.example_input_array = torch.zeros(1, 1, size, size)

        def forward(self, L: torch.Tensor) -> None:
            with torch.device("meta"):
                if isinstance(network, Discriminator):
                    network(L, torch.zeros(1, 2, size, size))
                elif isinstance(network, GenerativeNetwork):
                    encoded = network.encode(L)
                    mean = torch.zeros_like(encoded.mean)
                    network.denoiser(mean, torch.zeros(1), encoded.context)
                else:
                    network(L)

    trainable, frozen = parameter_count(network)
    network.requires_grad_(False)  # torch's counter fails for parameters that are inputs
    summary = ModelSummary(Summarized().to("meta"), max_depth=-1)
    rows: list[tuple[str, ...]] = []
    for (name, module), output in zip(summary.named_modules, summary.out_sizes, strict=True):
        own = any(True for _ in module.parameters(recurse=False)) or is_parametrized(module)
        if not own or "parametrizations" in name:
            continue
        parameters = sum(parameter.numel() for parameter in module.parameters())
        macs = sum(summary.flop_counts[name].values()) / 2e6
        shape = " x ".join(map(str, output[1:]))
        kind = type(module).__name__.removeprefix("Parametrized")
        rows.append((name.removeprefix("net."), kind, shape, f"{parameters:,}", f"{macs:,.1f}"))
    return rows, (
        f"{trainable + frozen:,} parameters, {frozen:,} of them frozen; "
        f"{summary.total_flops / 2e9:.3g} billion MACs for an image of {size} x {size}"
    )
