"""Do specialists for categories color better than one network for all, trained as long?

    python benchmarks/specialists.py --data general landscapes pets --out RUNS --weights ...

The folders are beside each other; each is a category, with train, val and test. Trains photos_cpu
at 64 px on all of them for 10 minutes, then this network for 5 more minutes on each of them and, as
the control, on all; `router` joins the specialists. Each category's test images are colored
by the control, by the router's choice, and by the category's own specialist. Run it again to
continue. Results go to benchmarks/results/specialists.json.
"""

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from colors import Recipe, count_images, measure_split, mixture, train, training_parser
from common import command_of

from lightning_colorize.benchmarking.environment import write_report
from lightning_colorize.common.processes import keep_freed_memory
from lightning_colorize.evaluation.statistics import differences_from_first, intervals
from lightning_colorize.inference import load_model
from lightning_colorize.metrics.spec import NAMES

RESULT = Path(__file__).parent / "results" / "specialists.json"
CONTROL = "one network"


def main() -> None:
    """Train, join, and measure."""
    parser = training_parser(__doc__, folders="+")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    parents = {folder.absolute().parent for folder in args.data}
    if len(parents) > 1:
        parser.error("the folders of --data must lie beside each other")
    args.what = "specialists"
    keep_freed_memory()
    folders = {folder.name: folder for folder in args.data}
    args.data = parents.pop()
    everything = mixture([{"root": n, "weight": count_images(f)} for n, f in folders.items()])
    common = train(Recipe("common", settings=everything), args.seed, args)
    args.minutes = -(-args.minutes // 2)
    tuned = {"model.checkpoint": common, "model.optimizer.lr": 0.0003}
    models = {CONTROL: train(Recipe("all", settings=everything | tuned), args.seed, args)}
    for name, folder in folders.items():
        own = {"data.root": folder.resolve()}
        models[name] = train(Recipe(name, settings=own | tuned), args.seed, args)
    routed = common.parent / "routed.safetensors"
    if not routed.is_file():
        command = (sys.executable, "-m", "lightning_colorize", "router", common, routed)
        words = [f"{name}={models[name]}" for name in folders]
        subprocess.run([*map(str, command), *words], check=True)
    report = {
        "folders": {
            name: measure(
                folder,
                {CONTROL: models[CONTROL], "router": routed, "its specialist": models[name]},
            )
            for name, folder in folders.items()
        }
    }
    write_report(RESULT, command_of("specialists", sys.argv[1:]), report)


def measure(folder: Path, models: dict[str, Path]) -> dict[str, Any]:
    """Return the metrics of the first model, and the differences of the others from it."""
    grids = [measure_split(load_model(path), folder, "test", [{}]) for path in models.values()]
    values = [grid.values[0] for grid in grids]
    differences = differences_from_first(np.stack(values), seed=0)
    return {
        "images": values[0].shape[-1],
        "metrics": intervals(values[0][None])[0],
        "differences": {
            name: {metric: asdict(each) for metric, each in zip(NAMES, row, strict=True)}
            for name, row in zip(models, differences, strict=True)
            if name != CONTROL
        },
    }


if __name__ == "__main__":
    main()
