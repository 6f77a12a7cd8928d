"""What the README shows of trained networks: a table, curves, and public photographs coloured.

    python benchmarks/photos.py compare --data FOLDER --command '...' pretrained=RUN scratch=RUN
    python benchmarks/photos.py quickstart RUN
    python benchmarks/photos.py gans --data FOLDER --command '...' cnn=RUN,RUN cgan=RUN,RUN

`compare` measures runs on FOLDER's test split (benchmarks/results/photos_cpu.json) and draws their
curves; `quickstart` draws the photograph that the quickstart keeps out of training, and its
validation regions; `gans` measures systems, each by runs that differ in their seed
(benchmarks/results/gans.json), and draws the first run of each. Images go to docs/images/: only
scikit-image's photographs, which are in the public domain, never those of FOLDER.
"""

import argparse
import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.io import write_png
from torchvision.utils import make_grid

from lightning_colorize.benchmarking.environment import write_report
from lightning_colorize.color import to_lab, to_rgb
from lightning_colorize.data.dataset import crop_square, resize_short_side
from lightning_colorize.data.sources import EmbeddedSource
from lightning_colorize.evaluation import evaluate_batches, find_images
from lightning_colorize.inference import ColorizationModel, load_model
from lightning_colorize.runs.folder import LAST, METRICS, read_result
from lightning_colorize.tasks.prediction import colorize_image

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
CURVES = ("val/psnr", "val/ciede2000", "val/colorfulness_ratio", "val/ab_corr")


def main() -> None:
    """Measure and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    compared = commands.add_parser("compare")
    compared.add_argument("runs", nargs="+", metavar="NAME=RUN")
    compared.add_argument("--data", type=Path, required=True)
    compared.add_argument("--command", required=True, help="how the runs were made, to be noted")
    compared.set_defaults(do=compare)
    quickstart = commands.add_parser("quickstart")
    quickstart.add_argument("run", type=Path)
    quickstart.set_defaults(do=draw_quickstart)
    seeded = commands.add_parser("gans")
    seeded.add_argument("systems", nargs="+", metavar="NAME=RUN,RUN,...")
    seeded.add_argument("--data", type=Path, required=True)
    seeded.add_argument("--command", required=True, help="how the runs were made, to be noted")
    seeded.set_defaults(do=compare_systems)
    args = parser.parse_args()
    IMAGES.mkdir(parents=True, exist_ok=True)
    args.do(args)


def compare(args: argparse.Namespace) -> None:
    """Write the table, the curves, and the public photographs as each run colours them."""
    runs = {name: Path(folder) for name, _, folder in (run.partition("=") for run in args.runs)}
    # The weights at the end of the budget: nothing is chosen by any metric.
    tasks = {name: load_model(folder / LAST) for name, folder in runs.items()}
    report = measure(tasks, args.data) | {"runs": {n: account(f) for n, f in runs.items()}}
    write_report(ROOT / "benchmarks" / "results" / "photos_cpu.json", args.command, report)
    draw_curves(runs)
    draw_public(tasks.values(), IMAGES / "results.png")


def compare_systems(args: argparse.Namespace) -> None:
    """Write each system's metrics over seeds, and the public photographs as the first run of each.

    What a run folder stands for is measured: its best checkpoint, by the experiment's own rule.
    """
    systems = {
        name: [Path(run) for run in runs.split(",")]
        for name, _, runs in (system.partition("=") for system in args.systems)
    }
    tasks = {
        f"{name} {i}": load_model(run)
        for name, runs in systems.items()
        for i, run in enumerate(runs)
    }
    measured = measure(tasks, args.data)
    metrics = measured["metrics"]
    report = {
        "metrics": {row: metrics[row] for row in metrics.keys() - tasks.keys()},
        "systems": {
            name: [
                {
                    "metrics": metrics[f"{name} {i}"],
                    "d_accuracy": last_epochs_mean(run, "train/d_accuracy"),
                    **account(run),
                }
                for i, run in enumerate(runs)
            ]
            for name, runs in systems.items()
        },
        "images": measured["images"],
    }
    write_report(ROOT / "benchmarks" / "results" / "gans.json", args.command, report)
    draw_public([tasks[f"{name} 0"] for name in systems], IMAGES / "gans.png")


def last_epochs_mean(run: Path, name: str) -> float | None:
    """Return the mean of what a run logged of a metric in its last epoch; None if it has none."""
    with (run / METRICS).open() as file:
        rows = [row for row in csv.DictReader(file) if row.get(name)]
    values = [float(row[name]) for row in rows if row["epoch"] == rows[-1]["epoch"]]
    return sum(values) / len(values) if values else None


def draw_public(tasks: Iterable[ColorizationModel], file: Path) -> None:
    """Draw four public photographs: grey, as each network colours them, truth."""
    whole = [
        EmbeddedSource(held_out=name).splits(None)["test"].read(0)
        for name in ("astronaut", "chelsea", "coffee", "rocket")
    ]
    write_png(side_by_side(whole, tasks, side=160), str(file))


def draw_quickstart(args: argparse.Namespace) -> None:
    """Draw the unseen photograph and the validation regions of the quickstart."""
    splits = EmbeddedSource().splits(None)
    images = [splits[s].read(i) for s in ("test", "val") for i in range(len(splits[s]))]
    columns = side_by_side(images, [load_model(args.run)], side=96, upright=True)
    write_png(columns, str(IMAGES / "quickstart.png"))


def measure(tasks: dict[str, ColorizationModel], data: Path) -> dict[str, Any]:
    """Return the networks' metrics, then the first one's baselines', on the test split."""
    metrics: dict[str, dict[str, float]] = {}
    baselines: dict[str, dict[str, float]] = {}
    found = find_images(data, "test")
    for name, loaded in tasks.items():
        batches = found.batches(loaded.size, 32, torch.device("cpu"))
        rows = evaluate_batches(loaded.task, loaded.baselines, batches).rows
        metrics[name] = rows.pop("model")
        baselines = baselines or rows
    return {"metrics": metrics | baselines, "images": len(found.images)}


