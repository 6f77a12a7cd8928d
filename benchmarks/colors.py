"""What gives colors: trainings of equal budgets, over seeds, on photographs that none has seen.

    python benchmarks/colors.py speed --data GENERAL --out RUNS --weights mobilenet_v2.pth
    python benchmarks/colors.py recipes --data GENERAL --out RUNS --weights ...
    python benchmarks/colors.py finalists --data GENERAL --more OPEN --out RUNS --weights ...
    python benchmarks/colors.py curve --data GENERAL --more OPEN --out RUNS --weights ...
    python benchmarks/colors.py measures --data GENERAL --out RUNS --weights ...

`recipes` trains losses and decoders at 64 px for 10 minutes; `finalists` the same at 128 px for
three times as long, and the two best ones also on the images of OPEN; `curve` one recipe on parts
of the images and on those of OPEN, with equal steps; `measures` what may help against overfitting,
each alone (experiments/regularization/), for 20 epochs. `--only` chooses some.
A training of 10 minutes takes as many steps as 10 minutes had when `speed` was measured, on a quiet
machine: other work delays it, but does not shorten it. `speed` is repeated for another `--size`.
All start from MobileNetV2's weights. The last weights of each run are measured on GENERAL's test
split, those of a classification with several decodings; `finalists` also with two that the
validation images choose: the most faithful one, and the most faithful of the vivid ones. Run a
command again to continue: trainings are resumed, measured runs are kept. Several commands may share
RUNS, each with its own --seeds. The measured runs are added to benchmarks/results/colors_*.json,
where they replace those of the same recipe and seed: seeds may be trained on different days. Their
plot goes to docs/images/.
"""

import argparse
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import yaml
from common import command_of
from matplotlib.axes import Axes

from lightning_colorize.benchmarking.environment import write_report
from lightning_colorize.common.files import write_json
from lightning_colorize.common.processes import keep_freed_memory
from lightning_colorize.evaluation import find_images
from lightning_colorize.evaluation.grid import Grid, Setting, evaluate_grid, parse_grid
from lightning_colorize.evaluation.statistics import intervals
from lightning_colorize.inference import Colorizer, load_model
from lightning_colorize.models.load import choose_device
from lightning_colorize.runs.folder import LAST
from lightning_colorize.runs.result import RunResult

ROOT = Path(__file__).parent.parent
EXPERIMENTS = ROOT / "experiments"
MEASURED = "measured.json"
MORE = "_more"
DIAL = ("vividness=0,0.25,0.5,0.75,1", "temperature=0.38,1")
"""Decodings of a classification."""
CHOICES = ("strength=0.5,0.6,0.7,0.8,0.9,1,1.1,1.2,1.35,1.5", "flip=1")
"""Decodings of any network, among which those of a finalist are chosen."""
CHOSEN = {"faithful": 0.0, "vivid": 0.75}
"""The least colorfulness ratio on the validation images; of these, CIEDE2000 decides."""


@dataclass(frozen=True)
class Recipe:
    """One training: an experiment, and what differs from it."""

    name: str
    experiment: str = "photos_cpu"
    settings: dict[str, Any] = field(default_factory=dict)


def _loss(name: str) -> Recipe:
    return Recipe(name, settings={"model.loss": EXPERIMENTS / "loss" / f"{name}.yaml"})


