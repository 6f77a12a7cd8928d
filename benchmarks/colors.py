"""What gives colors: trainings of equal budgets, over seeds, on photographs that none has seen.

    python benchmarks/colors.py recipes --data GENERAL --out RUNS --weights mobilenet_v2.pth
    python benchmarks/colors.py curve --data GENERAL --more OPEN --out RUNS --weights ...
    python benchmarks/colors.py measures --data GENERAL --out RUNS --weights ...

`recipes` trains losses and decoders, `curve` one recipe on parts of the data and on more of it,
with equal steps, `measures` what may help against overfitting, each alone
(experiments/regularization/).
All at 64 px from MobileNetV2's weights. The last weights of each run are measured on GENERAL's test
split, those of a classification with several decodings. Results go to benchmarks/results/
colors_*.json; run a command again to continue: trainings are resumed, measured runs are skipped.
"""

import argparse
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch

from lightning_colorize.benchmarking.environment import write_report
from lightning_colorize.evaluation import find_images
from lightning_colorize.evaluation.grid import Setting, evaluate_grid
from lightning_colorize.evaluation.statistics import intervals
from lightning_colorize.inference import load_model
from lightning_colorize.metrics.spec import BASELINES
from lightning_colorize.runs.folder import LAST
from lightning_colorize.runs.result import RunResult

ROOT = Path(__file__).parent.parent
EXPERIMENTS = ROOT / "experiments"
SIZE = 64
DECODINGS = list(itertools.product((0.0, 0.25, 0.5, 0.75, 1.0), (0.38, 1.0)))
"""Vividness and temperature of a classification."""


@dataclass(frozen=True)
class Recipe:
    """One training: an experiment, further configuration files, and settings."""

    name: str
    experiment: str = "photos_cpu"
    configs: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


def _loss(name: str, **settings: Any) -> Recipe:
    return Recipe(name, settings={"model.loss": EXPERIMENTS / "loss" / f"{name}.yaml", **settings})


RECIPES = (
    _loss("mse"),
    _loss("l1"),
    _loss("cross_entropy"),
    _loss("l1_perceptual_mobilenet"),
    _loss("l1_colorful"),
    _loss("chroma_weighted"),
    Recipe("attention", "attention"),
    Recipe("color_queries", "color_queries"),
)
MEASURES = tuple(
    Recipe(file.stem, configs=(f"regularization/{file.name}",))
    for file in sorted((EXPERIMENTS / "regularization").glob("*.yaml"))
)


