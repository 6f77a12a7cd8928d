"""Results of trained networks: tables, curves, and public-domain photographs in color.

    python benchmarks/photos.py systems --data FOLDER --out RUNS --minutes 10 --size 64
    python benchmarks/photos.py compare --data FOLDER --command '...' pretrained=RUN scratch=RUN
    python benchmarks/photos.py quickstart RUN
    python benchmarks/photos.py gans --data FOLDER --command '...' cnn=RUN,RUN cgan=RUN,RUN
    python benchmarks/photos.py default --data FOLDER FOLDER

`systems` trains the published systems and photos_cpu under equal conditions, one after the other,
and measures their last weights on FOLDER's test split (benchmarks/results/systems.json). Run it
again to continue: systems in the result are skipped, an interrupted training is resumed.
`compare` measures existing runs (benchmarks/results/photos_cpu.json).
`quickstart` draws the test image and the validation regions of the quickstart. `gans` measures
systems over seeds (benchmarks/results/gans.json). `default` measures the model of the package on
the test splits of folders (benchmarks/results/default_model.json), and draws docs/photographs/
and docs/historic/.
Images go to docs/images/ and show photographs in the public domain, never images of FOLDER.
"""

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import yaml
from common import command_of
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F
from torchvision.io import write_jpeg
from torchvision.transforms.v2 import functional as TF
from torchvision.transforms.v2.functional import pil_to_tensor, resize

from lightning_colorize.benchmarking.environment import write_report
from lightning_colorize.color import to_lab, to_rgb
from lightning_colorize.common.bundled import SAMPLES
from lightning_colorize.data.decoding.files import read_image
from lightning_colorize.data.sources import EmbeddedSource
from lightning_colorize.evaluation import evaluate_batches, find_images
from lightning_colorize.evaluation.evaluator import measure_systems
from lightning_colorize.evaluation.grid import evaluate_grid
from lightning_colorize.evaluation.statistics import intervals
from lightning_colorize.evaluation.systems import open_systems
from lightning_colorize.inference import Colorizer, colorize_image, load_model
from lightning_colorize.runs.folder import LAST, METRICS
from lightning_colorize.runs.result import RunResult

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
EXPERIMENTS = ROOT / "experiments"
SYSTEMS = (
    *("resnet34_upsample", "resnet18_deconv", "vgg16_upsample", "cnn_autoencoder", "cnn_unet"),
    *("cgan_pix2pix", "cgan_faces_landscapes", "cgan_staged", "photos_cpu"),
)
# A short budget ends before the experiment's ten epochs of the generator alone.
OWN_SETTINGS = {"cgan_staged": {"model.generator_epochs": "4", "model.discriminator_epochs": "1"}}
PHOTOGRAPHS = ROOT / "docs" / "photographs"
HISTORIC = ROOT / "docs" / "historic"
HINTS = {  # from left and top, as shares of the photograph's sides
    "astronaut": [(0.36, 0.72, "#c8642c")],
    "people": [(0.16, 0.55, "#c83c3c"), (0.52, 0.6, "#3c5a96"), (0.3, 0.08, "#3c5a28")],
    "citrus": [(0.3, 0.5, "#dc7828"), (0.55, 0.43, "#aab432")],
    "valley": [(0.2, 0.75, "#96642d"), (0.62, 0.1, "#5078b4")],
}