# What default_model was when these trainings were made: another network, a higher encoder rate.
FIRST_MODEL: dict[str, Any] = {
    "model.encoder": EXPERIMENTS / "encoder" / "mobilenet_v2.yaml",
    "model.encoder_lr_ratio": 0.3,
    "model.decoder.widths": "[160,128,128]",
    "model.decoder.norm_levels": "false",
    "data.aging": 0,
}
# photos_cpu's network as the generator of a GAN, trained alone in the first 15 epochs.
GAN = Recipe(
    "gan",
    "cgan_staged",
    {
        "model.encoder": EXPERIMENTS / "encoder" / "mobilenet_v2.yaml",
        "model.decoder": EXPERIMENTS / "decoder" / "upsample.yaml",
        "model.decoder.skips": "true",
        "model.decoder.out_reduction": 4,
        "model.head": "lightning_colorize.networks.AbHead",
        "model.encoder_lr_ratio": 0.1,
        "model.generator_epochs": 15,
        "model.channels_last": "true",
        "data.crop_scale": "[0.3,1.0]",
        "data.grey_jitter": 0.25,
        "trainer.precision": "bf16-mixed",
    },
)
CROSS_ENTROPY = _loss("cross_entropy")
COLOR_QUERIES = Recipe("color_queries", "color_queries")
BEST = (CROSS_ENTROPY, COLOR_QUERIES)
# The best of `recipes` and of `measures`.
COMBINED = Recipe(
    "combined",
    settings={
        **CROSS_ENTROPY.settings,
        "model.encoder_lr_ratio": 0.3,
        "data.crop_scale": "[0.1,1.0]",
        "data.rotation": 10,
    },
)
RECIPES = (
    *map(_loss, ("mse", "l1", "chroma_weighted", "l1_perceptual_mobilenet")),
    CROSS_ENTROPY,
    Recipe("attention", "attention"),
    COLOR_QUERIES,
    Recipe("default_model", "default_model", FIRST_MODEL),
    COMBINED,
    GAN,
)
EPOCHS = 20  # of `measures`, as in sweeps/regularization.yaml
BATCH = 32  # of all experiments here
SPEEDS = ROOT / "benchmarks" / "results" / "colors_speed.json"


def _measure(file: Path) -> Recipe:
    trainer = yaml.safe_load(file.read_text()).get("trainer", {})
    budget = {"max_steps": -1, "max_epochs": EPOCHS} | trainer
    settings = {f"trainer.{name}": value for name, value in budget.items()}
    return Recipe(file.stem, settings={"config": file} | settings)


MEASURES = tuple(map(_measure, sorted((EXPERIMENTS / "regularization").glob("*.yaml"))))


def main() -> None:
    """Train and measure."""
    parser = training_parser(__doc__)
    parser.add_argument("what", choices=("speed", "recipes", "finalists", "curve", "measures"))
    parser.add_argument("--more", type=Path, help="further images, in default_model's folders")
    parser.add_argument("--steps", type=int, default=2500, help="of training, for `curve`")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", help="names of recipes")
    args = parser.parse_args()
    if args.what == "finalists":
        args.size, args.minutes = 128, 3 * args.minutes
    if args.what == "speed":
        measure_speed(args)
        return
    keep_freed_memory()
    more = [] if args.more is None else [with_more(args, r, f"{r.name}{MORE}") for r in BEST]
    recipes: dict[str, list[Recipe]] = {
        "recipes": [*RECIPES],
        "finalists": [*RECIPES, *more],
        "curve": [*curve(args)],
        "measures": [*MEASURES],
    }
    chosen = [r for r in recipes[args.what] if not args.only or r.name in args.only]
    file = ROOT / "benchmarks" / "results" / f"colors_{args.what}.json"
    # The report is more than the chosen part.
    command = re.sub(r" --(only|seeds)([ =](?!-)\S+)+", "", command_of("colors", sys.argv[1:]))
    # All recipes with one seed before the next seed.
    for seed, recipe in itertools.product(args.seeds, chosen):
        run = args.out / args.what / f"{recipe.name}-{seed}"
        if not (run / MEASURED).is_file():
            print(f"{recipe.name}, seed {seed}", flush=True)
            train(recipe, seed, args)
            write_json(run / MEASURED, measure(run, args.data, args.what == "finalists"))
        earlier = json.loads(file.read_text()) if file.is_file() else {}
        report = collect(run.parent, [recipe.name for recipe in recipes[args.what]], earlier)
        seeds = " ".join(sorted({key for runs in report["runs"].values() for key in runs}))
        write_report(file, f"{command} --seeds {seeds}", report)
        draw(report, args.what, ROOT / "docs" / "images" / f"{file.stem}.png")


