"""What commands that submit jobs to a Slurm cluster let one ask of it."""

import argparse
from typing import Any


def add_slurm_options(parser: argparse._ArgumentGroup, cpus: str, time: str) -> None:
    """Add what both sweeps and `launch` ask for.

    Args:
        parser: Where to.
        cpus: The help of `--cpus`.
        time: The help of `--time`.
    """
    parser.add_argument("--partition", metavar="NAME", help="(default: the cluster's)")
    parser.add_argument("--time", metavar="LIMIT", help=time)
    parser.add_argument("--cpus", metavar="N", type=int, help=cpus)
    parser.add_argument("--mem", metavar="SIZE", help="as Slurm has it: 16G; 0 for all of a node")
    parser.add_argument("--account", metavar="NAME", help="who pays")
    parser.add_argument("--qos", metavar="NAME", help="quality of service")
    parser.add_argument(
        "--sbatch",
        metavar="NAME[=VALUE]",
        action="append",
        default=[],
        help="any other option of sbatch, such as constraint=a100; may be given several times",
    )


def resources(args: argparse.Namespace) -> dict[str, Any]:
    """Return these options as the arguments of `cluster.batch.Resources`."""
    names = ("partition", "time", "cpus", "mem", "account", "qos")
    return {name: getattr(args, name) for name in names} | {"extra": dict(map(_pair, args.sbatch))}


def _pair(word: str) -> tuple[str, str | bool]:
    """Return name and value of an option of sbatch, which may have no value."""
    name, equals, value = word.lstrip("-").partition("=")
    return name, value if equals else True
