"""What is said at the end of a training run."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console

from lightning_colorize.evaluation.measure import MODEL
from lightning_colorize.evaluation.table import metrics_table, print_plain
from lightning_colorize.runs.folder import IMAGES


def print_result(result: Mapping[str, Any], folder: Path, console: Console | None = None) -> None:
    """Print the metrics of a run's network and baselines, what it cost and where to look.

    Args:
        result: What is in `result.json`.
        folder: The run folder.
        console: Where to; by default stdout.
    """
    console = console or Console()
    epoch = "last epoch" if result["monitor"] is None else "best epoch"
    for split, title in {"val": f"validation, {epoch}", "test": "test"}.items():
        rows = {
            name: _of_split(metrics, split)
            for name, metrics in {MODEL: result["metrics"], **result["baselines"]}.items()
        }
        if rows[MODEL]:
            print_plain(console, metrics_table(rows, title))
    for name, value in _lines(result, folder):
        console.print(f"[bold]{name:<9}[/] ", end="", highlight=False)
        console.print(value, markup=False, highlight=False, soft_wrap=True)


def _of_split(metrics: Mapping[str, float | None], split: str) -> dict[str, float | None]:
    prefix = f"{split}/"
    return {k.removeprefix(prefix): v for k, v in metrics.items() if k.startswith(prefix)}


def _lines(result: Mapping[str, Any], folder: Path) -> list[tuple[str, str]]:
    root = folder.parent.parent
    where = "" if root == Path("runs") else f" --root {root}"
    epochs = result["epochs"]
    rate = result["images_per_second"]
    speed = "" if rate is None else f" ({rate:,.0f} a second)"
    lines = [
        (
            result["status"].replace("_", " "),
            f"{epochs} epoch{'s' * (epochs != 1)}, {result['images_seen']:,} images"
            f" in {timedelta(seconds=round(result['seconds']))}{speed}",
        ),
        ("cost", _cost(result)),
        ("images", str(folder / IMAGES)),
    ]
    if result["best_checkpoint"]:
        lines += [
            ("best", str(folder / result["best_checkpoint"])),
            ("colour", f"lightning-colorize colorize INPUT OUTPUT --checkpoint {folder}"),
        ]
    return [
        *lines,
        ("curves", f"lightning-colorize dashboard{where}"),
        ("compare", f"lightning-colorize runs list{where}"),
    ]


def _cost(result: Mapping[str, Any]) -> str:
    """Return what a run cost, without what is not known of it."""
    figures = {
        "device_hours": "{:.3g} device hours",
        "steady_images_per_second": "{:,.0f} images a second in steady state",
        "data_wait_share": "{:.1%} of it waiting for data",
        "mfu": "{:.1%} of the device's peak FLOPs",
    }
    said = [form.format(result[name]) for name, form in figures.items() if result[name] is not None]
    if memory := result["peak_device_memory"]:
        said.append(f"at most {memory / 2**30:.1f} GiB of device memory")
    return ", ".join(said)