def training_parser(
    documentation: str | None, folders: Literal["+"] | None = None
) -> argparse.ArgumentParser:
    """Return a parser of what `train` needs, but for `what`, the folder of the runs in `--out`.

    Args:
        documentation: Of the script.
        folders: "+" for several folders in `--data`.
    """
    parser = argparse.ArgumentParser(description=(documentation or "").partition("\n")[0])
    help_ = "folder with train, val, test"
    parser.add_argument("--data", type=Path, required=True, nargs=folders, help=help_)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--weights", type=Path, required=True, help="of MobileNetV2")
    parser.add_argument("--normalization", default="half", help="input range of the weights")
    parser.add_argument("--minutes", type=int, default=10, help="of a training at 64 px")
    parser.add_argument("--size", type=int, default=64, help="in pixels")
    return parser


def curve(args: argparse.Namespace) -> Iterator[Recipe]:
    """Yield trainings on an eighth to all of the images, and on more; equal steps."""
    equal = FIRST_MODEL | {
        "trainer.max_steps": args.steps,
        "trainer.check_val_every_n_epoch": "null",
        "trainer.val_check_interval": args.steps // 4,
    }
    count = count_images(args.data)
    for images in (count // 8, count // 4, count // 2, count):
        part = {"data.source.max_images": images}
        yield Recipe(f"{images}", "default_model", equal | part)
    if args.more is not None:
        every = count + count_images(args.more)
        yield with_more(args, Recipe("", "default_model", equal), f"{every}")


def with_more(args: argparse.Namespace, recipe: Recipe, name: str) -> Recipe:
    """Return a recipe on the images of `--more` too."""
    experiment = yaml.safe_load((EXPERIMENTS / "default_model.yaml").read_text())
    folders = [{"root": str(args.data.resolve()), "weight": count_images(args.data)}]
    for folder in experiment["data"]["source"]["init_args"]["folders"]:
        if "train" in folder["splits"]:
            folders.append(folder | {"root": str(args.more.resolve() / folder["root"])})
    return Recipe(name, recipe.experiment, recipe.settings | mixture(folders))


def mixture(folders: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the settings of a mixture of folders."""
    return {
        "data.source": EXPERIMENTS / "source" / "mixture.yaml",
        "data.source.folders": json.dumps(folders),
    }


def count_images(folder: Path) -> int:
    """Return the number of training images."""
    return sum(1 for file in (folder / "train").rglob("*") if file.is_file())


def train(recipe: Recipe, seed: int, args: argparse.Namespace) -> Path:
    """Train a recipe, or resume its training; return its run folder."""
    run = Path(args.out / args.what / f"{recipe.name}-{seed}")
    given = {
        "data.root": args.data.resolve(),
        "data.source": EXPERIMENTS / "source" / "folder.yaml",
        "data.size": args.size,
        "data.cache": "always",
        "seed_everything": seed,
        "trainer.max_time": "null",
        "trainer.max_epochs": -1,
        "trainer.check_val_every_n_epoch": 5,
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
        "trainer.max_steps": steps(recipe, args),
        **recipe.settings,
    }
    if args.weights is not None:
        given["model.encoder.weights"] = args.weights.resolve()
        given["model.encoder.normalization"] = args.normalization
    if "perceptual" in recipe.name:
        backbone = "model.loss.losses.perceptual.backbone"
        given[f"{backbone}.weights"] = args.weights.resolve()
        given[f"{backbone}.normalization"] = args.normalization
    # A file replaces what was set before it.
    ordered = sorted(given.items(), key=lambda item: not str(item[1]).endswith(".yaml"))
    words = [f"--{key}={value}" for key, value in ordered]
    config = EXPERIMENTS / f"{recipe.experiment}.yaml"
    subprocess.run(
        [sys.executable, "-m", "lightning_colorize", "fit", "--config", config, *words], check=True
    )
    return run


def steps(recipe: Recipe, args: argparse.Namespace) -> int:
    """Return the optimizer steps that the budget has for a recipe; -1 if its speed is not known."""
    if args.what in ("speed", "curve", "measures"):
        return -1
    measured = json.loads(SPEEDS.read_text())["images_per_second"]
    if str(args.size) not in measured:
        raise SystemExit(
            f"the speed at {args.size} px is not known; run `speed --size {args.size}`"
        )
    speeds, seconds = measured[str(args.size)], 60.0 * args.minutes
    if recipe is not GAN:
        # Others are photos_cpu with its own loss.
        kind = recipe.experiment if recipe.experiment in speeds else recipe.name.removesuffix(MORE)
        return round(seconds * speeds.get(kind, speeds["l1"]) / BATCH)
    # Its generator is trained alone like the network of `l1`; then a batch has two steps.
    alone = recipe.settings["model.generator_epochs"] * (count_images(args.data) // BATCH)
    rest = seconds - alone * BATCH / speeds["l1"]
    return alone + round(2 * rest * speeds[recipe.name] / BATCH)


def measure_speed(args: argparse.Namespace) -> None:
    """Measure the images per second of each recipe in training, and add them to the results."""
    speeds = {}
    for recipe in RECIPES:
        settings = recipe.settings
        if recipe is GAN:
            settings = settings | {"model.generator_epochs": 0, "model.discriminator_epochs": 0}
        speeds[recipe.name] = speed(Recipe(recipe.name, recipe.experiment, settings), args)
    earlier = json.loads(SPEEDS.read_text())["images_per_second"] if SPEEDS.is_file() else {}
    sizes = earlier | {str(args.size): speeds}
    command = re.sub(r" --size[ =]\S+", "", command_of("colors", sys.argv[1:]))
    commands = " && ".join(f"{command} --size {size}" for size in sizes)
    write_report(SPEEDS, commands, {"images_per_second": sizes})


def speed(recipe: Recipe, args: argparse.Namespace) -> float | None:
    """Return the images per second of a training of 45 seconds."""
    short = {
        "data.source.max_images": 16 * BATCH,
        "trainer.max_time": "00:00:00:45",
        "trainer.check_val_every_n_epoch": 10**6,
    }
    # The size as the seed gives each size a run of its own.
    run = train(Recipe(recipe.name, recipe.experiment, recipe.settings | short), args.size, args)
    result = RunResult.read(run)
    assert result is not None
    return result.steady_images_per_second


def measure(run: Path, data: Path, finalist: bool) -> dict[str, Any]:
    """Return what a run cost, and each metric with its 95 % interval by decoding and baseline."""
    model = load_model(run / LAST, device=choose_device("auto"))
    dial = DIAL if "vividness" in model.decoding else ()
    own = parse_grid(dial, model.model)
    settings = {" ".join(f"{v:g}" for v in s.values()) or "network": s for s in own}
    chosen = choose(model, data) if finalist else {}
    settings |= chosen
    grid = measure_split(model, data, "test", [*settings.values()])
    rows = intervals(grid.values)
    result = RunResult.read(run)
    assert result is not None
    return {
        "decodings": dict(zip(settings, rows, strict=False)),
        **({"chosen": chosen} if chosen else {}),
        "baselines": dict(zip(grid.baselines, rows[len(settings) :], strict=True)),
        "git_commit": result.git_commit,
        "images": grid.images,
        "images_seen": result.images_seen,
        "seconds": result.seconds,
        "parameters": result.parameters,
    }


def choose(model: Colorizer, data: Path) -> dict[str, Setting]:
    """Return the decodings that the validation images choose.

    Where none is colorful enough, the most colorful one counts.
    """
    dial = DIAL[:1] if "vividness" in model.decoding else ()
    choices = parse_grid([*dial, *CHOICES], model.model)
    grid = measure_split(model, data, "val", choices)
    most = max(row["colorfulness_ratio"] for row in grid.rows)
    return {name: choices[grid.best(min(least, most))] for name, least in CHOSEN.items()}


def measure_split(
    model: Colorizer, data: Path, split: Literal["val", "test"], settings: Sequence[Setting]
) -> Grid:
    """Measure a model with each setting on a split of a folder, at the model's size."""
    batches = find_images(data, split).batches(model.size, 32, model.model.device)
    return evaluate_grid(model.model, batches, settings)


def collect(folder: Path, names: Sequence[str], earlier: dict[str, Any]) -> dict[str, Any]:
    """Return the measured runs by recipe and seed, and the baselines that all of them share.

    Runs of an earlier report stay if the folder does not contain their recipe and seed.
    """
    runs: dict[str, dict[str, Any]] = {}
    baselines = [earlier["baselines"]] if earlier else []
    for name in names:
        measured = dict(earlier.get("runs", {}).get(name, {}))
        for file in folder.glob(f"{name}-*/{MEASURED}"):
            run = json.loads(file.read_text())
            baselines.append(run.pop("baselines"))
            measured[file.parent.name.removeprefix(f"{name}-")] = run
        if measured:
            runs[name] = dict(sorted(measured.items()))
    psnr = {name: [each[name]["psnr"]["value"] for each in baselines] for name in baselines[0]}
    shared = {name: baselines[0][name] for name in psnr if np.ptp(psnr[name]) < 0.01}
    return {"runs": runs, "baselines": shared}


def draw(report: dict[str, Any], what: str, file: Path) -> None:
    """Draw PSNR and CIEDE2000 of all runs: means over seeds, with their range."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for ax, metric in zip(axes, ("psnr", "ciede2000"), strict=True):
        ax.set_title(metric)
        {"curve": _draw_curve, "measures": _draw_measures}.get(what, _draw_dial)(ax, report, metric)
    handles, labels = axes[0].get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside right upper")
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _draw_dial(ax: Axes, report: dict[str, Any], metric: str) -> None:
    """Draw a metric against colorfulness; a classification is a line, from faithful to vivid."""
    for name, runs in report["runs"].items():
        shown = [d for d in _decodings(runs) if d == "network" or d.endswith(" 0.38")]
        ratios = [float(np.mean(_values(runs, d, "colorfulness_ratio"))) for d in shown]
        _draw_range(ax, ratios, [_values(runs, d, metric) for d in shown], name)
    for name, metrics in report["baselines"].items():
        point = metrics["colorfulness_ratio"]["value"], metrics[metric]["value"]
        ax.plot(*point, "x", color="0.5")
        ax.annotate(name, point, color="0.4", xytext=(4, 3), textcoords="offset points")
    ax.set_xlabel("colorfulness_ratio")


def _draw_curve(ax: Axes, report: dict[str, Any], metric: str) -> None:
    """Draw a metric against the number of training images."""
    counts = [int(name) for name in report["runs"]]
    for vividness in ("0", "0.5", "1"):
        values = [_values(runs, f"{vividness} 0.38", metric) for runs in report["runs"].values()]
        _draw_range(ax, counts, values, f"vividness {vividness}")
    for name, metrics in report["baselines"].items():
        ax.axhline(metrics[metric]["value"], color="0.6", linestyle=":", label=name)
    ax.set_xscale("log", base=2)
    ax.set_xticks(counts, [f"{count:,}" for count in counts], rotation=30)
    ax.set_xlabel("training images")


def _draw_measures(ax: Axes, report: dict[str, Any], metric: str) -> None:
    """Draw a metric of each seed, a row per measure, and the base as a line."""
    for row, (name, runs) in enumerate(report["runs"].items()):
        values = _values(runs, "network", metric)
        ax.plot(values, [row] * len(values), "o", color="C0", alpha=0.7)
        if name == "none":
            ax.axvspan(min(values), max(values), color="0.9")
    ax.set_yticks(range(len(report["runs"])), list(report["runs"]))
    ax.invert_yaxis()


def _draw_range(ax: Axes, xs: Sequence[float], values: list[list[float]], label: str) -> None:
    means = np.array([np.mean(each) for each in values])
    low, high = ([edge(each) for each in values] for edge in (min, max))
    errors = [means - low, high - means]
    ax.errorbar(xs, means, errors, fmt="o-", label=label, markersize=4, capsize=2)


def _decodings(runs: dict[str, Any]) -> list[str]:
    return list(next(iter(runs.values()))["decodings"])


def _values(runs: dict[str, Any], decoding: str, metric: str) -> list[float]:
    return [run["decodings"][decoding][metric]["value"] for run in runs.values()]


if __name__ == "__main__":
    main()
