"""Which pretrained encoder learns colors best, fine-tuned with the same decoder and loss?

    python benchmarks/encoders.py speed --data GENERAL --out RUNS
    python benchmarks/encoders.py train --data GENERAL --out RUNS --seeds 1 2

Each encoder of encoders.yaml is trained by the recipe and the decoder of colors.FIRST_MODEL on
`--images` images of 128 px: with the encoder's learning rate of 0.3 of the decoder's; with
`norm_levels` and a frozen encoder; with `norm_levels` and 0.03; and the last also with as many
images as two CPU cores see in `--minutes`, by the rates that `speed` has measured. A GPU, if there
is one, trains them; the number of images is the same. Run `train` again to continue; several may
share RUNS, each with its own --only, --trainings or --seeds. Results go to
benchmarks/results/encoders.json, where they replace those of the same training and seed.
"""

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from colors import BATCH, EXPERIMENTS, FIRST_MODEL, MEASURED, Recipe, collect, measure, speed, train
from common import command_of

from lightning_colorize.benchmarking.environment import write_report
from lightning_colorize.common.files import write_json

RESULTS = Path(__file__).parent / "results"
REPORT = RESULTS / "encoders.json"
SPEEDS = RESULTS / "encoders_speed.json"

ENCODERS: dict[str, dict[str, str]] = yaml.safe_load(
    Path(__file__).with_suffix(".yaml").read_text()
)
NORMED = {"model.decoder.norm_levels": "true"}
SLOW = NORMED | {"model.encoder_lr_ratio": 0.03}
TRAININGS: dict[str, dict[str, Any]] = {
    "rate 0.3": {},
    "norm_levels, frozen": NORMED,
    "norm_levels, rate 0.03": SLOW,
    "norm_levels, rate 0.03, equal time": SLOW,
}


def main() -> None:
    """Measure speeds, or train and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("speed", "train"))
    parser.add_argument("--data", type=Path, required=True, help="folder with train, val, test")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--images", type=int, default=48_000, help="of a training")
    parser.add_argument("--minutes", type=float, default=20, help="of one with equal time")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", nargs="+", choices=list(ENCODERS), default=list(ENCODERS))
    parser.add_argument("--trainings", nargs="+", choices=list(TRAININGS), default=list(TRAININGS))
    parser.add_argument("--json", type=Path, default=REPORT)
    parser.add_argument("--precision", default="bf16-mixed")
    args = parser.parse_args()
    args.size = 128
    args.weights = None  # of all recipes: each names its own
    if args.what == "speed":
        rates = {name: speed(_recipe(args, name, name, SLOW), args) for name in args.only}
        write_report(SPEEDS, command_of("encoders", sys.argv[1:]), {"images_per_second": rates})
        return
    rates = json.loads(SPEEDS.read_text())["images_per_second"]
    for seed, training, encoder in itertools.product(args.seeds, args.trainings, args.only):
        timed = round(60 * args.minutes * rates[encoder])
        images = timed if "time" in training else args.images
        recipe = f"{encoder}, {training}"
        run = args.out / args.what / f"{recipe}-{seed}"
        if not (run / MEASURED).is_file():
            print(f"{recipe}, seed {seed}", flush=True)
            budget = {"trainer.max_steps": images // BATCH}
            train(_recipe(args, recipe, encoder, TRAININGS[training] | budget), seed, args)
            write_json(run / MEASURED, measure(run, args.data, finalist=False))
    earlier = json.loads(args.json.read_text()) if args.json.is_file() else {}
    names = [f"{encoder}, {training}" for training in TRAININGS for encoder in ENCODERS]
    report = collect(args.out / args.what, names, earlier)
    write_report(args.json, command_of("encoders", sys.argv[1:]), report)


def _recipe(args: argparse.Namespace, name: str, encoder: str, own: dict[str, Any]) -> Recipe:
    settings: dict[str, Any] = FIRST_MODEL | ENCODERS[encoder]
    settings["model.encoder"] = EXPERIMENTS / "encoder" / f"{settings['model.encoder']}.yaml"
    settings["trainer.precision"] = args.precision
    if "frozen" in name:
        settings |= {k.replace("weights", "frozen"): "true" for k in settings if "weights" in k}
    if torch.cuda.is_available():
        settings |= {"data.cache": "device", "model.fused": "true"}
    return Recipe(name, "default_model", settings | own)


if __name__ == "__main__":
    main()