def main() -> None:
    """Measure and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    trained = commands.add_parser("systems")
    trained.add_argument("--data", type=Path, required=True, help="folder with train, val, test")
    trained.add_argument("--out", type=Path, required=True, help="folder of the runs")
    trained.add_argument("--minutes", type=float, default=10, help="of training, for each system")
    trained.add_argument("--size", type=int, default=64, help="pixels, for all systems")
    trained.add_argument("--precision", default="bf16-mixed", help="of all systems")
    trained.add_argument("--download", action="store_true", help="ImageNet weights, where used")
    trained.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SYSTEM:KEY=VALUE",
        help="a setting of one system: vgg16_upsample:model.encoder.weights=vgg16.pth",
    )
    trained.add_argument("--only", nargs="+", choices=SYSTEMS, default=SYSTEMS)
    trained.add_argument("--result", type=Path, default=ROOT / "benchmarks/results/systems.json")
    trained.add_argument("--image", type=Path, default=IMAGES / "systems.jpg")
    trained.set_defaults(do=train_systems)
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
    shipped = commands.add_parser("default")
    shipped.add_argument("--data", type=Path, nargs="+", required=True, help="folders with test")
    shipped.set_defaults(do=default_model)
    args = parser.parse_args()
    IMAGES.mkdir(parents=True, exist_ok=True)
    args.do(args)


def train_systems(args: argparse.Namespace) -> None:
    """Train and measure the systems that the result does not contain; draw all of them."""
    conditions = {"minutes": args.minutes, "size": args.size, "precision": args.precision}
    report: dict[str, Any] = {**conditions, "systems": {}, "baselines": {}, "images": 0}
    if args.result.is_file():
        report = json.loads(args.result.read_text())
        if any(report[name] != value for name, value in conditions.items()):
            sys.exit(f"{args.result} was made under other conditions; give another --result")
    command = command_of("photos", sys.argv[1:])
    for name in args.only:
        if name in report["systems"]:
            continue
        settings, weights = settings_of(name, args.download, args.set)
        run = train(name, settings, args)
        intervals, report["images"] = intervals_of(name, run / LAST, args.data)
        report["systems"][name] = {
            "metrics": intervals.pop(name),
            "weights": weights,
            "settings": {k: Path(v).name if "weights" in k else v for k, v in settings.items()},
            **account(run),
        }
        report["baselines"] = report["baselines"] or intervals
        args.result.parent.mkdir(parents=True, exist_ok=True)
        write_report(args.result, command, report)
        print(f"{name}: written to {args.result}", flush=True)
    runs = {name: run_folder(name, args) for name in SYSTEMS if name in report["systems"]}
    args.image.parent.mkdir(parents=True, exist_ok=True)
    draw_public({name: load_model(run / LAST) for name, run in runs.items()}, args.image, side=128)


def settings_of(name: str, download: bool, given: list[str]) -> tuple[dict[str, str], str | None]:
    """Return what a system changes of its experiment, and where its first weights are from.

    Args:
        name: Of the experiment.
        download: Let encoders download ImageNet weights.
        given: Settings as `SYSTEM:KEY=VALUE`.

    Returns:
        Settings by dotted name; and `ImageNet`, `random` where the experiment starts from ImageNet
        weights that are not available, or None where it starts from random ones anyway.
    """
    settings = dict(OWN_SETTINGS.get(name, {}))
    for word in given:
        system, _, setting = word.partition(":")
        if system == name:
            key, _, value = setting.partition("=")
            settings[key] = value
    model = yaml.safe_load((EXPERIMENTS / f"{name}.yaml").read_text())["model"]["init_args"]
    encoder = model["encoder"]["init_args"]
    if not encoder.get("pretrained"):
        return settings, None
    if download or "model.encoder.weights" in settings:
        return settings, "ImageNet"
    settings["model.encoder.pretrained"] = "false"
    settings |= {"model.encoder.frozen": "false"} if encoder["frozen"] else {}
    settings |= {"model.encoder_lr_ratio": "1.0"} if "encoder_lr_ratio" in model else {}
    return settings, "random"


def run_folder(name: str, args: argparse.Namespace) -> Path:
    """Return the run folder of a system."""
    return Path(args.out) / name / f"{args.minutes:g}min-{args.size}px"


def train(name: str, settings: dict[str, str], args: argparse.Namespace) -> Path:
    """Train a system, or resume its training; return its run folder."""
    run = run_folder(name, args)
    if (run / "result.json").is_file() and RunResult.read(run).ended:  # type: ignore[union-attr]
        return run
    clock, seconds = divmod(round(60 * args.minutes), 60)
    given = {
        "data.root": args.data.resolve(),
        "data.source": EXPERIMENTS / "source" / "folder.yaml",
        "data.size": args.size,
        "data.cache": "always",
        "trainer.max_time": f"00:{clock // 60:02}:{clock % 60:02}:{seconds:02}",
        "trainer.max_epochs": -1,
        "trainer.precision": args.precision,
        "trainer.check_val_every_n_epoch": 3,
        "model.channels_last": "true",
        "run.root": args.out,
        "run.name": run.name,
        "run.auto_resume": "true",
        # Neither selected by a metric nor stopped by one: the weights at the end of the budget.
        "run.monitor": "null",
        "run.patience": "null",
        "run.test": "false",
        "run.grid_images": 0,
        "run.loggers.wandb": "disabled",
        "run.loggers.tensorboard": "false",
        **settings,
    }
    words = [f"--{key}={value}" for key, value in given.items()]
    fit = [sys.executable, "-m", "lightning_colorize", "fit", "--config"]
    print(f"{name}: {timedelta(minutes=args.minutes)} of training", flush=True)
    subprocess.run([*fit, EXPERIMENTS / f"{name}.yaml", *words], check=True)
    return run


def intervals_of(
    name: str, checkpoint: Path, data: Path
) -> tuple[dict[str, dict[str, dict[str, float]]], int]:
    """Return the metrics of a network and its baselines, and the number of test images.

    Each metric has a value and the ends of its 95 % interval.
    """
    systems = open_systems([f"{name}={checkpoint}"], data, [], torch.device("cpu"))
    found = find_images(data, "test")
    size = load_model(checkpoint).size
    batches = found.batches(size, 32, torch.device("cpu"))
    measured = measure_systems(systems, batches, size)
    assert measured.values is not None
    rows = dict(zip(measured.rows, intervals(measured.values), strict=True))
    return rows, len(measured.names)


def compare(args: argparse.Namespace) -> None:
    """Write the table, and draw the public photographs colored by each run."""
    runs = {name: Path(folder) for name, _, folder in (run.partition("=") for run in args.runs)}
    # The weights at the end of the budget: nothing is selected by a metric.
    tasks = {name: load_model(folder / LAST) for name, folder in runs.items()}
    report = measure(tasks, args.data) | {"runs": {n: account(f) for n, f in runs.items()}}
    write_report(ROOT / "benchmarks" / "results" / "photos_cpu.json", args.command, report)
    draw_public(tasks, IMAGES / "photos_cpu.jpg")


def compare_systems(args: argparse.Namespace) -> None:
    """Write each system's metrics over seeds, and draw the first run of each.

    The best checkpoint of each run is measured, as its experiment selects it.
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
    draw_public({name: tasks[f"{name} 0"] for name in systems}, IMAGES / "gans.jpg")