def main() -> None:
    """Train and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("recipes", "curve", "measures"))
    parser.add_argument("--data", type=Path, required=True, help="folder with train, val, test")
    parser.add_argument("--more", type=Path, help="further training images, for `curve`")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--weights", type=Path, required=True, help="of MobileNetV2")
    parser.add_argument("--normalization", default="half", help="input range of the weights")
    parser.add_argument("--minutes", type=int, default=10, help="of training")
    parser.add_argument("--steps", type=int, default=2500, help="of training, for `curve`")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", help="names of recipes")
    args = parser.parse_args()
    file = ROOT / "benchmarks" / "results" / f"colors_{args.what}.json"
    report: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {"runs": {}}
    # Paths of this machine are nobody's business.
    words = [re.sub(r"(?<![^=])/\S*/", "", word) for word in sys.argv[1:]]
    recipes = {"recipes": RECIPES, "measures": MEASURES}.get(args.what) or tuple(curve(args))
    # All recipes with one seed before the next seed.
    for seed, recipe in itertools.product(args.seeds, recipes):
        if args.only and recipe.name not in args.only:
            continue
        runs = report["runs"].setdefault(recipe.name, {})
        if str(seed) in runs:
            continue
        run = train(recipe, seed, args)
        measured = measure(run, args.data)
        report["baselines"] = {name: measured.pop(name) for name in BASELINES}
        result = RunResult.read(run)
        assert result is not None
        runs[str(seed)] = {
            "decodings": measured,
            "images_seen": result.images_seen,
            "seconds": result.seconds,
            "parameters": result.parameters,
        }
        write_report(file, f"python benchmarks/colors.py {' '.join(words)}", report)
        draw(report, args.what, ROOT / "docs" / "images" / f"{file.stem}.png")
        print(f"{recipe.name}, seed {seed}: written to {file}", flush=True)


def curve(args: argparse.Namespace) -> Iterator[Recipe]:
    """Yield recipes with an eighth to all of the images, and with more; equal steps."""
    equal = {
        "model.loss": EXPERIMENTS / "loss" / "cross_entropy.yaml",
        "trainer.max_time": "null",
        "trainer.max_steps": args.steps,
        "trainer.check_val_every_n_epoch": "null",
        "trainer.val_check_interval": args.steps // 4,
    }
    count = sum(1 for file in (args.data / "train").iterdir() if file.is_file())
    for part in (8, 4, 2, 1):
        yield Recipe(f"{count // part}", settings=equal | {"data.source.max_images": count // part})
    if args.more is not None:
        own = {"root": str(args.data.resolve()), "weight": count}
        more = {"root": str((args.more / "train").resolve()), "splits": {"train": 1}}
        more["weight"] = found = sum(1 for file in (args.more / "train").glob("*/*"))
        folders = {"data.source": EXPERIMENTS / "source" / "mixture.yaml"}
        folders["data.source.folders"] = json.dumps([own, more])
        yield Recipe(f"{count + found}", settings=equal | folders)


def train(recipe: Recipe, seed: int, args: argparse.Namespace) -> Path:
    """Train a recipe, or resume its training; return its run folder."""
    run = Path(args.out) / args.what / f"{recipe.name}-{seed}"
    result = RunResult.read(run)
    if result is not None and result.ended:
        return run
    given = {
        "data.root": args.data.resolve(),
        "data.source": EXPERIMENTS / "source" / "folder.yaml",
        "data.size": SIZE,
        "data.cache": "always",
        "seed_everything": seed,
        "trainer.max_time": f"00:00:{args.minutes:02}:00",
        "trainer.max_epochs": -1,
        "trainer.check_val_every_n_epoch": 5,
        "model.encoder.weights": args.weights.resolve(),
        "model.encoder.normalization": args.normalization,
        "run.root": args.out,
        "run.experiment": args.what,
        "run.name": run.name,
        "run.auto_resume": "true",
        # Neither selected by a metric nor stopped by one: the weights at the end of the budget.
        "run.monitor": "null",
        "run.patience": "null",
        "run.test": "false",
        "run.grid_images": 0,
        "run.loggers.wandb": "disabled",
        "run.loggers.tensorboard": "false",
        **recipe.settings,
    }
    if "perceptual" in recipe.name:
        backbone = "model.loss.losses.perceptual.backbone"
        given[f"{backbone}.weights"] = args.weights.resolve()
        given[f"{backbone}.normalization"] = args.normalization
    files = [f"{recipe.experiment}.yaml", *recipe.configs]
    configs = [word for file in files for word in ("--config", EXPERIMENTS / file)]
    words = [f"--{key}={value}" for key, value in given.items()]
    print(f"{recipe.name}, seed {seed}", flush=True)
    subprocess.run(
        [sys.executable, "-m", "lightning_colorize", "fit", *configs, *words], check=True
    )
    return run


def measure(run: Path, data: Path) -> dict[str, dict[str, Any]]:
    """Return each metric with its 95 % interval, by decoding and baseline."""
    model = load_model(run / LAST)
    settings: list[Setting] = [{}]
    if model.is_classification:
        settings = [{"vividness": v, "temperature": t} for v, t in DECODINGS]
    batches = find_images(data, "test").batches(model.size, 32, torch.device("cpu"))
    grid = evaluate_grid(model, batches, settings)
    names = [" ".join(f"{value:g}" for value in setting.values()) for setting in settings]
    names = [*(name or "network" for name in names), *grid.baselines]
    return dict(zip(names, intervals(grid.values), strict=True))


def draw(report: dict[str, Any], what: str, file: Path) -> None:
    """Draw CIEDE2000 and PSNR: against the number of images for `curve`, else against color."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for ax, metric in zip(axes, ("ciede2000", "psnr"), strict=True):
        for name, runs in report["runs"].items():
            decodings = next(iter(runs.values()))["decodings"]
            shown = [d for d in decodings if d == "network" or d.endswith(" 0.38")]
            points = [_means(runs, decoding, metric) for decoding in shown]
            if what == "curve":
                middle = points[len(points) // 2]
                ax.errorbar(int(name), middle[1], middle[2], fmt="o", color="C0", capsize=3)
                continue
            ratios, values, errors = zip(*points, strict=True)
            spread = np.array(errors)[:, :, 0].T
            ax.errorbar(ratios, values, spread, fmt="o-", label=name, capsize=3, markersize=4)
        for name, metrics in report["baselines"].items():
            value = metrics[metric]["value"]
            if what == "curve":
                ax.axhline(value, color="0.7", linestyle=":")
                ax.annotate(name, (1, value), xycoords=("axes fraction", "data"), ha="right")
            else:
                ax.plot(metrics["colorfulness_ratio"]["value"], value, "x", color="0.5")
                ax.annotate(name, (metrics["colorfulness_ratio"]["value"], value), color="0.4")
        ax.set_xlabel("training images" if what == "curve" else "colorfulness_ratio")
        ax.set_ylabel(metric)
        if what == "curve":
            ax.set_xscale("log")
    if what != "curve":
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper")
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _means(
    runs: dict[str, Any], decoding: str, metric: str
) -> tuple[float, float, list[list[float]]]:
    """Return the mean ratio, the mean of a metric over seeds, and its range below and above."""
    rows = [run["decodings"][decoding] for run in runs.values()]
    ratio = sum(row["colorfulness_ratio"]["value"] for row in rows) / len(rows)
    values = [row[metric]["value"] for row in rows]
    mean = sum(values) / len(values)
    return ratio, mean, [[mean - min(values)], [max(values) - mean]]


if __name__ == "__main__":
    main()