def account(run: Path) -> dict[str, Any]:
    """Return what a run cost."""
    result = read_result(run) or {}
    kept = ("epochs", "images_seen", "seconds", "images_per_second", "parameters")
    return {name: result[name] for name in kept}


def draw_curves(runs: dict[str, Path]) -> None:
    """Draw validation metrics over epochs."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(CURVES), figsize=(12, 2.6), layout="constrained")
    for name, run in runs.items():
        with (run / METRICS).open() as file:
            rows = [row for row in csv.DictReader(file) if row["val/psnr"]]
        epochs = [int(row["epoch"]) + 1 for row in rows]
        for axis, metric in zip(axes, CURVES, strict=True):
            axis.plot(epochs, [float(row[metric]) for row in rows], label=name)
    for axis, metric in zip(axes, CURVES, strict=True):
        axis.set(title=metric, xlabel="epoch")
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.savefig(IMAGES / "photos_cpu.png", dpi=110)


def side_by_side(
    images: list[Tensor], tasks: Iterable[ColorizationModel], side: int, upright: bool = False
) -> Tensor:
    """Return a row for each image: grey, as each network colours it, truth.

    Args:
        images: (3, H, W), uint8; their middle square is shown.
        tasks: The networks.
        side: Height and width of what is shown, in pixels.
        upright: A column for each image instead.
    """
    ways = [
        [grey(rgb) for rgb in images],
        *([colorize_image(t.task, rgb, t.size) for rgb in images] for t in tasks),
        images,
    ]
    table = ways if upright else [list(row) for row in zip(*ways, strict=True)]
    cells = [crop_square(resize_short_side(rgb, side), side) for row in table for rgb in row]
    return make_grid(cells, nrow=len(table[0]), padding=4, pad_value=255)


def grey(rgb: Tensor) -> Tensor:
    """Return an image's lightness as a grey image: (3, H, W), uint8."""
    L, ab = to_lab(rgb.unsqueeze(0))
    return (to_rgb(L, torch.zeros_like(ab))[0] * 255).round().to(torch.uint8)


if __name__ == "__main__":
    main()
