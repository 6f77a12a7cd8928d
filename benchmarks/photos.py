"""Runs on a folder of photographs side by side: table, curves, and public pictures coloured.

    python benchmarks/photos.py --data FOLDER pretrained=RUN scratch=RUN --command '...'

The table is measured on FOLDER's test split and written to benchmarks/results/photos_cpu.json; the
curves and the coloured pictures go to docs/images/. No picture of FOLDER is shown anywhere: what is
coloured are scikit-image's public-domain photographs, none of which the runs have seen.
"""

import argparse
import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage import data as bundled
from torch import Tensor
from torchvision.io import write_png
from torchvision.utils import make_grid

from lightning_colorize.benchmarking.environment import write_report
from lightning_colorize.color import to_lab, to_rgb
from lightning_colorize.data.dataset import resize_short_side
from lightning_colorize.evaluation import evaluate, find_pictures
from lightning_colorize.inference import LoadedTask, load_task
from lightning_colorize.run_folder import METRICS, read_result
from lightning_colorize.tasks.prediction import colorize_picture

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
PUBLIC: dict[str, Callable[[], np.ndarray]] = {
    "astronaut": bundled.astronaut,
    "chelsea": bundled.chelsea,
    "coffee": bundled.coffee,
    "rocket": bundled.rocket,
}
SHOWN = 192


def main() -> None:
    """Measure, draw and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--command", required=True, help="how the runs were made, for the record")
    args = parser.parse_args()
    runs = {name: Path(folder) for name, _, folder in (run.partition("=") for run in args.runs)}
    tasks = {name: load_task(folder) for name, folder in runs.items()}
    report = measure(tasks, args.data) | {"runs": {n: account(f) for n, f in runs.items()}}
    write_report(ROOT / "benchmarks" / "results" / "photos_cpu.json", args.command, report)
    IMAGES.mkdir(parents=True, exist_ok=True)
    draw_curves({n: read_curve(f) for n, f in runs.items()})
    write_png(colored_grid(tasks), str(IMAGES / "results.png"))


def measure(tasks: dict[str, LoadedTask], data: Path) -> dict[str, Any]:
    """Return the metrics of the networks, then of the first one's baselines, on the test split."""
    metrics: dict[str, dict[str, float]] = {}
    found = find_pictures(data, "test")
    for name, loaded in tasks.items():
        batches = found.batches(loaded.size, 32, torch.device("cpu"))
        rows = evaluate(loaded.task, loaded.baselines, batches).rows
        metrics = {**metrics, name: rows.pop("model")}
        baselines = rows
    return {"metrics": metrics | baselines, "pictures": len(found.pictures)}


def account(run: Path) -> dict[str, Any]:
    """Return what a run cost."""
    result = read_result(run) or {}
    kept = ("epochs", "images_seen", "seconds", "images_per_second", "parameters", "git_commit")
    return {name: result[name] for name in kept}


def read_curve(run: Path) -> tuple[list[float], dict[str, list[float]]]:
    """Return the epochs and the values of each validation metric."""
    with (run / METRICS).open() as file:
        rows = [row for row in csv.DictReader(file) if row["val/psnr"]]
    names = ("val/psnr", "val/ciede2000", "val/colorfulness_ratio", "val/hue_r")
    return (
        [float(row["epoch"]) + 1 for row in rows],
        {name: [float(row[name]) for row in rows] for name in names},
    )


def draw_curves(curves: dict[str, tuple[list[float], dict[str, list[float]]]]) -> None:
    """Draw validation metrics over epochs."""
    import matplotlib.pyplot as plt

    names = list(next(iter(curves.values()))[1])
    figure, axes = plt.subplots(1, len(names), figsize=(12, 2.6), layout="constrained")
    for axis, name in zip(axes, names, strict=True):
        for run, (epochs, values) in curves.items():
            axis.plot(epochs, values[name], label=run)
        axis.set(title=name, xlabel="epoch")
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.savefig(IMAGES / "photos_cpu.png", dpi=110)


def colored_grid(tasks: dict[str, LoadedTask]) -> Tensor:
    """Return a row for each public photograph: grey, each run, truth."""
    pictures = []
    for load in PUBLIC.values():
        rgb = torch.from_numpy(np.ascontiguousarray(load().transpose(2, 0, 1)))
        colored = [colorize_picture(t.task, rgb, t.size) for t in tasks.values()]
        L, ab = to_lab(rgb.unsqueeze(0))
        grey = (to_rgb(L, torch.zeros_like(ab))[0] * 255).round().to(torch.uint8)
        pictures += [square(picture) for picture in (grey, *colored, rgb)]
    return make_grid(pictures, nrow=len(tasks) + 2, padding=4, pad_value=255)


def square(rgb: Tensor) -> Tensor:
    """Return the picture's middle at the size that is shown."""
    small = resize_short_side(rgb, SHOWN)
    top, left = (small.shape[1] - SHOWN) // 2, (small.shape[2] - SHOWN) // 2
    return small[:, top : top + SHOWN, left : left + SHOWN]


if __name__ == "__main__":
    main()