def default_model(args: argparse.Namespace) -> None:
    """Measure the bundled model with several decodings, and draw what it makes."""
    model = load_model("default")
    own = model.decoding
    settings = {"default": own}
    for vividness in (0, 1):
        name = f"vividness {vividness}, strength 1"
        settings[name] = {**own, "vividness": vividness, "strength": 1}
    report: dict[str, Any] = {"decoding": own, "size": model.size, "folders": {}}
    for folder in args.data:
        batches = find_images(folder, "test").batches(model.size, 32, torch.device("cpu"))
        grid = evaluate_grid(model.model, batches, list(settings.values()))
        rows = dict(zip([*settings, *grid.baselines], intervals(grid.values), strict=True))
        report["folders"][folder.name] = {"images": grid.images, "rows": rows}
    command = command_of("photos", sys.argv[1:])
    write_report(ROOT / "benchmarks/results/default_model.json", command, report)
    model = load_model("default")
    wide = [center_crop(rgb, 3 / 2) for rgb in map(read_image, sorted(PHOTOGRAPHS.glob("*.jpg")))]
    half = len(wide) // 2
    columns = [
        torch.cat([titles(["in color"], 128), side_by_side(images, [model], 128)], dim=1)
        for images in (wide[:half], wide[half:])
    ]
    write_jpeg(torch.cat(columns, dim=2), str(IMAGES / "default_model.jpg"), quality=90)
    draw_hints(model)
    draw_historic(model)
    draw_samples(load_model(SAMPLES))


def draw_hints(colorizer: Colorizer) -> None:
    """Draw photographs in columns: grey with the hints, colored without and with them, truth."""
    columns = []
    for name, points in HINTS.items():
        rgb = center_crop(read_image(PHOTOGRAPHS / f"{name}.jpg"), 3 / 2)
        height, width = rgb.shape[-2:]
        layer = Image.new("RGBA", (width, height))
        for x, y, color in points:
            ImageDraw.Draw(layer).circle((x * width, y * height), height / 32, color)
        hints = pil_to_tensor(layer)
        given = torch.where(hints[3:] > 0, hints[:3], grey(rgb))
        colored = [colorizer.colorize(rgb), colorizer.colorize(rgb, hints=hints)]
        columns.append([given, *colored, rgb])
    write_columns(columns, "hints")


def draw_samples(colorizer: Colorizer) -> None:
    """Draw photographs in columns: grey, four samples, truth."""
    columns = []
    for name in HINTS:
        rgb = center_crop(read_image(PHOTOGRAPHS / f"{name}.jpg"), 3 / 2)
        columns.append([grey(rgb), *colorizer.colorize(rgb, samples=4, seed=0), rgb])
    write_columns(columns, "samples")


def draw_historic(colorizer: Colorizer) -> None:
    """Draw historic photographs in columns of two, each in grey and in color."""
    crops = (center_crop(read_image(file), 4 / 3) for file in sorted(HISTORIC.glob("*.jpg")))
    cells = [cell for rgb in crops for cell in (grey(rgb), colorizer.colorize(rgb))]
    write_columns([cells[start : start + 4] for start in range(0, len(cells), 4)], "historic")


def write_columns(columns: list[list[Tensor]], name: str) -> None:
    """Write an image whose columns show these photographs, from above."""
    drawn = [torch.cat([_cell(e, 128, upright=True) for e in each], dim=1) for each in columns]
    image = F.pad(torch.cat(drawn, dim=2), (4, 0, 4, 0), value=255)
    write_jpeg(image, str(IMAGES / f"{name}.jpg"), quality=90)


