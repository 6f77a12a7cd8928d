"""Which criterion chooses the epoch that is best on photographs that it was not chosen by?

    python benchmarks/choice.py --data GENERAL --out RUNS --weights mobilenet_v2.pth

Trains photos_cpu at 64 px, keeps the weights of each validation and measures them all on GENERAL's
test split. Each criterion, plain and averaged over the last validations (`run.smoothing`), then
chooses one of them by the validation images. Run it again to continue. Results go to
benchmarks/results/choice.json.
"""

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from colors import Recipe, train, training_parser
from common import command_of

from lightning_colorize.benchmarking.environment import write_report
from lightning_colorize.common.files import write_json
from lightning_colorize.common.processes import keep_freed_memory
from lightning_colorize.evaluation import evaluate, find_images
from lightning_colorize.evaluation.measure import MODEL
from lightning_colorize.inference import load_model
from lightning_colorize.runs.validations import ValidationReader

RESULT = Path(__file__).parent / "results" / "choice.json"
MEASURED = "epochs.json"
CRITERIA = {"loss": min, "psnr": max, "ciede2000": min, "ab_corr": max}
SMOOTHING = (1, 3, 5)
SHOWN = ("psnr", "ciede2000", "colorfulness_ratio", "ab_corr")


def main() -> None:
    """Train, measure all epochs, and choose."""
    parser = training_parser(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    args = parser.parse_args()
    args.what = "choice"
    keep_freed_memory()
    runs = []
    for seed in args.seeds:
        folder = args.out / args.what / f"l1-{seed}"
        keep = {
            "trainer.check_val_every_n_epoch": 1,
            "trainer.callbacks+": "pytorch_lightning.callbacks.ModelCheckpoint",
            "trainer.callbacks.dirpath": folder / "epochs",
            "trainer.callbacks.filename": "{step}",
            "trainer.callbacks.auto_insert_metric_name": "false",
            "trainer.callbacks.save_top_k": -1,
        }
        if not (folder / MEASURED).is_file():
            train(Recipe("l1", settings=keep), seed, args)
            write_json(folder / MEASURED, measure_epochs(folder, args.data))
        runs.append(json.loads((folder / MEASURED).read_text()))
    report = {"criteria": choose(runs), "epochs": [len(run) for run in runs]}
    write_report(RESULT, command_of("choice", sys.argv[1:]), report)


def measure_epochs(folder: Path, data: Path) -> list[dict[str, Any]]:
    """Return the metrics of each epoch's weights on the validation and the test images."""
    reader = ValidationReader(folder)
    reader.read()
    images = find_images(data, "test")
    epochs = []
    for validation in reader.records:
        model = load_model(folder / "epochs" / f"{validation.step:g}.ckpt")
        epochs.append({"val": validation.metrics, "test": evaluate(model, images).rows[MODEL]})
    return epochs


def choose(runs: list[list[dict[str, Any]]]) -> dict[str, dict[str, list[float]]]:
    """Return the test metrics of the epochs that each criterion chooses, and what it misses.

    `missed` is CIEDE2000 on the test images above that of the best epoch.
    """
    criteria: dict[str, tuple[str, int] | None] = {"last epoch": None}
    for metric, smoothing in itertools.product(CRITERIA, SMOOTHING):
        criteria[f"val/{metric}, {smoothing}"] = metric, smoothing
    chosen: dict[str, dict[str, list[float]]] = {}
    for name, criterion in criteria.items():
        rows = chosen[name] = {column: [] for column in (*SHOWN, "missed", "epoch")}
        for run in runs:
            best = len(run) - 1 if criterion is None else _best(run, *criterion)
            test = run[best]["test"]
            for column in SHOWN:
                rows[column].append(test[column])
            least = min(epoch["test"]["ciede2000"] for epoch in run)
            rows["missed"].append(test["ciede2000"] - least)
            rows["epoch"].append(best + 1)
    return chosen


def _best(run: list[dict[str, Any]], metric: str, smoothing: int) -> int:
    values = [epoch["val"][f"val/{metric}"] for epoch in run]
    means = np.convolve(values, np.full(smoothing, 1 / smoothing), "valid").tolist()
    best: int = means.index(CRITERIA[metric](means))
    return best + smoothing - 1


if __name__ == "__main__":
    main()
