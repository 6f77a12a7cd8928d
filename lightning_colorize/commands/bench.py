"""`lightning-colorize bench`: measures throughput, and finds the bottleneck."""

import argparse
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_colorize.common.arguments import Parser, number
from lightning_colorize.common.errors import UsageError, first_line
from lightning_colorize.common.text import without_folders

if TYPE_CHECKING:
    import torch

    from lightning_colorize.benchmarking.stages import BenchStage

HELP = "measure images per second of loading, conversion and training, and find the bottleneck"

_COUNT, _WIDTH, _HEIGHT = 128, 500, 375  # size of the generated images


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.add_path("--data", "FOLDER", "image folder (default: generated images)")
    parser.add_int("--size", "height and width in pixels (default: 128)", default=128)
    parser.add_int("--batch-size", "images per batch (default: 32)", default=32)
    parser.add_int(
        "--workers",
        "numbers of worker processes to try; 0 for loading in the main process "
        "(default: 0, 1, 2, 4, ... up to the number of cores)",
        least=0,
        nargs="+",
    )
    text = "measuring time per stage (default: 2)"
    parser.add_argument("--seconds", type=number(float, 0.01), default=2.0, help=text)
    parser.add_argument("--device", help="cpu, cuda, mps, ... (default: the GPU, if there is one)")
    parser.add_output("--json", "also write the results and raw times as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure and print each stage, then the conclusion."""
    from lightning_colorize.benchmarking.environment import write_report
    from lightning_colorize.benchmarking.stages import Bench, conclusion, default_workers
    from lightning_colorize.benchmarking.synthetic import write_images

    device = _device(args.device)
    with tempfile.TemporaryDirectory() as made:
        if args.data is None:
            write_images(Path(made), _COUNT, _WIDTH, _HEIGHT)
        folder = args.data or Path(made)
        bench = Bench(folder, args.size, args.batch_size, args.seconds, device)
        files = f"{without_folders(args.data)}, {len(bench.names):,} images"
        if args.data is None:
            files = f"{_COUNT} JPEGs of {_WIDTH} x {_HEIGHT}, made from scikit-image's"
        print(f"{files}; {args.size} px, batch size {args.batch_size}, {device}\n")
        print(f"{'':<14}{'':<46}{'images/s':>10}  range")
        stages = []
        for stage in bench.stages(sorted(set(args.workers or default_workers()))):
            print(_line(stage), flush=True)
            stages.append(stage)
    print(f"\n{conclusion(stages)}")
    if args.json is not None:
        report = {
            "data": files,
            "size": args.size,
            "batch_size": args.batch_size,
            "device": str(device),
            "stages": [stage.as_dict() for stage in stages],
            "conclusion": conclusion(stages),
        }
        write_report(args.json, _command(args), report)
    return 0


_NAMES = {
    "loader": "loader",
    "memory": "loader",
    "lab": "LAB",
    "augment": "augmentation",
    "step": "training step",
    "together": "all together",
}


def _line(stage: "BenchStage") -> str:
    rates = stage.timing.rates
    spread = f"{min(rates):.0f} to {max(rates):.0f}"
    if stage.workers:
        spread += f"; {stage.timing.rate / stage.workers:.0f} per worker"
    return f"{_NAMES[stage.kind]:<14}{stage.detail:<46}{stage.timing.rate:>10.0f}  {spread}"


def _command(args: argparse.Namespace) -> str:
    """Return the command with all options, including defaults."""
    words = ["lightning-colorize", "bench"]
    for name, value in vars(args).items():
        if value is not None:
            values = value if isinstance(value, list) else [value]
            words += [f"--{name.replace('_', '-')}", *map(without_folders, values)]
    return shlex.join(words)


def _device(name: str | None) -> "torch.device":
    """Return the named device, or by default the GPU if there is one."""
    import torch

    if name is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        return torch.empty(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name} cannot be used here: {first_line(error)}") from None
