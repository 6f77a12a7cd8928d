"""The summary at the end of a training run."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from rich.console import Console

from lightning_colorize.common.arguments import COMMAND
from lightning_colorize.common.class_paths import allow_options
from lightning_colorize.common.text import format_time
from lightning_colorize.evaluation.evaluator import MODEL
from lightning_colorize.evaluation.table import metrics_table, print_plain
from lightning_colorize.metrics.spec import METRICS, Metric
from lightning_colorize.models.load import classes_to_allow
from lightning_colorize.runs.folder import IMAGES
from lightning_colorize.runs.result import RunResult

_READ = (
    "psnr (higher is better) and ciede2000 (lower is better) first, against the rows of the "
    "baselines; docs/concepts/metrics.md explains all columns"
)


def print_result(
    result: RunResult,
    folder: Path,
    metrics: Sequence[Metric] = METRICS,
    console: Console | None = None,
    counts: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Print a run's metrics with its baselines, its use of compute, and the next commands.

    `counts` are the images by split.
    """
    console = console or Console()
    epoch = "last epoch" if result.monitor is None else "best epoch"
    every = {MODEL: result.metrics, **result.baselines}
    for split, title in {"val/": f"validation, {epoch}", "test/": "test"}.items():
        rows = {
            name: {k.removeprefix(split): v for k, v in values.items() if k.startswith(split)}
            for name, values in every.items()
        }
        if count := counts.get(split[:-1]):
            title += f", {count:,} image{'s' * (count != 1)}"
        if rows[MODEL]:
            print_plain(metrics_table(rows, title, metrics), console)
    lines = _lines(result, folder)
    if any(name.startswith(("val/", "test/")) for name in result.metrics):
        lines = [("read", _READ), *lines]
    for name, value in lines:
        console.print(f"[bold]{name:<9}[/] ", end="", highlight=False)
        console.print(value, markup=False, highlight=False, soft_wrap=True)


def color_command(folder: Path) -> str:
    """Return the command line that colors with a run."""
    words = f"{COMMAND} colorize INPUT OUTPUT --checkpoint {shlex.quote(str(folder))}"
    return f"{words} {allow_options(classes_to_allow(folder))}".rstrip()


def _lines(result: RunResult, folder: Path) -> list[tuple[str, str]]:
    root = folder.parent.parent
    option = "" if root == Path("runs") else f" --root {root}"
    epochs, images, seconds = result.epochs or 0, result.images_seen or 0, result.seconds or 0.0
    rate = result.images_per_second
    speed = "" if rate is None else f" ({rate:,.0f}/s)"
    count = f"{epochs} epoch{'s' * (epochs != 1)}"
    work = f"{count}, {images:,} images in {format_time(seconds)}{speed}"
    lines = [
        (result.status.replace("_", " "), work),
        ("compute", _compute(result)),
        ("images", str(folder / IMAGES)),
    ]
    if result.best_checkpoint:
        best = str(folder / result.best_checkpoint)
        lines += [("best", best), ("color", color_command(folder))]
    return [
        *lines,
        ("curves", f"{COMMAND} dashboard{option}"),
        ("runs", f"{COMMAND} runs list{option}"),
    ]


def _compute(result: RunResult) -> str:
    figures = (
        (result.device_hours, "{:.3g} device hours"),
        (result.steady_images_per_second, "{:,.0f} images/s in steady state"),
        (result.data_wait_share, "{:.1%} of it waiting for data"),
    )
    known = [form.format(value) for value, form in figures if value is not None]
    if memory := result.peak_device_memory:
        known.append(f"peak device memory {memory / 2**30:.1f} GiB")
    return ", ".join(known)