def center_crop(rgb: Tensor, ratio: float) -> Tensor:
    """Return the largest central part of an image with this ratio of width to height."""
    height, width = rgb.shape[-2:]
    size = [min(height, round(width / ratio)), min(width, round(height * ratio))]
    cropped: Tensor = TF.center_crop(rgb, size)
    return cropped


def last_epochs_mean(run: Path, name: str) -> float | None:
    """Return the mean of a metric over a run's last epoch; None if it was not logged."""
    with (run / METRICS).open() as file:
        rows = [row for row in csv.DictReader(file) if row.get(name)]
    values = [float(row[name]) for row in rows if row["epoch"] == rows[-1]["epoch"]]
    return sum(values) / len(values) if values else None


def draw_public(tasks: dict[str, Colorizer], file: Path, side: int = 160) -> None:
    """Draw four public-domain photographs: grey, colored by each network, truth."""
    whole = [
        EmbeddedSource(held_out=name).splits(None)["test"].read(0)
        for name in ("astronaut", "chelsea", "coffee", "rocket")
    ]
    rows = side_by_side(whole, tasks.values(), side)
    write_jpeg(torch.cat([titles(tasks, side), rows], dim=1), str(file), quality=90)


def titles(names: Iterable[str], side: int) -> Tensor:
    """Return the titles of columns `side` pixels wide: grey, names, original; (3, H, W), uint8."""
    font = ImageFont.load_default(12)
    columns = []
    for name in ("grey", *names, "original"):
        title = Image.new("RGB", (side + 4, 36), "white")
        lines = name.replace("_", "\n", 1)
        draw = ImageDraw.Draw(title)
        draw.multiline_text((side / 2, 18), lines, "black", font, "mm", align="center")
        columns.append(pil_to_tensor(title))
    return F.pad(torch.cat(columns, dim=2), (4, 0), value=255)


def draw_quickstart(args: argparse.Namespace) -> None:
    """Draw the test image and the validation regions of the quickstart."""
    splits = EmbeddedSource().splits(None)
    images = [splits[s].read(i) for s in ("test", "val") for i in range(len(splits[s]))]
    columns = side_by_side(images, [load_model(args.run)], side=96, upright=True)
    write_jpeg(columns, str(IMAGES / "quickstart.jpg"), quality=90)


def measure(tasks: dict[str, Colorizer], data: Path) -> dict[str, Any]:
    """Return the metrics of the networks and of the first one's baselines, on the test split."""
    metrics: dict[str, dict[str, float]] = {}
    baselines: dict[str, dict[str, float]] = {}
    found = find_images(data, "test")
    for name, loaded in tasks.items():
        batches = found.batches(loaded.size, 32, torch.device("cpu"))
        rows = evaluate_batches(loaded.model, batches).rows
        metrics[name] = rows.pop("model")
        baselines = baselines or rows
    return {"metrics": metrics | baselines, "images": len(found.images)}


def account(run: Path) -> dict[str, Any]:
    """Return the length, throughput and size of a run."""
    result = RunResult.read(run)
    names = ("epochs", "images_seen", "seconds", "images_per_second", "parameters")
    return {name: getattr(result, name) for name in names}


def side_by_side(
    images: list[Tensor], tasks: Iterable[Colorizer], side: int, upright: bool = False
) -> Tensor:
    """Return a row for each image: grey, colored by each network, truth.

    Args:
        images: (3, H, W), uint8; shown whole.
        tasks: The networks.
        side: Width of each cell, in pixels; its height if `upright`.
        upright: A column for each image instead.
    """
    columns = [
        [grey(rgb) for rgb in images],
        *([colorize_image(t.model, rgb) for rgb in images] for t in tasks),
        images,
    ]
    table = columns if upright else [list(row) for row in zip(*columns, strict=True)]
    rows = [torch.cat([_cell(rgb, side, upright) for rgb in row], dim=2) for row in table]
    return F.pad(torch.cat(rows, dim=1), (4, 0, 4, 0), value=255)


def _cell(rgb: Tensor, side: int, upright: bool) -> Tensor:
    """Return an image at a width (height if upright) of `side`, with a margin."""
    height, width = rgb.shape[-2:]
    size = [side, round(width * side / height)] if upright else [round(height * side / width), side]
    return F.pad(resize(rgb, size, antialias=True), (0, 4, 0, 4), value=255)


def grey(rgb: Tensor) -> Tensor:
    """Return an image's lightness as a grey image: (3, H, W), uint8."""
    L, ab = to_lab(rgb.unsqueeze(0))
    return (to_rgb(L, torch.zeros_like(ab))[0] * 255).round().to(torch.uint8)


if __name__ == "__main__":
    main()
