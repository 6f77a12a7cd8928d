"""What do the features of a pretrained encoder know about color?

    python benchmarks/probe.py --data GENERAL

Ridge regression predicts the mean ab of 4x4 cells from frozen features of grey images: the two
coarsest levels (of a ViT, the only one), averaged over each cell, and their means over the image.
The penalty is chosen on the validation images, R2 and correlation are those of the test images. The
encoders of benchmarks/probe.yaml take each batch in turn, which is timed. Results go to
benchmarks/results/probe.json.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from common import command_of
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.benchmarking.environment import write_report
from lightning_colorize.common.class_paths import Trust, build
from lightning_colorize.common.progress import progress
from lightning_colorize.data.module import ColorizationDataModule, Split
from lightning_colorize.networks import Encoder

RESULT = Path(__file__).parent / "results" / "probe.json"
ENCODERS = Path(__file__).with_suffix(".yaml")
CELLS = 4
LEVELS = 2
PENALTIES = tuple(10.0**power for power in range(-2, 3))
BATCH = 32


class Cells(NamedTuple):
    """Features and colors of the cells of a split's images."""

    features: Tensor  # (N * 16, D)
    colors: Tensor  # ab, (N * 16, 2)


def main(words: Sequence[str] | None = None) -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--encoders", type=Path, default=ENCODERS, help="a YAML file, by name")
    parser.add_argument("--size", type=int, nargs="+", default=[128, 192])
    parser.add_argument("--images", type=int, default=2500, help="training images")
    parser.add_argument("--json", type=Path, default=RESULT)
    args = parser.parse_args(words)
    described = yaml.safe_load(args.encoders.read_text())
    encoders = {name: build(spec, Encoder, Trust()).eval() for name, spec in described.items()}
    for encoder in encoders.values():
        encoder.to(memory_format=torch.channels_last)  # as in training, and faster
    rows = []
    for size in args.size:
        data = ColorizationDataModule(args.data, size=size, batch_size=BATCH, num_workers=0)
        data.setup("fit")
        data.setup("test")
        train, rates = cells(encoders, data, "train", args.images)
        val, _ = cells(encoders, data, "val")
        test, _ = cells(encoders, data, "test")
        for name in encoders:
            row = {"encoder": name, "size": size, "features": train[name].features.shape[1]}
            row |= fit(train.pop(name), val.pop(name), test.pop(name))
            row["images_per_second"] = rates[name]
            rows.append(row)
            print(row, flush=True)
    write_report(args.json, command_of("probe", words or sys.argv[1:]), {"encoders": rows})


@torch.inference_mode()
def cells(
    encoders: dict[str, Encoder],
    data: ColorizationDataModule,
    split: Split,
    limit: int | None = None,
) -> tuple[dict[str, Cells], dict[str, float]]:
    """Return the cells of a split's images for each encoder, and its images per second."""
    found: dict[str, list[Tensor]] = {name: [] for name in encoders}
    seconds = dict.fromkeys(encoders, 0.0)
    colors = []
    count = -(-min(limit or sys.maxsize, len(data.images(split))) // data.batch_size)
    for batch in progress(data.color_batches(split, limit), count, f"{split} batches"):
        colors.append(as_rows(F.adaptive_avg_pool2d(batch.ab, CELLS)))
        for name, encoder in encoders.items():
            start = time.perf_counter()
            levels = encoder(batch.L / 50 - 1)[-LEVELS:]
            seconds[name] += time.perf_counter() - start
            pooled = torch.cat([F.adaptive_avg_pool2d(level, CELLS) for level in levels], 1)
            mean = pooled.mean((2, 3), keepdim=True).expand_as(pooled)
            found[name].append(as_rows(torch.cat([pooled, mean], 1)))
    ab = torch.cat(colors)
    images = len(ab) // CELLS**2
    split_cells = {name: Cells(torch.cat(parts), ab) for name, parts in found.items()}
    return split_cells, {name: images / spent for name, spent in seconds.items()}


def as_rows(maps: Tensor) -> Tensor:
    """Return (B * H * W, C) for (B, C, H, W)."""
    return maps.movedim(1, -1).flatten(0, 2)


def fit(train: Cells, val: Cells, test: Cells) -> dict[str, Any]:
    """Return R2 and correlation on the test cells, and the penalty that is best on `val`.

    Features are standardized; a penalty is a share of the number of cells.
    """
    mean, std = train.features.mean(0), train.features.std(0) + 1e-6
    center = train.colors.double().mean(0)

    def standardized(split: Cells) -> Tensor:
        return (split.features - mean).div(std).double()

    x, x_val, x_test = map(standardized, (train, val, test))
    gram, moments = x.T @ x / len(x), x.T @ (train.colors.double() - center) / len(x)
    best: dict[str, Any] = {"val_r2": -torch.inf}
    for penalty in PENALTIES:
        weight = torch.linalg.solve(gram + penalty * torch.eye(len(gram)).double(), moments)
        r2 = score(x_val @ weight + center, val.colors)["r2"]
        if r2 > best["val_r2"]:
            best = {"val_r2": r2, "penalty": penalty}
            best |= score(x_test @ weight + center, test.colors)
    return best


def score(predicted: Tensor, true: Tensor) -> dict[str, float]:
    """Return R2 over a and b together, and the mean of their correlations."""
    true = true.double()
    deviation = true - true.mean(0)
    r2 = 1 - ((predicted - true) ** 2).sum() / (deviation**2).sum()
    pairs = zip(predicted.T, true.T, strict=True)
    correlations = [torch.corrcoef(torch.stack(pair))[0, 1] for pair in pairs]
    return {"r2": r2.item(), "correlation": torch.stack(correlations).mean().item()}


if __name__ == "__main__":
    main()
