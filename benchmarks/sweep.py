"""The results of a sweep of encoders and losses, with intervals.

    lightning-colorize sweep export SWEEP
    python benchmarks/sweep.py SWEEP/trials.json --data FOLDER --command '...' NAME=RUN,RUN,RUN ...

The trials' validation metrics go to benchmarks/results/sweep.json. The named configurations, each
by runs that differ in their seed, are measured on FOLDER's test split and go to
benchmarks/results/sweep_seeds.json: mean and range over seeds, and the difference of each from the
first, image by image (means over seeds), with its paired bootstrap 95 % interval.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightning_colorize.benchmarking.environment import write_report
from lightning_colorize.evaluation import find_images
from lightning_colorize.evaluation.choice import open_systems
from lightning_colorize.evaluation.measured import measure_systems
from lightning_colorize.evaluation.statistics import (
    differences_from_first,
    metrics_over,
)
from lightning_colorize.metrics.spec import NAMES
from lightning_colorize.runs.record import RunRecord

RESULTS = Path(__file__).parent / "results"
COMPARED = ("psnr", "ssim", "ciede2000", "colorfulness_ratio", "ab_corr")
# Of metrics that are means over images: means over seeds may be taken before.
PAIRED = ("psnr", "ciede2000")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trials", type=Path, help="as `sweep export` writes it")
    parser.add_argument("systems", nargs="+", metavar="NAME=RUN,RUN,...")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--command", required=True, help="how the runs were made, to be noted")
    args = parser.parse_args()
    write_report(RESULTS / "sweep.json", args.command, trials(json.loads(args.trials.read_text())))
    systems = {
        name: runs.split(",") for name, _, runs in (word.partition("=") for word in args.systems)
    }
    write_report(RESULTS / "sweep_seeds.json", args.command, seeds(systems, args.data))


def trials(sweep: dict[str, Any]) -> dict[str, Any]:
    """Return the finished trials, best first: what differs between them, and their metrics."""
    finished = [trial for trial in sweep["trials"] if trial["state"] == "finished"]
    finished.sort(key=lambda t: t["value"], reverse=sweep["metric"]["goal"] == "maximize")
    names = [
        name
        for name in finished[0]["values"]
        if len({str(trial["values"][name]) for trial in finished}) > 1
    ]
    rows = [
        {
            "what": [Path(str(trial["values"][name])).stem for name in names],
            "metrics": RunRecord(Path(trial["folder"])).metrics,
            "seconds": trial["seconds"],
        }
        for trial in finished
    ]
    # The same of all trials: they share their validation images.
    baselines = RunRecord(Path(finished[0]["folder"])).baselines
    return {"sweep": sweep["name"], "metric": sweep["metric"], "rows": rows, "baselines": baselines}


def seeds(systems: dict[str, list[str]], data: Path) -> dict[str, Any]:
    """Return metrics over seeds, and differences from the first system."""
    words = [f"{name} {i}={run}" for name, runs in systems.items() for i, run in enumerate(runs)]
    opened = open_systems(words, data, [], torch.device("cpu"))
    (size,) = {system.model.size for system in opened if system.model.keeps_lightness}
    found = find_images(data, "test")
    batches = found.batches(size, 32, torch.device("cpu"))
    measured = measure_systems(opened, batches, size)
    assert measured.values is not None
    counts = [len(runs) for runs in systems.values()]
    groups = np.split(measured.values[: sum(counts)], np.cumsum(counts)[:-1])
    differences = differences_from_first(np.stack([group.mean(0) for group in groups]), seed=0)
    rows = []
    for name, group, differs in zip(systems, groups, differences, strict=True):
        metrics = dict(zip(NAMES, metrics_over(group).T, strict=True))
        paired = dict(zip(NAMES, differs, strict=True))
        rows.append(
            {
                "name": name,
                "metrics": {m: _spread(metrics[m]) for m in COMPARED},
                "difference": {
                    m: {"value": paired[m].value, "low": paired[m].low, "high": paired[m].high}
                    for m in PAIRED
                },
            }
        )
    without = zip(measured.baselines, metrics_over(measured.values[sum(counts) :]), strict=True)
    baselines = {
        name: {m: float(v) for m, v in zip(NAMES, values, strict=True) if m in COMPARED}
        for name, values in without
    }
    return {"rows": rows, "baselines": baselines, "images": len(measured.names), "seeds": counts}


def _spread(values: np.ndarray) -> dict[str, float]:
    return {"mean": values.mean(), "low": values.min(), "high": values.max()}


if __name__ == "__main__":
    main()
