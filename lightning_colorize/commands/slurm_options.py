"""Options of the commands that submit Slurm jobs."""

import argparse

from lightning_colorize.cluster.batch import Resources
from lightning_colorize.common.arguments import number

_OF_A_JOB = ("partition", "time", "cpus", "mem", "account", "qos")
NAMES = (*_OF_A_JOB, "sbatch")
"""The options that `add_slurm_options` adds."""


def add_slurm_options(parser: argparse._ArgumentGroup, cpus: str, time: str) -> None:
    """Add the options that `sweep run` and `launch` share."""
    parser.add_argument("--partition", metavar="NAME", help="partition (default: the cluster's)")
    parser.add_argument("--time", metavar="LIMIT", help=time)
    parser.add_argument("--cpus", metavar="N", type=number(int, 1), help=cpus)
    parser.add_argument("--mem", metavar="SIZE", help="memory per node, such as 16G; 0 for all")
    parser.add_argument("--account", metavar="NAME", help="Slurm account")
    parser.add_argument("--qos", metavar="NAME", help="Slurm quality of service")
    text = "any other sbatch option, such as constraint=a100; may be repeated"
    parser.add_argument("--sbatch", metavar="NAME[=VALUE]", action="append", default=[], help=text)


def resources(args: argparse.Namespace, gpus: int | None) -> Resources:
    """Return these options as the resources of a job with `gpus` GPUs per node."""
    asked = {name: getattr(args, name) for name in _OF_A_JOB}
    return Resources(**asked, gpus=gpus, extra=dict(map(_pair, args.sbatch)))


def _pair(word: str) -> tuple[str, str | bool]:
    """Return the name and value of an sbatch option; a flag has the value True."""
    name, equals, value = word.lstrip("-").partition("=")
    return name, value if equals else True
